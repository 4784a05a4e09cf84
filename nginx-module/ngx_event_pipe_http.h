
/*
 * What the files of the HTTP module share.
 */


#ifndef _NGX_EVENT_PIPE_HTTP_H_INCLUDED_
#define _NGX_EVENT_PIPE_HTTP_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_event_pipe_glue.h"
#include "ngx_event_pipe_rust.h"


/* the totals of all workers; NULL if no location shows them */

typedef struct {
    ngx_shm_zone_t                  *zone;
} ngx_event_pipe_main_conf_t;


typedef struct {
    ngx_event_pipe_settings_t        settings;

    /* the format of the page, if the location has one */
    ngx_uint_t                       status;
} ngx_event_pipe_loc_conf_t;


/* of a request; the library's state is in the same memory, behind it */

typedef struct {
    ngx_event_pipe_t                *pipe;
    ngx_event_t                      watch;
    ngx_event_pipe_state_t          *state;
} ngx_event_pipe_ctx_t;


extern ngx_module_t  ngx_event_pipe_http_module;


/* the context of a pipe, or of the request's last one if "p" is NULL */
ngx_event_pipe_ctx_t *ngx_event_pipe_find_ctx(ngx_http_request_t *r,
    ngx_event_pipe_t *p);

/* the directive event_pipe_status, and how a location inherits it */
char *ngx_event_pipe_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
void ngx_event_pipe_merge_status(ngx_conf_t *cf,
    ngx_event_pipe_loc_conf_t *prev, ngx_event_pipe_loc_conf_t *conf);


#endif /* _NGX_EVENT_PIPE_HTTP_H_INCLUDED_ */

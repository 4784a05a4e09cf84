
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


/* what the memory of a state, and of totals, is aligned to: enough for any type */

#define NGX_EVENT_PIPE_ALIGNMENT  16


/* the zone has the totals of all workers; NULL if no location shows them */

typedef struct {
    ngx_shm_zone_t                  *zone;
} ngx_event_pipe_main_conf_t;


typedef struct {
    ngx_event_pipe_settings_t        settings;

    /* the format of the status page, if the location is one */
    ngx_uint_t                       status;
} ngx_event_pipe_loc_conf_t;


/* the context of a request; the state comes behind it in the same memory */

typedef struct {
    ngx_event_pipe_t                *pipe;
    ngx_event_t                      watch;
    ngx_event_pipe_state_t          *state;
} ngx_event_pipe_ctx_t;


extern ngx_module_t  ngx_event_pipe_http_module;


/* finds the context of a pipe or, if "p" is NULL, of the request's last pipe */
ngx_event_pipe_ctx_t *ngx_event_pipe_find_ctx(ngx_http_request_t *r,
    ngx_event_pipe_t *p);

/* the directive event_pipe_status, and how a location inherits it */
char *ngx_event_pipe_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
void ngx_event_pipe_merge_status(ngx_conf_t *cf,
    ngx_event_pipe_loc_conf_t *prev, ngx_event_pipe_loc_conf_t *conf);


#endif /* _NGX_EVENT_PIPE_HTTP_H_INCLUDED_ */

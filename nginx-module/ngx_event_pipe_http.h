
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


/* what the memory of a state, and of the status, is aligned to */

#define NGX_EVENT_PIPE_ALIGNMENT  16


/* how many zones there may be */

#define NGX_EVENT_PIPE_ZONES  256


/* the name of a zone, and the line of the configuration that has it first */

typedef struct {
    ngx_str_t                        name;
    u_char                          *file;
    ngx_uint_t                       line;
} ngx_event_pipe_name_t;


typedef struct {
    /* the memory of the board; NULL if no location shows the status */
    ngx_shm_zone_t                  *zone;

    /* event_pipe_zones, and the names of event_pipe_zone without a variable */
    ngx_int_t                        zones;
    ngx_array_t                      names;
} ngx_event_pipe_main_conf_t;


typedef struct {
    ngx_event_pipe_settings_t        settings;

    /* the name of the zone, event_pipe_zone; NULL if there is none */
    ngx_http_complex_value_t        *name;

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

/* the board, and the zone of a request */
void *ngx_event_pipe_board(ngx_http_request_t *r);
ngx_uint_t ngx_event_pipe_find_zone(ngx_http_request_t *r);

/* the directives event_pipe_zone and event_pipe_zones */
char *ngx_event_pipe_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_event_pipe_init_main_conf(ngx_conf_t *cf, void *conf);

/* the directive event_pipe_status, and how a location inherits it */
char *ngx_event_pipe_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
void ngx_event_pipe_merge_status(ngx_conf_t *cf,
    ngx_event_pipe_loc_conf_t *prev, ngx_event_pipe_loc_conf_t *conf);


#endif /* _NGX_EVENT_PIPE_HTTP_H_INCLUDED_ */

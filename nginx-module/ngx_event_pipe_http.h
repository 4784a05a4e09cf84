
/*
 * What the HTTP modules of the event pipe share.
 */


#ifndef _NGX_EVENT_PIPE_HTTP_H_INCLUDED_
#define _NGX_EVENT_PIPE_HTTP_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_event_pipe_glue.h"


extern ngx_module_t  ngx_event_pipe_http_module;


/* the cleanup handler of a state: the response is over, and counts */
void ngx_event_pipe_http_count(void *data);

/* looks for a module of which it is not known what it does with files */
ngx_int_t ngx_event_pipe_http_find_unknown(ngx_cycle_t *cycle);


#endif /* _NGX_EVENT_PIPE_HTTP_H_INCLUDED_ */


/* What bindgen reads for the harness. */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_pipe.h>

#include "ngx_event_pipe_glue.h"


/* the pipe of nginx, compiled with its three symbols renamed */

ngx_int_t stock_ngx_event_pipe(ngx_event_pipe_t *p, ngx_int_t do_write);
ngx_int_t stock_ngx_event_pipe_copy_input_filter(ngx_event_pipe_t *p,
    ngx_buf_t *buf);
ngx_int_t stock_ngx_event_pipe_add_free_buf(ngx_event_pipe_t *p, ngx_buf_t *b);


/* environment.c */

void harness_init(void);
void harness_set_clock(ngx_msec_t msec, time_t sec);


/* the harness in Rust */

void harness_log(ngx_uint_t level, ngx_err_t err, const u_char *text,
    size_t len);
ngx_int_t harness_alloc(size_t size);
void harness_pfree(void *p);


/*
 * What bindgen reads for the harness: nginx's structures, both pipes, and what
 * the C side of the harness (environment.c) offers to the Rust side and asks
 * of it.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_pipe.h>
#if (NGX_THREADS)
#include <ngx_thread_pool.h>
#endif

#include "ngx_event_pipe_glue.h"
#include "ngx_event_pipe_rust.h"


/* the pipe of nginx, compiled with its three symbols renamed */

ngx_int_t stock_ngx_event_pipe(ngx_event_pipe_t *p, ngx_int_t do_write);
ngx_int_t stock_ngx_event_pipe_copy_input_filter(ngx_event_pipe_t *p,
    ngx_buf_t *buf);
ngx_int_t stock_ngx_event_pipe_add_free_buf(ngx_event_pipe_t *p, ngx_buf_t *b);


/* functions of nginx that the harness calls after it has taken notice */

void real_ngx_chain_update_chains(ngx_pool_t *p, ngx_chain_t **free,
    ngx_chain_t **busy, ngx_chain_t **out, ngx_buf_tag_t tag);
ssize_t real_ngx_write_chain_to_temp_file(ngx_temp_file_t *tf,
    ngx_chain_t *chain);

void real_ngx_event_pipe_glue_forbid(u_char *start, size_t size);
void real_ngx_event_pipe_glue_permit(u_char *start, size_t size);
void real_ngx_event_pipe_glue_add_timer(ngx_event_t *ev, ngx_msec_t timer);
ngx_pool_cleanup_t *real_ngx_pool_cleanup_add(ngx_pool_t *pool, size_t size);
ngx_buf_t *real_ngx_event_pipe_glue_flush_buf(ngx_pool_t *pool);


/* environment.c */

void harness_init(void);
void harness_set_clock(ngx_msec_t msec, time_t sec);
void harness_first_file_name(void);


/* the harness in Rust; calls that can fail return a negative errno */

void harness_log(ngx_uint_t level, ngx_err_t err, const u_char *text,
    size_t len);
ngx_int_t harness_alloc(size_t size);
ngx_int_t harness_zalloc(size_t size);
void harness_pfree(void *p);
int harness_open_file(void);
int harness_close_file(int fd);
ssize_t harness_write_file(int fd, const struct iovec *iov, int count,
    off_t offset);


/*
 * nginx around the two pipes: globals, and the functions of which the harness
 * wants to hear before the real ones run.
 */


#include "environment.h"
#include "interposed.h"


void *real_ngx_palloc(ngx_pool_t *pool, size_t size);
void *real_ngx_pcalloc(ngx_pool_t *pool, size_t size);
void *real_ngx_pnalloc(ngx_pool_t *pool, size_t size);
ngx_int_t real_ngx_pfree(ngx_pool_t *pool, void *p);


ngx_uint_t             ngx_test_config;
ngx_uint_t             ngx_process;
ngx_pid_t              ngx_pid;
volatile ngx_cycle_t  *ngx_cycle;

volatile ngx_msec_t    ngx_current_msec;
volatile ngx_time_t   *ngx_cached_time;

ngx_rbtree_t           ngx_event_timer_rbtree;

/* nothing is written to it */
static ngx_log_t          harness_silent_log;

static ngx_time_t         harness_time;
static ngx_rbtree_node_t  harness_sentinel;


void
harness_init(void)
{
    ngx_cached_time = &harness_time;

    ngx_rbtree_init(&ngx_event_timer_rbtree, &harness_sentinel,
                    ngx_rbtree_insert_timer_value);

    ngx_event_pipe_rust_init_worker(1, 1024, &harness_silent_log);
}


void
harness_set_clock(ngx_msec_t msec, time_t sec)
{
    ngx_current_msec = msec;
    harness_time.sec = sec;
}


/* each world has a temporary file, and they should have the same name */

void
harness_first_file_name(void)
{
    *ngx_temp_number = 0;
}


void
ngx_log_error_core(ngx_uint_t level, ngx_log_t *log, ngx_err_t err,
    const char *fmt, ...)
{
    u_char   text[NGX_MAX_ERROR_STR], *last;
    va_list  args;

    va_start(args, fmt);
    last = ngx_vslprintf(text, text + NGX_MAX_ERROR_STR, fmt, args);
    va_end(args);

    harness_log(level, err, text, last - text);
}


void *
ngx_palloc(ngx_pool_t *pool, size_t size)
{
    return harness_alloc(size) == NGX_OK ? real_ngx_palloc(pool, size) : NULL;
}


void *
ngx_pcalloc(ngx_pool_t *pool, size_t size)
{
    return harness_zalloc(size) == NGX_OK ? real_ngx_pcalloc(pool, size) : NULL;
}


void *
ngx_pnalloc(ngx_pool_t *pool, size_t size)
{
    return harness_alloc(size) == NGX_OK ? real_ngx_pnalloc(pool, size) : NULL;
}


ngx_pool_cleanup_t *
ngx_pool_cleanup_add(ngx_pool_t *pool, size_t size)
{
    return harness_alloc(size) == NGX_OK
           ? real_ngx_pool_cleanup_add(pool, size) : NULL;
}


ngx_int_t
ngx_pfree(ngx_pool_t *pool, void *p)
{
    harness_pfree(p);

    return real_ngx_pfree(pool, p);
}


/* a negative result is an errno */

static ssize_t
harness_result(ssize_t result)
{
    if (result < 0) {
        ngx_set_errno(-result);
        return -1;
    }

    return result;
}


int
harness_open(const char *name, int flags, ...)
{
    (void) name;
    (void) flags;

    return harness_result(harness_open_file());
}


int
harness_close(int fd)
{
    return harness_result(harness_close_file(fd));
}


int
harness_unlink(const char *name)
{
    (void) name;

    return 0;
}


ssize_t
harness_pwrite(int fd, const void *data, size_t size, off_t offset)
{
    struct iovec  iov;

    iov.iov_base = (void *) data;
    iov.iov_len = size;

    return harness_result(harness_write_file(fd, &iov, 1, offset));
}


ssize_t
harness_pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    return harness_result(harness_write_file(fd, iov, count, offset));
}

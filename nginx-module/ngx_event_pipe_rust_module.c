
/*
 * Links the Rust event pipe into nginx, says in the error log which pipe runs,
 * and gives nginx's macros to the library as functions.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_pipe.h>

#include "ngx_event_pipe_glue.h"
#include "ngx_event_pipe_rust.h"


#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NGX_EVENT_PIPE_ASAN  1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define NGX_EVENT_PIPE_ASAN  1
#endif

#if (NGX_EVENT_PIPE_ASAN)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, size)
#define ASAN_UNPOISON_MEMORY_REGION(start, size)
#endif


/* longer than a cycle of events ever takes, in milliseconds */

#define NGX_EVENT_PIPE_CYCLE_TIMER  3600000


static ngx_int_t ngx_event_pipe_rust_init(ngx_cycle_t *cycle);
static ngx_int_t ngx_event_pipe_rust_init_process(ngx_cycle_t *cycle);
static void ngx_event_pipe_set_event(ngx_event_t *ev,
    ngx_event_handler_pt handler);
static void ngx_event_pipe_end_cycle_handler(ngx_event_t *ev);
static void ngx_event_pipe_idle_handler(ngx_event_t *ev);


/*
 * A core module without directives: nginx reads the module's name when it
 * creates and initializes the configurations of core modules.
 */

static ngx_core_module_t  ngx_event_pipe_rust_module_ctx = {
    ngx_string("event_pipe_rust"),
    NULL,                                  /* create configuration */
    NULL                                   /* init configuration */
};


ngx_module_t  ngx_event_pipe_rust_module = {
    NGX_MODULE_V1,
    &ngx_event_pipe_rust_module_ctx,       /* module context */
    NULL,                                  /* module directives */
    NGX_CORE_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_event_pipe_rust_init,              /* init module */
    ngx_event_pipe_rust_init_process,      /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/*
 * The linker takes only those functions from an archive that something refers
 * to.  This table refers to every function of the pipe, so that all of them
 * are there for dynamic modules too, whatever nginx itself uses.  The version
 * exists only in the Rust library: if nginx's own pipe is in the link as well,
 * the linker stops with a duplicate definition instead of silently preferring
 * one.
 */

const struct {
    ngx_int_t      (*pipe)(ngx_event_pipe_t *p, ngx_int_t do_write);
    ngx_int_t      (*copy_input_filter)(ngx_event_pipe_t *p, ngx_buf_t *buf);
    ngx_int_t      (*add_free_buf)(ngx_event_pipe_t *p, ngx_buf_t *b);
    const char    *(*version)(void);
} ngx_event_pipe_rust = {
    ngx_event_pipe,
    ngx_event_pipe_copy_input_filter,
    ngx_event_pipe_add_free_buf,
    ngx_event_pipe_rust_version
};


#if defined(__i386__)

/*
 * Rust's support code for i386 refers to this function, which is called only
 * when something unwinds, and nothing does.  Another Rust library in the same
 * nginx may bring its own.
 */

void rust_eh_personality(void);

__attribute__((weak)) void
rust_eh_personality(void)
{
}

#endif


static ngx_event_t       ngx_event_pipe_end_cycle;
static ngx_event_t       ngx_event_pipe_idle;

/* nginx built with debugging reads the descriptor of each timer's connection */
static ngx_connection_t  ngx_event_pipe_no_connection;


static ngx_int_t
ngx_event_pipe_rust_init(ngx_cycle_t *cycle)
{
    if (ngx_test_config || ngx_process > NGX_PROCESS_MASTER) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                  "event pipe: ngx-event-pipe/%s (Rust)",
                  ngx_event_pipe_rust.version());

    return NGX_OK;
}


static ngx_int_t
ngx_event_pipe_rust_init_process(ngx_cycle_t *cycle)
{
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    ngx_event_pipe_rust_init_worker(ccf->worker_processes, cycle->connection_n,
                                    cycle->log);

    return NGX_OK;
}


static void
ngx_event_pipe_set_event(ngx_event_t *ev, ngx_event_handler_pt handler)
{
    ngx_event_pipe_no_connection.fd = (ngx_socket_t) -1;

    ev->handler = handler;
    ev->data = &ngx_event_pipe_no_connection;
    ev->log = ngx_cycle->log;
}


static void
ngx_event_pipe_end_cycle_handler(ngx_event_t *ev)
{
    if (ev->timer_set) {
        ngx_del_timer(ev);
    }

    ngx_event_pipe_rust_end_cycle();
}


/*
 * A posted event of the next cycle is handled after that cycle's events.  The
 * pipes that wait for that have no timers, and a worker that is to exit does
 * so as soon as no timer is left.  So this event has one, which does not
 * expire: it is stopped when the event is handled.
 */

void
ngx_event_pipe_glue_end_cycle(ngx_uint_t next)
{
    ngx_event_t  *ev = &ngx_event_pipe_end_cycle;

    ngx_event_pipe_set_event(ev, ngx_event_pipe_end_cycle_handler);

    if (next) {
        ngx_post_event(ev, &ngx_posted_next_events);
        ngx_add_timer(ev, NGX_EVENT_PIPE_CYCLE_TIMER);

    } else {
        ngx_post_event(ev, &ngx_posted_events);
    }
}


static void
ngx_event_pipe_idle_handler(ngx_event_t *ev)
{
    ngx_event_pipe_rust_idle();
}


void
ngx_event_pipe_glue_idle(ngx_msec_t after)
{
    ngx_event_t  *ev = &ngx_event_pipe_idle;

    ngx_event_pipe_set_event(ev, ngx_event_pipe_idle_handler);

    ev->cancelable = 1;

    ngx_add_timer(ev, after);
}


uint64_t
ngx_event_pipe_glue_nanoseconds(void)
{
#if (NGX_HAVE_CLOCK_MONOTONIC)

    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;

#else

    return (uint64_t) ngx_current_msec * 1000000;

#endif
}


/* defines a function that ngx_event_pipe_glue.h declares */

#define ngx_event_pipe_glue(type, name, args, body)                           \
    type ngx_event_pipe_glue_##name args { body; }


ngx_event_pipe_glue(void, add_timer, (ngx_event_t *ev, ngx_msec_t timer),
                    ngx_add_timer(ev, timer))
ngx_event_pipe_glue(void, del_timer, (ngx_event_t *ev), ngx_del_timer(ev))
ngx_event_pipe_glue(time_t, time, (void), return ngx_time())
ngx_event_pipe_glue(void, free_chain, (ngx_pool_t *pool, ngx_chain_t *cl),
                    ngx_free_chain(pool, cl))


ngx_buf_t *
ngx_event_pipe_glue_flush_buf(ngx_pool_t *pool)
{
    ngx_buf_t  *b;

    b = ngx_calloc_buf(pool);

    if (b) {
        b->flush = 1;
    }

    return b;
}


size_t
ngx_event_pipe_glue_waiting(ngx_connection_t *c)
{
    ngx_event_t  *rev;
#if (NGX_HAVE_FIONREAD)
    int           waiting;
#endif

    rev = c->read;

#if (NGX_HAVE_FIONREAD)

    /*
     * nginx makes this call when a read has filled all its buffers; a call
     * before the read spares nginx that one.  If the number is zero, a read
     * finds out what that means.
     */

    if (rev->available < 0
#if (NGX_SSL)
        && c->ssl == NULL
#endif
        && ngx_socket_nread(c->fd, &waiting) != -1
        && waiting > 0)
    {
        rev->available = waiting;
    }

#endif

    return rev->available > 0 ? (size_t) rev->available : 0;
}


off_t
ngx_event_pipe_glue_tls_received(ngx_connection_t *c)
{
#if (NGX_SSL)

    if (c->ssl) {
        return (off_t) BIO_number_read(SSL_get_rbio(c->ssl->connection));
    }

#endif

    return 0;
}


/*
 * a build for debugging overwrites the memory; with the address sanitizer, any
 * access to the memory is reported
 */

void
ngx_event_pipe_glue_forbid(u_char *start, size_t size)
{
#if (NGX_DEBUG)
    ngx_memset(start, 0xa5, size);
#endif

    ASAN_POISON_MEMORY_REGION(start, size);
}


void
ngx_event_pipe_glue_permit(u_char *start, size_t size)
{
    ASAN_UNPOISON_MEMORY_REGION(start, size);
}


#if !(NGX_EVENT_PIPE_HTTP)

/*
 * nginx is built without HTTP: the linker needs these functions, and nobody
 * calls them
 */

#define ngx_event_pipe_stub(type, name, result)                               \
    ngx_event_pipe_glue(type, name, (ngx_event_pipe_t *p), return result)

ngx_event_pipe_stub(ngx_event_pipe_state_t *, open_state, NULL)
ngx_event_pipe_stub(ngx_event_pipe_state_t *, state, NULL)
ngx_event_pipe_stub(ngx_uint_t, output_holds, 0)
ngx_event_pipe_stub(size_t, room, 0)
ngx_event_pipe_stub(ngx_uint_t, is_limited, 0)
ngx_event_pipe_stub(void, discard, /* void */)
ngx_event_pipe_stub(ngx_uint_t, may_close, 0)
ngx_event_pipe_stub(ngx_uint_t, aio, 0)
ngx_event_pipe_stub(ngx_uint_t, has_upstream, 0)
ngx_event_pipe_stub(void, restart_send_timer, /* void */)
ngx_event_pipe_stub(void, give_up_upstream, /* void */)
ngx_event_pipe_stub(void, resume, /* void */)
ngx_event_pipe_glue(ngx_uint_t, seems_ended,
                    (ngx_event_pipe_t *p, ngx_buf_t *raw), return 0)
ngx_event_pipe_glue(ngx_int_t, client_progress,
                    (ngx_event_pipe_t *p, ngx_event_pipe_progress_t *progress),
                    return NGX_DECLINED)
ngx_event_pipe_glue(void, watch, (ngx_event_pipe_t *p, ngx_msec_t timer),
                    return)

#endif

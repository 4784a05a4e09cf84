
/*
 * Links the Rust event pipe into nginx and says so in the error log.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_pipe.h>

#include "ngx_event_pipe_glue.h"
#include "ngx_event_pipe_rust.h"


static ngx_int_t ngx_event_pipe_rust_init(ngx_cycle_t *cycle);


/*
 * A core module without directives: nginx reads its name when it creates and
 * initializes the configurations of core modules.
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
    ngx_event_pipe_segments_init,          /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/*
 * The linker takes from an archive only what is asked for.  This table asks
 * for every function of the pipe, so that all of them are there for dynamic
 * modules too, whatever nginx itself uses.  The version exists only in the
 * Rust library: with the pipe of nginx in the link as well, the linker stops
 * with a duplicate definition instead of silently preferring one.
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


void
ngx_event_pipe_glue_add_timer(ngx_event_t *ev, ngx_msec_t timer)
{
    ngx_add_timer(ev, timer);
}


void
ngx_event_pipe_glue_del_timer(ngx_event_t *ev)
{
    ngx_del_timer(ev);
}


time_t
ngx_event_pipe_glue_time(void)
{
    return ngx_time();
}


void
ngx_event_pipe_glue_free_chain(ngx_pool_t *pool, ngx_chain_t *cl)
{
    ngx_free_chain(pool, cl);
}


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


#if !(NGX_EVENT_PIPE_HTTP)

/* nginx without HTTP: the linker wants these functions, and nobody calls them */

ngx_event_pipe_state_t *
ngx_event_pipe_glue_state(ngx_event_pipe_t *p)
{
    return NULL;
}


ngx_uint_t
ngx_event_pipe_glue_output_holds(ngx_event_pipe_t *p)
{
    return 0;
}


size_t
ngx_event_pipe_glue_room(ngx_event_pipe_t *p)
{
    return 0;
}


size_t
ngx_event_pipe_glue_waiting(ngx_connection_t *c)
{
    return 0;
}


void
ngx_event_pipe_glue_discard(ngx_event_pipe_t *p)
{
}


ngx_int_t
ngx_event_pipe_glue_may_close(ngx_event_pipe_t *p)
{
    return 0;
}


ngx_uint_t
ngx_event_pipe_glue_aio(ngx_event_pipe_t *p)
{
    return 0;
}


ngx_uint_t
ngx_event_pipe_glue_seems_ended(ngx_event_pipe_t *p, ngx_buf_t *raw)
{
    return 0;
}


ngx_uint_t
ngx_event_pipe_glue_client_progress(ngx_event_pipe_state_t *state)
{
    return NGX_EVENT_PIPE_PROGRESS_UNKNOWN;
}


ngx_uint_t
ngx_event_pipe_glue_upstream_progress(ngx_event_pipe_state_t *state)
{
    return NGX_EVENT_PIPE_PROGRESS_UNKNOWN;
}


ngx_uint_t
ngx_event_pipe_glue_has_upstream(ngx_event_pipe_t *p)
{
    return 0;
}


void
ngx_event_pipe_glue_restart_send_timer(ngx_event_pipe_t *p)
{
}


void
ngx_event_pipe_glue_give_up_upstream(ngx_event_pipe_t *p)
{
}


void
ngx_event_pipe_glue_watch(ngx_event_pipe_state_t *state, ngx_msec_t timer)
{
}

#endif

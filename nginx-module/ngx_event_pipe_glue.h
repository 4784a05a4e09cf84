
/*
 * What the Rust event pipe needs of nginx that has no symbol to link against:
 * macros and static inline functions, each behind a function here, so that it
 * is always the one of the tree that is being built.  And a constant.
 */


#ifndef _NGX_EVENT_PIPE_GLUE_H_INCLUDED_
#define _NGX_EVENT_PIPE_GLUE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>


/*
 * With kqueue, nginx defines this macro twice, and bindgen would take the first
 * definition; the compiler takes the one that is in force.
 */
enum {
    NGX_EVENT_PIPE_GLUE_CLOSE_EVENT = NGX_CLOSE_EVENT
};

/* ngx_add_timer() */
void ngx_event_pipe_glue_add_timer(ngx_event_t *ev, ngx_msec_t timer);

/* ngx_del_timer() */
void ngx_event_pipe_glue_del_timer(ngx_event_t *ev);

/* ngx_time() */
time_t ngx_event_pipe_glue_time(void);

/* ngx_free_chain() */
void ngx_event_pipe_glue_free_chain(ngx_pool_t *pool, ngx_chain_t *cl);


#endif /* _NGX_EVENT_PIPE_GLUE_H_INCLUDED_ */

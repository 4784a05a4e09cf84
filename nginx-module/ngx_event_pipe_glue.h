
/*
 * What the Rust event pipe needs of nginx that has no symbol to link against:
 * macros and static inline functions, each behind a function here, so that the
 * macro or function is always that of the tree that is being built.  And a
 * constant.
 */


#ifndef _NGX_EVENT_PIPE_GLUE_H_INCLUDED_
#define _NGX_EVENT_PIPE_GLUE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_pipe.h>


/* the values of the directive event_pipe_stream */

enum {
    NGX_EVENT_PIPE_STREAM_OFF = 0,
    NGX_EVENT_PIPE_STREAM_ON,
    NGX_EVENT_PIPE_STREAM_AUTO
};


/* the values of the directive event_pipe_spill_segments */

enum {
    NGX_EVENT_PIPE_SEGMENTS_OFF = 0,
    NGX_EVENT_PIPE_SEGMENTS_ON,
    NGX_EVENT_PIPE_SEGMENTS_AUTO
};


/* the value of the directive event_pipe_memory that is no size */

enum {
    NGX_EVENT_PIPE_MEMORY_AUTO = -2
};


/*
 * The settings: the directives of a location.  Zero in each field is what
 * nginx does.  A pipe without extensions has no state, so the other fields do
 * not matter to it.
 */

typedef struct {
    ngx_flag_t                       extensions;
    ngx_flag_t                       wide;
    size_t                           memory;
    ngx_flag_t                       spill_fallback;
    ngx_uint_t                       spill_segments;
    ngx_msec_t                       spill_delay;
    ngx_uint_t                       stream;
    ngx_flag_t                       separate_timeouts;
    size_t                           max_chunk;
} ngx_event_pipe_settings_t;


/*
 * the state: what the library keeps for a pipe; only the library knows what is
 * in it
 */

typedef struct ngx_event_pipe_state_s  ngx_event_pipe_state_t;


/*
 * Numbers that show whether the client takes something, whatever the buffers
 * of the socket, TLS and HTTP/2 hold: one of the numbers changes when the
 * client takes something, and none changes when it does not.
 */

typedef struct {
    /* bytes of the response, or of the stream, given to the socket */
    off_t                            sent;

    /* bytes that have left the socket's buffer, those of TLS included */
    int64_t                          left;

    /* HTTP/2: bytes that the client lets the stream send */
    ssize_t                          window;
} ngx_event_pipe_progress_t;


/* a page of the status: what the library has chosen, and its text */

typedef struct {
    ngx_uint_t                       format;
    ngx_uint_t                       zones;

    /* how many bytes of memory it takes to write the text */
    size_t                           memory;

    ngx_str_t                        type;
    /* the length of the type without its parameters */
    size_t                           type_len;

    /* the header Content-Security-Policy; empty if the page needs none */
    ngx_str_t                        policy;

    ngx_str_t                        text;
} ngx_event_pipe_page_t;


/*
 * With kqueue, nginx defines this macro twice, and bindgen would take the first
 * definition; the compiler takes the one that is in force.
 */
enum {
    NGX_EVENT_PIPE_GLUE_CLOSE_EVENT = NGX_CLOSE_EVENT
};


/* call ngx_add_timer(), ngx_del_timer(), ngx_time(), ngx_free_chain() */
void ngx_event_pipe_glue_add_timer(ngx_event_t *ev, ngx_msec_t timer);
void ngx_event_pipe_glue_del_timer(ngx_event_t *ev);
time_t ngx_event_pipe_glue_time(void);
void ngx_event_pipe_glue_free_chain(ngx_pool_t *pool, ngx_chain_t *cl);

/* allocates a buffer that has the output send all that the output holds */
ngx_buf_t *ngx_event_pipe_glue_flush_buf(ngx_pool_t *pool);

/* how many bytes wait in the socket, ngx_socket_nread(); 0 if not known */
size_t ngx_event_pipe_glue_waiting(ngx_connection_t *c);

/* how many bytes have come in below TLS; 0 without TLS */
off_t ngx_event_pipe_glue_tls_received(ngx_connection_t *c);

/* a clock that nobody sets, in nanoseconds */
uint64_t ngx_event_pipe_glue_nanoseconds(void);

/*
 * calls ngx_event_pipe_rust_end_cycle() when the events of this cycle have been
 * handled or, if "next" is not zero, those of the next cycle, which then waits
 * for no event; called again only after that
 */
void ngx_event_pipe_glue_end_cycle(ngx_uint_t next);

/*
 * calls ngx_event_pipe_rust_idle() after this time; an exiting worker does not
 * wait for that
 */
void ngx_event_pipe_glue_idle(ngx_msec_t after);

/* forbids to read or write this memory, and permits it again */
void ngx_event_pipe_glue_forbid(u_char *start, size_t size);
void ngx_event_pipe_glue_permit(u_char *start, size_t size);

/*
 * The state of a request's pipe; the first call for a pipe creates the state.
 * NULL if the pipe is not that of a request, if extensions are off, if the
 * pipe does for this request what nginx does, or if there is no memory.
 */
ngx_event_pipe_state_t *ngx_event_pipe_glue_open_state(ngx_event_pipe_t *p);

/* the state of a request's pipe; NULL if none has been created */
ngx_event_pipe_state_t *ngx_event_pipe_glue_state(ngx_event_pipe_t *p);

/* whether the output holds data that it sends on when it is called again */
ngx_uint_t ngx_event_pipe_glue_output_holds(ngx_event_pipe_t *p);

/* how many bytes the client takes without waiting; 0 if that is unknown */
size_t ngx_event_pipe_glue_room(ngx_event_pipe_t *p);

/* whether the client is sent no more in a second than "limit_rate" says */
ngx_uint_t ngx_event_pipe_glue_is_limited(ngx_event_pipe_t *p);

/* gives up the cache entry or the stored file that a response is written to */
void ngx_event_pipe_glue_discard(ngx_event_pipe_t *p);

/*
 * Whether none of nginx's filters refers to a file any more once the pipe's
 * file buffers of that file are sent; 0 also if that is not known.
 */
ngx_uint_t ngx_event_pipe_glue_may_close(ngx_event_pipe_t *p);

/* whether a thread or the kernel reads or writes a file for the request */
ngx_uint_t ngx_event_pipe_glue_aio(ngx_event_pipe_t *p);

/*
 * Whether a raw buffer's data seems to end with the end of the response, so
 * that nobody waits for more data.  A wrong answer does no harm: the input
 * filter finds out.
 */
ngx_uint_t ngx_event_pipe_glue_seems_ended(ngx_event_pipe_t *p, ngx_buf_t *raw);

/*
 * brings the numbers of a client's progress up to date; NGX_DECLINED if there
 * is no way to tell
 */
ngx_int_t ngx_event_pipe_glue_client_progress(ngx_event_pipe_t *p,
    ngx_event_pipe_progress_t *progress);

/* whether the connection to upstream is still the pipe's */
ngx_uint_t ngx_event_pipe_glue_has_upstream(ngx_event_pipe_t *p);

/*
 * has nginx handle upstream's read event, as if more had come, if the
 * connection to upstream is still the pipe's; the request may end meanwhile
 */
void ngx_event_pipe_glue_resume(ngx_event_pipe_t *p);

/* restarts the timer of the wait for the client, if that timer is running */
void ngx_event_pipe_glue_restart_send_timer(ngx_event_pipe_t *p);

/* logs that upstream has timed out, and has nginx call the pipe soon */
void ngx_event_pipe_glue_give_up_upstream(ngx_event_pipe_t *p);

/* calls ngx_event_pipe_rust_watch() in "timer" milliseconds, if not before */
void ngx_event_pipe_glue_watch(ngx_event_pipe_t *p, ngx_msec_t timer);


#endif /* _NGX_EVENT_PIPE_GLUE_H_INCLUDED_ */

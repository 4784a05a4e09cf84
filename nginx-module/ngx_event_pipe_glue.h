
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
#include <ngx_event_pipe.h>


/* event_pipe_stream */

enum {
    NGX_EVENT_PIPE_STREAM_OFF = 0,
    NGX_EVENT_PIPE_STREAM_ON,
    NGX_EVENT_PIPE_STREAM_AUTO
};


/* event_pipe_spill_segments */

enum {
    NGX_EVENT_PIPE_SEGMENTS_OFF = 0,
    NGX_EVENT_PIPE_SEGMENTS_ON,
    NGX_EVENT_PIPE_SEGMENTS_AUTO
};


/*
 * The directives of a location.  Zero in each is what nginx does; without the
 * extensions, a pipe has no state, and they do not matter.
 */

typedef struct {
    ngx_flag_t                       extensions;
    ngx_flag_t                       wide;
    size_t                           lend;
    ngx_flag_t                       spill_fallback;
    ngx_uint_t                       spill_segments;
    ngx_msec_t                       spill_delay;
    ngx_uint_t                       stream;
    ngx_flag_t                       separate_timeouts;
} ngx_event_pipe_settings_t;


/*
 * A large raw buffer of the worker's, lent to one pipe at a time: the pipe
 * receives into the loan while the client takes everything at once.  The memory
 * of the buffer follows the structure.
 */

typedef struct ngx_event_pipe_loan_s  ngx_event_pipe_loan_t;

struct ngx_event_pipe_loan_s {
    ngx_buf_t                        raw;
    ngx_event_pipe_loan_t           *next;
    size_t                           size;
};


/* how a response has ended, as far as the pipe knows */

enum {
    /* the request ended before the pipe did */
    NGX_EVENT_PIPE_END_ABORTED = 0,
    NGX_EVENT_PIPE_END_COMPLETE,
    NGX_EVENT_PIPE_END_UPSTREAM_CLOSED,
    NGX_EVENT_PIPE_END_UPSTREAM_ERROR,
    NGX_EVENT_PIPE_END_UPSTREAM_TIMEOUT,
    NGX_EVENT_PIPE_END_CLIENT_ERROR,
    NGX_EVENT_PIPE_END_CLIENT_TIMEOUT,
    NGX_EVENT_PIPE_END_INTERNAL_ERROR,
    NGX_EVENT_PIPE_ENDS
};


/* what a response costs, counted in passing; see src/extensions/counts.rs */

typedef struct {
    /*
     * Bytes of the body: not yet given to the output filter; and given to
     * it, but not yet sent (an upper bound).
     */
    off_t                            queued;
    off_t                            held;

    off_t                            peak;
    off_t                            passed;
    off_t                            spilled;
    off_t                            lent;

    ngx_uint_t                       reads;
    ngx_uint_t                       writes;
    ngx_uint_t                       loans;

    ngx_uint_t                       blocked_count;
    ngx_uint_t                       blocked_reads;
    ngx_msec_t                       blocked_time;
    ngx_msec_t                       client_time;
    ngx_msec_t                       since;

    ngx_uint_t                       end;

    /* the last turn has left upstream unread, and data for the client */
    unsigned                         blocked:1;
    unsigned                         awaits_client:1;

    /* the output was given all there is */
    unsigned                         final_flush_started:1;

    /* nobody wants the body but a cache */
    unsigned                         header_only:1;
} ngx_event_pipe_counts_t;


/*
 * One of the temporary files of a response that is not kept.  The first is that
 * of nginx; each of the others has a pool of its own, so that nothing is left of
 * it when it is closed, and counts for ngx_event_pipe_segments_max.
 */

typedef struct ngx_event_pipe_segment_s  ngx_event_pipe_segment_t;

struct ngx_event_pipe_segment_s {
    ngx_temp_file_t                 *file;
    ngx_event_pipe_segment_t        *next;

    /* its file buffers that have not been sent */
    ngx_uint_t                       awaited;

    ngx_pool_t                      *pool;
    ngx_temp_file_t                  own;
};


/*
 * What shows that the client takes something, however much its socket, TLS and
 * HTTP/2 hold: a number changes when the client takes something, and none
 * changes when it does not.
 */

typedef struct {
    /* bytes of the response, or of the stream, given to the socket */
    off_t                            sent;

    /* bytes that have left the socket's buffer, those of TLS included */
    int64_t                          left;

    /* HTTP/2: bytes that the client lets the stream send */
    ssize_t                          window;
} ngx_event_pipe_progress_t;


enum {
    NGX_EVENT_PIPE_PROGRESS_NONE = 0,
    NGX_EVENT_PIPE_PROGRESS_MADE,
    /* there is no way to tell */
    NGX_EVENT_PIPE_PROGRESS_UNKNOWN
};


/* why nothing more is read of upstream while the client takes what has come */

enum {
    NGX_EVENT_PIPE_LINGER_NOT = 0,
    /* upstream has timed out */
    NGX_EVENT_PIPE_LINGER_TIMEOUT,
    /* upstream has broken its protocol */
    NGX_EVENT_PIPE_LINGER_BREACH,
    /* there is no memory to read on */
    NGX_EVENT_PIPE_LINGER_NO_MEMORY
};


/* what the library keeps for a pipe beside the pipe itself */

typedef struct {
    ngx_event_pipe_t                *pipe;
    ngx_event_pipe_settings_t       *settings;

    /* p->busy: its last link, and the memory that it counts for */
    ngx_chain_t                     *busy_tail;
    size_t                           busy_bytes;

    /* what the client was found to take at once, and whether that holds */
    size_t                           room;

    ngx_event_pipe_loan_t           *loan;

    ngx_event_pipe_counts_t          counts;

    /* temporary files, the oldest first, and the bytes in them */
    ngx_event_pipe_segment_t        *segments;
    ngx_event_pipe_segment_t        *last_segment;
    ngx_event_pipe_segment_t        *spare_segments;
    off_t                            on_disk;

    ngx_msec_t                       lags_since;

    /* ngx_current_msec when upstream, and the client, last made progress */
    ngx_msec_t                       upstream_since;
    ngx_msec_t                       client_since;

    /* how far upstream was then, TLS included, and the client */
    off_t                            received;
    ngx_event_pipe_progress_t        progress;

    /*
     * A timer that looks after both sides between the turns of the pipe, and
     * after what the output still holds when the pipe has come to its end.
     */
    ngx_event_t                      watch;

    /* what the output was given last: busy, out, in */
    ngx_chain_t                     *last_busy;
    ngx_chain_t                     *last_out;
    ngx_chain_t                     *last_in;

    /* ngx_current_msec when the response started */
    ngx_msec_t                       started;

    unsigned                         room_known:1;
    unsigned                         returns:1;
    unsigned                         overestimated:1;

    /* writing to disk has failed: not again for this response */
    unsigned                         memory_only:1;

    /* another temporary file could not be opened */
    unsigned                         has_last_file:1;

    /*
     * All raw buffers are full and the client takes nothing; for that, the
     * pipe has delayed upstream's read event.
     */
    unsigned                         client_lags:1;
    unsigned                         delayed_by_us:1;

    /* what upstream sends goes on at once; the last of it with a flush */
    unsigned                         stream:1;
    unsigned                         flushed:1;

    /* a stream that has no end: its client is never given old parts of it */
    unsigned                         live:1;

    /* the output was given all there is, and the pipe is not called any more */
    unsigned                         finished:1;

    ngx_uint_t                       linger;
} ngx_event_pipe_state_t;


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

/* a buffer that has the output send all that it keeps back */
ngx_buf_t *ngx_event_pipe_glue_flush_buf(ngx_pool_t *pool);

/* whether the output has something that it goes on with when it is asked to */
ngx_uint_t ngx_event_pipe_glue_output_holds(ngx_event_pipe_t *p);

/*
 * The state of a request's pipe; NULL if it is no request's, if extensions are
 * off, or for lack of memory.
 */
ngx_event_pipe_state_t *ngx_event_pipe_glue_state(ngx_event_pipe_t *p);

/* bytes that the client's side takes without waiting; 0 if that is unknown */
size_t ngx_event_pipe_glue_room(ngx_event_pipe_t *p);

/* bytes that wait in the socket, ngx_socket_nread(); 0 if that is unknown */
size_t ngx_event_pipe_glue_waiting(ngx_connection_t *c);

/* takes a loan of the worker, up to its limit, and gives it back */
ngx_event_pipe_loan_t *ngx_event_pipe_glue_borrow(ngx_event_pipe_state_t *state);
void ngx_event_pipe_glue_give_back(ngx_event_pipe_loan_t *loan);

/* notes in "end" what nginx has found since the last turn */
void ngx_event_pipe_glue_note_end(ngx_event_pipe_state_t *state);

/* what the last turn has left has been so until now */
void ngx_event_pipe_glue_pass_time(ngx_event_pipe_counts_t *counts);

/* what was to be kept of a response is not: no cache entry, no stored file */
void ngx_event_pipe_glue_discard(ngx_event_pipe_t *p);

/*
 * Whether nobody refers to a file any more once the file buffers of the pipe
 * are sent; 0 also if that is not known.
 */
ngx_int_t ngx_event_pipe_glue_may_close(ngx_event_pipe_t *p);

/* whether a thread, or the kernel, has something to do for the request */
ngx_uint_t ngx_event_pipe_glue_aio(ngx_event_pipe_t *p);

/*
 * Whether a raw buffer's data seems to end with the end of the response, so that
 * nobody waits for more of it.  The input filter finds out.
 */
ngx_uint_t ngx_event_pipe_glue_seems_ended(ngx_event_pipe_t *p, ngx_buf_t *raw);

/*
 * What the client, and upstream, have done since the last call for the same
 * state, ngx_event_pipe_progress_t; of upstream, whether it has sent anything.
 */
ngx_uint_t ngx_event_pipe_glue_client_progress(ngx_event_pipe_state_t *state);
ngx_uint_t ngx_event_pipe_glue_upstream_progress(ngx_event_pipe_state_t *state);

/* whether upstream's connection is still the pipe's */
ngx_uint_t ngx_event_pipe_glue_has_upstream(ngx_event_pipe_t *p);

/* restarts the timer of whoever waits for the client, if it runs */
void ngx_event_pipe_glue_restart_send_timer(ngx_event_pipe_t *p);

/* logs that upstream has timed out, and has the pipe called for it */
void ngx_event_pipe_glue_give_up_upstream(ngx_event_pipe_t *p);

/* has ngx_event_pipe_rust_watch() called in so many milliseconds, if not before */
void ngx_event_pipe_glue_watch(ngx_event_pipe_state_t *state, ngx_msec_t timer);

/* a segment: first that of nginx's file, then others, not opened yet */
ngx_event_pipe_segment_t *ngx_event_pipe_glue_segment(
    ngx_event_pipe_state_t *state);
ngx_int_t ngx_event_pipe_glue_open_segment(ngx_event_pipe_state_t *state,
    ngx_event_pipe_segment_t *segment);
void ngx_event_pipe_glue_close_segment(ngx_event_pipe_state_t *state,
    ngx_event_pipe_segment_t *segment);

/* whether the worker may open one more file than nginx would */
ngx_uint_t ngx_event_pipe_glue_may_open(void);

/* how many it may have open at a time, and what sets that for a worker */
extern ngx_uint_t  ngx_event_pipe_segments_max;
ngx_int_t ngx_event_pipe_segments_init(ngx_cycle_t *cycle);


#endif /* _NGX_EVENT_PIPE_GLUE_H_INCLUDED_ */

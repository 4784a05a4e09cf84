
/*
 * The totals of all workers, and how a response's counts are read.
 */


#ifndef _NGX_EVENT_PIPE_COUNTS_H_INCLUDED_
#define _NGX_EVENT_PIPE_COUNTS_H_INCLUDED_


#include "ngx_event_pipe_glue.h"


/* bytes that waited: none, up to 1k, 2k, ... 1g, and more */
#define NGX_EVENT_PIPE_PEAK_MIN   1024
#define NGX_EVENT_PIPE_PEAKS      23

/* buffers used: none, up to one eighth of those configured, ... all */
#define NGX_EVENT_PIPE_SHARES     9


/* in shared memory, behind the mutex of its zone; 64 bits on every system */

typedef struct {
    uint64_t                         responses;
    uint64_t                         received;
    uint64_t                         passed;
    uint64_t                         spilled_responses;
    uint64_t                         spilled;
    uint64_t                         blocked_responses;
    uint64_t                         blocked_count;
    uint64_t                         blocked_time;
    uint64_t                         client_time;
    uint64_t                         reads;
    uint64_t                         writes;
    uint64_t                         loans;
    uint64_t                         lent;
    uint64_t                         peak;
    uint64_t                         peaks[NGX_EVENT_PIPE_PEAKS];
    /* in thousandths */
    uint64_t                         share;
    uint64_t                         shares[NGX_EVENT_PIPE_SHARES];
    uint64_t                         ends[NGX_EVENT_PIPE_ENDS];
} ngx_event_pipe_totals_t;


extern ngx_str_t  ngx_event_pipe_end_names[];


/* how the response has ended; to be asked when it has */
ngx_uint_t ngx_event_pipe_end(ngx_event_pipe_state_t *state);

/* adds a response that is over; the caller holds the mutex */
void ngx_event_pipe_add_to_totals(ngx_event_pipe_totals_t *totals,
    ngx_event_pipe_state_t *state);


#endif /* _NGX_EVENT_PIPE_COUNTS_H_INCLUDED_ */

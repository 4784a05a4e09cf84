
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


/* in shared memory; each is only added to, once for a response */

typedef struct {
    ngx_atomic_t                     responses;
    ngx_atomic_t                     received;
    ngx_atomic_t                     passed;
    ngx_atomic_t                     spilled_responses;
    ngx_atomic_t                     spilled;
    ngx_atomic_t                     blocked_responses;
    ngx_atomic_t                     blocked_count;
    ngx_atomic_t                     blocked_time;
    ngx_atomic_t                     client_time;
    ngx_atomic_t                     reads;
    ngx_atomic_t                     writes;
    ngx_atomic_t                     loans;
    ngx_atomic_t                     lent;
    ngx_atomic_t                     peak;
    ngx_atomic_t                     peaks[NGX_EVENT_PIPE_PEAKS];
    /* in thousandths */
    ngx_atomic_t                     share;
    ngx_atomic_t                     shares[NGX_EVENT_PIPE_SHARES];
    ngx_atomic_t                     ends[NGX_EVENT_PIPE_ENDS];
} ngx_event_pipe_totals_t;


extern ngx_str_t  ngx_event_pipe_end_names[];


/* how the response has ended; to be asked when it has */
ngx_uint_t ngx_event_pipe_end(ngx_event_pipe_state_t *state);

void ngx_event_pipe_add_to_totals(ngx_event_pipe_totals_t *totals,
    ngx_event_pipe_state_t *state);


#endif /* _NGX_EVENT_PIPE_COUNTS_H_INCLUDED_ */

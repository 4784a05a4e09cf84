
/*
 * What a response has cost, when it is over: how it ended, and what it adds to
 * the totals.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_pipe.h>

#include "ngx_event_pipe_counts.h"


static ngx_uint_t ngx_event_pipe_peak_bucket(off_t peak);
static ngx_uint_t ngx_event_pipe_share_bucket(ngx_event_pipe_t *p);


ngx_str_t  ngx_event_pipe_end_names[] = {
    ngx_string("aborted"),
    ngx_string("complete"),
    ngx_string("upstream_closed"),
    ngx_string("upstream_error"),
    ngx_string("upstream_timeout"),
    ngx_string("client_error"),
    ngx_string("client_timeout"),
    ngx_string("internal_error")
};


/*
 * The pipe notes what goes wrong in a turn of its own.  A flag that nginx sets
 * between two turns is that of a peer that has timed out.
 */

ngx_uint_t
ngx_event_pipe_end(ngx_event_pipe_state_t *state)
{
    ngx_uint_t         end;
    ngx_event_pipe_t  *p;

    p = state->pipe;
    end = state->counts.end;

    if (end == NGX_EVENT_PIPE_END_ABORTED && p->upstream_error) {
        return NGX_EVENT_PIPE_END_UPSTREAM_TIMEOUT;
    }

    if (end <= NGX_EVENT_PIPE_END_COMPLETE
        && p->downstream_error && !state->counts.header_only)
    {
        return NGX_EVENT_PIPE_END_CLIENT_TIMEOUT;
    }

    return end;
}


void
ngx_event_pipe_glue_note_end(ngx_event_pipe_state_t *state)
{
    state->counts.end = ngx_event_pipe_end(state);
}


void
ngx_event_pipe_glue_pass_time(ngx_event_pipe_counts_t *counts)
{
    ngx_msec_t  passed;

    passed = ngx_current_msec - counts->since;

    if (counts->blocked) {
        counts->blocked_time += passed;
    }

    if (counts->awaits_client) {
        counts->client_time += passed;
    }

    counts->since = ngx_current_msec;
}


void
ngx_event_pipe_add_to_totals(ngx_event_pipe_totals_t *totals,
    ngx_event_pipe_state_t *state)
{
    ngx_event_pipe_t         *p;
    ngx_event_pipe_counts_t  *counts;

    p = state->pipe;
    counts = &state->counts;

    totals->responses++;
    totals->received += p->read_length;
    totals->passed += counts->passed;
    totals->spilled_responses += (counts->spilled != 0);
    totals->spilled += counts->spilled;
    totals->blocked_responses += (counts->blocked_count != 0);
    totals->blocked_count += counts->blocked_count;
    totals->blocked_time += counts->blocked_time;
    totals->client_time += counts->client_time;
    totals->reads += counts->reads;
    totals->writes += counts->writes;
    totals->loans += counts->loans;
    totals->lent += counts->lent;
    totals->peak += counts->peak;
    totals->peaks[ngx_event_pipe_peak_bucket(counts->peak)]++;
    totals->share += p->bufs.num ? p->allocated * 1000 / p->bufs.num : 0;
    totals->shares[ngx_event_pipe_share_bucket(p)]++;
    totals->ends[ngx_event_pipe_end(state)]++;
}


static ngx_uint_t
ngx_event_pipe_peak_bucket(off_t peak)
{
    off_t       limit;
    ngx_uint_t  i;

    if (peak <= 0) {
        return 0;
    }

    limit = NGX_EVENT_PIPE_PEAK_MIN;

    for (i = 1; i < NGX_EVENT_PIPE_PEAKS - 1 && peak > limit; i++) {
        limit *= 2;
    }

    return i;
}


static ngx_uint_t
ngx_event_pipe_share_bucket(ngx_event_pipe_t *p)
{
    ngx_uint_t  n;

    n = NGX_EVENT_PIPE_SHARES - 1;

    if (p->allocated <= 0 || p->bufs.num <= 0) {
        return 0;
    }

    return ngx_min((p->allocated * n + p->bufs.num - 1) / p->bufs.num, n);
}

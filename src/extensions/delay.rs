//! `event_pipe_spill_delay`: the pipe waits for this time before it spills, in the hope
//! that the client catches up. Until then the client holds upstream back. (Under nginx,
//! all of a response goes through the disk if the client is a little slower than
//! upstream.)
//!
//! When neither side has an event meanwhile, the timer of upstream's read event wakes
//! the pipe, as it does for `proxy_limit_rate`. Upstream's read event can be delayed,
//! because nothing could be received anyway.

#![forbid(unsafe_code)]

use crate::nginx::{Pipe, State, clock, ngx_msec_t};

/// Notes that a pass begins. Tells whether this extension has delayed upstream's read
/// event: then the delay is over.
pub(crate) fn stop_waiting(p: Pipe<'_>) -> bool {
    let Some(state) = p.state() else {
        return false;
    };

    if !p.has_unsent() {
        state.delay.client_lags.set(false);
    }

    state.delay.is_upstream_delayed.replace(false)
}

/// How long the pipe still has to wait before it spills, in milliseconds; 0 if it may
/// spill now. For any other number, the caller delays upstream's read event for that
/// time. Notes that the client lags. (nginx: 0.)
pub(crate) fn wait(p: Pipe<'_>) -> ngx_msec_t {
    p.state().map_or(0, time_left)
}

fn time_left(state: &State<'_>) -> ngx_msec_t {
    let now = clock();

    if !state.delay.client_lags.replace(true) {
        state.delay.lags_since.set(now);
    }

    let waited = now.wrapping_sub(state.delay.lags_since.get());
    let left = state.settings.spill_delay().saturating_sub(waited);

    state.delay.is_upstream_delayed.set(left > 0);

    left
}

//! `event_pipe_spill_delay`: spilling waits for as long, in the hope that the
//! client catches up. Until then it holds upstream back. (Under nginx, a client
//! that is a little slower than upstream has all of it go through the disk.)
//!
//! When neither side has an event meanwhile, the timer of upstream's read event
//! wakes the pipe, the way it does for `proxy_limit_rate`: nothing could be
//! received anyway.

#![forbid(unsafe_code)]

use crate::nginx::{Pipe, State, clock};

/// A pass over upstream begins: nothing is waited for, and perhaps the client
/// has caught up.
pub(crate) fn start_pass(p: Pipe<'_>) {
    let Some(state) = p.state() else {
        return;
    };

    if state.waiting() {
        state.set_waiting(false);

        if let Some(upstream) = p.upstream() {
            let event = upstream.read();

            event.set_delayed(false);

            // It is not upstream that was waited for.
            if event.timer_set() {
                event.del_timer();
            }
        }
    }

    if [p.input(), p.writing(), p.out(), p.busy()] == [None; 4] {
        state.set_behind(false);
    }
}

/// Whether it is too early to spill for a client that does not keep up.
pub(crate) fn is_too_early(p: Pipe<'_>) -> bool {
    p.state().is_some_and(|state| waits(p, state))
}

fn waits<'p>(p: Pipe<'p>, state: State<'p>) -> bool {
    let now = clock();

    if !state.behind() {
        state.set_behind(true);
        state.set_behind_since(now);
    }

    let waited = now.wrapping_sub(state.behind_since());
    let left = state.settings().spill_delay().saturating_sub(waited);

    if left == 0 {
        return false;
    }

    if let Some(upstream) = p.upstream() {
        state.set_waiting(true);
        upstream.read().set_delayed(true);
        upstream.read().add_timer(left);
    }

    true
}

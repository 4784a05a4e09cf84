//! How long either side is waited for. A timer is restarted when its own side
//! has made progress, and left alone when only the other has. With
//! `event_pipe_separate_timeouts off`, as in nginx, whatever happens on either
//! side restarts both.

#![forbid(unsafe_code)]

use crate::nginx::{Connection, Event, Pipe, State, ngx_msec_t};

/// The state of a pipe whose timers are separate.
fn state<'p>(p: Pipe<'p>) -> Option<State<'p>> {
    p.state()
        .filter(|state| state.settings().separate_timeouts())
}

/// Upstream is waited for, or not any more.
pub(crate) fn watch_upstream<'p>(p: Pipe<'p>, upstream: Connection<'p>) {
    watch(upstream.read(), p.read_timeout(), || {
        state(p).is_none_or(|state| {
            let before = state.received();
            state.set_received(p.read_length());
            before != p.read_length()
        })
    });
}

/// The client is waited for, or not any more.
pub(crate) fn watch_downstream<'p>(p: Pipe<'p>, downstream: Connection<'p>) {
    watch(downstream.write(), p.send_timeout(), || {
        state(p).is_none_or(|state| {
            let before = state.sent();
            state.set_sent(downstream.sent());
            before != downstream.sent()
        })
    });
}

/// The timer runs exactly while the peer is waited for. That of a delayed event
/// belongs to the rate limit.
fn watch(event: Event<'_>, timeout: ngx_msec_t, has_progressed: impl FnOnce() -> bool) {
    if event.delayed() {
        return;
    }

    let has_progressed = has_progressed();

    if event.active() && !event.ready() {
        if has_progressed || !event.timer_set() {
            event.add_timer(timeout);
        }
    } else if event.timer_set() {
        event.del_timer();
    }
}

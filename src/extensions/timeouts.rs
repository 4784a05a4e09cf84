//! `event_pipe_separate_timeouts`: how long either side is waited for. A side's timer
//! is restarted when that side has made progress, and left alone when only the other
//! side has. (Under nginx, whatever happens on either side restarts both timers.)
//!
//! A peer makes progress when it takes or sends something at its own end, below the
//! buffers of TLS, of HTTP/2 and of the socket. The pipe hears of those buffers only
//! when they are full or empty. So while the client is waited for, the watch looks at
//! the client's progress between the turns as well, every sixteenth of `send_timeout`.
//! A client that takes nothing is given up after `send_timeout` and a sixteenth of
//! `send_timeout` at the latest. The watch goes on after the last turn, until the
//! client has everything. Where there is no way to tell what the client does, the
//! client's timer is nginx's.
//!
//! As long as the client has something to take, upstream's event has no timer, because
//! the end of that timer would end the response. Instead the watch gives upstream up in
//! time (`linger`).

#![forbid(unsafe_code)]

use crate::extensions::{give_back, linger};
use crate::nginx::{Connection, Linger, Pipe, State, clock, ngx_msec_t};

/// What the client has done since the pipe last looked at the client's progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The client has taken nothing.
    Nothing,
    /// The client has taken something.
    Made,
    /// There is no way to tell what the client has done.
    Unknown,
}

/// The state of a pipe whose timers are separate. (nginx: each turn restarts both
/// timers.)
pub(crate) fn state<'p>(p: Pipe<'p>) -> Option<&'p State<'p>> {
    p.state().filter(|state| state.settings.separate_timeouts())
}

/// Sets, keeps or stops upstream's timer at the end of a turn.
pub(crate) fn time_upstream<'p>(p: Pipe<'p>, state: &State<'p>, upstream: Connection<'p>) {
    let event = upstream.read();
    let since = &state.timeouts.upstream_since;
    let progressed = upstream_progressed(p, state, upstream);

    if progressed || !event.is_awaited() {
        since.set(clock());
    }

    if event.delayed() {
        // A rate limit has set this timer, or `event_pipe_spill_delay`.
        return;
    }

    let left = left(since.get(), p.read_timeout());

    if !event.is_awaited() || state.linger.get().is_some() {
        event.stop_timer();
    } else if linger::owes_client(p) {
        event.stop_timer();
        p.watch(left);
    } else if progressed || !event.timer_set() {
        event.add_timer(left);
    }
}

/// Whether upstream has sent anything since the last call of this function, even if
/// only TLS needs what was sent. Notes how much upstream has sent.
fn upstream_progressed<'p>(p: Pipe<'p>, state: &State<'p>, upstream: Connection<'p>) -> bool {
    let received = p.read_length().wrapping_add(upstream.tls_received());

    state.timeouts.received.replace(received) != received
}

/// Sets, keeps or stops the client's timer at the end of a turn, and starts the watch.
pub(crate) fn time_client<'p>(p: Pipe<'p>, state: &State<'p>, downstream: Connection<'p>) {
    let event = downstream.write();

    if event.delayed() {
        // A rate limit has set this timer.
        return;
    }

    if !event.is_awaited() {
        return event.stop_timer();
    }

    let progress = client_progress(p, state);

    if progress == Progress::Made {
        // Under HTTP/2, this restarts the timer of the connection as well.
        p.restart_send_timer();
    }

    if progress == Progress::Unknown || !event.timer_set() {
        event.add_timer(p.send_timeout());
    }

    p.watch(give_back::interval(p));
}

/// What the client has done since the last call of this function. Notes how far the
/// client is.
fn client_progress(p: Pipe<'_>, state: &State<'_>) -> Progress {
    let client = &state.timeouts.client;
    let before = client.get();

    match p.client_position(before) {
        None => Progress::Unknown,
        Some(now) if now == before => Progress::Nothing,
        Some(now) => {
            client.set(now);
            Progress::Made
        }
    }
}

/// How much is left of a time-out that has begun at `since`, in milliseconds.
fn left(since: ngx_msec_t, timeout: ngx_msec_t) -> ngx_msec_t {
    timeout.saturating_sub(clock().wrapping_sub(since))
}

/// Runs the watch, between two turns of the pipe and after the last turn: gives back
/// what has been sent, restarts the client's timer after progress, and gives upstream
/// up if its time is over.
pub(crate) fn look(p: Pipe<'_>) {
    let Some(state) = p.state() else {
        return;
    };

    give_back::give_back_sent(p, state);

    let separate = state.settings.separate_timeouts();
    let watches_client = separate && look_at_client(p, state);

    if watches_client || give_back::is_left(state) {
        p.watch(give_back::interval(p));
    }

    if separate && !state.give_back.is_finished.get() {
        look_at_upstream(p, state);
    }
}

/// Restarts the client's timer if the client has taken something. Tells whether the
/// client is still waited for.
fn look_at_client(p: Pipe<'_>, state: &State<'_>) -> bool {
    if client_progress(p, state) == Progress::Made {
        p.restart_send_timer();
    }

    // The timer may also be a rate limit's; looking on does no harm then.
    p.downstream().write().timer_set()
}

/// Gives upstream up if its time is over. Does nothing if upstream has nothing more to
/// bring: then a thread is waited for, not upstream.
fn look_at_upstream(p: Pipe<'_>, state: &State<'_>) {
    let is_over = !p.has_upstream() || p.upstream_finished();

    let Some(upstream) = p.upstream().filter(|_| !is_over) else {
        return;
    };

    let event = upstream.read();

    if !event.is_awaited() || event.timer_set() || state.linger.get().is_some() {
        return;
    }

    match left(state.timeouts.upstream_since.get(), p.read_timeout()) {
        0 if linger::start(p, Linger::Timeout) => p.give_up_upstream(),
        // The client has got everything: nginx ends the response.
        0 => event.add_timer(0),
        left => p.watch(left),
    }
}

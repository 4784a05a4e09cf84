//! Upstream is given up before the end of its response: upstream has sent nothing for
//! too long, or what the input filter does not understand, or there is no memory to
//! read on. What upstream has sent until then is still the client's. So nothing more is
//! read, the client takes what has arrived at its own pace, and then the response ends
//! the way that nginx ends it. (Under nginx the response ends at once, and the client
//! never gets what it has not taken yet.)
//!
//! With `event_pipe_separate_timeouts off`, the response still ends at once when
//! upstream has timed out, as under nginx.

#![forbid(unsafe_code)]

use crate::nginx::{Abort, Linger, Pipe, State};

/// The state of a pipe that has given upstream up, and why the pipe has.
fn state<'p>(p: Pipe<'p>) -> Option<(&'p State<'p>, Linger)> {
    p.state()
        .and_then(|state| state.linger.get().map(|why| (state, why)))
}

/// Why the pipe has given upstream up; `None` if it has not.
pub(crate) fn reason(p: Pipe<'_>) -> Option<Linger> {
    state(p).map(|(_, why)| why)
}

/// Whether the pipe or the output has data that the client has not got.
pub(crate) fn owes_client(p: Pipe<'_>) -> bool {
    p.has_unsent() || has_partial(p) || p.output_holds()
}

/// Whether the pipe has something to send, or a thread works for the request: while a
/// thread works, data may have to wait for its result.
fn is_at_work(p: Pipe<'_>) -> bool {
    #[cfg(ngx_threads)]
    if p.aio() {
        return true;
    }

    p.has_unsent()
}

/// Whether the first buffer of the free list is partly filled.
fn has_partial(p: Pipe<'_>) -> bool {
    p.free_raw_bufs().is_some_and(|link| link.buf().has_data())
}

/// Gives upstream up: nothing more is read. Tells whether the pipe goes on for the
/// client; if the pipe does not, the response ends now.
pub(crate) fn start(p: Pipe<'_>, why: Linger) -> bool {
    let Some(state) = p.state().filter(|state| may_start(state, why)) else {
        return false;
    };

    // Filters may hold a little without saying so, until the output is flushed. After a
    // time-out of upstream, nginx flushes.
    if p.downstream_error() || (why == Linger::Timeout && !owes_client(p)) {
        return false;
    }

    state.linger.set(Some(why));

    if why != Linger::Timeout {
        // The input filter may have failed at the last data of the response, and noted
        // that upstream is finished. nginx must not see that before the client has got
        // everything.
        p.set_upstream_eof(false);
        p.set_upstream_error(false);
        p.set_upstream_done(false);
    }

    true
}

fn may_start(state: &State<'_>, why: Linger) -> bool {
    match why {
        Linger::Timeout => state.settings.separate_timeouts(),
        Linger::Breach | Linger::NoMemory => state.settings.extensions(),
    }
}

/// Stops caching and storing a response that will not be whole, so that its data does
/// not have to go to the temporary file first. (No thread is writing to the file: the
/// result of a thread's write is collected before upstream is read.)
pub(crate) fn keep_no_more(p: Pipe<'_>) {
    if !p.cacheable() {
        return;
    }

    p.discard();
    p.set_cacheable(false);
}

/// Whether a response is cut. nginx flushes the output at the end of a cut response,
/// but a filter may not pass the flush on, as the filter of SSI does not: so no filter
/// may postpone the last bytes.
pub(crate) fn is_cut(p: Pipe<'_>) -> bool {
    is_incomplete(p) && p.state().is_some_and(|state| state.settings.extensions())
}

/// Whether the end of the response, as upstream has announced the end, has not come.
pub(crate) fn is_incomplete(p: Pipe<'_>) -> bool {
    !(p.upstream_done() || (p.upstream_eof() && p.length() == -1))
}

/// Whether to flush the output at the end of a turn: after upstream was given up and
/// the output has been given everything, no filter may keep anything back. (nginx
/// flushes when the last bytes have told of the end.)
pub(crate) fn owes_flush(p: Pipe<'_>) -> bool {
    let Some((state, _)) = state(p).filter(|_| !p.upstream_finished()) else {
        return false;
    };

    let may_flush = !is_at_work(p) && !p.downstream_error() && p.client_ready();

    may_flush && (!state.stream.is_flushed.get() || p.output_holds())
}

/// How the response ends after upstream was given up, once the client has got
/// everything; `None` before that. Sets `upstream_error` after a time-out of upstream.
pub(crate) fn end(p: Pipe<'_>) -> Option<Result<(), Abort>> {
    let (state, why) = state(p).filter(|_| !p.upstream_finished())?;

    // Until the output is flushed, a filter may hold a little without saying so.
    let may_hold = p.output_holds() || !state.stream.is_flushed.get();

    if !p.downstream_error() && (is_at_work(p) || (may_hold && !p.client_ready())) {
        return None;
    }

    match why {
        Linger::Timeout => {
            p.set_upstream_error(true);
            Some(Ok(()))
        }
        Linger::Breach | Linger::NoMemory => Some(Err(Abort)),
    }
}

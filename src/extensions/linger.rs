//! Upstream is given up before the end of its response: it has sent nothing for
//! too long, or what the input filter does not understand, or there is no memory
//! to read on. What it has sent until then is still the client's. So nothing more
//! is read, the client takes what there is at its own pace, and then the response
//! ends the way that nginx ends it. (Under nginx it ends at once, and the client
//! never gets what it has not taken yet.)
//!
//! `event_pipe_separate_timeouts off` leaves time-outs at nginx's way.

#![forbid(unsafe_code)]

use crate::nginx::{Abort, Linger, Pipe, State};

/// The state of a pipe that reads nothing more, and why it does not.
fn state<'p>(p: Pipe<'p>) -> Option<(&'p State<'p>, Linger)> {
    p.state()
        .and_then(|state| state.linger.get().map(|why| (state, why)))
}

/// Why nothing more is read of upstream, if that is so.
pub(crate) fn reason(p: Pipe<'_>) -> Option<Linger> {
    state(p).map(|(_, why)| why)
}

/// Whether the pipe, or the output, has something that the client has not got.
pub(crate) fn owes_client(p: Pipe<'_>) -> bool {
    p.has_unsent() || has_partial(p) || p.output_holds()
}

/// Whether there is something to send, or a thread works for the request: until it
/// is done, what has come may not go on.
fn is_at_work(p: Pipe<'_>) -> bool {
    #[cfg(ngx_threads)]
    if p.aio() {
        return true;
    }

    p.has_unsent()
}

/// Whether the first free raw buffer is filled in part.
fn has_partial(p: Pipe<'_>) -> bool {
    p.free_raw_bufs().is_some_and(|link| link.buf().has_data())
}

/// Reads nothing more of upstream. Tells whether the pipe goes on for the
/// client; if not, the response ends now.
pub(crate) fn start(p: Pipe<'_>, why: Linger) -> bool {
    let Some(state) = p.state().filter(|state| may_start(state, why)) else {
        return false;
    };

    // Filters may hold a little without a word, which a flush will tell. Where
    // upstream has timed out, nginx sees to that.
    if p.downstream_error() || (why == Linger::Timeout && !owes_client(p)) {
        return false;
    }

    state.linger.set(Some(why));

    if why != Linger::Timeout {
        // What the input filter has failed at may be the last of the response.
        // nginx must not take that for its end before the client has the rest.
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

/// What comes of a response that will not be whole is not kept, so nothing of it
/// has to go to the temporary file first. (No thread is writing there: what one has
/// written is collected before upstream is read.)
pub(crate) fn keep_no_more(p: Pipe<'_>) {
    if !p.cacheable() {
        return;
    }

    p.discard();
    p.set_cacheable(false);
}

/// Whether a response for which upstream is finished ends before its time. nginx
/// flushes the output then, but a filter may not pass that on, as that of SSI does
/// not: so no filter is to postpone the last bytes.
pub(crate) fn is_cut(p: Pipe<'_>) -> bool {
    let is_complete = p.upstream_done() || (p.upstream_eof() && p.length() == -1);

    !is_complete && p.state().is_some_and(|state| state.settings.extensions())
}

/// Whether to see what has become of what the output holds: nothing that follows
/// makes it go on.
pub(crate) fn follows_up(p: Pipe<'_>) -> bool {
    p.busy().is_some() && reason(p).is_some()
}

/// Whether the output is to be flushed at the end of a turn: the output has been given
/// everything, and no filter is to keep anything back. (Where the last bytes have told
/// of the end, nginx flushes.)
pub(crate) fn owes_flush(p: Pipe<'_>) -> bool {
    let Some((state, _)) = state(p).filter(|_| !p.upstream_finished()) else {
        return false;
    };

    let may_flush = !is_at_work(p) && !p.downstream_error() && p.client_ready();

    may_flush && (!state.stream.is_flushed.get() || p.output_holds())
}

/// How the response ends, when the client has got everything; `None` as long as
/// it has not.
pub(crate) fn end(p: Pipe<'_>) -> Option<Result<(), Abort>> {
    let (state, why) = state(p).filter(|_| !p.upstream_finished())?;

    // A filter may hold a little without a word until it is flushed.
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

//! Streams arrive at once: what upstream has sent goes to the client when
//! nothing else is on its way there and nothing more is to be read, instead of
//! waiting until a buffer is full. `event_pipe_stream off` leaves it at nginx's
//! pattern.
//!
//! Memory behind a partly filled buffer's data is unused until the buffer comes
//! back. So there is at most one of them on its way: what trickles in while the
//! client has yet to take that one is gathered as nginx gathers it.

#![forbid(unsafe_code)]

use crate::nginx::{Buf, Link, Pipe, State};
use crate::read::{downstream_ready, upstream_finished};
use crate::write::fail;
use crate::{Abort, counts};

/// The state of a pipe that carries a stream.
fn state<'p>(p: Pipe<'p>) -> Option<State<'p>> {
    p.state().filter(|state| state.stream())
}

/// Whether a partly filled buffer goes on as it is: it holds all there is, for a
/// client that waits.
pub(crate) fn goes_on<'p>(p: Pipe<'p>, raw: Buf<'p>) -> bool {
    raw.len() > 0 && state(p).is_some() && !has_more(p) && !has_unsent(p) && client_waits(p)
}

/// Whether more can be read of upstream at once.
fn has_more(p: Pipe<'_>) -> bool {
    p.upstream()
        .map(|upstream| upstream.read())
        .is_some_and(|event| event.ready() && !event.delayed())
}

/// Whether something is on its way to the client already.
fn has_unsent(p: Pipe<'_>) -> bool {
    [p.busy(), p.out(), p.input(), p.writing()]
        .iter()
        .any(Option::is_some)
}

/// Whether a client would take something now, and more is to come for it.
fn client_waits(p: Pipe<'_>) -> bool {
    p.upstream().is_some() && !upstream_finished(p) && !p.downstream_error() && downstream_ready(p)
}

/// The output is about to be given what ends with `last`. If that is all there
/// is, no filter is to keep it back.
pub(crate) fn handing_over<'p>(p: Pipe<'p>, last: Option<Link<'p>>) {
    if let Some((state, last)) = state(p).zip(last) {
        // `out` is always handed over as a whole.
        let is_all = !has_more(p) && p.input().is_none();

        last.buf().set_flush(is_all);
        state.set_flushed(is_all);
    }
}

/// Whether to see what has become of what the output holds, although there is
/// nothing new for it: the client may take the rest now.
pub(crate) fn follows_up(p: Pipe<'_>) -> bool {
    p.busy().is_some() && state(p).is_some()
}

/// Whether the client is to get what is new: what it does not take holds upstream
/// back, and is not put on disk, from where it would get ever older parts.
pub(crate) fn is_live(p: Pipe<'_>) -> bool {
    p.state().is_some_and(State::live)
}

/// Whether a partly filled buffer goes on because the response seems to end in
/// it, and nothing else tells so: the peer may leave the connection open.
pub(crate) fn seems_ended<'p>(p: Pipe<'p>, raw: Buf<'p>) -> bool {
    let may_look = p
        .state()
        .is_some_and(|state| state.settings().stream() && !p.single_buf());

    may_look && raw.len() > 0 && !has_more(p) && p.seems_ended(raw)
}

/// At the end of a turn, nothing is to be kept back: not the header that nothing
/// has come after, nor what was handed over when more seemed to follow. Tells
/// whether there was something.
pub(crate) fn flush(p: Pipe<'_>) -> Result<bool, Abort> {
    let Some(state) = state(p).filter(|state| !state.flushed()) else {
        return Ok(false);
    };

    let comes = p.out().or(p.input()).or(p.writing()).is_some();

    if comes || has_more(p) || !client_waits(p) {
        return Ok(false);
    }

    flush_output(p, state)?;

    Ok(true)
}

/// Has the output, and the filters before it, send all that they hold.
pub(crate) fn flush_output<'p>(p: Pipe<'p>, state: State<'p>) -> Result<(), Abort> {
    let link = p
        .pool()
        .flush_buf()
        .and_then(|buf| p.pool().link_to(buf))
        .ok_or(Abort)?;

    state.set_flushed(true);
    counts::write(p, 0);

    let result = p.output_filter(Some(link));

    p.pool().free_link(link);

    if result.is_err() {
        fail(p)?;
    }

    Ok(())
}

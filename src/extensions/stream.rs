//! `event_pipe_stream`: what upstream has sent goes to the client when nothing else
//! is on its way there and nothing more can be read, instead of waiting until a
//! buffer is full.
//!
//! The memory behind the data of a buffer that is filled in part stays unused until
//! the buffer comes back. So there is at most one such buffer on its way: what
//! trickles in while the client has yet to take that one is gathered as nginx
//! gathers it.

#![forbid(unsafe_code)]

use crate::nginx::{Buf, Link, Pipe, State};

/// The state of a pipe that carries a stream.
fn state<'p>(p: Pipe<'p>) -> Option<State<'p>> {
    p.state().filter(|state| state.stream())
}

/// Whether a buffer that is filled in part goes on as it is: the buffer holds all
/// there is, for a client that waits. (nginx: no, it waits to be full.)
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
    p.upstream().is_some() && !p.upstream_finished() && !p.downstream_error() && p.client_ready()
}

/// The output is about to be given what ends with `last`. If that is all there is,
/// marks it to be flushed, so that no filter keeps it back.
pub(crate) fn before_output<'p>(p: Pipe<'p>, last: Option<Link<'p>>) {
    if let Some((state, last)) = state(p).zip(last) {
        // `out` is always handed over as a whole.
        let is_all = !has_more(p) && p.input().is_none();

        last.buf().set_flush(is_all);
        state.set_flushed(is_all);
    }
}

/// Whether to call the output filter without a new chain, because a part of the last
/// one is still in `busy`. (nginx: no.)
pub(crate) fn follows_up(p: Pipe<'_>) -> bool {
    p.busy().is_some() && state(p).is_some()
}

/// Whether the response has no end, like the pictures of a camera: what the client does
/// not take holds upstream back, and is never spilled, or the client would get ever
/// older parts from an ever larger file. (nginx: no.)
pub(crate) fn is_live(p: Pipe<'_>) -> bool {
    p.state().is_some_and(State::live)
}

/// Whether a buffer that is filled in part goes on because the response seems to end
/// in it, and nothing else tells so: the peer may leave the connection open. (nginx:
/// no, the end is seen when the peer closes, or at the time-out.)
pub(crate) fn seems_ended<'p>(p: Pipe<'p>, raw: Buf<'p>) -> bool {
    let may_look = p
        .state()
        .is_some_and(|state| state.settings().stream() && !p.single_buf());

    may_look && raw.len() > 0 && !has_more(p) && p.seems_ended(raw)
}

/// Whether the output is to be flushed at the end of a turn: nothing is to be kept
/// back, neither the header that nothing has come after, nor what was handed over
/// when more seemed to follow. (nginx: no.)
pub(crate) fn owes_flush(p: Pipe<'_>) -> bool {
    let is_flushed = state(p).is_none_or(State::flushed);
    let comes = || p.out().or(p.input()).or(p.writing()).is_some();

    !is_flushed && !comes() && !has_more(p) && client_waits(p)
}

/// The output is about to be told to send all that it holds.
pub(crate) fn note_flush(p: Pipe<'_>) {
    if let Some(state) = p.state() {
        state.set_flushed(true);
    }
}

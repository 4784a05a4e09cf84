//! `event_pipe_stream`: what upstream has sent goes to the client when nothing else
//! is on its way there and nothing more can be read, instead of waiting until a
//! buffer is full.
//!
//! The memory behind the data of a buffer that is filled in part stays unused until
//! the buffer comes back. So there is at most one such buffer on its way: what
//! trickles in while the client has yet to take that one is gathered as nginx
//! gathers it.

#![forbid(unsafe_code)]

use crate::nginx::{Buf, Link, Pipe, Settings, State, Stream};

/// Content types of what is made of parts that somebody waits for, each by itself, and
/// whether such a response has no end.
const TYPES: &[(&str, bool)] = &[
    ("text/event-stream", true),
    ("multipart/x-mixed-replace", true),
    ("application/x-ndjson", false),
    ("application/jsonl", false),
    ("application/json-seq", false),
    ("application/stream+json", false),
];

/// Whether a response is a stream. Without its content type, the header has not been
/// sent: a filter waits for the whole body, and nothing is a stream.
pub(crate) fn kind(settings: Settings<'_>, content_type: Option<&[u8]>) -> Stream {
    let Some(content_type) = content_type.filter(|_| settings.stream()) else {
        return Stream::default();
    };

    let known = find(content_type);

    Stream {
        is_stream: known.is_some() || settings.streams_all(),
        is_live: known == Some(true),
        ..Stream::default()
    }
}

/// Whether a response of this type has no end; `None` if it is not known as a stream.
fn find(content_type: &[u8]) -> Option<bool> {
    let mut parts = content_type.split(|byte| matches!(byte, b';' | b' '));
    let name = parts.next()?;

    TYPES
        .iter()
        .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
        .map(|(_, is_live)| *is_live)
}

/// The state of a pipe that carries a stream.
fn state<'p>(p: Pipe<'p>) -> Option<&'p State<'p>> {
    p.state().filter(|state| state.stream.is_stream)
}

/// Whether a buffer that is filled in part goes on as it is: the buffer holds all
/// there is, for a client that waits. (nginx: no, it waits to be full.)
pub(crate) fn goes_on<'p>(p: Pipe<'p>, raw: Buf<'p>) -> bool {
    raw.len() > 0 && state(p).is_some() && !has_more(p) && !p.has_unsent() && client_waits(p)
}

/// Whether more can be read of upstream at once.
fn has_more(p: Pipe<'_>) -> bool {
    p.upstream()
        .map(|upstream| upstream.read())
        .is_some_and(|event| event.ready() && !event.delayed())
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
        state.stream.is_flushed.set(is_all);
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
    p.state().is_some_and(|state| state.stream.is_live)
}

/// Whether a buffer that is filled in part goes on because the response seems to end
/// in it, and nothing else tells so: the peer may leave the connection open. (nginx:
/// no, the end is seen when the peer closes, or at the time-out.)
pub(crate) fn seems_ended<'p>(p: Pipe<'p>, raw: Buf<'p>) -> bool {
    let may_look = p
        .state()
        .is_some_and(|state| state.settings.stream() && !p.single_buf());

    may_look && raw.len() > 0 && !has_more(p) && p.seems_ended(raw)
}

/// Whether the output is to be flushed at the end of a turn: nothing is to be kept
/// back, neither the header that nothing has come after, nor what was handed over
/// when more seemed to follow. (nginx: no.)
pub(crate) fn owes_flush(p: Pipe<'_>) -> bool {
    let is_flushed = state(p).is_none_or(|state| state.stream.is_flushed.get());
    let comes = || p.out().or(p.input()).or(p.writing()).is_some();

    !is_flushed && !comes() && !has_more(p) && client_waits(p)
}

/// The output is about to be told to send all that it holds.
pub(crate) fn note_flush(p: Pipe<'_>) {
    if let Some(state) = p.state() {
        state.stream.is_flushed.set(true);
    }
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn a_type_is_found_in_any_case_and_with_parameters() {
        assert_eq!(find(b"text/event-stream"), Some(true));
        assert_eq!(find(b"Text/Event-Stream; charset=utf-8"), Some(true));
        assert_eq!(find(b"application/x-ndjson ; a=b"), Some(false));
    }

    #[test]
    fn other_types_are_no_streams() {
        assert_eq!(find(b"text/event-streams"), None);
        assert_eq!(find(b"text/event"), None);
        assert_eq!(find(b""), None);
    }
}

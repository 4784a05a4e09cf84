//! `event_pipe_stream`: data of a stream goes to the client when no other data is on
//! its way there and nothing more can be read, instead of waiting until a buffer is
//! full.
//!
//! The memory behind the data of a partly filled buffer stays unused until the buffer
//! comes back. So at most one such buffer is on its way to the client: data that
//! trickles in while the client has yet to take that buffer is gathered until a buffer
//! is full, as under nginx.

#![forbid(unsafe_code)]

use crate::nginx::{Buf, Link, Pipe, Settings, State, Stream};

/// The content types of streams: responses made of messages, each of which somebody
/// waits for. And whether such a response is live (has no end).
const TYPES: &[(&str, bool)] = &[
    ("text/event-stream", true),
    ("multipart/x-mixed-replace", true),
    ("application/x-ndjson", false),
    ("application/jsonl", false),
    ("application/json-seq", false),
    ("application/stream+json", false),
];

/// Whether a response is a stream. Without its content type, the response's header has
/// not been sent: a filter waits for the whole body, so the response is no stream.
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

/// Whether a stream of this content type is live; `None` if the type is not that of a
/// stream.
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

/// Whether to filter a partly filled buffer of a stream at once: the buffer holds all
/// there is, for a client that waits. (nginx: no, the buffer waits to be full.)
pub(crate) fn goes_on<'p>(p: Pipe<'p>, raw: Buf<'p>) -> bool {
    raw.len() > 0 && state(p).is_some() && !has_more(p) && !p.has_unsent() && client_waits(p)
}

/// Whether more can be read from upstream at once.
fn has_more(p: Pipe<'_>) -> bool {
    p.upstream()
        .map(|upstream| upstream.read())
        .is_some_and(|event| event.ready() && !event.delayed())
}

/// Whether the client would take data now, and upstream may send more for it.
fn client_waits(p: Pipe<'_>) -> bool {
    p.upstream().is_some() && !p.upstream_finished() && !p.downstream_error() && p.client_ready()
}

/// Notes that the output is about to be given a batch that ends with `last`. If the
/// batch is all there is of a stream, marks `last` with `flush`, so that no filter
/// keeps anything back.
pub(crate) fn before_output<'p>(p: Pipe<'p>, last: Option<Link<'p>>) {
    if let Some((state, last)) = state(p).zip(last) {
        // The output is always given `out` as a whole.
        let is_all = !has_more(p) && p.input().is_none();

        last.buf().set_flush(is_all);
        state.stream.is_flushed.set(is_all);
    }
}

/// Whether what the output holds is sent on without new data. (nginx: no.)
pub(crate) fn follows_up(p: Pipe<'_>) -> bool {
    state(p).is_some()
}

/// Whether the response is live: it has no end, like the pictures of a camera. Data
/// that the client does not take holds upstream back, and is never spilled, or the
/// client would get ever older data from an ever larger file. (nginx: no.)
pub(crate) fn is_live(p: Pipe<'_>) -> bool {
    p.state().is_some_and(|state| state.stream.is_live)
}

/// Whether to filter a partly filled buffer because the response seems to end in it,
/// and upstream may say so in no other way: it may leave the connection open. (nginx:
/// no, the pipe sees the end when upstream closes, or at the time-out.)
pub(crate) fn seems_ended<'p>(p: Pipe<'p>, raw: Buf<'p>) -> bool {
    let may_look = p
        .state()
        .is_some_and(|state| state.settings.stream() && !p.single_buf());

    may_look && raw.len() > 0 && !has_more(p) && p.seems_ended(raw)
}

/// Whether to flush a stream's output at the end of a turn: the output may keep nothing
/// back, neither the header if no data has followed, nor data that it was given when
/// more seemed to follow. (nginx: no.)
pub(crate) fn owes_flush(p: Pipe<'_>) -> bool {
    let is_flushed = state(p).is_none_or(|state| state.stream.is_flushed.get());
    let comes = || p.out().or(p.input()).or(p.writing()).is_some();

    !is_flushed && !comes() && !has_more(p) && client_waits(p)
}

/// Notes that the output is about to be flushed.
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

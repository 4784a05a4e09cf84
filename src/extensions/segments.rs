//! `event_pipe_spill_segments`: a response that is not kept is spilled to several
//! temporary files, one after the other, and each is closed when all of it has been
//! sent. So `max_temp_file_size` limits what is on disk at a time. (Under nginx there
//! is one file, and the limit is for all that was ever written to it: then upstream
//! waits until the client has the whole file.)
//!
//! No byte of a file is ever written again, because the kernel may still be
//! sending it. It keeps what it needs of a file that is closed.
//!
//! Who may still hold a file whose file buffers have all been sent: a filter that
//! has taken a buffer for done and refers to its file nevertheless. The copy filter
//! does so, and says when; of nginx's other filters none does; of filters that are
//! not nginx's it is not known. Where it is not known (`Pipe::may_close`), the file
//! stays open until the request ends, and there is no other one.
//!
//! A file takes a descriptor that nginx would not need, so there are no more of them
//! in a worker than it has in addition to those (`may_open_file`); without one, a
//! response goes on with the file it has.

#![forbid(unsafe_code)]

use crate::nginx::{Buf, Link, Links, Pipe, Segment, State, TempFile, may_open_file, off_t};

/// How large a file becomes, as a part of the limit and at the most.
const PARTS: off_t = 8;
const LARGEST: off_t = 64 << 20;

/// The state of a pipe that spills to segments.
fn state<'p>(p: Pipe<'p>) -> Option<State<'p>> {
    p.state()
        .filter(|state| !p.cacheable() && state.segments().is_some())
}

/// The sizes for a pipe's directives.
fn sizes(p: Pipe<'_>) -> (off_t, off_t) {
    sizes_for(p.max_temp_file_size(), p.temp_file_write_size() as off_t)
}

/// The size at which a file is full, and the reserve, in bytes: unsent data may use
/// only the limit without the reserve. A file frees its disk space as a whole, so
/// without a reserve, upstream would stall until all of one file is sent.
fn sizes_for(limit: off_t, write_size: off_t) -> (off_t, off_t) {
    let size = (limit / PARTS).min(LARGEST).max(write_size);

    // With a very small limit, one file is sent as a whole before the next.
    let reserve = if size <= limit / 2 { size } else { 0 };

    (size, reserve)
}

/// Chooses the file for what is spilled next: starts a new one when the current one is
/// full. Without memory or a descriptor for a new one, the current file grows on.
/// (nginx: there is one file.)
pub(crate) fn choose_file(p: Pipe<'_>) {
    let Some(state) = begin(p) else {
        return;
    };

    if state.last_segment().is_some_and(|last| is_full(p, last)) {
        let _ = follow(p, state);
    }
}

/// The first segment is nginx's file, before anything is in it.
fn begin<'p>(p: Pipe<'p>) -> Option<State<'p>> {
    let state = p
        .state()
        .filter(|state| state.settings().spill_segments())
        .filter(|_| p.max_temp_file_size() > 0 && !p.cyclic_temp_file())?;

    if state.segments().is_none() {
        p.temp_file().filter(|file| file.offset() == 0)?;

        let first = state.new_segment()?;
        state.set_segments(Some(first));
        state.set_last_segment(Some(first));
    }

    Some(state)
}

/// Whether a new file is due: because of its size, or because all that is in
/// this one has been sent and it has no room for a whole write.
fn is_full<'p>(p: Pipe<'p>, last: Segment<'p>) -> bool {
    let (size, _) = sizes(p);
    let written = last.file().offset();
    let with_write = written.saturating_add(p.temp_file_write_size() as off_t);

    written >= size || (written > 0 && last.awaited() == 0 && with_write > p.max_temp_file_size())
}

/// Whether there may be another file.
fn may_follow(p: Pipe<'_>, state: State<'_>) -> bool {
    !state.has_last_file() && may_open_file() && p.may_close()
}

/// Takes a spare segment, or a new one, to write to from now on.
fn follow<'p>(p: Pipe<'p>, state: State<'p>) -> Option<()> {
    if !may_follow(p, state) {
        return None;
    }

    let last = state.last_segment()?;
    let next = match state.spare_segments() {
        Some(spare) => {
            state.set_spare_segments(spare.next());
            spare.set_next(None);
            spare
        }
        None => state.new_segment()?,
    };

    if state.open(next).is_err() {
        // That has been logged, once for the response.
        state.set_has_last_file(true);
        return None;
    }

    last.set_next(Some(next));
    state.set_last_segment(Some(next));
    p.set_temp_file(Some(next.file()));

    close_sent(p, state);

    Some(())
}

/// How many bytes of the limit are used: those on disk, or if that is more, those that
/// wait to be sent and the reserve. (nginx: those of the file.)
pub(crate) fn used<'p>(p: Pipe<'p>, file: TempFile<'p>) -> off_t {
    let Some(state) = state(p) else {
        return file.offset();
    };

    if !may_follow(p, state) {
        return state.on_disk();
    }

    let (_, reserve) = sizes(p);
    let unsent = state.on_disk().wrapping_sub(sent_of_oldest(p, state));

    state.on_disk().max(unsent.saturating_add(reserve))
}

/// What is sent comes from the oldest file, in its order. (Others of which
/// nothing is awaited are closed.)
fn sent_of_oldest<'p>(p: Pipe<'p>, state: State<'p>) -> off_t {
    state.segments().map_or(0, |oldest| sent_of(p, oldest))
}

fn sent_of<'p>(p: Pipe<'p>, oldest: Segment<'p>) -> off_t {
    if oldest.awaited() == 0 {
        return oldest.file().offset();
    }

    Links::from(p.busy())
        .chain(Links::from(p.out()))
        .map(Link::buf)
        .find(|buf| buf.temp_file())
        .filter(|buf| buf.file() == oldest.file().file())
        .map_or(0, Buf::file_pos)
}

/// Notes that the current file has grown by so many bytes.
pub(crate) fn grown(p: Pipe<'_>, size: off_t) {
    if let Some(state) = state(p) {
        state.set_on_disk(state.on_disk().wrapping_add(size));
    }
}

/// Notes that there is one more file buffer of the current file.
pub(crate) fn linked(p: Pipe<'_>) {
    if let Some(last) = state(p).and_then(State::last_segment) {
        last.set_awaited(last.awaited().wrapping_add(1));
    }
}

/// A file buffer has been sent, or nobody wants it any more: closes its file if that
/// was the last one. (nginx: nothing.)
pub(crate) fn done<'p>(p: Pipe<'p>, buf: Buf<'p>) {
    let Some(state) = state(p) else {
        return;
    };
    let mut next = state.segments();

    while let Some(segment) = next {
        if segment.file().file() == buf.file() {
            segment.set_awaited(segment.awaited().saturating_sub(1));
            return close_sent(p, state);
        }
        next = segment.next();
    }
}

/// Nothing more is written: the last file need not stay open either.
pub(crate) fn finish(p: Pipe<'_>) {
    if let Some(state) = state(p) {
        close_sent(p, state);
    }
}

/// Closes the oldest files as long as nothing of them is awaited and nobody else
/// refers to them, but never the one that is written to.
fn close_sent<'p>(p: Pipe<'p>, state: State<'p>) {
    while let Some(oldest) = state.segments() {
        let is_written = !state.finished() && state.last_segment() == Some(oldest);

        if oldest.awaited() > 0 || is_written || !p.may_close() {
            return;
        }

        state.set_segments(oldest.next());
        state.set_on_disk(state.on_disk().wrapping_sub(oldest.file().offset()));
        state.close(oldest);

        // A build for debugging never has a file where a closed one was: whoever
        // still refers to that gets an error.
        if oldest.is_own() && cfg!(not(ngx_debug)) {
            oldest.file().set_offset(0);
            oldest.set_next(state.spare_segments());
            state.set_spare_segments(Some(oldest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sizes_for;

    const M: i64 = 1 << 20;

    #[test]
    fn a_file_is_an_eighth_of_the_limit_with_a_reserve_as_large() {
        assert_eq!(sizes_for(64 * M, 16 << 10), (8 * M, 8 * M));
    }

    #[test]
    fn a_file_is_never_larger_than_64_mib() {
        assert_eq!(sizes_for(1024 * M, 16 << 10), (64 * M, 64 * M));
        assert_eq!(sizes_for(512 * M + 8, 16 << 10), (64 * M, 64 * M));
    }

    #[test]
    fn a_file_takes_one_write_at_least() {
        assert_eq!(sizes_for(2 * M, M), (M, M));
    }

    #[test]
    fn a_very_small_limit_leaves_no_reserve() {
        assert_eq!(sizes_for(24 << 10, 16 << 10), (16 << 10, 0));
    }
}

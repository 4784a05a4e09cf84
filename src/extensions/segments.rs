//! `event_pipe_spill_segments`: a response that is not cacheable is spilled to several
//! temporary files, its segments, one after the other, and each is closed when all of
//! its data has been sent. So `max_temp_file_size` limits what is on disk at a time.
//! (Under nginx there is one file, and the limit is for all that was ever written to
//! the file: then upstream waits until the client has the whole file.)
//!
//! No byte of a file is ever written again, because the kernel may still be sending
//! that byte. The kernel keeps what it needs of a file that is closed.
//!
//! A file may still be needed when all of its file buffers have been sent: a filter may
//! have taken a buffer's data and refer to the file nevertheless. The copy filter does
//! so, and says when; none of nginx's other filters does; of filters that are not
//! nginx's it is not known. Where it is not known (`may_close`), the file stays open
//! until the request ends, and there is no other file.
//!
//! Each file after the first takes a descriptor that nginx would not need, so a worker
//! has no more of these files than it can spare descriptors (`descriptors`). Without a
//! descriptor, a response goes on with the file that it has.

#![forbid(unsafe_code)]

use core::cell::Cell;
use core::ptr;

use crate::extensions::descriptors;
use crate::nginx::{
    Abort, Buf, Link, Links, Log, Pipe, Pool, Segment, State, TempFile, off_t, update, worker,
};

/// The size at which a file is full: this part of `max_temp_file_size`, but at most
/// `LARGEST` bytes.
const PARTS: off_t = 8;
const LARGEST: off_t = 64 << 20;

/// The size in bytes of the pool that a file has: for the file's name, and for what
/// closes the file.
const POOL: usize = 512;

/// The state of a pipe that spills to segments.
fn state<'p>(p: Pipe<'p>) -> Option<&'p State<'p>> {
    p.state()
        .filter(|state| !p.cacheable() && state.segments.oldest.get().is_some())
}

/// The size at which a file is full, and the reserve, in bytes.
fn sizes(p: Pipe<'_>) -> (off_t, off_t) {
    sizes_for(p.max_temp_file_size(), p.temp_file_write_size() as off_t)
}

/// The size at which a file is full, and the reserve, in bytes: unsent data may use the
/// limit without the reserve only. A file frees its disk space as a whole, so without a
/// reserve, upstream would stall until all of one file is sent.
fn sizes_for(limit: off_t, write_size: off_t) -> (off_t, off_t) {
    let size = (limit / PARTS).min(LARGEST).max(write_size);

    // With a very small limit, one file is sent as a whole before the next is written.
    let reserve = if size <= limit / 2 { size } else { 0 };

    (size, reserve)
}

/// Chooses the file for the next spill, which writes up to `write_size` bytes: starts a
/// new one when the current one is full. Without memory or a descriptor for a new one,
/// the current file grows on. (nginx: there is one file.)
pub(crate) fn choose_file(p: Pipe<'_>, write_size: isize) {
    let Some(state) = begin(p) else {
        return;
    };

    if state
        .segments
        .last
        .get()
        .is_some_and(|last| is_full(p, last, write_size))
    {
        let _ = follow(p, state);
    }
}

/// Makes nginx's file the first segment, before anything is written to it. `None` if
/// the pipe has no segments.
fn begin<'p>(p: Pipe<'p>) -> Option<&'p State<'p>> {
    let state = p
        .state()
        .filter(|state| state.settings.spill_segments())
        .filter(|_| p.max_temp_file_size() > 0 && !p.cyclic_temp_file())?;

    if state.segments.oldest.get().is_none() {
        let file = p.temp_file().filter(|file| file.offset() == 0)?;
        let first = new_segment(p, file, false)?;

        state.segments.oldest.set(Some(first));
        state.segments.last.set(Some(first));
    }

    Some(state)
}

fn new_segment<'p>(p: Pipe<'p>, file: TempFile<'p>, is_own: bool) -> Option<&'p Segment<'p>> {
    p.pool().place(Segment {
        file,
        is_own,
        pool: Cell::new(None),
        awaited: Cell::new(0),
        next: Cell::new(None),
    })
}

/// Whether the current file is full: because of its size, or because all of its data
/// has been sent and it has no room for a write of `write_size` bytes.
fn is_full(p: Pipe<'_>, last: &Segment<'_>, write_size: isize) -> bool {
    let (size, _) = sizes(p);
    let written = last.file.offset();
    let with_write = written.saturating_add(write_size as off_t);

    written >= size
        || (written > 0 && last.awaited.get() == 0 && with_write > p.max_temp_file_size())
}

/// Whether the response may have another file after the current one.
fn may_follow(p: Pipe<'_>, state: &State<'_>) -> bool {
    !state.segments.is_last_file.get() && descriptors::is_one_left() && may_close(p, state)
}

/// Whether nobody refers to a file any more once the pipe's file buffers of that file
/// are sent; false also if that is not known.
fn may_close(p: Pipe<'_>, state: &State<'_>) -> bool {
    let are_filters_known = !worker().has_unknown_filter.get() || state.settings.forces_segments();

    are_filters_known && p.may_close()
}

/// Opens a spare segment, or a new one, to which spills are written from now on. `None`
/// if there is no memory, no descriptor, or no other file may be.
fn follow<'p>(p: Pipe<'p>, state: &'p State<'p>) -> Option<()> {
    if !may_follow(p, state) {
        return None;
    }

    let last = state.segments.last.get()?;
    let next = match state.segments.spare.get() {
        Some(spare) => {
            state.segments.spare.set(spare.next.take());
            spare
        }
        None => new_segment(p, last.file.similar(p.pool())?, true)?,
    };

    if open(next, p.log()).is_err() {
        // The failure has been logged. No other file is tried, so it is logged once for
        // a response.
        state.segments.is_last_file.set(true);
        return None;
    }

    last.next.set(Some(next));
    state.segments.last.set(Some(next));
    p.set_temp_file(Some(next.file));

    close_sent(p, state);

    Some(())
}

/// How many bytes of the limit are used: those on disk, or if that is more, the unsent
/// bytes and the reserve. (nginx: the bytes written to its file.)
pub(crate) fn used<'p>(p: Pipe<'p>, file: TempFile<'p>) -> off_t {
    let Some(state) = state(p) else {
        return file.offset();
    };

    let on_disk = state.segments.on_disk.get();

    if !may_follow(p, state) {
        return on_disk;
    }

    let (_, reserve) = sizes(p);
    let unsent = on_disk.wrapping_sub(sent_of_oldest(p, state));

    on_disk.max(unsent.saturating_add(reserve))
}

/// How many bytes of the files have been sent: only the oldest file can be sent in
/// part, because files are sent in their order and closed when they are sent.
fn sent_of_oldest<'p>(p: Pipe<'p>, state: &State<'p>) -> off_t {
    let oldest = state.segments.oldest.get();

    oldest.map_or(0, |oldest| sent_of(p, oldest))
}

fn sent_of<'p>(p: Pipe<'p>, oldest: &Segment<'p>) -> off_t {
    if oldest.awaited.get() == 0 {
        return oldest.file.offset();
    }

    Links::from(p.busy())
        .chain(Links::from(p.out()))
        .map(Link::buf)
        .find(|buf| buf.temp_file())
        .filter(|buf| buf.file() == oldest.file.file())
        .map_or(0, Buf::file_pos)
}

/// Notes that the current file has grown by `size` bytes.
pub(crate) fn grown(p: Pipe<'_>, size: off_t) {
    if let Some(state) = state(p) {
        update(&state.segments.on_disk, |bytes| bytes.wrapping_add(size));
    }
}

/// Notes that one more file buffer of the current file is awaited.
pub(crate) fn linked(p: Pipe<'_>) {
    if let Some(last) = state(p).and_then(|state| state.segments.last.get()) {
        update(&last.awaited, |bufs| bufs.wrapping_add(1));
    }
}

/// Notes that a file buffer has been sent or thrown away, and closes its file if no
/// file buffer of the file is awaited any more. (nginx: nothing.)
pub(crate) fn done<'p>(p: Pipe<'p>, buf: Buf<'p>) {
    let Some(state) = state(p) else {
        return;
    };
    let mut next = state.segments.oldest.get();

    while let Some(segment) = next {
        if segment.file.file() == buf.file() {
            update(&segment.awaited, |bufs| bufs.saturating_sub(1));
            return close_sent(p, state);
        }
        next = segment.next.get();
    }
}

/// Closes the files that have been sent, the last one included, as nothing more is
/// written.
pub(crate) fn finish(p: Pipe<'_>) {
    if let Some(state) = state(p) {
        close_sent(p, state);
    }
}

/// Closes the oldest files as long as no file buffer of them is awaited and nobody else
/// refers to them, but never the file that is written to.
fn close_sent<'p>(p: Pipe<'p>, state: &State<'p>) {
    let segments = &state.segments;

    while let Some(oldest) = segments.oldest.get() {
        let is_last = segments
            .last
            .get()
            .is_some_and(|last| ptr::eq(last, oldest));
        let is_written = is_last && !state.give_back.is_finished.get();

        if oldest.awaited.get() > 0 || is_written || !may_close(p, state) {
            return;
        }

        let freed = oldest.file.offset();

        segments.oldest.set(oldest.next.get());
        update(&segments.on_disk, |bytes| bytes.wrapping_sub(freed));
        close(oldest, p.pool());

        // A build for debugging never opens a file in the place of a closed one:
        // whoever still refers to the closed file gets an error.
        if oldest.is_own && cfg!(not(ngx_debug)) {
            oldest.file.set_offset(0);
            oldest.next.set(segments.spare.replace(Some(oldest)));
        }
    }
}

/// Creates and opens the file of a segment, except nginx's: nginx opens its file itself
/// when it writes there first.
fn open<'p>(segment: &Segment<'p>, log: Log<'p>) -> Result<(), Abort> {
    descriptors::check()?;

    let pool = Pool::create(POOL, log).ok_or(Abort)?;

    if segment.file.open(pool).is_err() {
        pool.destroy();
        return Err(Abort);
    }

    segment.pool.set(Some(pool));
    descriptors::note_opened();

    Ok(())
}

/// Closes the file of a segment. Nobody may refer to the file any more.
fn close<'p>(segment: &Segment<'p>, request_pool: Pool<'p>) {
    if segment.is_own {
        close_own(segment);
    } else if segment.file.is_open() {
        request_pool.close_file(segment.file.fd());
    }

    segment.file.note_closed();
}

fn close_own(segment: &Segment<'_>) {
    if let Some(pool) = segment.pool.take() {
        pool.destroy();
        descriptors::note_closed();
    }
}

/// Closes all files but nginx's, when the request ends.
pub(crate) fn close_all(state: &State<'_>) {
    let mut next = state.segments.oldest.get();

    while let Some(segment) = next {
        close_own(segment);
        next = segment.next.get();
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

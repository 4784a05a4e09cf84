//! Raw buffers: the memory that the pipe receives into. This file allocates raw
//! buffers, keeps the free list, joins each raw buffer to its shadows, and frees a raw
//! buffer when its last shadow is sent or spilled. `ngx_event_pipe_add_free_buf`,
//! `ngx_event_pipe_remove_shadow_links`.
//!
//! The first buffer of the free list may be partly filled. Such a buffer stays the
//! first, because what upstream sends next belongs behind its data.
//!
//! A raw buffer and its shadows form a ring: the raw buffer points to its first shadow,
//! each shadow to the next, and the last shadow, which is marked as such, back to the
//! raw buffer.

#![forbid(unsafe_code)]

use crate::extensions::memory::{self, Part};
use crate::extensions::wide;
use crate::nginx::{Abort, Buf, Connection, Link, Links, Pipe, off_t, within};

/// Raw buffers that were taken off the free list to receive into.
pub(crate) struct Space<'p> {
    pub(crate) chain: Link<'p>,
    /// The most bytes to receive; 0 is no limit.
    pub(crate) limit: off_t,
    /// The last buffer of the chain, if that buffer is a large part of a loan.
    part: Option<Buf<'p>>,
    /// A part of a loan is among the buffers of the chain.
    pub(crate) is_lent: bool,
}

impl<'p> Space<'p> {
    /// A space of buffers that wait to be full: the pipe's own, or a part that takes the
    /// place of one of these.
    fn own(p: Pipe<'p>, chain: Link<'p>, limit: off_t) -> Self {
        Self {
            chain,
            limit,
            part: None,
            is_lent: memory::is_part(p, chain.buf()),
        }
    }
}

/// Takes raw buffers to receive at most `limit` bytes into: a large part of a loan, free
/// buffers, a new one, or a part of a loan in the place of a new one. `None` if there are
/// none, or if a loan has to be spilled first.
pub(crate) fn take<'p>(
    p: Pipe<'p>,
    upstream: Connection<'p>,
    limit: off_t,
) -> Result<Option<Space<'p>>, Abort> {
    if memory::passes_through(p) {
        return Ok(None);
    }

    if let Some(space) = borrow(p, upstream, limit) {
        return Ok(Some(space));
    }

    let chain = match take_all_free(p) {
        Some(chain) => chain,
        None if p.allocated() < p.bufs_num() => allocate(p)?,
        None => return Ok(borrow_small(p, limit)),
    };

    read_ahead(p, upstream, chain, limit)?;

    Ok(Some(Space::own(p, chain, limit)))
}

/// Takes free raw buffers to receive at most `limit` bytes into.
pub(crate) fn take_free<'p>(p: Pipe<'p>, limit: off_t) -> Option<Space<'p>> {
    take_all_free(p).map(|chain| Space::own(p, chain, limit))
}

/// Takes all free raw buffers, or only the first if the pipe receives into one buffer
/// at a time (`single_buf`).
fn take_all_free<'p>(p: Pipe<'p>) -> Option<Link<'p>> {
    let chain = p.free_raw_bufs()?;

    if p.single_buf() {
        p.set_free_raw_bufs(chain.next());
        chain.set_next(None);
    } else {
        p.set_free_raw_bufs(None);
    }

    Some(chain)
}

/// Borrows a large part of a loan, to receive at most `limit` bytes into; 0 is no limit. A
/// partly filled buffer comes before the part in the chain.
fn borrow<'p>(p: Pipe<'p>, upstream: Connection<'p>, limit: off_t) -> Option<Space<'p>> {
    let Part { buf, limit: room } = memory::borrow(p, upstream)?;
    let link = link_to_part(p, buf)?;

    let chain = match take_partial(p) {
        Some(partial) => {
            partial.set_next(Some(link));
            partial
        }
        None => link,
    };

    let limit = match room {
        0 => limit,
        room => within(limit, room),
    };

    Some(Space {
        chain,
        limit,
        part: Some(buf),
        is_lent: true,
    })
}

/// Borrows a part of a loan that is as large as one of the pipe's own buffers, to receive
/// at most `limit` bytes into; 0 is no limit.
fn borrow_small<'p>(p: Pipe<'p>, limit: off_t) -> Option<Space<'p>> {
    let chain = link_to_part(p, memory::borrow_small(p)?)?;

    Some(Space::own(p, chain, limit))
}

/// A link that holds the part. Gives the part back if there is no memory for a link.
fn link_to_part<'p>(p: Pipe<'p>, part: Buf<'p>) -> Option<Link<'p>> {
    let link = p.pool().link_to(part);

    if link.is_none() {
        memory::give_back(p, part);
    }

    link
}

/// Allocates a raw buffer.
fn allocate<'p>(p: Pipe<'p>) -> Result<Link<'p>, Abort> {
    let buf = p.pool().create_temp_buf(p.bufs_size()).ok_or(Abort)?;

    p.set_allocated(p.allocated().wrapping_add(1));

    p.pool().link_to(buf).ok_or(Abort)
}

/// Appends new buffers to the chain: as many as the data needs that is known to wait in
/// upstream's socket, and as may be allocated.
fn read_ahead<'p>(
    p: Pipe<'p>,
    upstream: Connection<'p>,
    chain: Link<'p>,
    limit: off_t,
) -> Result<(), Abort> {
    if p.allocated() >= p.bufs_num() || p.single_buf() {
        return Ok(());
    }

    let mut missing = wide::bytes_to_expect(p, upstream, limit);
    let mut last = chain;

    for link in chain.iter() {
        missing = missing.saturating_sub(link.buf().room() as off_t);
        last = link;
    }

    while missing > 0 && p.allocated() < p.bufs_num() {
        let link = allocate(p)?;

        last.set_next(Some(link));
        last = link;
        missing = missing.saturating_sub(link.buf().room() as off_t);
    }

    Ok(())
}

/// Puts the buffers of a space back to the front of the free list, after `size` bytes
/// were received into them; zero or less if nothing was received. A part of a loan
/// without data is given back. A large part with data ends where the data ends.
pub(crate) fn put_back<'p>(p: Pipe<'p>, space: &Space<'p>, size: isize) {
    if size <= 0 {
        return put_back_unfilled(p, Some(space.chain));
    }

    if let Some(part) = space.part {
        memory::end_with_data(p, part, bytes_in_last(space, part, size));
    }

    put_first(p, Some(space.chain));
}

/// How many of the `size` bytes that were received into the space are in its last buffer.
fn bytes_in_last<'p>(space: &Space<'p>, last: Buf<'p>, size: isize) -> isize {
    let before = space
        .chain
        .iter()
        .map(Link::buf)
        .take_while(|buf| *buf != last)
        .map(Buf::room)
        .fold(0, isize::wrapping_add);

    size.saturating_sub(before).max(0).min(last.room())
}

/// Puts buffers back to the front of the free list. A part of a loan without data is
/// given back instead.
pub(crate) fn put_back_unfilled<'p>(p: Pipe<'p>, chain: Option<Link<'p>>) {
    put_first(p, without_empty_part(p, chain));
}

fn put_first<'p>(p: Pipe<'p>, chain: Option<Link<'p>>) {
    let Some(chain) = chain else {
        return;
    };

    if let Some(free) = p.free_raw_bufs() {
        chain.tail().set_next(Some(free));
    }
    p.set_free_raw_bufs(Some(chain));
}

/// Takes a part of a loan that has no data off a chain, and gives it back. That part is the
/// first of the chain, or the second behind a partly filled buffer.
fn without_empty_part<'p>(p: Pipe<'p>, chain: Option<Link<'p>>) -> Option<Link<'p>> {
    let first = chain?;

    if give_back_empty(p, first.buf()) {
        return without(p, first);
    }

    if let Some(second) = first.next().filter(|link| give_back_empty(p, link.buf())) {
        first.set_next(without(p, second));
    }

    chain
}

/// Gives a buffer back if it is a part of a loan and has no data. Tells whether that is so.
fn give_back_empty<'p>(p: Pipe<'p>, raw: Buf<'p>) -> bool {
    !raw.has_data() && memory::give_back(p, raw)
}

fn without<'p>(p: Pipe<'p>, link: Link<'p>) -> Option<Link<'p>> {
    let next = link.next();

    p.pool().free_link(link);

    next
}

/// Empties the free list, whose buffers are about to be filtered.
pub(crate) fn clear_free(p: Pipe<'_>) {
    p.set_free_raw_bufs(None);
}

/// Takes the first buffer off the free list, if the buffer is partly filled.
pub(crate) fn take_partial<'p>(p: Pipe<'p>) -> Option<Link<'p>> {
    p.free_raw_bufs().filter(|link| link.buf().has_data())?;

    take_first(p)
}

/// Takes the first buffer off the free list.
pub(crate) fn take_first<'p>(p: Pipe<'p>) -> Option<Link<'p>> {
    let first = p.free_raw_bufs()?;

    p.set_free_raw_bufs(first.next());

    Some(first)
}

/// Makes a raw buffer empty and puts it on the free list, or gives it back if it is a part
/// of a loan. `None` if there is no memory for a link.
/// `ngx_event_pipe_add_free_buf`.
pub(crate) fn add_free_buf<'p>(p: Pipe<'p>, raw: Buf<'p>) -> Option<()> {
    if memory::give_back(p, raw) {
        return Some(());
    }

    let link = p.pool().link_to(raw)?;

    // The header that is still to be written to the cache file lies at the start of the
    // first raw buffer's memory: only the memory behind the header is free.
    let free_from = match p.buf_to_file() {
        Some(header) if header.start() == raw.start() => header.last(),
        _ => raw.start(),
    };

    raw.set_pos(free_from);
    raw.set_last(free_from);
    raw.set_shadow(None);

    insert(p, link);

    Some(())
}

/// Puts a raw buffer on the free list as the first, or as the second behind a partly
/// filled buffer.
fn insert<'p>(p: Pipe<'p>, link: Link<'p>) {
    match p.free_raw_bufs() {
        Some(first) if first.buf().has_data() => {
            link.set_next(first.next());
            first.set_next(Some(link));
        }
        first => {
            link.set_next(first);
            p.set_free_raw_bufs(Some(link));
        }
    }
}

/// Unlinks a shadow from its raw buffer after the shadow was sent or thrown away. If
/// the shadow is the last of its raw buffer, the raw buffer is free.
pub(crate) fn release<'p>(p: Pipe<'p>, shadow: Buf<'p>) -> Result<(), Abort> {
    if shadow.last_shadow() {
        if let Some(raw) = shadow.shadow() {
            add_free_buf(p, raw).ok_or(Abort)?;
        }

        shadow.set_last_shadow(false);
    }

    shadow.set_shadow(None);

    Ok(())
}

/// Unmarks the recycled buffers of a chain. The output never postpones a recycled
/// buffer, however little data it has; nothing waits for these buffers any more.
pub(crate) fn keep_from_recycling(chain: Option<Link<'_>>) {
    for link in Links::from(chain) {
        link.buf().set_recycled(false);
    }
}

/// The end of the free list.
pub(crate) struct FreeEnd<'p> {
    pipe: Pipe<'p>,
    last: Option<Link<'p>>,
}

impl<'p> FreeEnd<'p> {
    /// Finds the end of the free list.
    pub(crate) fn of(p: Pipe<'p>) -> Self {
        Self {
            pipe: p,
            last: p.free_raw_bufs().map(Link::tail),
        }
    }

    /// If a shadow that has been spilled is the last of its raw buffer, empties the raw
    /// buffer and appends it to the free list; a part of a loan is given back instead.
    pub(crate) fn release(&mut self, shadow: Buf<'p>) -> Result<(), Abort> {
        let Some(raw) = shadow.shadow().filter(|_| shadow.last_shadow()) else {
            return Ok(());
        };

        if memory::is_part(self.pipe, raw) {
            remove_shadow_links(raw);
            memory::give_back(self.pipe, raw);
            return Ok(());
        }

        let link = self.pipe.pool().link_to(raw).ok_or(Abort)?;

        match self.last {
            Some(last) => last.set_next(Some(link)),
            None => self.pipe.set_free_raw_bufs(Some(link)),
        }
        self.last = Some(link);

        raw.set_pos(raw.start());
        raw.set_last(raw.start());
        remove_shadow_links(raw);

        Ok(())
    }
}

/// Takes all shadows off a raw buffer. The raw buffer's memory is about to be
/// overwritten, so its former shadows, which may still be linked somewhere, do not own
/// that memory any more.
pub(crate) fn remove_shadow_links(raw: Buf<'_>) {
    let mut next = raw.shadow();

    if next.is_none() {
        return;
    }

    while let Some(shadow) = next {
        let last = shadow.last_shadow();
        next = shadow.shadow().filter(|_| !last);

        shadow.set_temporary(false);
        shadow.set_recycled(false);
        shadow.set_last_shadow(false);
        shadow.set_shadow(None);
    }

    raw.set_shadow(None);
}

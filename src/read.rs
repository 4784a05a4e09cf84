//! From upstream to `in`: `ngx_event_pipe_read_upstream`.

#![forbid(unsafe_code)]

use core::num::NonZeroU64;

use crate::extensions::{counts, delay, linger, memory, stream, turns};
use crate::nginx::{
    Abort, Connection, Linger, Link, Links, NGX_AGAIN, NGX_ERROR, Pipe, clock, debug, ngx_msec_t,
    off_t, wall_clock_since,
};
#[cfg(ngx_have_kqueue)]
use crate::nginx::{Level, error};
use crate::raw::{self, Space, remove_shadow_links};
use crate::spill::{self, Spilled};
use crate::{dump, rate};

/// Why a pass ends early.
enum Leave {
    Abort,
    /// Nothing more can be read from upstream, but what the input filter has passed on
    /// before is in order.
    GivenUp(Linger),
    /// A thread is writing to the temporary file; the next pass starts when the thread
    /// has finished.
    Pending,
}

impl From<Abort> for Leave {
    fn from(_: Abort) -> Self {
        Self::Abort
    }
}

/// What one attempt to receive has brought.
enum Received<'p> {
    /// A chain of raw buffers, and how many bytes were received into them. The `last`
    /// of the buffers has not been moved yet.
    Bytes(Link<'p>, isize),
    /// Nothing, but the next attempt of this pass may bring something.
    Nothing,
    /// Nothing, and this pass receives nothing more.
    Enough,
}

/// Runs a pass: receives what upstream has sent, and filters the raw buffers, as long
/// as there are raw buffers to receive into or ways to get some free.
pub(crate) fn read_upstream(p: Pipe<'_>) -> Result<(), Abort> {
    match pass(p) {
        Ok(()) | Err(Leave::Pending) => Ok(()),
        Err(Leave::GivenUp(why)) if linger::start(p, why) => {
            linger::keep_no_more(p);
            p.set_read(true);
            Ok(())
        }
        Err(Leave::GivenUp(_) | Leave::Abort) => Err(Abort),
    }
}

fn pass(p: Pipe<'_>) -> Result<(), Leave> {
    let Some(upstream) = p.upstream().filter(|_| !p.upstream_finished()) else {
        return Ok(());
    };

    if delay::stop_waiting(p) {
        upstream.read().end_delay();
    }

    #[cfg(ngx_threads)]
    collect_thread_write(p)?;

    if let Some(why) = linger::reason(p) {
        linger::keep_no_more(p);
        filter_last_buffer(p, why);
        return Ok(());
    }

    debug!(p.log(), c"pipe read upstream: %d", upstream.read().ready());

    receive_all(p)?;
    dump::chains(p);
    filter_partial_buffer(p)?;
    filter_remainder(p)?;
    spill_at_once(p)
}

/// While a thread works for this request, nothing is read. The result of a thread's
/// write is collected before the next write starts.
#[cfg(ngx_threads)]
fn collect_thread_write(p: Pipe<'_>) -> Result<(), Leave> {
    if p.aio() {
        debug!(p.log(), c"pipe read upstream: aio");
        return Err(Leave::Pending);
    }

    if p.writing().is_some() {
        debug!(p.log(), c"pipe read upstream: writing");
        spill_or_leave(p)?;
    }

    Ok(())
}

fn spill_or_leave(p: Pipe<'_>) -> Result<(), Leave> {
    match spill::spill(p)? {
        Spilled::Done => Ok(()),
        Spilled::Nothing | Spilled::Pending => Err(Leave::Pending),
    }
}

fn receive_all(p: Pipe<'_>) -> Result<(), Leave> {
    while !p.upstream_finished() {
        let (chain, size) = match receive(p)? {
            Received::Bytes(chain, size) => (chain, size),
            Received::Nothing => continue,
            Received::Enough => break,
        };

        let delay = delay_for(p, size);

        filter_full_buffers(p, chain, size)?;

        if delay > 0 {
            if let Some(upstream) = p.upstream() {
                upstream.read().delay(delay);
            }
            break;
        }
    }

    Ok(())
}

/// How long the rate limit delays the next read after `size` bytes, in milliseconds.
fn delay_for(p: Pipe<'_>, size: isize) -> ngx_msec_t {
    match NonZeroU64::new(p.limit_rate() as u64) {
        Some(limit) => rate::delay_for(limit, size.max(0).unsigned_abs() as u64),
        None => 0,
    }
}

/// Takes the preread data if there is any, and else receives from upstream.
fn receive<'p>(p: Pipe<'p>) -> Result<Received<'p>, Leave> {
    if let Some(chain) = p.preread_bufs() {
        p.set_preread_bufs(None);
        return Ok(take_preread(p, chain));
    }

    let Some(upstream) = p.upstream().filter(|upstream| upstream.read().ready()) else {
        return Ok(Received::Enough);
    };

    #[cfg(ngx_have_kqueue)]
    if reported_eof(p, upstream) {
        return Ok(Received::Enough);
    }

    let Some(limit) = allowance(p, upstream) else {
        return Ok(Received::Enough);
    };

    if turns::cut_short(p) {
        return Ok(Received::Enough);
    }

    if memory::waits_to_be_sent(p) {
        p.set_upstream_blocked(true);
        return Ok(Received::Enough);
    }

    let Some(space) = space(p, upstream, turns::limit(p, limit))? else {
        return Ok(Received::Enough);
    };

    let size = recv_chain(p, upstream, &space);

    raw::put_back(p, &space, size);

    Ok(judge(p, space.chain, size))
}

fn recv_chain<'p>(p: Pipe<'p>, upstream: Connection<'p>, space: &Space<'p>) -> isize {
    let size = upstream.recv_chain(space.chain, space.limit);

    counts::received(p, size, space.is_lent);
    turns::received(p, size);
    debug!(p.log(), c"pipe recv chain: %z", size);

    size
}

/// Takes the preread buffer: the buffer that was received into while the header was
/// read, with the first bytes of the body behind the header.
///
/// If the header fills the buffer to the last byte, the buffer has neither data nor
/// room. Receiving into no room gives 0, which the pipe would take for the end of the
/// stream, so such a buffer is left out. (Differs from nginx, which keeps the buffer.)
fn take_preread<'p>(p: Pipe<'p>, chain: Link<'p>) -> Received<'p> {
    let size = p.preread_size() as isize;

    debug!(p.log(), c"pipe preread: %z", size);

    if size == 0 && chain.buf().room() == 0 {
        p.pool().free_link(chain);
        return Received::Nothing;
    }

    if size != 0 {
        p.set_read(true);
    }

    Received::Bytes(chain, size)
}

/// What `size`, the result of `recv_chain`, means. Notes in the pipe's flags that
/// upstream has closed or failed.
fn judge<'p>(p: Pipe<'p>, chain: Link<'p>, size: isize) -> Received<'p> {
    if size == NGX_ERROR as isize {
        p.set_upstream_error(true);
        // The data that was received before the error is still to be sent.
        // Differs from nginx, which may leave that data behind.
        p.set_read(true);
        return Received::Enough;
    }

    if size == NGX_AGAIN as isize {
        if p.single_buf() {
            remove_shadow_links(chain.buf());
        }
        return Received::Enough;
    }

    p.set_read(true);

    if size == 0 {
        p.set_upstream_eof(true);
        return Received::Enough;
    }

    Received::Bytes(chain, size)
}

/// Whether kqueue has reported the end of the stream or an error already, so that a
/// buffer and a call are saved; notes that in the pipe's flags. With TLS the answer is
/// no, as there may still be data to decrypt.
#[cfg(ngx_have_kqueue)]
fn reported_eof(p: Pipe<'_>, upstream: Connection<'_>) -> bool {
    let event = upstream.read();

    #[cfg(ngx_ssl)]
    if upstream.is_ssl() {
        return false;
    }

    if event.available() != 0 || !event.pending_eof() {
        return false;
    }

    event.set_ready(false);
    event.set_eof(true);
    p.set_upstream_eof(true);
    p.set_read(true);

    if event.kq_errno() != 0 {
        event.set_error(true);
        p.set_upstream_error(true);
        p.set_upstream_eof(false);

        error!(
            p.log(),
            Level::Err,
            event.kq_errno(),
            c"kevent() reported that upstream closed connection"
        );
    }

    true
}

/// How many bytes the rate limit lets through now; 0 stands for no limit. `None` if the
/// rate limit lets nothing through now: then upstream's read event is delayed.
fn allowance(p: Pipe<'_>, upstream: Connection<'_>) -> Option<off_t> {
    let Some(limit) = NonZeroU64::new(p.limit_rate() as u64) else {
        return Some(0);
    };

    if upstream.read().delayed() {
        return None;
    }

    let allowed = rate::allowance(limit, seconds_since_start(p), p.read_length());

    if allowed > 0 {
        return Some(allowed);
    }

    upstream
        .read()
        .delay(rate::delay_for_debt(limit, allowed.unsigned_abs()));

    None
}

/// Whole seconds since the response started, by a clock that nobody sets. (Differs from
/// nginx, which uses the wall clock.)
fn seconds_since_start(p: Pipe<'_>) -> i64 {
    match p.state() {
        Some(state) => (clock().wrapping_sub(state.started) / 1000) as i64,
        None => wall_clock_since(p.start_sec()),
    }
}

/// Raw buffers to receive into: free ones, new ones, or those that a spill has freed.
/// `None` if there are none for now.
fn space<'p>(
    p: Pipe<'p>,
    upstream: Connection<'p>,
    limit: off_t,
) -> Result<Option<Space<'p>>, Leave> {
    loop {
        if let Some(space) = raw::take(p, upstream, limit).map_err(no_memory)? {
            return Ok(Some(space));
        }

        if !may_spill(p) {
            return Ok(None);
        }

        match spill::free_raw_bufs(p)? {
            Spilled::Done => {}
            Spilled::Nothing => return Ok(raw::take_free(p, limit)),
            Spilled::Pending => return Err(Leave::Pending),
        }
    }
}

/// Whether data may be spilled to get raw buffers, because the client is not ready or the
/// response is cacheable. If not, notes that data is to be sent first, if there is any.
fn may_spill(p: Pipe<'_>) -> bool {
    if !p.cacheable() && p.client_ready() {
        if p.downstream_error() && p.input().is_none() {
            // After an error, buffers that the output still holds do not come back.
            debug!(p.log(), c"no pipe bufs to read in");
            return false;
        }

        // Sending is cheaper than writing to disk.
        p.set_upstream_blocked(true);
        debug!(p.log(), c"pipe downstream ready");
        return false;
    }

    true
}

fn no_memory(_: Abort) -> Leave {
    Leave::GivenUp(Linger::NoMemory)
}

/// Distributes `size` received bytes over the chain. Each buffer that the bytes fill is
/// filtered, the other buffers go back to the free list; the first of those may be
/// partly filled.
fn filter_full_buffers<'p>(p: Pipe<'p>, chain: Link<'p>, size: isize) -> Result<(), Leave> {
    p.set_read_length(p.read_length().wrapping_add(size as off_t));
    raw::clear_free(p);

    let mut remaining = size;
    let mut next = Some(chain);

    while let Some(link) = next.filter(|_| remaining > 0) {
        let raw = link.buf();

        remove_shadow_links(raw);

        let room = raw.room();

        if remaining < room {
            raw.set_last(raw.last().wrapping_offset(remaining));
            break;
        }

        raw.set_last(raw.end());
        filter(p, link)?;

        remaining = remaining.wrapping_sub(room);
        next = link.next();
        p.pool().free_link(link);
    }

    // The input filter may have put buffers on the free list meanwhile: these come
    // behind.
    raw::put_back_unfilled(p, next);

    Ok(())
}

/// Numbers the raw buffer and gives it to the input filter.
fn filter<'p>(p: Pipe<'p>, link: Link<'p>) -> Result<(), Leave> {
    let raw = link.buf();
    let num = p.num();
    let end = p.input_end();

    raw.set_num(num);
    p.set_num(num.wrapping_add(1));

    let result = p.input_filter(raw);

    // The input filter may have appended shadows to `in` before it failed.
    counts::queued(p, end);

    result.map_err(|_| Leave::GivenUp(Linger::Breach))
}

/// Filters a partly filled buffer after upstream has been given up because it sent
/// nothing for too long: nothing will come to fill the buffer. Whether the input filter
/// understands the buffer's data does not matter any more.
fn filter_last_buffer(p: Pipe<'_>, why: Linger) {
    if why != Linger::Timeout {
        return;
    }

    if let Some(link) = raw::take_partial(p) {
        p.set_read(true);

        let _ = filter(p, link);
    }
}

/// Filters the first buffer of the free list if the buffer holds all bytes that are
/// still to come (`length`), if it is partly filled with data of a stream whose client
/// waits, or if its data looks like the end of the response. If no more bytes are to
/// come, notes that upstream is finished.
fn filter_partial_buffer(p: Pipe<'_>) -> Result<(), Leave> {
    if let Some(link) = p.free_raw_bufs() {
        let is_last = p.length() != -1 && link.buf().len() as off_t >= p.length();

        let goes_on =
            !is_last && (stream::goes_on(p, link.buf()) || stream::seems_ended(p, link.buf()));

        if goes_on {
            p.set_read(true);
        }

        if is_last || goes_on {
            raw::take_first(p);
            filter(p, link)?;
            p.pool().free_link(link);
        }
    }

    if p.length() == 0 {
        p.set_upstream_done(true);
        p.set_read(true);
    }

    Ok(())
}

/// If upstream has closed or failed, filters the first buffer of the free list, which
/// may be partly filled, and frees the memory of raw buffers that are not needed any
/// more.
fn filter_remainder(p: Pipe<'_>) -> Result<(), Leave> {
    if !p.upstream_eof() && !p.upstream_error() {
        return Ok(());
    }

    let Some(link) = p.free_raw_bufs() else {
        return Ok(());
    };

    filter(p, link)?;

    // The input filter may have put this raw buffer, or others, back on the free list.
    raw::take_first(p);

    // The header that is still to be written to the cache file lies in the memory of a
    // raw buffer, which then must not be freed.
    if p.free_bufs() && p.buf_to_file().is_none() {
        for link in Links::from(p.free_raw_bufs()) {
            if link.buf().shadow().is_none() {
                p.pool().free_memory(link.buf().start());
            }
        }
    }

    Ok(())
}

/// Writes to the temporary file what is not to wait for the client: the data of a cacheable
/// response, and data in a loan that is to go back at once.
fn spill_at_once(p: Pipe<'_>) -> Result<(), Leave> {
    if !p.cacheable() {
        return spill_loan(p);
    }

    if p.input().is_none() && p.buf_to_file().is_none() {
        return Ok(());
    }

    debug!(p.log(), c"pipe write chain");

    spill_or_leave(p)
}

/// Writes to the temporary file as much as is needed for the loan to go back that is not
/// to wait for the client. (nginx: nothing.)
fn spill_loan(p: Pipe<'_>) -> Result<(), Leave> {
    while memory::passes_through(p) && p.input().is_some() {
        match spill::free_raw_bufs(p)? {
            Spilled::Done => {}
            Spilled::Nothing => break,
            Spilled::Pending => return Err(Leave::Pending),
        }
    }

    Ok(())
}

//! From upstream to `in`: `ngx_event_pipe_read_upstream`.

#![forbid(unsafe_code)]

use core::num::NonZeroU64;

use crate::nginx::{
    Connection, Linger, Link, Links, NGX_AGAIN, NGX_ERROR, Pipe, TempFile, clock, debug,
    ngx_msec_t, off_t, wall_clock,
};
#[cfg(ngx_have_kqueue)]
use crate::nginx::{Level, error};
use crate::shadow::remove_shadow_links;
use crate::spill::{Spilled, spill};
use crate::{Abort, counts, delay, dump, fallback, lend, linger, rate, segments, stream, wide};

/// Why a pass over upstream ends before its end.
enum Leave {
    Abort,
    /// Nothing more can be read, but all that was passed on before is in order.
    GivenUp(Linger),
    /// A thread is writing to the temporary file; its completion starts the
    /// next pass.
    Pending,
}

impl From<Abort> for Leave {
    fn from(_: Abort) -> Self {
        Self::Abort
    }
}

/// What a round of the loop got.
enum Received<'p> {
    /// Bytes that were put into a chain of raw buffers, `last` still unmoved.
    Bytes(Link<'p>, isize),
    /// Nothing this time, and there may be more at once.
    Nothing,
    /// Nothing more in this pass.
    Enough,
}

/// Receives what upstream has, and passes it through the input filter, for as
/// long as there are raw buffers to receive into or ways to get some free.
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
    let Some(upstream) = p.upstream().filter(|_| !upstream_finished(p)) else {
        return Ok(());
    };

    delay::start_pass(p);

    #[cfg(ngx_threads)]
    collect_thread_write(p)?;

    if let Some(why) = linger::reason(p) {
        linger::keep_no_more(p);
        pass_last_buffer(p, why);
        return Ok(());
    }

    debug!(p.log(), c"pipe read upstream: %d", upstream.read().ready());

    receive_all(p)?;
    dump::chains(p);
    pass_partial_buffer(p)?;
    pass_rest_of_finished(p)?;
    spill_cacheable(p)
}

/// Whether nothing more is to be expected of upstream.
pub(crate) fn upstream_finished(p: Pipe<'_>) -> bool {
    p.upstream_eof() || p.upstream_error() || p.upstream_done()
}

/// While a thread has work for this request, nothing is read: its write must be
/// collected before there can be another.
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
    match spill(p)? {
        Spilled::Done => Ok(()),
        Spilled::Busy | Spilled::Pending => Err(Leave::Pending),
    }
}

fn receive_all(p: Pipe<'_>) -> Result<(), Leave> {
    while !upstream_finished(p) {
        let (chain, size) = match receive(p)? {
            Received::Bytes(chain, size) => (chain, size),
            Received::Nothing => continue,
            Received::Enough => break,
        };

        let delay = delay_for(p, size);

        pass_full_buffers(p, chain, size)?;

        if delay > 0 {
            hold_back(p, delay);
            break;
        }
    }

    Ok(())
}

/// How long the rate limit asks to wait after `size` bytes, in milliseconds.
fn delay_for(p: Pipe<'_>, size: isize) -> ngx_msec_t {
    match NonZeroU64::new(p.limit_rate() as u64) {
        Some(limit) => rate::delay_for(limit, size.max(0).unsigned_abs() as u64),
        None => 0,
    }
}

/// Reads nothing more of upstream until the time is over.
fn hold_back(p: Pipe<'_>, delay: ngx_msec_t) {
    if let Some(upstream) = p.upstream() {
        upstream.read().set_delayed(true);
        upstream.read().add_timer(delay);
    }
}

/// Takes what came with the header, or else receives.
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

    if let Some((chain, room)) = lend::borrow(p, upstream) {
        return Ok(receive_into_loan(p, upstream, chain, room));
    }

    if lend::lent(p).is_some() && p.input().is_some() && downstream_ready(p) {
        // What was received into the loan is to be sent first.
        p.set_upstream_blocked(true);
        return Ok(Received::Enough);
    }

    let Some(chain) = take_raw_bufs(p, upstream, limit)? else {
        return Ok(Received::Enough);
    };

    let size = recv_chain(p, upstream, chain, limit);

    put_back(p, chain);

    Ok(judge(p, chain, size))
}

fn receive_into_loan<'p>(
    p: Pipe<'p>,
    upstream: Connection<'p>,
    chain: Link<'p>,
    limit: off_t,
) -> Received<'p> {
    let size = recv_chain(p, upstream, chain, limit);

    if size > 0 {
        counts::lent(p, size);
        put_back(p, chain);
    } else if let Some(own) = lend::without_loan(p, Some(chain)) {
        put_back(p, own);
    }

    judge(p, chain, size)
}

fn recv_chain<'p>(p: Pipe<'p>, upstream: Connection<'p>, chain: Link<'p>, limit: off_t) -> isize {
    let size = upstream.recv_chain(chain, limit);

    counts::read(p);
    debug!(p.log(), c"pipe recv chain: %z", size);

    size
}

/// The chain goes back to the front of the free list, bytes or not.
fn put_back<'p>(p: Pipe<'p>, chain: Link<'p>) {
    if let Some(rest) = p.free_raw_bufs() {
        chain.tail().set_next(Some(rest));
    }
    p.set_free_raw_bufs(Some(chain));
}

/// The buffer that held the header, with what came behind it.
///
/// If the header fills it to the last byte, there is neither data in it nor
/// room. Receiving into no room gives 0, which would be taken for the end of
/// the stream, so such a buffer is left out. (The C original keeps it.)
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

/// What the result of `recv_chain` means.
fn judge<'p>(p: Pipe<'p>, chain: Link<'p>, size: isize) -> Received<'p> {
    if size == NGX_ERROR as isize {
        p.set_upstream_error(true);
        // What was received before the error is still to be sent. (The C
        // original may leave it behind.)
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

/// kqueue tells about the end of the stream and about errors beforehand, which
/// saves a buffer and a call. (With TLS there may still be data to decrypt.)
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

/// How many bytes the rate limit lets through: 0 is no limit, `None` is none at
/// all for now, and a timer tells when to go on.
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

    hold_back(p, rate::delay_for_debt(limit, allowed.unsigned_abs()));

    None
}

/// Whole seconds since the response started, by a clock that nobody sets. (The
/// C original goes by the wall clock.)
fn seconds_since_start(p: Pipe<'_>) -> i64 {
    match p.state() {
        Some(state) => (clock().wrapping_sub(state.started()) / 1000) as i64,
        None => wall_clock().saturating_sub(p.start_sec()),
    }
}

/// Raw buffers to receive into: free ones, a new one, or what spilling sets
/// free. `None` if there are none for now.
fn take_raw_bufs<'p>(
    p: Pipe<'p>,
    upstream: Connection<'p>,
    limit: off_t,
) -> Result<Option<Link<'p>>, Leave> {
    let chain = match take_free_raw_bufs(p) {
        None if p.allocated() < p.bufs_num() => Some(allocate(p).map_err(no_memory)?),
        free => free,
    };

    if let Some(chain) = chain {
        wide::extend(p, upstream, chain, limit).map_err(no_memory)?;
        return Ok(Some(chain));
    }

    if !p.cacheable() && downstream_ready(p) {
        if p.downstream_error() && p.input().is_none() {
            // What the output still holds does not come back after an error.
            debug!(p.log(), c"no pipe bufs to read in");
            return Ok(None);
        }

        // Sending is cheaper than writing to disk.
        p.set_upstream_blocked(true);
        debug!(p.log(), c"pipe downstream ready");
        return Ok(None);
    }

    spill_for_raw_bufs(p)
}

fn no_memory(_: Abort) -> Leave {
    Leave::GivenUp(Linger::NoMemory)
}

/// All free raw buffers, or the first of them in single-buffer mode.
fn take_free_raw_bufs<'p>(p: Pipe<'p>) -> Option<Link<'p>> {
    let chain = p.free_raw_bufs()?;

    if p.single_buf() {
        p.set_free_raw_bufs(chain.next());
        chain.set_next(None);
    } else {
        p.set_free_raw_bufs(None);
    }

    Some(chain)
}

/// A new raw buffer.
pub(crate) fn allocate<'p>(p: Pipe<'p>) -> Result<Link<'p>, Abort> {
    let buf = p.pool().create_temp_buf(p.bufs_size()).ok_or(Abort)?;

    p.set_allocated(p.allocated().wrapping_add(1));

    p.pool().link_to(buf).ok_or(Abort)
}

/// Whether data can be sent at once: the client can take it, no rate limit
/// holds it back, and it is our request's turn.
pub(crate) fn downstream_ready(p: Pipe<'_>) -> bool {
    let downstream = p.downstream();

    downstream.data() == p.output_ctx()
        && downstream.write().ready()
        && !downstream.write().delayed()
}

/// The client is slow or the response is to be kept: moves data of `in` to the
/// temporary file, if that may still grow, and takes the buffers it was in.
fn spill_for_raw_bufs<'p>(p: Pipe<'p>) -> Result<Option<Link<'p>>, Leave> {
    let Some(file) = file_for_spill(p) else {
        debug!(p.log(), c"no pipe bufs to read in");
        return Ok(None);
    };

    let had_loan = lend::lent(p).is_some();
    let spilled = spill(p);

    debug!(p.log(), c"pipe temp offset: %O", file.offset());

    match spilled? {
        // That was the loan, and the worker has it back.
        Spilled::Done if had_loan && p.free_raw_bufs().is_none() => spill_for_raw_bufs(p),
        Spilled::Done => Ok(take_free_raw_bufs(p)),
        Spilled::Busy => Ok(None),
        Spilled::Pending => Err(Leave::Pending),
    }
}

/// The temporary file, if it may take more.
fn file_for_spill<'p>(p: Pipe<'p>) -> Option<TempFile<'p>> {
    if p.cacheable() {
        return p.temp_file();
    }

    if fallback::is_memory_only(p) || stream::is_live(p) || delay::is_too_early(p) {
        return None;
    }

    segments::prepare(p);

    p.temp_file()
        .filter(|file| segments::used(p, *file) < p.max_temp_file_size())
}

/// Distributes `size` received bytes over the chain. Each buffer that they fill
/// goes through the input filter, the others stay free; the first of them may
/// be filled in part.
fn pass_full_buffers<'p>(p: Pipe<'p>, chain: Link<'p>, size: isize) -> Result<(), Leave> {
    p.set_read_length(p.read_length().wrapping_add(size as off_t));
    p.set_free_raw_bufs(None);

    let lent = lend::lent(p);
    let mut rest = size;
    let mut next = Some(chain);

    while let Some(link) = next.filter(|_| rest > 0) {
        let raw = link.buf();

        remove_shadow_links(raw);

        let room = raw.room();

        if rest < room {
            raw.set_last(raw.last().wrapping_offset(rest));

            if lent != Some(raw) {
                break;
            }

            // A loan does not wait to be filled.
            raw.set_end(raw.last());
        }

        raw.set_last(raw.end());
        pass_raw_buf(p, link)?;

        rest = rest.wrapping_sub(room);
        next = link.next();
        p.pool().free_link(link);
    }

    if let Some(link) = lend::without_loan(p, next) {
        // The input filter may have given buffers back meanwhile.
        if let Some(given_back) = p.free_raw_bufs() {
            link.tail().set_next(Some(given_back));
        }
        p.set_free_raw_bufs(Some(link));
    }

    Ok(())
}

/// Numbers the raw buffer and passes it to the input filter.
fn pass_raw_buf<'p>(p: Pipe<'p>, link: Link<'p>) -> Result<(), Leave> {
    let raw = link.buf();
    let num = p.num();
    let end = p.input_end();

    raw.set_num(num);
    p.set_num(num.wrapping_add(1));

    let result = p.input_filter(raw);

    // Before it fails, it may have found something.
    counts::queued(p, end);

    result.map_err(|_| Leave::GivenUp(Linger::Breach))
}

/// Nothing more comes of upstream, whose time is over: a partly filled buffer
/// need not wait for it. What the input filter does not understand of that does
/// not matter any more.
fn pass_last_buffer(p: Pipe<'_>, why: Linger) {
    let partial = p
        .free_raw_bufs()
        .filter(|link| why == Linger::Timeout && link.buf().len() > 0);

    if let Some(link) = partial {
        p.set_free_raw_bufs(link.next());
        p.set_read(true);

        let _ = pass_raw_buf(p, link);
    }
}

/// If a partly filled buffer holds all that is still awaited, it need not wait
/// to be full, nor has that of a stream to, nor one in which the response seems
/// to end. And with nothing awaited any more, upstream is done.
fn pass_partial_buffer(p: Pipe<'_>) -> Result<(), Leave> {
    if let Some(link) = p.free_raw_bufs() {
        let is_last = p.length() != -1 && link.buf().len() as off_t >= p.length();

        let goes_on =
            !is_last && (stream::goes_on(p, link.buf()) || stream::seems_ended(p, link.buf()));

        if goes_on {
            p.set_read(true);
        }

        if is_last || goes_on {
            p.set_free_raw_bufs(link.next());
            pass_raw_buf(p, link)?;
            p.pool().free_link(link);
        }
    }

    if p.length() == 0 {
        p.set_upstream_done(true);
        p.set_read(true);
    }

    Ok(())
}

/// Upstream has closed or failed: passes the partly filled buffer on and frees
/// the memory of those that were never used again.
fn pass_rest_of_finished(p: Pipe<'_>) -> Result<(), Leave> {
    if !p.upstream_eof() && !p.upstream_error() {
        return Ok(());
    }

    let Some(link) = p.free_raw_bufs() else {
        return Ok(());
    };

    pass_raw_buf(p, link)?;

    // The input filter may have put the buffer, or others, back.
    p.set_free_raw_bufs(p.free_raw_bufs().and_then(Link::next));

    // With the header still to be written, a buffer's memory may be its.
    if p.free_bufs() && p.buf_to_file().is_none() {
        for link in Links::from(p.free_raw_bufs()) {
            if link.buf().shadow().is_none() {
                p.pool().free_memory(link.buf().start());
            }
        }
    }

    Ok(())
}

/// What is to be kept goes to the file as it comes.
fn spill_cacheable(p: Pipe<'_>) -> Result<(), Leave> {
    if !p.cacheable() || (p.input().is_none() && p.buf_to_file().is_none()) {
        return Ok(());
    }

    debug!(p.log(), c"pipe write chain");

    spill_or_leave(p)
}

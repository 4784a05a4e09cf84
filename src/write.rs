//! From `out` and `in` to the client: `ngx_event_pipe_write_to_downstream`,
//! `ngx_event_pipe_drain_chains`.

#![forbid(unsafe_code)]

use core::ffi::c_void;

use crate::extensions::{self, busy, counts, linger, memory, segments, stream, wide};
use crate::nginx::{Abort, Buf, FilterError, Level, Link, Pipe, debug, error, off_t};
use crate::raw::{keep_from_recycling, release};
#[cfg(ngx_threads)]
use crate::spill::spill;

/// How many times in a row the pipe flushes the output in vain before the turn ends:
/// with asynchronous I/O, the output may hold on to what it was given.
const FLUSHES_IN_VAIN: u32 = 11;

/// How sending to the client has ended, if not with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Everything that could be sent now was given to the output.
    Done,
    /// The output holds on to what it was given, in spite of being flushed.
    Held,
}

/// Gives to the output filter what may be sent, and takes sent buffers back.
pub(crate) fn write_to_downstream(p: Pipe<'_>) -> Result<Sent, Abort> {
    debug!(
        p.log(),
        c"pipe write downstream: %d",
        p.downstream().write().ready()
    );

    #[cfg(ngx_threads)]
    if p.writing().is_some() {
        spill(p)?;
    }

    let mut flushes: u32 = 0;
    let mut has_given = false;

    loop {
        if p.downstream_error() {
            drain_chains(p)?;
            return Ok(Sent::Done);
        }

        if p.upstream_finished() {
            send_all(p)?;
            return Ok(Sent::Done);
        }

        if !p.client_ready() {
            return Ok(Sent::Done);
        }

        let batch = next_batch(p);

        debug!(
            p.log(),
            c"pipe write: out:%p, f:%ui",
            batch.address(),
            usize::from(batch.flush)
        );

        if batch.first.is_none() {
            if !batch.flush && (flushes > 0 || !follows_up(p, has_given)) {
                return Ok(Sent::Done);
            }

            if flushes == FLUSHES_IN_VAIN {
                return Ok(Sent::Held);
            }
            flushes = flushes.wrapping_add(1);
        }

        let is_due = batch.is_due(p);

        has_given |= batch.first.is_some();

        let result = match is_due {
            true => {
                stream::before_output(p, batch.last);
                give_to_output(p, batch.first, batch.bytes)
            }
            false => Ok(()),
        };

        let sent = busy::sort(p, batch.first, batch.last);

        if result.is_err() {
            return fail(p).map(|()| Sent::Done);
        }

        recycle(p, sent)?;
        extensions::after_output(p, batch.bytes, batch.exceeds_busy_size);
    }
}

/// Whether the output is called without new data, because it holds something back that
/// the client takes now. (nginx: no.) What the output has just been given may stay there:
/// TLS makes a whole record of that and of what comes next.
fn follows_up(p: Pipe<'_>, has_given: bool) -> bool {
    let is_held = p.busy().is_some() || p.downstream().buffered();

    is_held
        && (stream::follows_up(p)
            || linger::reason(p).is_some()
            || (!has_given && memory::follows_up(p)))
}

/// Calls the output filter with a chain that has `bytes` of the body, or without a
/// chain: then the output only sends what it holds.
fn give_to_output<'p>(
    p: Pipe<'p>,
    chain: Option<Link<'p>>,
    bytes: off_t,
) -> Result<(), FilterError> {
    counts::before_output(p, bytes);

    p.output_filter(chain)
}

/// Has the output send all that it holds.
pub(crate) fn flush_output(p: Pipe<'_>) -> Result<(), Abort> {
    let link = p
        .pool()
        .flush_buf()
        .and_then(|buf| p.pool().link_to(buf))
        .ok_or(Abort)?;

    stream::note_flush(p);

    let result = give_to_output(p, Some(link), 0);

    p.pool().free_link(link);

    if result.is_err() {
        return fail(p);
    }

    push_output(p)
}

/// Calls the output without a chain if the output holds something and the client takes
/// data. A filter may not pass a flush on, as the filter of SSI does not; a call without
/// a chain reaches the last filter, and then TLS sends what it has buffered.
fn push_output(p: Pipe<'_>) -> Result<(), Abort> {
    if !p.client_ready() || !p.output_holds() {
        return Ok(());
    }

    give_to_output(p, None, 0).or_else(|_| fail(p))
}

/// Drains the pipe after the output filter has failed: there is nobody to send to any
/// more. Buffers that the output was given, in the failed call or before, stay with the
/// output.
fn fail(p: Pipe<'_>) -> Result<(), Abort> {
    p.set_downstream_error(true);
    drain_chains(p)
}

/// Gives to the output all there is, whatever the busy size: upstream is finished, so
/// no buffer is needed to receive into.
fn send_all(p: Pipe<'_>) -> Result<(), Abort> {
    let unsent = extensions::start_final_flush(p);

    keep_from_recycling(p.busy());

    if let Some(chain) = p.out() {
        debug!(p.log(), c"pipe write downstream flush out");

        let sent = send_chain(p, chain);

        p.set_out(None);

        if sent.is_err() {
            return fail(p);
        }
    }

    if p.writing().is_some() {
        // A thread is writing data that comes before `in`.
        return Ok(());
    }

    if let Some(chain) = p.input() {
        debug!(p.log(), c"pipe write downstream flush in");

        let sent = send_chain(p, chain);

        p.set_input(None);

        if sent.is_err() {
            return fail(p);
        }
    }

    debug!(p.log(), c"pipe write downstream done");

    p.set_downstream_done(true);

    // Differs from nginx, which only flushes the output at the end of a cut response.
    let pushed = match linger::is_incomplete(p) {
        true => push_output(p),
        false => Ok(()),
    };

    extensions::end_final_flush(p, unsent);

    pushed
}

fn send_chain<'p>(p: Pipe<'p>, chain: Link<'p>) -> Result<(), FilterError> {
    if !linger::is_cut(p) {
        keep_from_recycling(Some(chain));
    }

    give_to_output(p, Some(chain), counts::unsent(Some(chain)))
}

/// What the output filter is given at once.
struct Batch<'p> {
    first: Option<Link<'p>>,
    last: Option<Link<'p>>,
    /// Bytes of the body in this batch, in memory and in files.
    bytes: off_t,
    /// The busy size is reached, and the output must send even if the batch is empty.
    flush: bool,
    /// The batch begins with file buffers.
    has_file: bool,
    /// The batch is larger than the busy size: the client takes so much at once, or the
    /// batch is a part of a loan, which is sent as a whole.
    exceeds_busy_size: bool,
}

impl<'p> Batch<'p> {
    fn append(&mut self, link: Link<'p>) {
        link.set_next(None);
        self.bytes = self.bytes.wrapping_add(link.buf().unsent());

        match self.last {
            Some(last) => last.set_next(Some(link)),
            None => self.first = Some(link),
        }

        self.last = Some(link);
    }

    /// Whether to call the output filter: for a batch, for a flush, or for what the
    /// output holds.
    fn is_due(&self, p: Pipe<'_>) -> bool {
        self.first.is_some() || self.flush || p.output_holds()
    }

    /// The address of the first link, or null, for the debug log.
    fn address(&self) -> *mut c_void {
        self.first.map_or(core::ptr::null_mut(), Link::address)
    }
}

/// Takes what may be sent now: all of `out`, then the shadows of as many raw buffers of
/// `in` as fit into the busy size together with the raw buffers that the output still
/// holds.
fn next_batch<'p>(p: Pipe<'p>) -> Batch<'p> {
    let mut batch = Batch {
        first: None,
        last: None,
        bytes: 0,
        flush: false,
        has_file: false,
        exceeds_busy_size: false,
    };
    let mut limit = p.busy_size();
    let mut busy = busy::bytes(p);
    let mut between_groups = true;

    debug!(p.log(), c"pipe write busy: %uz", busy);

    // As in C, a negative busy size counts as a huge one in this comparison and as a
    // small one in those below.
    if busy >= p.busy_size() as usize {
        batch.flush = true;
        return batch;
    }

    loop {
        if let Some(link) = p.out() {
            if link.buf().recycled() {
                error!(
                    p.log(),
                    Level::Alert,
                    0,
                    c"recycled buffer in pipe out chain"
                );
            }

            p.set_out(link.next());
            batch.append(link);
            batch.has_file = true;
            continue;
        }

        let Some(link) = sendable_input(p) else {
            return batch;
        };
        let buf = link.buf();

        debug!(
            p.log(),
            c"pipe write buf ls:%d %p %z",
            buf.last_shadow(),
            buf.pos(),
            buf.len()
        );

        // A raw buffer counts once, and its shadows are sent together.
        if buf.recycled() && between_groups {
            let with_this = busy.wrapping_add_signed(buf.capacity());

            // A batch with file buffers never exceeds the busy size: file buffers take
            // some of the client's room.
            if with_this as isize > limit && !batch.exceeds_busy_size && !batch.has_file {
                limit = wide::busy_limit(p);
                batch.exceeds_busy_size = limit > p.busy_size();
            }

            if with_this as isize > limit {
                // A part of a loan is sent alone, whatever its size.
                if busy > 0 || !memory::is_part(p, buf) {
                    batch.flush = true;
                    return batch;
                }

                batch.exceeds_busy_size = true;
            }

            busy = with_this;
        }

        between_groups = buf.last_shadow();

        p.set_input(link.next());
        batch.append(link);
    }
}

/// The first link of `in`. `None` while the data of `in` has to go through the
/// temporary file.
fn sendable_input<'p>(p: Pipe<'p>) -> Option<Link<'p>> {
    if p.cacheable() || p.writing().is_some() {
        return None;
    }

    p.input()
}

/// Takes each sent buffer: the last shadow of a raw buffer frees the raw buffer to be
/// received into, and a file buffer is no longer awaited in its segment.
fn recycle<'p>(p: Pipe<'p>, sent: impl Iterator<Item = Buf<'p>>) -> Result<(), Abort> {
    for buf in sent {
        if buf.temp_file() {
            segments::done(p, buf);

            if p.cacheable() || !p.cyclic_temp_file() {
                continue;
            }

            restart_file(p, buf.file_last());
        }

        release(p, buf)?;
    }

    Ok(())
}

/// Has a cyclic file written again from its start if the sent data ends where the file
/// ends, so that nothing of the file is still to be sent.
fn restart_file(p: Pipe<'_>, sent_up_to: i64) {
    if let Some(file) = p.temp_file().filter(|file| file.offset() == sent_up_to) {
        file.set_offset(0);
    }
}

/// Drains the pipe: throws away what is in `out` and `in`, so that the raw buffers can
/// be received into. There is nobody to send to any more.
///
/// The buffers in `busy` stay there. The output may refer to them even after an error:
/// HTTP/2 goes on to send the frames that it has queued. Their memory goes with the
/// request's pool. (Differs from nginx before 1.30.6, which recycles those buffers,
/// too.)
fn drain_chains(p: Pipe<'_>) -> Result<(), Abort> {
    while let Some(chain) = take_unsent(p) {
        let mut next = Some(chain);

        while let Some(link) = next {
            release(p, link.buf())?;

            if link.buf().temp_file() {
                segments::done(p, link.buf());
            }

            next = link.next();
            link.set_next(p.free());
            p.set_free(Some(link));
        }
    }

    Ok(())
}

fn take_unsent<'p>(p: Pipe<'p>) -> Option<Link<'p>> {
    if let Some(chain) = p.out() {
        p.set_out(None);
        return Some(chain);
    }

    let chain = p.input()?;
    p.set_input(None);
    Some(chain)
}

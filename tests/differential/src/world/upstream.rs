//! Upstream's side: what `recv_chain` brings.

use super::{Fallible, World, links, world};
use crate::deviation::Deviation;
use crate::nginx as n;
use crate::trace::Event;

/// The byte that upstream sends at a place of its stream.
pub(super) fn stream_byte(at: u64) -> u8 {
    (at.wrapping_mul(131) ^ (at >> 3)) as u8
}

pub(super) unsafe extern "C" fn recv_chain(
    _: *mut n::ngx_connection_t,
    chain: *mut n::ngx_chain_t,
    limit: n::off_t,
) -> isize {
    let w = world();
    let bufs: Vec<_> = links(chain).collect();
    w.check_not_given_up();
    w.check_may_move();
    w.check_moves_little(limit);
    w.check_reading(&bufs, limit);
    let mut into = Vec::new();
    let mut room = 0;
    for &buf in &bufs {
        w.check_received_into(buf);
        // SAFETY: raw buffers of the pool.
        let free = unsafe { (*buf).end.offset_from((*buf).last) } as i64;
        into.push((w.names.of(buf), free));
        room += free as u64;
    }

    let result = w.receive(&bufs, room, limit);
    w.note_moved(result);
    w.seen
        .read(bufs.iter().any(|&buf| w.is_workers(buf)), result);

    w.trace.push(Event::Recv {
        into,
        limit,
        result,
    });
    result
}

/// What kqueue tells together with an event.
impl World {
    /// How much there is to read, and whether nothing comes after it.
    #[cfg(c_has_kqueue)]
    pub fn report_readable(&mut self) {
        if !self.config.kqueue {
            return;
        }
        let left = self.config.stream - self.received;
        // TLS has read already what it has yet to decrypt.
        let in_kernel = match self.config.tls {
            true => self.choices.below(left + 1),
            false => left,
        };
        let closed = self.choices.one_in(2);
        let reset = closed && self.config.faults != 0 && self.choices.one_in(self.config.faults);

        self.upstream_read.available = in_kernel as i32;
        self.upstream_read.set_pending_eof(closed.into());
        self.upstream_read.kq_errno = if reset { libc::ECONNRESET } else { 0 };
    }

    /// The event method tells nothing but that there is something.
    #[cfg(not(c_has_kqueue))]
    pub fn report_readable(&mut self) {}

    /// Some of it was read.
    fn note_received(&mut self, size: u64) {
        if self.config.kqueue {
            let left = i64::from(self.upstream_read.available) - size as i64;
            self.upstream_read.available = left.max(0) as i32;
        }
    }
}

impl World {
    fn receive(&mut self, bufs: &[*mut n::ngx_buf_t], room: u64, limit: i64) -> isize {
        let left = self.config.stream - self.received;

        if self.fails(Fallible::Recv) {
            if self.repairs(Deviation::UnsentRest) {
                self.pipe.set_read(1);
            }
            self.upstream_read.set_error(1);
            self.upstream_read.set_ready(0);
            return n::NGX_ERROR as isize;
        }
        if room == 0 {
            return self.end_of_stream();
        }
        if self.choices.one_in(4) {
            self.upstream_read.set_ready(0);
            return n::NGX_AGAIN as isize;
        }
        if left == 0 {
            if self.choices.one_in(4) {
                self.upstream_read.set_ready(0);
                return n::NGX_AGAIN as isize;
            }
            return self.end_of_stream();
        }

        let mut most = room.min(left);
        if limit > 0 {
            most = most.min(limit as u64);
        }
        let size = match self.choices.one_in(2) {
            true => self.choices.between(1, most),
            false => most,
        };
        self.fill(bufs, size);
        self.note_received(size);
        if self.choices.one_in(3) {
            self.upstream_read.set_ready(0);
        }
        size as isize
    }

    fn end_of_stream(&mut self) -> isize {
        self.upstream_read.set_eof(1);
        self.upstream_read.set_ready(0);
        0
    }

    /// Writes the next bytes of the stream behind each buffer's `last`.
    fn fill(&mut self, bufs: &[*mut n::ngx_buf_t], mut size: u64) {
        for &buf in bufs {
            // SAFETY: within the memory of a raw buffer.
            unsafe {
                let mut at = (*buf).last;
                while at < (*buf).end && size > 0 {
                    *at = stream_byte(self.received);
                    self.received += 1;
                    at = at.add(1);
                    size -= 1;
                }
            }
        }
    }
}

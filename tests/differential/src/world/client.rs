//! The output filter and the client behind it.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::ptr::null_mut;

use super::counts::unsent;
use super::{Fallible, World, data, links, world};
use crate::deviation::Deviation;
use crate::nginx as n;
use crate::trace::Event;

/// What the output has been given and what has come of it.
#[derive(Default)]
pub(super) struct Client {
    /// In the order in which it will go out.
    held: VecDeque<Held>,
    /// Bytes of the body that the client has.
    sent: usize,
}

/// A part of the body that the output holds.
enum Held {
    /// By reference; sending moves the buffer's position.
    Buf(*mut n::ngx_buf_t),
    /// By a copy; the buffer is done with.
    Copy(Vec<u8>),
}

impl Client {
    /// Whether all that it was given has been sent.
    pub(super) fn holds_nothing(&self) -> bool {
        self.held.is_empty()
    }

    /// The buffers to which the output refers.
    pub(super) fn bufs(&self) -> impl Iterator<Item = *mut n::ngx_buf_t> {
        self.held.iter().filter_map(|held| match held {
            Held::Buf(buf) => Some(*buf),
            Held::Copy(_) => None,
        })
    }

    pub(super) fn sent(&self) -> usize {
        self.sent
    }
}

pub(super) unsafe extern "C" fn output_filter(
    _: *mut c_void,
    chain: *mut n::ngx_chain_t,
) -> n::ngx_int_t {
    let w = world();
    let described = w.describe_chain(chain);
    w.seen.write(chain);
    w.note_handed_over(chain);

    let result = match w.fails(Fallible::OutputFilter) {
        true => w.fail_to_take(chain),
        false => w.take(chain),
    };
    w.downstream
        .set_buffered((!w.client.holds_nothing()).into());
    // nginx's pipe is made to ask for the rest after it has looked at the connections.
    if !chain.is_null() || !w.is_finished() {
        w.change_around();
    }

    w.trace.push(Event::OutputFilter {
        chain: described,
        result,
    });
    result
}

impl World {
    fn take(&mut self, chain: *mut n::ngx_chain_t) -> isize {
        let given = unsent(links(chain));
        for buf in links(chain) {
            let held = self.hold(buf);
            self.client.held.push_back(held);
        }
        let budget = match self.choices.below(4) {
            _ if self.config.holding_output => self.choices.below(2),
            0 => u64::MAX,
            1 => self.choices.below(200),
            2 => self.choices.below(10),
            _ => 0,
        };
        let promised = self.promised(given as u64);
        self.send(budget.max(promised));
        self.note_taken();

        if self.client.held.is_empty() {
            if self.choices.one_in(20) {
                self.downstream_write.set_delayed(1);
            }
            return n::NGX_OK as isize;
        }
        if !self.config.holding_output && !self.choices.one_in(5) {
            self.downstream_write.set_ready(0);
        }
        n::NGX_AGAIN as isize
    }

    /// The connection has failed, or a filter has. HTTP/2 goes on to send what
    /// was queued before, and of this chain perhaps a part.
    fn fail_to_take(&mut self, chain: *mut n::ngx_chain_t) -> isize {
        if self.config.http2 {
            let taken = self.choices.below(3) as usize;
            self.client
                .held
                .extend(links(chain).take(taken).map(Held::Buf));
        } else {
            self.client.held.clear();
        }

        self.mark_downstream();
        if self.is_finished() {
            // The pipe flushes: it hands over the very chain it recycles.
            self.keep_flushed(chain);
        }
        n::NGX_ERROR as isize
    }

    fn hold(&mut self, buf: *mut n::ngx_buf_t) -> Held {
        if !self.config.copying_output || !self.choices.one_in(2) {
            return Held::Buf(buf);
        }
        // SAFETY: a buffer that the pipe has just handed over.
        unsafe {
            if (*buf).in_file() != 0 {
                return Held::Buf(buf);
            }
            let copy = data(buf).to_vec();
            (*buf).pos = (*buf).last;
            Held::Copy(copy)
        }
    }

    /// What else the request and its filters may do to the pipe meanwhile.
    fn change_around(&mut self) {
        #[cfg(c_has_threads)]
        if self.config.threads {
            // One thread at a time works for a request.
            if self.pipe.writing.is_null() && self.choices.one_in(4) {
                self.read_file_by_thread();
                self.aio = self.choices.one_in(3);
            }
            self.pipe.set_aio(self.aio.into());
        }
        if self.config.faults == 0 {
            return;
        }
        if self.choices.one_in(60) {
            self.upstream.fd = -1;
            if cfg!(c_lets_upstream_go) && self.choices.one_in(2) {
                self.pipe.upstream = null_mut();
            }
        }
        if self.choices.one_in(60) {
            self.switch_request();
        }
    }

    /// Sends up to `budget` bytes of what the output holds.
    pub fn send(&mut self, mut budget: u64) {
        while let Some(held) = self.client.held.pop_front() {
            let rest = match held {
                // SAFETY: buffers that the pipe has handed out stay in the pool.
                Held::Buf(buf) => unsafe { self.send_buf(buf, &mut budget) },
                Held::Copy(copy) => self.send_copy(copy, &mut budget),
            };
            if let Some(rest) = rest {
                self.client.held.push_front(rest);
                return;
            }
        }
    }

    unsafe fn send_buf(&mut self, buf: *mut n::ngx_buf_t, budget: &mut u64) -> Option<Held> {
        // SAFETY: a buffer in the pool and, while it is held, its memory.
        unsafe {
            if (*buf).in_file() != 0 {
                while (*buf).file_pos < (*buf).file_last && *budget > 0 {
                    let byte = self.disk.byte((*(*buf).file).fd, (*buf).file_pos);
                    self.deliver(byte);
                    (*buf).file_pos += 1;
                    *budget -= 1;
                }
                return ((*buf).file_pos < (*buf).file_last).then_some(Held::Buf(buf));
            }
            while (*buf).pos < (*buf).last && *budget > 0 {
                let byte = *(*buf).pos;
                self.deliver(Some(byte));
                (*buf).pos = (*buf).pos.add(1);
                *budget -= 1;
            }
            ((*buf).pos < (*buf).last).then_some(Held::Buf(buf))
        }
    }

    fn send_copy(&mut self, mut copy: Vec<u8>, budget: &mut u64) -> Option<Held> {
        let size = copy
            .len()
            .min(usize::try_from(*budget).unwrap_or(usize::MAX));
        for byte in copy.drain(..size) {
            self.deliver(Some(byte));
        }
        *budget -= size as u64;
        (!copy.is_empty()).then_some(Held::Copy(copy))
    }

    fn deliver(&mut self, byte: Option<u8>) {
        if byte.is_none() || byte != self.body.get(self.client.sent).copied() {
            self.wrong("the client gets other bytes than upstream has sent");
        }
        self.client.sent += 1;
        self.downstream.sent = self.client.sent as i64;
    }
}

/// nginx's pipe and the buffers that it recycles after an error.
impl World {
    /// Since 1.30.6 the pipe looks at the connection, and then spills rather
    /// than drains.
    fn mark_downstream(&mut self) {
        if cfg!(c_keeps_busy) {
            let repaired = self.repairs(Deviation::TakenBack);
            self.downstream.set_error((!repaired).into());
        }
    }

    /// The chain of a flush that has failed stays the output's.
    fn keep_flushed(&mut self, chain: *mut n::ngx_chain_t) {
        if !self.repairs(Deviation::TakenBack) {
            return;
        }
        if self.pipe.out == chain {
            self.pipe.out = null_mut();
        } else {
            self.pipe.in_ = null_mut();
        }
        self.hide_busy();
    }

    /// Every call drains again.
    pub(super) fn keep_busy_after_error(&mut self) {
        let would_drain = self.pipe.downstream_error() != 0 && !self.pipe.busy.is_null();
        if would_drain && self.repairs(Deviation::TakenBack) {
            self.hide_busy();
        }
    }

    /// Takes `busy` out of the pipe's sight until its call is over.
    fn hide_busy(&mut self) {
        self.kept_busy = std::mem::replace(&mut self.pipe.busy, null_mut());
    }

    pub(super) fn give_busy_back(&mut self) {
        if !self.kept_busy.is_null() {
            self.pipe.busy = std::mem::replace(&mut self.kept_busy, null_mut());
        }
    }
}

/// After the output filter, nginx's own function sorts what was sent from what
/// is busy; then, if the filter has failed, the C pipe drains both.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_chain_update_chains(
    pool: *mut n::ngx_pool_t,
    free: *mut *mut n::ngx_chain_t,
    busy: *mut *mut n::ngx_chain_t,
    out: *mut *mut n::ngx_chain_t,
    tag: n::ngx_buf_tag_t,
) {
    world().note_sorted();
    // SAFETY: as the pipe has called.
    unsafe { n::real_ngx_chain_update_chains(pool, free, busy, out, tag) };

    let w = world();
    w.note_caught_up();
    let has_failed = matches!(
        w.trace.last(),
        Some(Event::OutputFilter { result, .. }) if *result == n::NGX_ERROR as isize
    );
    if has_failed && w.repairs(Deviation::TakenBack) {
        w.hide_busy();
    }
}

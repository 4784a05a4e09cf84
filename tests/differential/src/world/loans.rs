//! The memory that the worker lends: who has it, what for, and how much.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{World, data, links, world};
use crate::nginx as n;

/// The library has asked to be called when memory may have been idle.
static IS_WATCHED: AtomicBool = AtomicBool::new(false);

/// Idle memory is going back to the system.
static IS_GOING_BACK: AtomicBool = AtomicBool::new(false);

impl World {
    /// How large a loan is; 0 if there was none.
    pub(super) fn loan_size(&self) -> i64 {
        self.extra.loans.first().map_or(0, |loan| loan.len() as i64)
    }

    /// Whether the pipe has a loan.
    pub(super) fn has_loan(&self) -> bool {
        !self.extra.lent.is_empty()
    }

    /// Whether it has ever had a loan.
    pub fn has_borrowed(&self) -> bool {
        !self.extra.loans.is_empty()
    }

    /// Whether this is a raw buffer of the worker's, perhaps given back.
    pub(super) fn is_workers(&self, raw: *mut n::ngx_buf_t) -> bool {
        is_within(&self.extra.loans, raw)
    }

    /// Whether it is one that the pipe has at the moment.
    pub(super) fn is_lent(&self, raw: *mut n::ngx_buf_t) -> bool {
        is_within(&self.extra.lent, raw)
    }

    /// Before a loan is received into.
    pub(super) fn check_reading_into_loan(
        &mut self,
        bufs: &[*mut n::ngx_buf_t],
        limit: i64,
        waiting: Option<u64>,
    ) {
        // SAFETY: raw buffers of the pool.
        let room = |&buf: &*mut n::ngx_buf_t| unsafe { (*buf).end.offset_from((*buf).last) };
        let is_large =
            |buf: &*mut n::ngx_buf_t| self.is_lent(*buf) && room(buf) as usize > self.config.size;
        if !bufs.iter().any(is_large) {
            // A part takes the place of one of the pipe's own buffers.
            return;
        }
        let in_memory: u64 = links(self.pipe.in_)
            // SAFETY: shadows, whose data lies in memory.
            .map(|buf| unsafe { data(buf) }.len() as u64)
            .sum();
        let is_sent_at_once = self.client_is_ready() && self.pipe.cacheable() == 0;
        if is_sent_at_once && limit as u64 + in_memory > self.extra.promised {
            self.wrong("more is received into a loan than the client takes");
        }
        // SAFETY: as above.
        let is_empty = |&buf: &*mut n::ngx_buf_t| unsafe { data(buf) }.is_empty();
        if bufs.iter().any(|buf| !self.is_lent(*buf) && is_empty(buf)) {
            self.wrong("an empty buffer is received into beside a loan");
        }
        if waiting.is_none_or(|waiting| waiting <= 2 * self.config.size as u64) {
            self.wrong("a loan is taken for what two buffers can hold");
        }
    }

    /// Whether the worker may lend memory to the pipe.
    pub(super) fn may_lend(&self) -> bool {
        let has_memory = self.config.has_state && self.extra.settings.memory > 0;
        has_memory && !self.config.single_buf && !is_limited(self)
    }

    /// When a loan has been taken: the worker has as much memory, and the pipe may use it.
    fn check_loan(&mut self) {
        let memory = self.extra.settings.memory as i64;
        let size = self.loan_size();
        let is_cacheable = self.pipe.cacheable() != 0;
        let is_drained = !is_cacheable && self.pipe.downstream_error() != 0;
        let lent = self.extra.lent.len() as i64 * size;
        self.extra.most_lent = self.extra.most_lent.max(lent);
        let kept = memory - (memory / 8).max(4 * size);
        let keeps = !is_cacheable && !self.client_is_ready();
        let may_pass = self.extra.view().is_spilling && lent == size;

        if is_limited(self) {
            self.wrong("a loan is taken for a client with a rate limit");
        }
        if lent > memory {
            self.wrong("more is lent than the worker may lend");
        }
        if self.config.single_buf || is_drained {
            self.wrong("a loan is taken for what is not passed on");
        }
        if keeps && self.is_live() {
            self.wrong("a stream that is live is kept in memory");
        }
        if keeps && !may_pass && lent > kept {
            self.wrong("the reserve is lent to a client that is behind");
        }
        if keeps && !may_pass && 2 * (lent - size) > kept - size {
            self.wrong("a response has more than its share");
        }
        if !keeps && lent > size {
            self.wrong("more than one loan is taken for what is passed on at once");
        }
        if keeps && self.disk.used() + lent > self.config.max_temp_file_size {
            self.wrong("a response takes more memory and disk than it may take disk");
        }
    }

    /// The pipe has just the parts that somebody needs, and just the loans of these.
    pub(super) fn check_parts(&mut self) {
        let p = &self.pipe;
        let bufs = [p.in_, p.writing, p.busy].into_iter().flat_map(links);
        let bufs = bufs.chain(self.partial());
        let is_part = |buf: &*mut n::ngx_buf_t| self.is_workers(*buf);
        // SAFETY: buffers of the pool.
        let start = |buf: *mut n::ngx_buf_t| unsafe { (*buf).start };
        let parts: Vec<_> = bufs.filter(is_part).collect();
        let are_lent = parts.iter().all(|&buf| self.is_lent(buf));
        let starts: BTreeSet<_> = parts.into_iter().map(start).collect();
        let view = self.extra.view();
        let is_cared_for = p.downstream_error() == 0 && !self.lingers() && !self.is_finished();

        // What was given last is not sorted any more when it is sent.
        if !are_lent && !self.is_finished() {
            self.wrong("a loan is needed and given back");
        }
        if is_cared_for && view.parts != starts.len() {
            self.wrong("a part of a loan is kept that nobody needs, or not counted");
        }
        if view.loans_held > view.parts {
            self.wrong("a loan is kept that has no parts");
        }
    }

    pub(super) fn check_all_given_back(&mut self) {
        if self.has_loan() {
            self.wrong("the worker does not get back what it has lent");
        }
    }
}

/// Whether the buffer's memory lies in one of these.
fn is_within(loans: &[Range<usize>], buf: *mut n::ngx_buf_t) -> bool {
    // SAFETY: a buffer of the pool.
    let start = unsafe { (*buf).start } as usize;
    loans.iter().any(|loan| loan.contains(&start))
}

/// A loan is taken.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_event_pipe_glue_permit(start: *mut u8, size: usize) {
    // SAFETY: as the pipe has called.
    unsafe { n::real_ngx_event_pipe_glue_permit(start, size) }
    if IS_GOING_BACK.load(Ordering::Relaxed) {
        return;
    }
    let w = world();
    let memory = start as usize..start as usize + size;
    w.extra.loans.push(memory.clone());
    w.extra.lent.push(memory);
    w.check_loan();
}

/// A loan is given back.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_event_pipe_glue_forbid(start: *mut u8, size: usize) {
    let w = world();
    let at = start as usize;
    let memory = at..at + size;
    if !w.extra.lent.contains(&memory) {
        w.wrong("a loan is given back that the pipe does not have");
    }
    w.extra.lent.retain(|lent| *lent != memory);
    if !w.extra.is_ending && w.is_needed(&memory) {
        w.wrong("a loan is given back whose data is still to be sent");
    }
    // SAFETY: as the pipe has called.
    unsafe { n::real_ngx_event_pipe_glue_forbid(start, size) }
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_is_limited(_: *mut n::ngx_event_pipe_t) -> n::ngx_uint_t {
    is_limited(world()).into()
}

/// Whether the client is sent no more than a rate allows. What is chosen here must not be
/// a choice: stock makes none.
fn is_limited(w: &World) -> bool {
    w.config.steps % 8 == 6
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_idle(_: n::ngx_msec_t) {
    let was_watched = IS_WATCHED.swap(true, Ordering::Relaxed);
    assert!(!was_watched, "a timer is set that was set before");
}

/// So much time passes that memory which nobody has used goes back to the system.
pub(super) fn let_pass() {
    if IS_WATCHED.swap(false, Ordering::Relaxed) {
        IS_GOING_BACK.store(true, Ordering::Relaxed);
        // SAFETY: in the thread of all worlds, while no pipe runs.
        unsafe { n::ngx_event_pipe_rust_idle() }
        IS_GOING_BACK.store(false, Ordering::Relaxed);
    }
}

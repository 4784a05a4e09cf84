//! When a response goes to disk, into which files, and for how long upstream
//! waits for that.

use std::iter::once;

use super::counts::unsent;
use super::{World, data, links};
use crate::nginx as n;
use crate::trace::Event;

impl World {
    /// How large a file becomes, and what is kept free so that upstream gets on
    /// before all of the oldest one has been sent: not with a very small limit.
    fn segment_sizes(&self) -> (i64, i64) {
        let limit = self.config.max_temp_file_size;
        let size = (limit / 8).max(self.config.temp_file_write_size as i64);
        (size, if size <= limit / 2 { size } else { 0 })
    }

    /// However long a response is, there are no more of them than can be in use,
    /// and upstream waits for them no longer than it must.
    pub(super) fn check_segments(&mut self, largest: i64) {
        let limit = self.config.max_temp_file_size;
        if !self.extra.view().has_segments {
            // SAFETY: the world's file.
            let used = unsafe { (*self.pipe.temp_file).offset };
            return self.check_spills(limit - used);
        }
        let (size, reserve) = self.segment_sizes();
        let is_spilled = |buf: &*mut n::ngx_buf_t| unsafe { (**buf).temp_file() } != 0;
        let unsent = unsent(
            links(self.pipe.out)
                .chain(links(self.pipe.busy))
                .filter(is_spilled),
        );

        // In a build for debugging, none is used again.
        if cfg!(not(c_has_debug)) && self.extra.segments > limit / size + 3 {
            self.wrong("segments are not used again");
        }
        let follows = self.may_follow();
        // SAFETY: a file in the pool, or that of the world.
        let fd = unsafe { (*self.pipe.temp_file).file.fd };
        // What a thread writes was chosen before, perhaps when that was not so.
        let is_chosen = !self.config.threads && self.extra.segments > 1 && self.disk.size(fd) > 0;
        if follows && is_chosen && reserve > 0 && unsent + reserve > limit + largest {
            self.wrong("more waits on disk than lets upstream get on");
        }
        let warnings = self.trace.iter().filter(|event| is_warning(event)).count();
        if warnings > 1 {
            self.wrong("each file is told of");
        }
        // When all has been sent, another file can follow.
        let used = if unsent > 0 || !follows {
            self.disk.used()
        } else {
            0
        };
        let reserve = if follows { reserve } else { 0 };
        self.check_spills(limit - used.max(unsent + reserve));
    }

    /// Upstream does not wait for as long as the disk has room, except for its turn.
    fn check_spills(&mut self, room: i64) {
        let waits = self.extra.view().is_queued;
        let must_spill = !waits && self.must_spill() && (1..=room).contains(&self.first_group());
        if must_spill && !self.trace.iter().any(is_failure) {
            self.wrong("upstream waits though the disk has room");
        }
    }

    /// Whether there is no other way to receive what upstream has.
    fn must_spill(&self) -> bool {
        let me: *const Self = self;
        let p = &self.pipe;
        let write = &self.downstream_write;
        let can_send = self.downstream.data.cast_const() == me.cast()
            && write.ready() != 0
            && write.delayed() == 0;
        let has_buffers = !p.free_raw_bufs.is_null()
            || !p.preread_bufs.is_null()
            || (p.allocated as i64) < self.config.bufs;
        // What was sent of busy, the pipe learns when it writes.
        let has_sent = links(p.busy).any(|buf| unsent(once(buf)) == 0);
        let may_write = !self.config.threads
            && !self.extra.write_failed
            && !self.may_delay()
            && !self.is_live()
            && !self.lingers();

        self.can_read()
            && may_write
            && !has_buffers
            && !has_sent
            && !can_send
            && !p.in_.is_null()
            && p.cacheable() == 0
            && !self.is_finished()
            && self.first_group() <= self.write_size()
    }

    /// The most bytes that are written at once.
    fn write_size(&self) -> i64 {
        let size = self.config.temp_file_write_size as i64;
        match self.has_loan() {
            true => size.max(self.loan_size()),
            false => size,
        }
    }

    /// Bytes of the first raw buffer in `in`.
    fn first_group(&self) -> i64 {
        let mut bytes = 0;
        for buf in links(self.pipe.in_) {
            // SAFETY: a shadow of the pool, whose data lies in memory.
            unsafe {
                bytes += data(buf).len() as i64;
                if (*buf).last_shadow() != 0 {
                    break;
                }
            }
        }
        bytes
    }

    /// Before a segment is written to: it is not large enough yet, unless there
    /// was no memory for another one.
    pub(super) fn check_segment(&mut self, fd: i32) {
        let (size, _) = self.segment_sizes();
        let is_large = self.extra.segments > 0 && self.may_follow() && self.disk.size(fd) >= size;
        if is_large && !self.trace.iter().any(is_failure) {
            self.wrong("a segment grows beyond its size");
        }
    }

    /// Whether there was more than one file.
    pub fn has_segments(&self) -> bool {
        self.extra.segments > 1
    }
}

pub(super) fn is_failure(event: &Event) -> bool {
    matches!(event, Event::Alloc { failed: true, .. })
}

/// nginx warns of temporary files.
fn is_warning(event: &Event) -> bool {
    matches!(event, Event::Log { text, .. } if text.contains("buffered to a temporary file"))
}

//! What must hold whatever nginx's pipe does.

use std::ops::Range;

use super::feature::LAZY;
use super::{World, data, links};
use crate::nginx as n;
use crate::trace::Event;
use crate::world::upstream::stream_byte;

impl World {
    pub(super) fn wrong(&mut self, what: &'static str) {
        // No module of nginx turns this on, and its offset goes back while data
        // of the file is still to be sent.
        if !self.config.cyclic_temp_file {
            self.trace.push(Event::Wrong(what));
        }
    }

    /// After a call that went well.
    pub(super) fn check(&mut self) {
        self.check_last_in();
        self.check_raw_buffers();
        self.check_parts();
        self.check_limits();
        self.check_offset();
        self.check_end_of_stream();
        self.check_wakes_up();
        self.check_rate();
        self.check_idle_timers();
        self.check_timers();
    }

    /// After a call that went well, in which the pipe has moved what it could.
    pub(super) fn check_moved(&mut self, has_written: bool) {
        self.check_goes_on(has_written);
        self.check_sends_on(has_written);
        self.check_stream(has_written);
        self.check_flushed();
        self.check_seen_end();
        self.check_lingering(has_written);
    }

    /// Where the next buffer of `in` goes matters only while there is one.
    fn check_last_in(&mut self) {
        let mut last = self.pipe.in_;
        if last.is_null() {
            return;
        }
        // SAFETY: links of the pool.
        let end = unsafe {
            while !(*last).next.is_null() {
                last = (*last).next;
            }
            &raw mut (*last).next
        };
        if self.pipe.last_in != end {
            self.wrong("last_in is not the end of in");
        }
    }

    /// Every raw buffer is either free, once, or has shadows that somebody
    /// needs. Once upstream is finished, the pipe cares no more.
    fn check_raw_buffers(&mut self) {
        let partial = self.partial();
        let is_free_part = |raw: *mut n::ngx_buf_t| self.is_workers(raw) && Some(raw) != partial;
        if links(self.pipe.free_raw_bufs).any(is_free_part) {
            self.wrong("a part of a loan is free that has no data");
        }
        if self.is_finished() {
            return;
        }
        let p = &self.pipe;
        let shadows: Vec<_> = [p.in_, p.writing, p.busy]
            .into_iter()
            .flat_map(links)
            // The header has its place in memory that a raw buffer does not use.
            .filter(|&buf| !std::ptr::eq(buf, &self.header_to_file))
            // SAFETY: a buffer of the pool.
            .map(|buf| unsafe { (*buf).start })
            .collect();

        for i in 0..self.raw.len() {
            let raw = self.raw[i];
            // SAFETY: a buffer of the pool.
            let start = unsafe { (*raw).start };
            let free = links(self.pipe.free_raw_bufs)
                .filter(|&free| free == raw)
                .count();
            let needed = usize::from(shadows.contains(&start));
            if self.is_workers(raw) {
                // `check_parts` looks at these.
                continue;
            }
            match free + needed {
                // What the output was given before it failed may stay away, and
                // what a filter has begun before it failed.
                0 if self.pipe.downstream_error() != 0 || self.lingers() => {}
                0 => self.wrong("a raw buffer is lost"),
                1 => {}
                // Nothing is received into it any more.
                _ if self.lingers() => {}
                _ => self.wrong("a raw buffer is on the free list twice, or free and needed"),
            }
        }
    }

    /// What the directives promise.
    fn check_limits(&mut self) {
        let config = &self.config;
        let largest = config.size.max(config.header_buffer) as i64;
        let largest = largest.max(self.loan_size());

        if self.pipe.allocated as i64 > config.bufs {
            self.wrong("more buffers are allocated than allowed");
        }
        // The last group may exceed the limit, by less than a buffer.
        let limit = self.config.max_temp_file_size + largest;
        if !self.config.cacheable && self.disk.used() > limit {
            self.wrong("the temporary files are larger than allowed");
        }
        self.check_segments(largest);
        if self.config.busy_size > 0
            && !self.may_exceed_busy_size()
            && self.busy_bytes() > self.config.busy_size
        {
            self.wrong("more is busy than allowed");
        }
    }

    /// No timer runs against a side that is not waited for. (That of a delayed
    /// event belongs to the rate limit.) Where upstream was given up and all has
    /// been sent, nobody is waited for any more: nginx ends the response.
    fn check_idle_timers(&mut self) {
        if self.lingers() && self.is_finished() {
            return;
        }
        let me: *mut Self = self;
        let is_idle = |event: &n::ngx_event_t| {
            event.delayed() == 0 && event.timer_set() != 0 && event.ready() != 0
        };
        let has_upstream = self.has_upstream() && self.upstream.fd != -1;
        let has_client = self.downstream.fd != -1 && self.downstream.data == me.cast();
        if (has_upstream && is_idle(&self.upstream_read))
            || (has_client && is_idle(&self.downstream_write))
        {
            self.wrong("a timer runs against a side that is not waited for");
        }
    }

    /// The rate limit holds, and holds back no longer than it has to, whatever
    /// the wall clock shows. (Without a state, a pipe has no other clock.)
    fn check_rate(&mut self) {
        let limit = self.config.limit_rate;
        if limit == 0 || !self.config.has_state {
            return;
        }
        // SAFETY: a global that nothing else uses meanwhile.
        let now = unsafe { n::ngx_current_msec };
        let received = self.pipe.read_length as usize;
        let seconds = (now - self.extra.started()) / 1000;
        let allowed = limit.saturating_mul(seconds + 1);
        if received > allowed.max(self.config.preread) {
            self.wrong("more is received than the rate limit allows");
        }
        let event = &self.upstream_read;
        let all = received * 1000 / limit + 1;
        let waits = self.may_delay();
        if event.delayed() != 0 && !waits && event.timer.key > now + all + LAZY {
            self.wrong("upstream is held back for longer than all that it has sent takes");
        }
    }

    /// Memory of the raw buffers that the output holds.
    pub(super) fn busy_bytes(&self) -> isize {
        let mut counted = Vec::new();
        let mut bytes = 0;
        for buf in links(self.pipe.busy) {
            // SAFETY: a buffer of the pool.
            let b = unsafe { &*buf };
            if b.recycled() != 0 && !counted.contains(&b.start) {
                counted.push(b.start);
                bytes += b.end as isize - b.start as isize;
            }
        }
        bytes
    }

    /// The upstream module compares the offset with what it awaits.
    fn check_offset(&mut self) {
        // SAFETY: a file in the pool, or that of the world.
        let file = unsafe { &*self.pipe.temp_file };
        let written = self.disk.written(file.file.fd);

        // When the pipe is at its end, nobody asks for that of a file that is not
        // kept, and it may be closed.
        let is_closed = self.extra.view().is_finished && file.file.fd == -1;

        if self.pipe.writing.is_null() && file.offset != written && !is_closed {
            self.wrong("the file's offset is not what was written");
        }
    }

    /// Upstream closes its side when it has sent all, and not before.
    fn check_end_of_stream(&mut self) {
        if self.pipe.upstream_eof() != 0 && self.received != self.config.stream {
            self.wrong("the stream is taken for ended before it is");
        }
    }

    /// Before a buffer is received into: nobody needs the memory behind `last`.
    pub(super) fn check_received_into(&mut self, buf: *mut n::ngx_buf_t) {
        if !self.raw.contains(&buf) {
            self.raw.push(buf);
        }
        // SAFETY: a raw buffer of the pool.
        let room = unsafe { (*buf).last as usize..(*buf).end as usize };
        if self.is_needed(&room) {
            self.wrong("memory is received into that is still to be sent");
        }
    }

    /// Before memory is freed.
    pub(super) fn check_freed(&mut self, address: *mut u8) {
        let raw = self.raw.iter().copied().find(|&raw| {
            // SAFETY: a raw buffer of the pool.
            unsafe { (*raw).start == address }
        });
        let Some(raw) = raw else {
            self.wrong("memory is freed that is no raw buffer's");
            return;
        };
        // SAFETY: as above.
        let memory = unsafe { (*raw).start as usize..(*raw).end as usize };
        if self.is_needed(&memory) {
            self.wrong("memory is freed that is still to be sent");
        }
    }

    /// Whether unsent data lies in this memory: of the output's, of `in`, or of
    /// what a thread is writing.
    pub(super) fn is_needed(&self, memory: &Range<usize>) -> bool {
        self.client
            .bufs()
            .chain(links(self.pipe.in_))
            .chain(links(self.pipe.writing))
            .any(|buf| {
                // SAFETY: a buffer of the pool.
                let b = unsafe { &*buf };
                let data = b.pos as usize..b.last as usize;
                b.in_file() == 0
                    && !data.is_empty()
                    && data.start < memory.end
                    && memory.start < data.end
            })
    }

    /// The input filter gets the stream, each byte of it once and in order.
    pub(super) fn check_filtered(&mut self, raw: *mut n::ngx_buf_t) {
        if !self.raw.contains(&raw) {
            self.raw.push(raw);
        }
        // SAFETY: the data of a raw buffer.
        let data = unsafe { data(raw) };
        let from = self.filtered;
        self.filtered += data.len() as u64;
        if !(from..)
            .zip(data)
            .all(|(at, byte)| stream_byte(at) == *byte)
            || self.filtered > self.received
        {
            self.wrong("the input filter gets other bytes than upstream has sent");
        }
    }

    /// The request ends and nobody has reported a failure: the client has all
    /// of the body, and so has the file that is kept.
    pub fn check_end(&mut self) {
        let p = &self.pipe;
        let went_well = (p.upstream_done() != 0 || p.upstream_eof() != 0) && p.writing.is_null();

        let has_all = went_well && p.in_.is_null();

        if self.keeps_file() && has_all {
            self.check_kept();
        }
        if !went_well || self.pipe.downstream_error() != 0 {
            return;
        }
        if self.pipe.downstream_done() == 0 {
            self.wrong("a finished response is not handed over");
        }
        self.send(u64::MAX);
        if self.client.sent() != self.body.len() {
            self.wrong("the client lacks bytes of a finished response");
        }
    }

    /// Upstream was given up: what had gone through the input filter by then is
    /// the client's nevertheless.
    pub(super) fn check_lingered(&mut self) {
        let has_ended = self.lingers() && self.pipe.downstream_error() == 0;
        let rest = [
            self.pipe.in_,
            self.pipe.out,
            self.pipe.busy,
            self.pipe.writing,
        ];
        let has_rest = rest.iter().any(|chain| !chain.is_null());
        // A schedule may end before the response does, and so may the memory and, where
        // nothing goes on without it, the disk.
        let falls_back = self.extra.settings.spill_fallback != 0;
        let disk_fails = !falls_back && self.trace.iter().any(is_failed_write);
        if self.extra.lacks_memory
            || disk_fails
            || !has_ended
            || has_rest
            || self.is_finished_well()
        {
            return;
        }
        self.send(u64::MAX);
        if self.client.sent() != self.body.len() {
            self.wrong("the client lacks bytes that came before upstream was given up");
        }
    }

    fn is_finished_well(&self) -> bool {
        self.pipe.upstream_done() != 0 || self.pipe.upstream_eof() != 0
    }

    fn check_kept(&mut self) {
        let header = match self.config.header_to_file {
            true => self.config.header,
            false => 0,
        };
        let kept = self.disk.first().get(header..).unwrap_or_default();
        if kept != self.body {
            self.wrong("the file that is kept is not the body");
        }
    }

    pub(super) fn check_all_closed(&mut self) {
        if self.disk.is_open() {
            self.wrong("the temporary file stays open");
        }
    }
}

fn is_failed_write(event: &Event) -> bool {
    matches!(event, Event::WriteChain { result, .. } if *result == n::NGX_ERROR as isize)
}

//! What can be seen of a world, in numbers.

use std::ffi::CStr;

use super::{World, links};
use crate::nginx as n;
use crate::trace::{Buffer, EventState, File, State};

/// How many bits nginx's structures use.
const BUF_FLAGS: u8 = 11;
const PIPE_FLAGS: u8 = 12;

impl World {
    /// A buffer of the pool.
    pub(super) fn describe(&mut self, buf: *mut n::ngx_buf_t) -> Buffer {
        // SAFETY: buffers of the pool stay allocated.
        let b = unsafe { &*buf };
        // Not every buffer has all of them: a file buffer none.
        let from_start = |address: *mut u8| match address.is_null() {
            true => -1,
            false => (address as isize).wrapping_sub(b.start as isize) as i64,
        };
        Buffer {
            name: self.names.of(buf),
            start: self.names.of(b.start),
            shadow: self.names.of(b.shadow),
            pos: from_start(b.pos),
            last: from_start(b.last),
            end: from_start(b.end),
            file_pos: b.file_pos,
            file_last: b.file_last,
            num: b.num,
            has_tag: !b.tag.is_null(),
            has_file: !b.file.is_null(),
            flags: b._bitfield_1.get(0, BUF_FLAGS),
        }
    }

    pub(super) fn describe_chain(&mut self, chain: *mut n::ngx_chain_t) -> Vec<Buffer> {
        links(chain).map(|buf| self.describe(buf)).collect()
    }

    /// All that the pipe has left behind.
    pub(super) fn state(&mut self) -> State {
        let chains = [
            self.pipe.free_raw_bufs,
            self.pipe.in_,
            self.pipe.writing,
            self.pipe.out,
            self.pipe.free,
            self.pipe.busy,
        ];
        let [free_raw_bufs, in_, writing, out, free, busy] =
            chains.map(|chain| self.describe_chain(chain));
        // SAFETY: a live pool.
        let spare_links = links(unsafe { (*self.pool).chain }).count();
        let last_in = self.names.of(self.pipe.last_in);
        let task = self.task();
        let file = self.file_state();
        let p = &self.pipe;

        State {
            flags: p._bitfield_1.get(0, PIPE_FLAGS),
            allocated: p.allocated as i64,
            read_length: p.read_length,
            length: p.length,
            num: p.num,
            has_preread_bufs: !p.preread_bufs.is_null(),
            has_buf_to_file: !p.buf_to_file.is_null(),
            has_upstream: !p.upstream.is_null(),
            task,
            free_raw_bufs,
            in_,
            last_in,
            writing,
            out,
            free,
            busy,
            file,
            spare_links,
            read_event: event_state(&self.upstream_read),
            write_event: event_state(&self.downstream_write),
            action: self.action(),
        }
    }

    #[cfg(c_has_threads)]
    fn task(&mut self) -> u32 {
        self.names.of(self.pipe.thread_task)
    }

    #[cfg(not(c_has_threads))]
    fn task(&mut self) -> u32 {
        0
    }

    #[cfg(c_has_threads)]
    pub(super) fn file_state(&mut self) -> File {
        // SAFETY: a file in the pool, or that of the world.
        let file = unsafe { &*self.pipe.temp_file };
        File {
            offset: file.offset,
            thread_write: file.thread_write() != 0,
            task: self.names.of(file.file.thread_task),
            has_handler: file.file.thread_handler.is_some(),
            has_ctx: !file.file.thread_ctx.is_null(),
        }
    }

    #[cfg(not(c_has_threads))]
    pub(super) fn file_state(&mut self) -> File {
        File {
            // SAFETY: a file in the pool, or that of the world.
            offset: unsafe { (*self.pipe.temp_file).offset },
            thread_write: false,
            task: 0,
            has_handler: false,
            has_ctx: false,
        }
    }

    fn action(&self) -> String {
        if self.log.action.is_null() {
            return String::new();
        }
        // SAFETY: a constant string of the pipe.
        let action = unsafe { CStr::from_ptr(self.log.action) };
        action.to_string_lossy().into_owned()
    }
}

fn event_state(event: &n::ngx_event_t) -> EventState {
    EventState {
        active: event.active() != 0,
        ready: event.ready() != 0,
        eof: event.eof() != 0,
        error: event.error() != 0,
        delayed: event.delayed() != 0,
        timer: (event.timer_set() != 0).then_some(event.timer.key),
    }
}

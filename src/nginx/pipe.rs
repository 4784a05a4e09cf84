//! The pipe, `ngx_event_pipe_t`: the structure that nginx's upstream modules
//! own and that all the pipe's state lives in.

use core::ffi::c_int;

use super::bindings::{
    self, NGX_ERROR, ngx_buf_tag_t, ngx_event_pipe_s, ngx_int_t, ngx_msec_t, off_t, time_t,
};
use super::buf::{Buf, Link, Slot};
use super::connection::{Connection, Data};
use super::file::TempFile;
#[cfg(ngx_threads)]
use super::file::{ThreadContext, ThreadHandler, ThreadTask};
use super::handle::handle;
use super::log::Log;
use super::pool::Pool;

handle! {
    /// The pipe, `ngx_event_pipe_t`.
    Pipe => ngx_event_pipe_s;

    /// Where the response comes from. `None` once the request has let go of it.
    link upstream: Connection => upstream;
    /// Where the response goes to.
    always downstream: Connection => downstream;

    /// Raw buffers that can be received into. The first may hold data that was
    /// too little to be passed on.
    link free_raw_bufs: Link => free_raw_bufs, set_free_raw_bufs;
    /// Shadow buffers in memory, to be sent or spilled.
    link in_: Link => input, set_input;
    value last_in: LastIn => last_in_raw, set_last_in_raw;
    /// Shadow buffers that a thread is writing to the temporary file.
    link writing: Link => writing, set_writing;
    /// File buffers, to be sent before `in`.
    link out: Link => out, set_out;
    /// Shadow and file buffers for reuse.
    link free: Link => free, set_free;
    /// Buffers that were sent in part, or that the output still holds.
    link busy: Link => busy, set_busy;

    value input_filter: InputFilter => input_filter_function;
    value output_filter: OutputFilter => output_filter_function;
    /// The request that the output filter sends for.
    value output_ctx: Data => output_ctx;

    /// What hands a task to the thread pool.
    #[cfg(ngx_threads)]
    value thread_handler: ThreadHandler => thread_handler;
    /// The handler's context.
    #[cfg(ngx_threads)]
    value thread_ctx: ThreadContext => thread_ctx;
    /// The task of the last write by a thread, for reuse.
    #[cfg(ngx_threads)]
    value thread_task: ThreadTask => thread_task, set_thread_task;

    /// This pass has brought something to send.
    flag read: (read_raw, set_read_raw) => read, set_read;
    /// The whole response goes to the temporary file: for the cache or store.
    flag cacheable: (cacheable_raw, set_cacheable_raw) => cacheable, set_cacheable;
    /// Receive into one buffer at a time.
    flag single_buf: (single_buf_raw, set_single_buf_raw) => single_buf;
    /// Free the memory of unused buffers when upstream is finished.
    flag free_bufs: (free_bufs_raw, set_free_bufs_raw) => free_bufs;
    /// The whole response has been received.
    flag upstream_done: (upstream_done_raw, set_upstream_done_raw) => upstream_done, set_upstream_done;
    /// Upstream has failed.
    flag upstream_error: (upstream_error_raw, set_upstream_error_raw) => upstream_error, set_upstream_error;
    /// Upstream has closed its side.
    flag upstream_eof: (upstream_eof_raw, set_upstream_eof_raw) => upstream_eof, set_upstream_eof;
    /// Nothing can be received until something has been sent.
    flag upstream_blocked: (upstream_blocked_raw, set_upstream_blocked_raw) => upstream_blocked, set_upstream_blocked;
    /// All has been handed to the output filter.
    flag downstream_done: (downstream_done_raw, set_downstream_done_raw) => downstream_done, set_downstream_done;
    /// The output filter has failed, or the client has gone.
    flag downstream_error: (downstream_error_raw, set_downstream_error_raw) => downstream_error, set_downstream_error;
    /// Reuse the temporary file from its start once all of it has been sent.
    flag cyclic_temp_file: (cyclic_temp_file_raw, set_cyclic_temp_file_raw) => cyclic_temp_file;
    /// A thread or the kernel is busy with the file.
    #[cfg(ngx_threads)]
    flag aio: (aio_raw, set_aio_raw) => aio, set_aio;

    /// Raw buffers that were allocated so far.
    value allocated: ngx_int_t => allocated, set_allocated;
    /// Raw buffers that may be allocated, `proxy_buffers`.
    value bufs.num: ngx_int_t => bufs_num;
    /// Bytes of each, `proxy_buffers`.
    value bufs.size: usize => bufs_size;
    /// Marks the buffers that are ours.
    value tag: ngx_buf_tag_t => tag;
    /// Bytes of raw buffers that may wait in the output,
    /// `proxy_busy_buffers_size`.
    value busy_size: isize => busy_size;

    /// Bytes received so far, the header's not included.
    value read_length: off_t => read_length, set_read_length;
    /// Bytes still to come, at the least; -1 if that is not known.
    value length: off_t => length, set_length;

    /// Bytes that may be spilled, `proxy_max_temp_file_size`.
    value max_temp_file_size: off_t => max_temp_file_size;
    /// Bytes to spill at once, `proxy_temp_file_write_size`.
    value temp_file_write_size: isize => temp_file_write_size;

    /// `proxy_read_timeout`, in milliseconds.
    value read_timeout: ngx_msec_t => read_timeout;
    /// `send_timeout`, in milliseconds.
    value send_timeout: ngx_msec_t => send_timeout;
    /// `send_lowat`, in bytes.
    value send_lowat: isize => send_lowat;

    /// Where memory comes from.
    always pool: Pool => pool;
    /// Where messages go.
    always log: Log => log;

    /// What came with the header.
    link preread_bufs: Link => preread_bufs, set_preread_bufs;
    /// Its size in bytes.
    value preread_size: usize => preread_size;
    /// The header, to be written to the cache file before the body.
    link buf_to_file: Buf => buf_to_file, set_buf_to_file;

    /// `proxy_limit_rate`, in bytes per second; 0 is no limit.
    value limit_rate: usize => limit_rate;
    /// When the response started, in seconds since the epoch.
    value start_sec: time_t => start_sec;

    /// Where spilled data goes. Set by nginx before the first pass.
    link temp_file: TempFile => temp_file, set_temp_file;

    /// Raw buffers filled so far, for the debug log.
    value num: c_int => num, set_num;
}

type LastIn = *mut *mut bindings::ngx_chain_t;
type InputFilter = bindings::ngx_event_pipe_input_filter_pt;
type OutputFilter = bindings::ngx_event_pipe_output_filter_pt;

/// A filter returned `NGX_ERROR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilterError;

impl<'p> Pipe<'p> {
    /// Runs `body` on the pipe that nginx has called us with. No handle can
    /// leave `body`: its lifetime is known nowhere else.
    ///
    /// # Safety
    ///
    /// `pipe` points to a pipe that its owner has set up; its pool, log and
    /// connections stay allocated until the call returns; no Rust reference
    /// covers any of it.
    pub(crate) unsafe fn enter<R>(
        pipe: *mut ngx_event_pipe_s,
        body: impl for<'a> FnOnce(Pipe<'a>) -> R,
    ) -> R {
        // SAFETY: not null, and alive while `body` runs, says the caller.
        body(unsafe { Pipe::from_non_null(pipe) })
    }

    /// As [`Pipe::enter`], for the functions that take a raw buffer as well.
    ///
    /// # Safety
    ///
    /// As for [`Pipe::enter`]; `raw` points to a buffer of that pipe.
    pub(crate) unsafe fn enter_with<R>(
        pipe: *mut ngx_event_pipe_s,
        raw: *mut bindings::ngx_buf_t,
        body: impl for<'a> FnOnce(Pipe<'a>, Buf<'a>) -> R,
    ) -> R {
        // SAFETY: not null, and alive while `body` runs, says the caller.
        let pipe = unsafe { Pipe::from_non_null(pipe) };
        // SAFETY: likewise.
        let raw = unsafe { Buf::from_non_null(raw) };

        body(pipe, raw)
    }

    /// Whether nothing more is to be expected of upstream.
    pub(crate) fn upstream_finished(self) -> bool {
        self.upstream_eof() || self.upstream_error() || self.upstream_done()
    }

    /// Whether the pipe has buffers whose data has yet to be sent, or that the output
    /// still holds.
    pub(crate) fn has_unsent(self) -> bool {
        [self.input(), self.writing(), self.out(), self.busy()]
            .iter()
            .any(Option::is_some)
    }

    /// Whether data can be sent at once: the client's socket takes it, no rate
    /// limit delays it, and the connection serves this pipe's request.
    pub(crate) fn client_ready(self) -> bool {
        let client = self.downstream();
        let event = client.write();

        client.data() == self.output_ctx() && event.ready() && !event.delayed()
    }

    /// Where the next buffer of `in` is to be linked; meaningful only while
    /// there is one.
    pub(crate) fn last_in(self) -> Option<Slot<'p>> {
        // SAFETY: whoever appends to `in` leaves the address of a link's
        // `next` here, or of `in` itself.
        unsafe { Slot::from_raw(self.last_in_raw()) }
    }

    /// The end of `in`, if there is something in it.
    pub(crate) fn input_end(self) -> Option<Slot<'p>> {
        self.last_in().filter(|_| self.input().is_some())
    }

    /// Notes where the next buffer of `in` is to be linked.
    pub(crate) fn set_last_in(self, slot: Slot<'p>) {
        self.set_last_in_raw(slot.as_raw());
    }

    /// Empties `in`: the next buffer is to be its first.
    pub(crate) fn clear_input(self) {
        self.set_input(None);

        // SAFETY: the field of a live structure (`from_raw`).
        self.set_last_in_raw(unsafe { &raw mut (*self.as_raw()).in_ });
    }

    /// Passes a raw buffer to the protocol's input filter, which puts what it
    /// finds into `in`: `p->input_filter()`.
    ///
    /// The filter may write `in`, `last_in`, `free`, `free_raw_bufs`, `length`,
    /// the flags of upstream, and the buffer.
    pub(crate) fn input_filter(self, raw: Buf<'p>) -> Result<(), FilterError> {
        let Some(filter) = self.input_filter_function() else {
            return Err(FilterError);
        };

        // SAFETY: the module's own function, on its own pipe and a raw buffer
        // that is on no list.
        filtered(unsafe { filter(self.as_raw(), raw.as_raw()) })
    }

    /// Sends a chain, or without one what the output still holds:
    /// `p->output_filter()`.
    ///
    /// The filter may write `aio`, let go of `upstream`, change the downstream
    /// connection's state, and consume the buffers.
    pub(crate) fn output_filter(self, chain: Option<Link<'p>>) -> Result<(), FilterError> {
        let Some(filter) = self.output_filter_function() else {
            return Err(FilterError);
        };

        let chain = chain.map_or(core::ptr::null_mut(), Link::as_raw);

        // SAFETY: the module's own function with the context it asked for.
        filtered(unsafe { filter(self.output_ctx(), chain) })
    }

    /// Sorts what was handed to the output filter: what has been sent goes to
    /// `free`, the rest to `busy`. `ngx_chain_update_chains`.
    pub(crate) fn update_chains(self, sent: Option<Link<'p>>) {
        let mut sent = sent.map_or(core::ptr::null_mut(), Link::as_raw);

        // SAFETY: a field of a live structure (`from_raw`).
        let free = unsafe { &raw mut (*self.as_raw()).free };
        // SAFETY: as above.
        let busy = unsafe { &raw mut (*self.as_raw()).busy };

        // SAFETY: three chains of links of this pool.
        unsafe {
            bindings::ngx_chain_update_chains(
                self.pool().as_raw(),
                free,
                busy,
                &raw mut sent,
                self.tag(),
            );
        }
    }

    /// A link with a buffer whose fields may hold anything, from `free` or from
    /// the pool: `ngx_chain_get_free_buf`. `None` if there is no memory.
    pub(crate) fn get_free_buf(self) -> Option<Link<'p>> {
        // SAFETY: a field of a live structure (`from_raw`).
        let free = unsafe { &raw mut (*self.as_raw()).free };

        // SAFETY: a chain of links of this pool.
        let link = unsafe { bindings::ngx_chain_get_free_buf(self.pool().as_raw(), free) };

        // SAFETY: null, or a link of the pool that is on no chain now.
        unsafe { Link::from_raw(link) }
    }
}

/// Of a filter's return codes only `NGX_ERROR` means something to the pipe.
fn filtered(rc: ngx_int_t) -> Result<(), FilterError> {
    if rc == NGX_ERROR as ngx_int_t {
        Err(FilterError)
    } else {
        Ok(())
    }
}

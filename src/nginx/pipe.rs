//! The pipe, `ngx_event_pipe_t`: the structure that nginx's upstream modules own. It
//! has all that nginx's own pipe keeps for a response.

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

    /// The connection that the response comes from. `None` once the request has closed
    /// it or given it away.
    link upstream: Connection => upstream;
    /// The connection that the response goes to.
    always downstream: Connection => downstream;

    /// Raw buffers that can be received into. The first may be partly filled.
    link free_raw_bufs: Link => free_raw_bufs, set_free_raw_bufs;
    /// Shadow buffers that are to be sent or spilled.
    link in_: Link => input, set_input;
    value last_in: LastIn => last_in_raw, set_last_in_raw;
    /// Shadow buffers that a thread is writing to the temporary file.
    link writing: Link => writing, set_writing;
    /// File buffers that are to be sent, before those of `in`.
    link out: Link => out, set_out;
    /// Shadow and file buffers for reuse.
    link free: Link => free, set_free;
    /// Buffers that were sent in part, or that the output still holds.
    link busy: Link => busy, set_busy;

    value input_filter: InputFilter => input_filter_function;
    value output_filter: OutputFilter => output_filter_function;
    /// The request whose response the output filter sends.
    value output_ctx: Data => output_ctx;

    /// The function that hands a task to the thread pool.
    #[cfg(ngx_threads)]
    value thread_handler: ThreadHandler => thread_handler;
    /// The context of the thread handler.
    #[cfg(ngx_threads)]
    value thread_ctx: ThreadContext => thread_ctx;
    /// The task of the last write by a thread, which the next write uses again.
    #[cfg(ngx_threads)]
    value thread_task: ThreadTask => thread_task, set_thread_task;

    /// This pass has brought something to send, or noted that upstream is finished.
    flag read: (read_raw, set_read_raw) => read, set_read;
    /// The whole response goes to the temporary file, because it is cached or stored.
    flag cacheable: (cacheable_raw, set_cacheable_raw) => cacheable, set_cacheable;
    /// The pipe receives into one buffer at a time.
    flag single_buf: (single_buf_raw, set_single_buf_raw) => single_buf;
    /// The pipe frees the memory of unused raw buffers when upstream is finished.
    flag free_bufs: (free_bufs_raw, set_free_bufs_raw) => free_bufs;
    /// The whole response has been received.
    flag upstream_done: (upstream_done_raw, set_upstream_done_raw) => upstream_done, set_upstream_done;
    /// Upstream has failed.
    flag upstream_error: (upstream_error_raw, set_upstream_error_raw) => upstream_error, set_upstream_error;
    /// Upstream has closed its side.
    flag upstream_eof: (upstream_eof_raw, set_upstream_eof_raw) => upstream_eof, set_upstream_eof;
    /// Nothing can be received until something has been sent.
    flag upstream_blocked: (upstream_blocked_raw, set_upstream_blocked_raw) => upstream_blocked, set_upstream_blocked;
    /// The output filter has been given everything.
    flag downstream_done: (downstream_done_raw, set_downstream_done_raw) => downstream_done, set_downstream_done;
    /// The output filter has failed, or the client has gone.
    flag downstream_error: (downstream_error_raw, set_downstream_error_raw) => downstream_error, set_downstream_error;
    /// The pipe writes the temporary file again from its start once all of it has been
    /// sent.
    flag cyclic_temp_file: (cyclic_temp_file_raw, set_cyclic_temp_file_raw) => cyclic_temp_file;
    /// A thread or the kernel is reading or writing the file.
    #[cfg(ngx_threads)]
    flag aio: (aio_raw, set_aio_raw) => aio, set_aio;

    /// How many raw buffers were allocated so far.
    value allocated: ngx_int_t => allocated, set_allocated;
    /// How many raw buffers may be allocated, `proxy_buffers`.
    value bufs.num: ngx_int_t => bufs_num;
    /// How many bytes a raw buffer has, `proxy_buffers`.
    value bufs.size: usize => bufs_size;
    /// Marks the buffers that the pipe may use again.
    value tag: ngx_buf_tag_t => tag;
    /// How many bytes of raw buffers may be in `busy`, `proxy_busy_buffers_size`.
    value busy_size: isize => busy_size;

    /// How many bytes were received so far, those of the header not included.
    value read_length: off_t => read_length, set_read_length;
    /// How many bytes are still to come, at the least; -1 if that is not known.
    value length: off_t => length, set_length;

    /// How many bytes may be spilled, `proxy_max_temp_file_size`.
    value max_temp_file_size: off_t => max_temp_file_size;
    /// How many bytes to spill at once, `proxy_temp_file_write_size`.
    value temp_file_write_size: isize => temp_file_write_size;

    /// `proxy_read_timeout`, in milliseconds.
    value read_timeout: ngx_msec_t => read_timeout;
    /// `send_timeout`, in milliseconds.
    value send_timeout: ngx_msec_t => send_timeout;
    /// `send_lowat`, in bytes.
    value send_lowat: isize => send_lowat;

    /// The request's pool, which the pipe's memory comes from.
    always pool: Pool => pool;
    /// The log that the pipe's messages go to.
    always log: Log => log;

    /// The preread buffer: the first bytes of the body, received with the header.
    link preread_bufs: Link => preread_bufs, set_preread_bufs;
    /// The number of preread bytes.
    value preread_size: usize => preread_size;
    /// The header, to be written to the cache file before the body.
    link buf_to_file: Buf => buf_to_file, set_buf_to_file;

    /// `proxy_limit_rate`, in bytes per second; 0 is no limit.
    value limit_rate: usize => limit_rate;
    /// When the response started, in seconds since the epoch.
    value start_sec: time_t => start_sec;

    /// The temporary file that data is spilled to next. nginx sets this field before
    /// the first pass.
    link temp_file: TempFile => temp_file, set_temp_file;

    /// How many raw buffers have been filtered so far, for the debug log.
    value num: c_int => num, set_num;
}

type LastIn = *mut *mut bindings::ngx_chain_t;
type InputFilter = bindings::ngx_event_pipe_input_filter_pt;
type OutputFilter = bindings::ngx_event_pipe_output_filter_pt;

/// The input filter or the output filter has returned `NGX_ERROR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilterError;

impl<'p> Pipe<'p> {
    /// Runs `body` on the pipe that nginx has called the library with. No handle can
    /// leave `body`: the lifetime of handles is known nowhere else.
    ///
    /// # Safety
    ///
    /// `pipe` points to a pipe that its owner has set up; the pipe's pool, log and
    /// connections stay allocated until the call returns; no Rust reference covers any
    /// of them.
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
        // SAFETY: not null, and alive while `body` runs, says the caller.
        let raw = unsafe { Buf::from_non_null(raw) };

        body(pipe, raw)
    }

    /// Whether upstream is finished: it has closed, failed, or sent all.
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

    /// Whether data can be sent at once: the client's socket takes data, no rate limit
    /// delays it, and the connection serves this pipe's request.
    pub(crate) fn client_ready(self) -> bool {
        let client = self.downstream();
        let event = client.write();

        client.data() == self.output_ctx() && event.ready() && !event.delayed()
    }

    /// The place where the next link of `in` is to be put; meaningful only while `in`
    /// is not empty.
    pub(crate) fn last_in(self) -> Option<Slot<'p>> {
        // SAFETY: whoever appends to `in` leaves the address of a link's
        // `next` here, or of `in` itself.
        unsafe { Slot::from_raw(self.last_in_raw()) }
    }

    /// The place where the next link of `in` is to be put; `None` if `in` is empty.
    pub(crate) fn input_end(self) -> Option<Slot<'p>> {
        self.last_in().filter(|_| self.input().is_some())
    }

    /// Notes the place where the next link of `in` is to be put.
    pub(crate) fn set_last_in(self, slot: Slot<'p>) {
        self.set_last_in_raw(slot.as_raw());
    }

    /// Empties `in`: the next link will be the first.
    pub(crate) fn clear_input(self) {
        self.set_input(None);

        // SAFETY: the field of a live structure (`from_raw`).
        self.set_last_in_raw(unsafe { &raw mut (*self.as_raw()).in_ });
    }

    /// Calls the protocol's input filter with a raw buffer, of which the filter appends
    /// shadows to `in`: `p->input_filter()`.
    ///
    /// The input filter may write `in`, `last_in`, `free`, `free_raw_bufs`, `length`,
    /// the flags of upstream, and the buffer.
    pub(crate) fn input_filter(self, raw: Buf<'p>) -> Result<(), FilterError> {
        let Some(filter) = self.input_filter_function() else {
            return Err(FilterError);
        };

        // SAFETY: the module's own function, on its own pipe and a raw buffer
        // that is on no list.
        filtered(unsafe { filter(self.as_raw(), raw.as_raw()) })
    }

    /// Calls the output filter with a chain to send, or without one to send what the
    /// output holds: `p->output_filter()`.
    ///
    /// The output filter may write `aio`, set `upstream` to `NULL`, change the
    /// downstream connection's state, and consume the buffers.
    pub(crate) fn output_filter(self, chain: Option<Link<'p>>) -> Result<(), FilterError> {
        let Some(filter) = self.output_filter_function() else {
            return Err(FilterError);
        };

        let chain = chain.map_or(core::ptr::null_mut(), Link::as_raw);

        // SAFETY: the module's own function with the context it asked for.
        filtered(unsafe { filter(self.output_ctx(), chain) })
    }

    /// Sorts the links that the output filter was given (`sent`) and those of `busy`:
    /// links that have been sent go to `free`, the others to `busy`.
    /// `ngx_chain_update_chains`.
    pub(crate) fn update_chains(self, sent: Option<Link<'p>>) {
        let mut sent = sent.map_or(core::ptr::null_mut(), Link::as_raw);

        // SAFETY: a field of a live structure (`from_raw`).
        let free = unsafe { &raw mut (*self.as_raw()).free };
        // SAFETY: a field of a live structure (`from_raw`).
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

    /// Takes a link with a buffer from `free`, or allocates both:
    /// `ngx_chain_get_free_buf`. The buffer's fields may hold anything. `None` if there
    /// is no memory.
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

//! The temporary file, `ngx_temp_file_t`.

use super::bindings::{self, ngx_temp_file_t, off_t};
use super::buf::{FileAddress, Link};
use super::handle::handle;

handle! {
    /// The temporary file of a response, `ngx_temp_file_t`.
    TempFile => ngx_temp_file_t;

    /// Where the next bytes go: all that has been written so far.
    value offset: off_t => offset, set_offset;
    /// Write through the thread pool.
    #[cfg(any(ngx_threads, ngx_compat))]
    flag thread_write: (thread_write_raw, set_thread_write_raw) => thread_write, set_thread_write;
    /// The task of the write that is under way.
    #[cfg(ngx_threads)]
    value file.thread_task: ThreadTask => thread_task, set_thread_task;
    /// What hands a task to the thread pool.
    #[cfg(ngx_threads)]
    value file.thread_handler: ThreadHandler => thread_handler, set_thread_handler;
    /// The handler's context.
    #[cfg(ngx_threads)]
    value file.thread_ctx: ThreadContext => thread_ctx, set_thread_ctx;
}

/// A context that belongs to the thread handler.
#[cfg(ngx_threads)]
pub(crate) type ThreadContext = *mut core::ffi::c_void;

/// A task of the thread pool.
#[cfg(ngx_threads)]
pub(crate) type ThreadTask = *mut bindings::ngx_thread_task_t;

/// A function that hands a task to the thread pool.
#[cfg(ngx_threads)]
pub(crate) type ThreadHandler = Option<
    unsafe extern "C" fn(
        task: *mut bindings::ngx_thread_task_t,
        file: *mut bindings::ngx_file_t,
    ) -> bindings::ngx_int_t,
>;

impl TempFile<'_> {
    /// The file, to point file buffers to it.
    pub(crate) fn file(self) -> FileAddress {
        // SAFETY: the field of a live structure (`from_raw`).
        unsafe { &raw mut (*self.as_raw()).file }
    }

    /// Writes the chain's data at `offset`, and creates the file if there is
    /// none: `ngx_write_chain_to_temp_file`. Returns the number of bytes,
    /// `NGX_AGAIN` if a thread does it now, or `NGX_ERROR`.
    ///
    /// The offset is the caller's to move.
    pub(crate) fn write_chain(self, chain: Link<'_>) -> isize {
        // SAFETY: a live file and a chain of buffers in memory.
        unsafe { bindings::ngx_write_chain_to_temp_file(self.as_raw(), chain.as_raw()) }
    }

    /// The result of the write that a thread has finished, as `write_chain`
    /// gives it.
    #[cfg(ngx_threads)]
    pub(crate) fn finish_thread_write(self) -> isize {
        // SAFETY: a live file; without a chain the function only looks at the
        // finished task.
        unsafe { bindings::ngx_write_chain_to_temp_file(self.as_raw(), core::ptr::null_mut()) }
    }
}

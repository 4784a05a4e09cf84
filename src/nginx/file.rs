//! The temporary file, `ngx_temp_file_t`.

use super::Abort;
use super::bindings::{
    self, NGX_OK, ngx_fd_t, ngx_int_t, ngx_log_s, ngx_path_t, ngx_pool_s, ngx_temp_file_t,
    ngx_uint_t, off_t, u_char,
};
use super::buf::{FileAddress, Link};
use super::handle::handle;
use super::pool::Pool;

handle! {
    /// The temporary file of a response, `ngx_temp_file_t`.
    TempFile => ngx_temp_file_t;

    /// Where the next bytes are written: the number of bytes written so far.
    value offset: off_t => offset, set_offset;
    /// The descriptor; -1 while the file is not open.
    value file.fd: ngx_fd_t => fd, set_fd;
    value file.name.data: Name => name, set_name;
    value file.name.len: usize => name_len, set_name_len;
    value file.log: LogAddress => log, set_log;
    /// The folder in which temporary files are created.
    value path: Path => path, set_path;
    value pool: PoolAddress => pool, set_pool;
    /// The access rights that the file is created with; 0 stands for nginx's default.
    value access: ngx_uint_t => access, set_access;
    /// Whether a thread of the thread pool writes the file.
    #[cfg(any(ngx_threads, ngx_compat))]
    flag thread_write: (thread_write_raw, set_thread_write_raw) => thread_write, set_thread_write;
    /// The task of the write that a thread is doing.
    #[cfg(ngx_threads)]
    value file.thread_task: ThreadTask => thread_task, set_thread_task;
    /// The function that hands a task to the thread pool.
    #[cfg(ngx_threads)]
    value file.thread_handler: ThreadHandler => thread_handler, set_thread_handler;
    /// The context of the thread handler.
    #[cfg(ngx_threads)]
    value file.thread_ctx: ThreadContext => thread_ctx, set_thread_ctx;
}

type Name = *mut u_char;
type LogAddress = *mut ngx_log_s;
type Path = *mut ngx_path_t;
type PoolAddress = *mut ngx_pool_s;

/// The context of a thread handler.
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

impl<'p> TempFile<'p> {
    /// A new file with the log, folder and access rights of this one, which is not
    /// open. `None` if there is no memory.
    pub(crate) fn similar(self, pool: Pool<'p>) -> Option<Self> {
        // SAFETY: a live pool.
        let file = unsafe { bindings::ngx_pcalloc(pool.as_raw(), size_of::<ngx_temp_file_t>()) };

        // SAFETY: null, or a structure in the pool, for which zero is valid.
        let file = unsafe { TempFile::from_raw(file.cast()) }?;

        file.set_fd(-1);
        file.set_log(self.log());
        file.set_path(self.path());
        file.set_pool(pool.as_raw());
        file.set_access(self.access());

        Some(file)
    }

    /// Creates and opens the file: `ngx_create_temp_file`, which logs why it fails. The
    /// file is closed when the pool is destroyed.
    pub(crate) fn open(self, pool: Pool<'p>) -> Result<(), Abort> {
        self.set_name(core::ptr::null_mut());
        self.set_name_len(0);

        // SAFETY: a live file with its folder, which is not open, and a live pool.
        let rc = unsafe {
            bindings::ngx_create_temp_file(
                self.file(),
                self.path(),
                pool.as_raw(),
                0,
                0,
                self.access(),
            )
        };

        if rc == NGX_OK as ngx_int_t {
            Ok(())
        } else {
            Err(Abort)
        }
    }

    /// Whether the file is open.
    pub(crate) fn is_open(self) -> bool {
        self.fd() != -1
    }

    /// Notes that the file has been closed.
    pub(crate) fn note_closed(self) {
        self.set_fd(-1);
    }
    /// The address of the file, for file buffers.
    pub(crate) fn file(self) -> FileAddress {
        // SAFETY: the field of a live structure (`from_raw`).
        unsafe { &raw mut (*self.as_raw()).file }
    }

    /// Writes the chain's data at `offset`, and creates the file if there is none:
    /// `ngx_write_chain_to_temp_file`. Returns the number of bytes, `NGX_AGAIN` if a
    /// thread writes them now, or `NGX_ERROR`.
    ///
    /// Leaves `offset` as it is: the caller moves it.
    pub(crate) fn write_chain(self, chain: Link<'_>) -> isize {
        // SAFETY: a live file and a chain of buffers in memory.
        unsafe { bindings::ngx_write_chain_to_temp_file(self.as_raw(), chain.as_raw()) }
    }

    /// The result of the write that a thread has finished, of the kind that
    /// `write_chain` returns.
    #[cfg(ngx_threads)]
    pub(crate) fn finish_thread_write(self) -> isize {
        // SAFETY: a live file; without a chain the function only looks at the
        // finished task.
        unsafe { bindings::ngx_write_chain_to_temp_file(self.as_raw(), core::ptr::null_mut()) }
    }
}

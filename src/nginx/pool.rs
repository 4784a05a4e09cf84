//! The request's pool, `ngx_pool_t`: the only source of memory that the pipe has. All
//! memory from the pool is freed when the request ends.

use super::bindings::{self, ngx_buf_t, ngx_fd_t, ngx_pool_s};
use super::buf::{Address, Buf, Link};
use super::handle::handle;
use super::log::Log;

handle! {
    /// A memory pool, `ngx_pool_t`.
    Pool => ngx_pool_s;
}

impl<'p> Pool<'p> {
    /// Allocates a buffer with memory of `size` bytes, `ngx_create_temp_buf`. `None` if
    /// there is no memory.
    pub(crate) fn create_temp_buf(self, size: usize) -> Option<Buf<'p>> {
        // SAFETY: a live pool.
        let buf = unsafe { bindings::ngx_create_temp_buf(self.as_raw(), size) };

        // SAFETY: null, or a buffer of the pool.
        unsafe { Buf::from_raw(buf) }
    }

    /// Allocates a buffer of which all fields are zero, `ngx_calloc_buf`. `None` if there
    /// is no memory.
    pub(crate) fn calloc_buf(self) -> Option<Buf<'p>> {
        // SAFETY: a live pool.
        let memory = unsafe { bindings::ngx_pcalloc(self.as_raw(), size_of::<ngx_buf_t>()) };

        // SAFETY: null, or a buffer of the pool.
        unsafe { Buf::from_raw(memory.cast()) }
    }

    /// Allocates a buffer without data that has the output send all that it holds. The
    /// output may keep the buffer as long as the request lives. `None` if there is no
    /// memory.
    pub(crate) fn flush_buf(self) -> Option<Buf<'p>> {
        // SAFETY: a live pool.
        let buf = unsafe { bindings::ngx_event_pipe_glue_flush_buf(self.as_raw()) };

        // SAFETY: null, or a buffer of the pool.
        unsafe { Buf::from_raw(buf) }
    }

    /// Allocates a link that holds `buf`, and has no next link. `None` if there is no
    /// memory.
    pub(crate) fn link_to(self, buf: Buf<'p>) -> Option<Link<'p>> {
        // SAFETY: a live pool.
        let link = unsafe { bindings::ngx_alloc_chain_link(self.as_raw()) };

        // SAFETY: null, or a link of the pool; its fields are set below,
        // before anybody reads them.
        let link = unsafe { Link::from_raw(link) }?;

        link.set_buf(buf);
        link.set_next(None);

        Some(link)
    }

    /// Gives a link back to the pool, `ngx_free_chain`. The link's `next` is lost.
    pub(crate) fn free_link(self, link: Link<'p>) {
        // SAFETY: a live pool and a link of it that no chain holds any more.
        unsafe { bindings::ngx_event_pipe_glue_free_chain(self.as_raw(), link.as_raw()) }
    }

    /// Gives memory back to the system, `ngx_pfree`. Only large blocks can be given
    /// back; for others nginx answers that it did nothing, which is not an error.
    pub(crate) fn free_memory(self, start: Address) {
        // SAFETY: a live pool; the pipe reads and writes no byte of the memory
        // afterwards.
        unsafe { bindings::ngx_pfree(self.as_raw(), start.cast()) };
    }

    /// Moves a value of a Rust type into the pool, where it stays until the pool is
    /// destroyed; its destructor never runs. `None` if there is no memory.
    pub(crate) fn place<T: 'p>(self, value: T) -> Option<&'p T> {
        // nginx's pools align memory to the size of a pointer.
        const { assert!(align_of::<T>() <= align_of::<usize>()) };

        // SAFETY: a live pool.
        let memory = unsafe { bindings::ngx_pcalloc(self.as_raw(), size_of::<T>()) }.cast::<T>();

        if memory.is_null() {
            return None;
        }

        // SAFETY: memory for a value of this size and alignment.
        unsafe { memory.write(value) }

        // SAFETY: a value was written there above; nobody else has the address.
        unsafe { memory.as_ref() }
    }

    /// Creates a pool that the caller has to destroy. `None` if there is no memory.
    pub(crate) fn create(size: usize, log: Log<'p>) -> Option<Self> {
        // SAFETY: a live log.
        let pool = unsafe { bindings::ngx_create_pool(size, log.as_raw()) };

        // SAFETY: null, or a pool that lives until it is destroyed.
        unsafe { Pool::from_raw(pool) }
    }

    /// Destroys a pool that [`Pool::create`] has made, and all that is in the pool. The
    /// caller keeps no handle of the pool.
    pub(crate) fn destroy(self) {
        // SAFETY: a live pool that nobody uses any more, says the caller.
        unsafe { bindings::ngx_destroy_pool(self.as_raw()) }
    }

    /// Closes, ahead of time, a file that would be closed when the pool is destroyed.
    pub(crate) fn close_file(self, fd: ngx_fd_t) {
        // SAFETY: a live pool; a file that is not the pool's stays open.
        unsafe { bindings::ngx_pool_run_cleanup_file(self.as_raw(), fd) }
    }
}

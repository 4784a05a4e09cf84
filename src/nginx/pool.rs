//! The request's pool, `ngx_pool_t`: the only source of memory that the pipe
//! has. What is allocated here goes when the request does.

use super::bindings::{self, ngx_pool_s};
use super::buf::{Address, Buf, Link};
use super::handle::handle;

handle! {
    /// A memory pool, `ngx_pool_t`.
    Pool => ngx_pool_s;
}

impl<'p> Pool<'p> {
    /// A buffer with memory of `size` bytes, `ngx_create_temp_buf`. `None` if
    /// there is no memory.
    pub(crate) fn create_temp_buf(self, size: usize) -> Option<Buf<'p>> {
        // SAFETY: a live pool.
        let buf = unsafe { bindings::ngx_create_temp_buf(self.as_raw(), size) };

        // SAFETY: null, or a buffer of the pool.
        unsafe { Buf::from_raw(buf) }
    }

    /// A new buffer without data that has the output send all that it keeps
    /// back. It is the output's for as long as that wants. `None` if there is no
    /// memory.
    pub(crate) fn flush_buf(self) -> Option<Buf<'p>> {
        // SAFETY: a live pool.
        let buf = unsafe { bindings::ngx_event_pipe_glue_flush_buf(self.as_raw()) };

        // SAFETY: null, or a buffer of the pool.
        unsafe { Buf::from_raw(buf) }
    }

    /// A chain of one link that holds `buf`. `None` if there is no memory.
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

    /// Gives a link back to the pool, `ngx_free_chain`. Its `next` is lost.
    pub(crate) fn free_link(self, link: Link<'p>) {
        // SAFETY: a live pool and a link of it that no chain holds any more.
        unsafe { bindings::ngx_event_pipe_glue_free_chain(self.as_raw(), link.as_raw()) }
    }

    /// Gives memory back, `ngx_pfree`. Only large blocks really go; for others
    /// nginx answers that it did nothing, which is not an error.
    pub(crate) fn free_memory(self, start: Address) {
        // SAFETY: a live pool; the pipe reads and writes no byte of the memory
        // afterwards.
        unsafe { bindings::ngx_pfree(self.as_raw(), start.cast()) };
    }
}

//! Buffers and the chains that link them: `ngx_buf_t`, `ngx_chain_t`.

use core::cell::Cell;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::NonNull;

use super::bindings::{ngx_buf_t, ngx_buf_tag_t, ngx_chain_t, ngx_file_t, off_t, u_char};
use super::handle::handle;

/// A byte's address in a buffer. The pipe compares and moves such addresses, and never
/// reads or writes the bytes.
pub(crate) type Address = *mut u_char;

handle! {
    /// A buffer, `ngx_buf_t`.
    ///
    /// A *raw* buffer owns memory that upstream's bytes are received into. A *shadow*
    /// buffer describes a part of a raw buffer's memory; an input filter makes one or
    /// more shadows of each raw buffer that it is given. A *file* buffer describes a
    /// part of a temporary file.
    Buf => ngx_buf_t;

    /// Where the unsent data starts.
    value pos: Address => pos, set_pos;
    /// Where the data ends.
    value last: Address => last, set_last;
    /// Where the memory starts.
    value start: Address => start, set_start;
    /// Where the memory ends.
    value end: Address => end, set_end;
    /// Where the data starts in the file.
    value file_pos: off_t => file_pos, set_file_pos;
    /// Where the data ends in the file.
    value file_last: off_t => file_last, set_file_last;
    /// The module that may use the buffer again, as a tag.
    value tag: ngx_buf_tag_t => tag, set_tag;
    /// The file of a file buffer.
    value file: FileAddress => file, set_file;
    /// Of a raw buffer, its first shadow; of a shadow, the next shadow or, of the last
    /// shadow, the raw buffer.
    link shadow: Buf => shadow, set_shadow;
    /// The number of a raw buffer, for the debug log.
    value num: i32 => num, set_num;
    /// Whoever holds the buffer may change its memory.
    flag temporary: (temporary_raw, set_temporary_raw) => temporary, set_temporary;
    /// The memory is to be received into again as soon as its data has been sent.
    flag recycled: (recycled_raw, set_recycled_raw) => recycled, set_recycled;
    /// The output must not keep this buffer, or anything before it, back.
    flag flush: (flush_raw, set_flush_raw) => flush, set_flush;
    /// The data is in a file.
    flag in_file: (in_file_raw, set_in_file_raw) => in_file, set_in_file;
    /// This is the last shadow of its raw buffer: once it is sent or spilled, the raw
    /// buffer is free.
    flag last_shadow: (last_shadow_raw, set_last_shadow_raw) => last_shadow, set_last_shadow;
    /// The data is in the temporary file.
    flag temp_file: (temp_file_raw, set_temp_file_raw) => temp_file, set_temp_file;
}

/// The address of a file buffer's file; the pipe only passes the address on.
pub(crate) type FileAddress = *mut ngx_file_t;

impl Buf<'_> {
    /// Bytes of data in memory, `last - pos`.
    pub(crate) fn len(self) -> isize {
        distance(self.pos(), self.last())
    }

    /// Whether there is data in memory.
    pub(crate) fn has_data(self) -> bool {
        self.pos() != self.last()
    }

    /// How many bytes are still to be sent, in memory or in the file.
    pub(crate) fn unsent(self) -> off_t {
        if self.in_file() {
            self.file_last().wrapping_sub(self.file_pos())
        } else {
            self.len() as off_t
        }
    }

    /// How many bytes can still be received into the buffer, `end - last`.
    pub(crate) fn room(self) -> isize {
        distance(self.last(), self.end())
    }

    /// Bytes of memory, `end - start`.
    pub(crate) fn capacity(self) -> isize {
        distance(self.start(), self.end())
    }

    /// Copies all fields of another buffer into this one, tag, shadow and flags
    /// included.
    pub(crate) fn copy_from(self, other: Self) {
        // SAFETY: two live structures of one type (`from_raw`); a buffer that
        // is given itself overlaps fully, which `copy` allows.
        unsafe { core::ptr::copy(other.as_raw(), self.as_raw(), 1) }
    }

    /// Sets all fields to zero, `ngx_memzero`.
    pub(crate) fn clear(self) {
        // SAFETY: a live structure (`from_raw`) for which zero is valid: it
        // holds pointers, numbers and bits.
        unsafe { self.as_raw().write_bytes(0, 1) }
    }
}

/// `to - from` as C computes this difference for two addresses in one buffer. File
/// buffers have null or unrelated addresses, so this function subtracts numbers, not
/// pointers.
fn distance(from: Address, to: Address) -> isize {
    (to.addr() as isize).wrapping_sub(from.addr() as isize)
}

handle! {
    /// A link of a chain, `ngx_chain_t`.
    Link => ngx_chain_t;

    /// The next link of the chain.
    link next: Link => next, set_next;
    /// The buffer of this link.
    always buf: Buf => buf, set_buf;
}

impl<'p> Link<'p> {
    /// The place that holds the next link, as `last_in` points to it.
    pub(crate) fn next_slot(self) -> Slot<'p> {
        // SAFETY: the field of a live structure (`from_raw`).
        let next = unsafe { &raw mut (*self.as_raw()).next };

        // SAFETY: the address of a field is not null.
        Slot(unsafe { NonNull::new_unchecked(next) }, PhantomData)
    }

    /// The address of the link, for the debug log.
    pub(crate) fn address(self) -> *mut c_void {
        self.as_raw().cast()
    }

    /// Walks from this link to the last of the chain.
    pub(crate) fn iter(self) -> Links<'p> {
        Links(Some(self))
    }

    /// The last link of the chain.
    pub(crate) fn tail(self) -> Self {
        self.iter().last().unwrap_or(self)
    }
}

/// A place that holds a link or nothing, `ngx_chain_t **`: the `next` of a link
/// or a field of the pipe.
#[derive(Clone, Copy)]
pub(crate) struct Slot<'p>(NonNull<*mut ngx_chain_t>, PhantomData<Cell<&'p ()>>);

impl<'p> Slot<'p> {
    /// Wraps the place; `None` for a null pointer.
    ///
    /// # Safety
    ///
    /// A pointer that is not null stays valid for `'p`.
    pub(super) unsafe fn from_raw(raw: *mut *mut ngx_chain_t) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self(raw, PhantomData))
    }

    /// The place, to hand it to nginx.
    pub(super) fn as_raw(self) -> *mut *mut ngx_chain_t {
        self.0.as_ptr()
    }

    /// The link in the place.
    pub(crate) fn get(self) -> Option<Link<'p>> {
        // SAFETY: the place is valid during 'p (`from_raw`).
        let link = unsafe { *self.as_raw() };

        // SAFETY: null, or a link that lives during 'p.
        unsafe { Link::from_raw(link) }
    }

    /// Puts a link into the place.
    pub(crate) fn set(self, link: Link<'p>) {
        // SAFETY: the place is valid during 'p (`from_raw`); no reference covers it.
        unsafe { *self.as_raw() = link.as_raw() }
    }
}

/// An iterator over a chain. It reads the next link when it is asked for that, so a
/// step may change all links but the one at hand.
#[derive(Clone, Copy)]
pub(crate) struct Links<'p>(Option<Link<'p>>);

impl<'p> Links<'p> {
    /// Walks from `head`; without a head there is nothing to walk.
    pub(crate) fn from(head: Option<Link<'p>>) -> Self {
        Self(head)
    }
}

impl<'p> Iterator for Links<'p> {
    type Item = Link<'p>;

    fn next(&mut self) -> Option<Link<'p>> {
        let link = self.0?;
        self.0 = link.next();
        Some(link)
    }
}

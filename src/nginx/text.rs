//! Strings, and memory for texts, that nginx passes to the library.

use core::ffi::{CStr, c_char};

use super::bindings::{ngx_str_t, u_char};

/// The bytes of a string, `ngx_str_t`; `None` for `NULL`.
///
/// # Safety
///
/// A string that is not null, and its bytes, stay as they are for `'a`.
pub(crate) unsafe fn string<'a>(string: *const ngx_str_t) -> Option<&'a [u8]> {
    // SAFETY: null, or a string, says the caller.
    let string = unsafe { string.as_ref() }?;

    if string.data.is_null() {
        return Some(&[]);
    }

    // SAFETY: as many bytes as the string says.
    Some(unsafe { core::slice::from_raw_parts(string.data, string.len) })
}

/// The bytes of a string that ends with a zero.
///
/// # Safety
///
/// The string is not null and stays as it is for `'a`.
pub(crate) unsafe fn c_string<'a>(string: *const c_char) -> &'a [u8] {
    // SAFETY: as this function requires.
    unsafe { CStr::from_ptr(string) }.to_bytes()
}

/// Memory of `size` bytes for a text. Sets all of them to zero.
///
/// # Safety
///
/// There are `size` bytes from `start` on, which nobody else uses for `'a`.
pub(crate) unsafe fn memory<'a>(start: *mut u_char, size: usize) -> &'a mut [u8] {
    // SAFETY: memory of this size, says the caller.
    unsafe { start.write_bytes(0, size) }

    // SAFETY: the memory was initialized above; nobody else uses it.
    unsafe { core::slice::from_raw_parts_mut(start, size) }
}

/// Memory for `count` values of `T`, each made by `value`, and the first byte behind them.
///
/// # Safety
///
/// There is room for them from `start` on, aligned for a `T`, which nobody else uses for
/// `'a`.
pub(crate) unsafe fn slots<'a, T>(
    start: *mut u8,
    count: usize,
    value: impl Fn() -> T,
) -> (&'a mut [T], *mut u8) {
    let slots = start.cast::<T>();

    for index in 0..count {
        // SAFETY: one of the `count` places, says the caller.
        unsafe { slots.wrapping_add(index).write(value()) }
    }

    // SAFETY: `count` of them were written above; nobody else uses the memory.
    let filled = unsafe { core::slice::from_raw_parts_mut(slots, count) };

    (filled, slots.wrapping_add(count).cast())
}

/// A string that never changes, for nginx to show.
pub(crate) fn constant(text: &'static str) -> ngx_str_t {
    ngx_str_t {
        len: text.len(),
        data: text.as_ptr().cast_mut(),
    }
}

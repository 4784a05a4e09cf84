//! The symbols that nginx and its modules link against. Each only translates:
//! pointers into handles, results into nginx's return codes.

use core::ffi::{CStr, c_char};

use crate::extensions::timeouts;
use crate::nginx::{
    Abort, NGX_ABORT, NGX_ERROR, NGX_OK, Pipe, ngx_buf_t, ngx_event_pipe_t, ngx_int_t,
};
use crate::{copy_filter, pipe, raw};

/// This library's version, with the zero at its end.
const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };

/// Moves what can be moved from upstream to the client: sends first if
/// `do_write` is not zero, then receives and sends in turn until neither goes
/// on, and finally registers the events and timers that continue the work.
///
/// Returns `NGX_OK`, or `NGX_ABORT` if the request has to be finalized. How far
/// the response has come is told by the flags `upstream_eof`,
/// `upstream_error`, `upstream_done` and `downstream_error`.
///
/// # Safety
///
/// `p` is a pipe that an upstream module has set up: `downstream`, `pool`,
/// `log`, `temp_file`, both filters and the buffer sizes are set, the rest is
/// zero or was left by an earlier call. Everything that it points to stays
/// allocated until this function returns. It calls the filters, `recv_chain`
/// and the thread handler, which may change the pipe; none of them may call
/// this function for the same pipe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe(
    p: *mut ngx_event_pipe_t,
    do_write: ngx_int_t,
) -> ngx_int_t {
    // SAFETY: as this function requires.
    let result = unsafe { Pipe::enter(p, |p| pipe::run(p, do_write != 0)) };

    match result {
        Ok(()) => NGX_OK as ngx_int_t,
        Err(Abort) => NGX_ABORT as ngx_int_t,
    }
}

/// The input filter for protocols whose body comes without framing: appends a
/// shadow of `buf` to the pipe's `in`, and drops what exceeds `length`.
///
/// Returns `NGX_OK`, or `NGX_ERROR` if there is no memory.
///
/// # Safety
///
/// As for [`ngx_event_pipe`]; `buf` is a raw buffer of this pipe, on none of
/// its lists.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_copy_input_filter(
    p: *mut ngx_event_pipe_t,
    buf: *mut ngx_buf_t,
) -> ngx_int_t {
    // SAFETY: as this function requires.
    let result = unsafe { Pipe::enter_with(p, buf, copy_filter::copy) };

    ok_or_error(result.is_some())
}

/// Makes a raw buffer empty and free to be received into.
///
/// Returns `NGX_OK`, or `NGX_ERROR` if there is no memory.
///
/// # Safety
///
/// As for [`ngx_event_pipe`]; `b` is a raw buffer of this pipe whose data
/// nobody needs any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_add_free_buf(
    p: *mut ngx_event_pipe_t,
    b: *mut ngx_buf_t,
) -> ngx_int_t {
    // SAFETY: as this function requires.
    let result = unsafe { Pipe::enter_with(p, b, raw::add_free_buf) };

    ok_or_error(result.is_some())
}

/// Looks after a pipe between two calls of [`ngx_event_pipe`], and after the last
/// one as long as its request lives: restarts the client's timer if the client has
/// taken something, gives upstream up if that has been silent for too long, and
/// gives back what has been sent. Called by the module's own timer.
///
/// # Safety
///
/// As for [`ngx_event_pipe`], which has been called before for `p`, and which is
/// not running for any pipe. Of the pipe's connections, that to upstream may be
/// closed or belong to another request already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_watch(p: *mut ngx_event_pipe_t) {
    // SAFETY: as this function requires.
    unsafe { Pipe::enter(p, timeouts::look) }
}

/// The version of this library, a string that is never freed. The pipe of
/// nginx has no such function: a module that calls it cannot be linked to the
/// C original by mistake.
#[unsafe(no_mangle)]
pub extern "C" fn ngx_event_pipe_rust_version() -> *const c_char {
    VERSION.as_ptr()
}

/// What this library was made of, as a part of a symbol's name, which any format
/// of objects shows as it is: `build.sh` looks for it in the archive.
#[unsafe(export_name = concat!("ngx_event_pipe_stamp_", env!("NGX_EVENT_PIPE_STAMP")))]
pub static STAMP: u8 = 0;

fn ok_or_error(ok: bool) -> ngx_int_t {
    if ok {
        NGX_OK as ngx_int_t
    } else {
        NGX_ERROR as ngx_int_t
    }
}

//! The symbols that nginx and its modules link against. Each only translates:
//! pointers into handles, results into nginx's return codes.

use core::ffi::{CStr, c_char, c_void};

use crate::extensions::status::{self, Format, Totals};
use crate::extensions::text::Text;
use crate::extensions::{self, counts, filters, stream, timeouts};
use crate::nginx::{
    self, Abort, NGX_ABORT, NGX_ERROR, NGX_OK, Pipe, STATE_SIZE, State, Worker, ngx_buf_t,
    ngx_event_pipe_settings_t, ngx_event_pipe_state_t, ngx_event_pipe_t, ngx_int_t, ngx_log_t,
    ngx_str_t, ngx_uint_t, u_char,
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

/// Bytes of memory for a state.
#[unsafe(no_mangle)]
pub extern "C" fn ngx_event_pipe_rust_state_size() -> usize {
    STATE_SIZE
}

/// Makes the state of a pipe. `content_type` is that of the response, or null if the
/// header has not been sent by now.
///
/// # Safety
///
/// As for [`ngx_event_pipe`]; `state` is memory of the size that
/// [`ngx_event_pipe_rust_state_size`] tells, aligned to 16 bytes, which lives as long as
/// the pipe, and so does `settings`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_open(
    state: *mut ngx_event_pipe_state_t,
    p: *mut ngx_event_pipe_t,
    settings: *mut ngx_event_pipe_settings_t,
    content_type: *const ngx_str_t,
) {
    // SAFETY: null, or a string of the request.
    let content_type = unsafe { nginx::string(content_type) };

    let open = |p: Pipe<'_>| {
        // SAFETY: as this function requires.
        unsafe { State::create(state, p, settings, |of| stream::kind(of, content_type)) }
    };

    // SAFETY: as this function requires.
    unsafe { Pipe::enter(p, open) }
}

/// Ends a state, with its request: gives back what the worker has lent, and closes the
/// temporary files that are not nginx's.
///
/// # Safety
///
/// A state that [`ngx_event_pipe_rust_open`] has made, whose pipe still exists.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_close(state: *mut ngx_event_pipe_state_t) {
    // SAFETY: as this function requires.
    unsafe { State::enter(state, extensions::close) }
}

/// Bytes of memory for totals. Where all of them are zero, nothing has been counted.
#[unsafe(no_mangle)]
pub extern "C" fn ngx_event_pipe_rust_totals_size() -> usize {
    size_of::<Totals>()
}

/// Adds a response that is over to the totals. With `waits`, the client has been awaited
/// until now.
///
/// # Safety
///
/// As for [`ngx_event_pipe_rust_close`]; `totals` is memory for totals, aligned to 8
/// bytes, which nobody else uses during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_count(
    state: *mut ngx_event_pipe_state_t,
    waits: ngx_uint_t,
    totals: *mut c_void,
) {
    // SAFETY: as this function requires.
    let totals = unsafe { &mut *totals.cast::<Totals>() };

    let count = |state: &State<'_>| {
        if waits != 0 {
            counts::pass_time(&state.counts);
        }

        totals.add(&counts::response(state));
    };

    // SAFETY: as this function requires.
    unsafe { State::enter(state, count) }
}

/// Bytes that the text of a variable takes, at the most.
pub const NGX_EVENT_PIPE_RUST_VARIABLE_LEN: usize = 32;

/// Writes the value of a variable, which is known by its number, and returns the end of
/// the text.
///
/// # Safety
///
/// As for [`ngx_event_pipe_rust_close`]; there are `NGX_EVENT_PIPE_RUST_VARIABLE_LEN`
/// bytes from `text` on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_variable(
    state: *mut ngx_event_pipe_state_t,
    number: ngx_uint_t,
    text: *mut u_char,
) -> *mut u_char {
    // SAFETY: as this function requires.
    let memory = unsafe { nginx::memory(text, NGX_EVENT_PIPE_RUST_VARIABLE_LEN) };
    let mut value = Text::new(memory);

    let write = |state: &State<'_>| {
        if status::is_time(number) {
            counts::pass_time(&state.counts);
        }

        status::variable(&counts::response(state), number, &mut value);
    };

    // SAFETY: as this function requires.
    unsafe { State::enter(state, write) }

    text.wrapping_add(value.len())
}

/// Bytes that the text of the status takes, at the most.
pub const NGX_EVENT_PIPE_RUST_STATUS_LEN: usize = 8192;

const _: () = assert!(NGX_EVENT_PIPE_RUST_VARIABLE_LEN >= status::VARIABLE_LEN);
const _: () = assert!(NGX_EVENT_PIPE_RUST_STATUS_LEN >= status::STATUS_LEN);

/// Writes the totals as text, as JSON or, with format 1, for Prometheus. Returns the end
/// of the text.
///
/// # Safety
///
/// `totals` are those of [`ngx_event_pipe_rust_count`], which nobody changes during the
/// call; there are `NGX_EVENT_PIPE_RUST_STATUS_LEN` bytes from `text` on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_status(
    totals: *const c_void,
    format: ngx_uint_t,
    text: *mut u_char,
) -> *mut u_char {
    // SAFETY: as this function requires.
    let totals = unsafe { &*totals.cast::<Totals>() };
    // SAFETY: as this function requires.
    let memory = unsafe { nginx::memory(text, NGX_EVENT_PIPE_RUST_STATUS_LEN) };
    let mut page = Text::new(memory);

    let format = match format {
        0 => Format::Json,
        _ => Format::Prometheus,
    };

    status::render(totals, format, &mut page);

    text.wrapping_add(page.len())
}

/// A worker process with so many connections starts.
///
/// # Safety
///
/// `log` is a log of nginx's. Called once in a process, before it has a pipe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_init_worker(
    connections: ngx_uint_t,
    log: *mut ngx_log_t,
) {
    let init = |worker: &'static Worker, log: nginx::Log<'_>| {
        extensions::init_worker(worker, connections as u64, log);
    };

    // SAFETY: as this function requires.
    unsafe { Worker::enter(log, init) }
}

/// Tells of a module that may have put a filter in its place.
///
/// # Safety
///
/// `module` is a string that ends with a zero. Called after
/// [`ngx_event_pipe_rust_init_worker`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_note_filter(module: *const c_char) {
    // SAFETY: as this function requires.
    filters::note(unsafe { nginx::c_string(module) });
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

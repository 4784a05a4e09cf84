//! The symbols that nginx and its modules link against. Each function only translates
//! pointers into handles and results into nginx's return codes.

use core::ffi::{CStr, c_char, c_void};

use crate::extensions::status::{self, Format, Totals};
use crate::extensions::text::Text;
use crate::extensions::{self, counts, descriptors, filters, memory, stream, timeouts, turns};
use crate::nginx::{
    self, Abort, Log, NGX_ABORT, NGX_ERROR, NGX_OK, Pipe, STATE_SIZE, State, ngx_buf_t,
    ngx_event_pipe_settings_t, ngx_event_pipe_state_t, ngx_event_pipe_t, ngx_int_t, ngx_log_t,
    ngx_str_t, ngx_uint_t, u_char,
};
use crate::{copy_filter, pipe, raw};

/// This library's version, a string that ends with a zero.
const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };

/// Moves data from upstream to the client, as far as that goes without waiting: sends
/// first if `do_write` is not zero, then receives and sends in turn until neither goes
/// on, and finally registers the events and timers that continue the work.
///
/// Returns `NGX_OK`, or `NGX_ABORT` if the request has to be finalized. The flags
/// `upstream_eof`, `upstream_error`, `upstream_done` and `downstream_error` of the pipe
/// tell how far the response has come.
///
/// # Safety
///
/// `p` is a pipe that an upstream module has set up: `downstream`, `pool`, `log`,
/// `temp_file`, both filters and the buffer sizes are set, the other fields are zero or
/// were left by an earlier call. Everything that `p` points to stays allocated until
/// this function returns. This function calls the filters, `recv_chain` and the thread
/// handler, which may change the pipe; none of them may call this function for the same
/// pipe.
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

/// The input filter for protocols whose body comes without framing: appends a shadow of
/// `buf` to the pipe's `in`, and drops the bytes that exceed `length`.
///
/// Returns `NGX_OK`, or `NGX_ERROR` if there is no memory.
///
/// # Safety
///
/// As for [`ngx_event_pipe`]; `buf` is a raw buffer of this pipe that is on none of the
/// pipe's chains.
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

/// Does what a pipe needs between two calls of [`ngx_event_pipe`], and after the last
/// call as long as the request lives: restarts the client's timer if the client has
/// taken something, gives upstream up if upstream has sent nothing for too long, and
/// gives loans and temporary files back once they have been sent. The module's own
/// timer calls this function.
///
/// # Safety
///
/// As for [`ngx_event_pipe`], which has been called before for `p`, and which is not
/// running for any pipe. The pipe's connection to upstream may be closed or belong to
/// another request already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_watch(p: *mut ngx_event_pipe_t) {
    // SAFETY: as this function requires.
    unsafe { Pipe::enter(p, timeouts::look) }
}

/// Ends a cycle of events for the pipes of this worker. The module calls this function
/// when the events of a cycle have been handled, if the library has asked for that
/// (`ngx_event_pipe_glue_end_cycle`). This function serves the pipes that wait for their
/// turn, as many as may move: for each of them, nginx's own handler is called, which
/// runs [`ngx_event_pipe`] and may end the request.
#[unsafe(no_mangle)]
pub extern "C" fn ngx_event_pipe_rust_end_cycle() {
    turns::end_cycle();
}

/// Gives memory that the worker has not lent for a while back to the system. The module
/// calls this function after a time, if the library has asked for that
/// (`ngx_event_pipe_glue_idle`).
#[unsafe(no_mangle)]
pub extern "C" fn ngx_event_pipe_rust_idle() {
    memory::give_back_idle();
}

/// How many bytes of memory a state needs.
#[unsafe(no_mangle)]
pub extern "C" fn ngx_event_pipe_rust_state_size() -> usize {
    STATE_SIZE
}

/// Makes the state of a pipe. `content_type` is the content type of the response, or
/// null if the response's header has not been sent by now.
///
/// # Safety
///
/// As for [`ngx_event_pipe`]; `state` is memory of [`ngx_event_pipe_rust_state_size`]
/// bytes, aligned to 16 bytes. `state` and `settings` live as long as the pipe.
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

/// Ends a state when its request ends: gives the loans back to the worker, and closes
/// the temporary files that are not nginx's.
///
/// # Safety
///
/// `state` is a state that [`ngx_event_pipe_rust_open`] has made, and its pipe still
/// exists.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_close(state: *mut ngx_event_pipe_state_t) {
    // SAFETY: as this function requires.
    unsafe { State::enter(state, extensions::close) }
}

/// How many bytes of memory the totals need. Totals whose bytes are all zero have
/// counted no response.
#[unsafe(no_mangle)]
pub extern "C" fn ngx_event_pipe_rust_totals_size() -> usize {
    size_of::<Totals>()
}

/// Adds the counts of a response that is over to the totals. If `waits` is not zero,
/// the time since the last turn counts too: as time that the client was waited for, or
/// that upstream was held back, if either was so when the turn ended.
///
/// # Safety
///
/// As for [`ngx_event_pipe_rust_close`]; `totals` is memory for totals, aligned to 8
/// bytes, and nobody else uses that memory during the call.
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

/// The most bytes that the text of a variable takes.
pub const NGX_EVENT_PIPE_RUST_VARIABLE_LEN: usize = 32;

/// Writes the value of the variable with this number, and returns the end of the text.
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

/// The most bytes that the text of the status takes.
pub const NGX_EVENT_PIPE_RUST_STATUS_LEN: usize = 8192;

const _: () = assert!(NGX_EVENT_PIPE_RUST_VARIABLE_LEN >= status::VARIABLE_LEN);
const _: () = assert!(NGX_EVENT_PIPE_RUST_STATUS_LEN >= status::STATUS_LEN);

/// Writes the totals: as JSON if `format` is 0, else for Prometheus. Returns the end of
/// the text.
///
/// # Safety
///
/// `totals` are those of [`ngx_event_pipe_rust_count`], and nobody changes them during
/// the call; there are `NGX_EVENT_PIPE_RUST_STATUS_LEN` bytes from `text` on.
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

/// Prepares the library when a worker process starts, whose limit of connections
/// (`worker_connections`) is `connections`.
///
/// # Safety
///
/// `log` is a log of nginx's. nginx calls this function once in a process, before the
/// process has a pipe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_init_worker(
    connections: ngx_uint_t,
    log: *mut ngx_log_t,
) {
    // SAFETY: as this function requires.
    unsafe { Log::enter(log, |log| descriptors::init_worker(connections as u64, log)) }
}

/// Notes the name of a module that may have installed a filter in nginx.
///
/// # Safety
///
/// `module` is a string that ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_note_filter(module: *const c_char) {
    // SAFETY: as this function requires.
    filters::note(unsafe { nginx::c_string(module) });
}

/// The version of this library, a string that is never freed. nginx's own pipe has no
/// such function, so a module that calls this function cannot be linked to nginx's pipe
/// by mistake.
#[unsafe(no_mangle)]
pub extern "C" fn ngx_event_pipe_rust_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The stamp: a checksum of what this library was made of, in the name of a symbol.
/// `build.sh` looks for the name in the archive; every format of objects has names as
/// text.
#[unsafe(export_name = concat!("ngx_event_pipe_stamp_", env!("NGX_EVENT_PIPE_STAMP")))]
pub static STAMP: u8 = 0;

fn ok_or_error(ok: bool) -> ngx_int_t {
    if ok {
        NGX_OK as ngx_int_t
    } else {
        NGX_ERROR as ngx_int_t
    }
}

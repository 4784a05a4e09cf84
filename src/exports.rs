//! The symbols that nginx and its modules link against. Each function only translates
//! pointers into handles and results into nginx's return codes.

use core::ffi::{CStr, c_char, c_void};

use crate::extensions::text::Text;
use crate::extensions::zones::{Key, Summary};
use crate::extensions::{
    self, counts, descriptors, filters, machine, memory, status, stream, timeouts, turns,
    variables, zones,
};
use crate::nginx::{
    self, Abort, Board, Log, NGX_ABORT, NGX_ERROR, NGX_OK, Pipe, STATE_SIZE, State, ngx_buf_t,
    ngx_event_pipe_page_t, ngx_event_pipe_settings_t, ngx_event_pipe_state_t, ngx_event_pipe_t,
    ngx_int_t, ngx_log_t, ngx_str_t, ngx_uint_t, u_char, worker,
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
    let look = |p: Pipe<'_>| {
        timeouts::look(p);

        if let Some(state) = p.state() {
            counts::note_use(state);
        }
    };

    // SAFETY: as this function requires.
    unsafe { Pipe::enter(p, look) }
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
/// null if the response's header has not been sent by now. The response is counted on
/// the board in the zone with this number; nowhere if `board` is null.
///
/// # Safety
///
/// As for [`ngx_event_pipe`]; `state` is memory of [`ngx_event_pipe_rust_state_size`]
/// bytes, aligned to 16 bytes. `state`, `settings` and `board` live as long as the pipe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_open(
    state: *mut ngx_event_pipe_state_t,
    p: *mut ngx_event_pipe_t,
    settings: *mut ngx_event_pipe_settings_t,
    content_type: *const ngx_str_t,
    board: *const c_void,
    zone: ngx_uint_t,
) {
    // SAFETY: null, or a string of the request.
    let content_type = unsafe { nginx::string(content_type) };
    // SAFETY: as this function requires.
    let board = unsafe { nginx::board(board) };
    let account = board.and_then(|board| zones::account(board, zone));

    let open = |p: Pipe<'_>| {
        let kind = |settings| {
            counts::open(account, settings);
            stream::kind(settings, content_type)
        };

        // SAFETY: as this function requires.
        unsafe { State::create(state, p, settings, kind, account) }
    };

    // SAFETY: as this function requires.
    unsafe { Pipe::enter(p, open) }
}

/// Ends a state when its request ends: counts the response, gives the loans back to the
/// worker, and closes the temporary files that are not nginx's. If `waits` is not zero,
/// the time since the last turn counts too: as time that the client was waited for, or
/// that upstream was held back, if either was so when the turn ended.
///
/// # Safety
///
/// `state` is a state that [`ngx_event_pipe_rust_open`] has made, and its pipe still
/// exists.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_close(
    state: *mut ngx_event_pipe_state_t,
    waits: ngx_uint_t,
) {
    let close = |state: &State<'_>| {
        counts::close(state, waits != 0);
        extensions::close(state);
    };

    // SAFETY: as this function requires.
    unsafe { State::enter(state, close) }
}

/// How many bytes of shared memory the board of an nginx needs that has `cpus`
/// processors to run workers on.
#[unsafe(no_mangle)]
pub extern "C" fn ngx_event_pipe_rust_board_size(cpus: ngx_uint_t) -> usize {
    nginx::board_size(zones::lanes(cpus))
}

/// Makes an empty board, on which the workers count.
///
/// # Safety
///
/// `board` is memory of [`ngx_event_pipe_rust_board_size`] bytes, all of them zero,
/// aligned to 64 bytes, and nobody uses it yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_create_board(board: *mut c_void, size: usize) {
    // SAFETY: as this function requires.
    unsafe { nginx::create_board(board, size) }
}

/// Whether a zone may have this name; not 0 if it may.
///
/// # Safety
///
/// `name` is a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_is_zone(name: *const ngx_str_t) -> ngx_uint_t {
    // SAFETY: as this function requires.
    let name = unsafe { nginx::string(name) };

    name.is_some_and(zones::is_name).into()
}

/// What stands for no number of a zone, or of a format: `NGX_CONF_UNSET_UINT`.
const NONE: usize = usize::MAX;

/// The zone of names that are too many.
pub const NGX_EVENT_PIPE_RUST_OVERFLOW: usize = 1;

const _: () = assert!(NGX_EVENT_PIPE_RUST_OVERFLOW == zones::OVERFLOW);

/// The number of the zone with this name, 0 if the name is empty;
/// `NGX_CONF_UNSET_UINT` if there is no such zone yet.
///
/// # Safety
///
/// `board` is a board, `name` is a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_find_zone(
    board: *const c_void,
    name: *const ngx_str_t,
) -> ngx_uint_t {
    // SAFETY: as this function requires.
    match unsafe { board_and_key(board, name) } {
        Some((board, key)) => zones::find(board, &key).unwrap_or(NONE),
        None => zones::NONE,
    }
}

/// The board, and the name as its zones have names. `None` without a board, or if the
/// name is empty.
///
/// # Safety
///
/// `board` is a board or null, `name` is a string; both stay as they are for `'b`.
unsafe fn board_and_key<'b>(
    board: *const c_void,
    name: *const ngx_str_t,
) -> Option<(Board<'b>, Key)> {
    // SAFETY: as this function requires.
    let board = unsafe { nginx::board(board) };
    // SAFETY: as this function requires.
    let key = unsafe { nginx::string(name) }.and_then(Key::new);

    board.zip(key)
}

/// As [`ngx_event_pipe_rust_find_zone`], but if there is no such zone, makes one, as long
/// as there are fewer than `most`; `NGX_EVENT_PIPE_RUST_OVERFLOW` if there are not. Sets
/// `is_first` to 1 if that has never been so before.
///
/// # Safety
///
/// As for [`ngx_event_pipe_rust_find_zone`]; the caller has the mutex of the memory that
/// the board is in. `is_first` is a number of the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_add_zone(
    board: *const c_void,
    name: *const ngx_str_t,
    most: ngx_uint_t,
    is_first: *mut ngx_uint_t,
) -> ngx_uint_t {
    // SAFETY: as this function requires.
    let Some((board, key)) = (unsafe { board_and_key(board, name) }) else {
        return zones::NONE;
    };

    let zone = zones::add(board, &key, most);

    if zone == zones::OVERFLOW && zones::is_first_overflow(board) {
        // SAFETY: as this function requires.
        unsafe { *is_first = 1 }
    }

    zone
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
        if variables::is_time(number) {
            counts::pass_time(&state.counts);
        }

        variables::variable(&counts::response(state), number, &mut value);
    };

    // SAFETY: as this function requires.
    unsafe { State::enter(state, write) }

    text.wrapping_add(value.len())
}

const _: () = assert!(NGX_EVENT_PIPE_RUST_VARIABLE_LEN >= variables::VARIABLE_LEN);

/// The number of the format of the status that has this name; `NGX_CONF_UNSET_UINT`
/// if none has.
///
/// # Safety
///
/// `name` is a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_find_format(name: *const ngx_str_t) -> ngx_uint_t {
    // SAFETY: as this function requires.
    let name = unsafe { nginx::string(name) };

    name.and_then(status::find).unwrap_or(NONE)
}

/// Chooses the form of the status, and how much memory it takes to write it: `format` is
/// the number of a format, and `accept` the request's header of that name, or null.
///
/// # Safety
///
/// `board` is a board, `accept` is null or a string, `page` is a structure of the
/// caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_choose(
    board: *const c_void,
    format: ngx_uint_t,
    accept: *const ngx_str_t,
    page: *mut ngx_event_pipe_page_t,
) {
    // SAFETY: as this function requires.
    let board = unsafe { nginx::board(board) };
    // SAFETY: as this function requires.
    let accept = unsafe { nginx::string(accept) };

    let format = status::negotiate(status::format(format), accept.unwrap_or_default());
    let zones = board.map_or(0, zones::zones);
    let media_type = format.media_type();
    let parameters = media_type.bytes().position(|byte| byte == b';');

    let chosen = ngx_event_pipe_page_t {
        format: format as ngx_uint_t,
        zones,
        memory: format.memory(zones),
        type_: nginx::constant(media_type),
        type_len: parameters.unwrap_or(media_type.len()),
        policy: nginx::constant(format.policy()),
        text: nginx::constant(format.constant().unwrap_or_default()),
    };

    // SAFETY: as this function requires.
    unsafe { page.write(chosen) }
}

/// Writes the status into memory, unless the text is the same at any time. Sets the text
/// of the page.
///
/// # Safety
///
/// As for [`ngx_event_pipe_rust_choose`], which has filled `page` in. From `memory` on,
/// there are as many bytes as `page` says, aligned to 16 bytes, which nobody else uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_status(
    board: *const c_void,
    memory: *mut u_char,
    page: *mut ngx_event_pipe_page_t,
) {
    // SAFETY: as this function requires.
    let page = unsafe { &mut *page };
    // SAFETY: as this function requires.
    let board = unsafe { nginx::board(board) };

    let Some(board) = board.filter(|_| page.text.len == 0) else {
        return;
    };

    // SAFETY: `Format::memory` has made room for as many summaries and more.
    let (summaries, start) = unsafe { nginx::slots(memory, page.zones, Summary::default) };
    let used = start.addr().saturating_sub(memory.addr());
    // SAFETY: the rest of the memory.
    let room = unsafe { nginx::memory(start, page.memory.saturating_sub(used)) };
    let mut text = Text::new(room);

    status::gather(board, summaries, nginx::is_alive);

    let loans = zones::loans(board, nginx::is_alive);
    let format = status::format(page.format);

    status::render(board, summaries, &loans, format, &mut text);

    page.text.data = start;
    page.text.len = text.len();
}

/// Prepares the library when a worker process starts, one of `workers`, whose limit of
/// connections (`worker_connections`) is `connections`.
///
/// # Safety
///
/// `log` is a log of nginx's. nginx calls this function once in a process, before the
/// process has a pipe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ngx_event_pipe_rust_init_worker(
    workers: ngx_uint_t,
    connections: ngx_uint_t,
    log: *mut ngx_log_t,
) {
    worker().process.set(nginx::process_id());

    let init = |log: Log<'_>| {
        descriptors::init_worker(connections as u64, log);
        machine::init_worker(workers, log);
    };

    // SAFETY: as this function requires.
    unsafe { Log::enter(log, init) }
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

//! nginx as the pipe sees it: handles for nginx's structures, and calls to nginx's
//! functions.
//!
//! This folder is the only place with unsafe code besides the exported functions. The
//! folder decides nothing; each function reads or writes one field, or makes one call.
//!
//! Three rules make the handles sound, and a reader can check each of them:
//!
//! 1. *Handles cannot outlive the call.* A call into the pipe makes a fresh
//!    lifetime ([`Pipe::enter`]), all handles carry it.
//! 2. *What they point to outlives the call.* Buffers and links are of the
//!    request's pool, connections and events of the worker's tables; nginx
//!    destroys neither while one of its functions is in the pipe. The memory
//!    behind a buffer can go earlier, and therefore its bytes are never touched.
//! 3. *There are no references to what is nginx's.* Fields are copied in and out
//!    through raw pointers, so whatever a callback changes is seen by the next read.
//!
//! The library's own structures need no handle: the state of a pipe ([`State`]) and its
//! segments lie in the request's pool, and what a worker keeps ([`worker()`]) is static.
//! Only Rust code reads and writes these structures. A callback may come back into the
//! library while a function of the library holds a reference to a state, so all
//! references are shared, and what changes is a `Cell`.

mod bindings;
mod board;
mod buf;
mod connection;
mod file;
mod handle;
#[cfg(test)]
mod layout;
mod loan;
mod log;
mod machine;
mod pipe;
mod pool;
mod queue;
mod request;
mod state;
mod text;
mod worker;

#[cfg(not(test))]
pub(crate) use bindings::{
    NGX_ABORT, NGX_OK, ngx_buf_t, ngx_event_pipe_page_t, ngx_event_pipe_settings_t,
    ngx_event_pipe_state_t, ngx_event_pipe_t, ngx_int_t, ngx_log_t, ngx_str_t, ngx_uint_t, u_char,
};
pub(crate) use bindings::{NGX_AGAIN, NGX_ERROR, ngx_msec_t, off_t};
#[cfg(test)]
pub(crate) use board::tests;
pub(crate) use board::{
    Account, Board, INDEX, Lane, NAME_LEN, NAMES, Name, Row, WORDS, ZONES, is_alive,
};
#[cfg(not(test))]
pub(crate) use board::{board, board_size, create_board, process_id};
pub(crate) use buf::{Address, Buf, Link, Links, Slot};
pub(crate) use connection::{Connection, Event, clock, nanoseconds, wall_clock_since};
pub(crate) use file::TempFile;
pub(crate) use loan::{LOAN, Loan};
pub(crate) use log::{Format, Level, Log, debug, error};
pub(crate) use machine::{machine_memory, process_memory, read_file};
pub(crate) use pipe::{FilterError, Pipe};
pub(crate) use pool::Pool;
#[cfg(not(test))]
pub(crate) use state::STATE_SIZE;
pub(crate) use state::{Counts, End, Linger, Segment, Settings, State, Stream};
#[cfg(not(test))]
pub(crate) use text::{c_string, constant, memory, slots, string};
pub(crate) use worker::{Cycle, UNLIMITED, Worker, file_limits, set_file_limit, worker};

/// The pipe cannot go on, and nginx has to finalize the request: `NGX_ABORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abort;

/// Ends the process, abort(3).
#[cfg(all(debug_assertions, not(any(test, feature = "std"))))]
pub(crate) fn abort() -> ! {
    unsafe extern "C" {
        // SAFETY: abort(3) has no precondition.
        safe fn abort() -> !;
    }

    abort()
}

/// Replaces the value of a cell by what `change` makes of it.
pub(crate) fn update<T: Copy>(cell: &core::cell::Cell<T>, change: impl FnOnce(T) -> T) {
    cell.set(change(cell.get()));
}

/// As many of `bytes` as `limit` lets through; 0 is no limit.
pub(crate) fn within(limit: off_t, bytes: off_t) -> off_t {
    match limit {
        0 => bytes,
        limit => bytes.min(limit),
    }
}

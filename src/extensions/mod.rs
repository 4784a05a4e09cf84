//! What this pipe does beyond nginx's, one file for each thing. The files of the
//! algorithm (`pipe`, `read`, `write`, `spill`, `raw`) ask and tell the extensions at
//! the seams of this table, and nowhere else. A pipe without a state, as with
//! `event_pipe_extensions off`, gets nginx's answer at each seam.
//!
//! | who | seam | nginx | here |
//! |---|---|---|---|
//! | pipe | `start_turn`, `end_turn` | nothing | counts, forgets the client's room, notes `r->aio` |
//! | pipe | `stream::owes_flush` | no | a stream's output keeps nothing back |
//! | pipe | `linger::owes_flush`, `linger::end` | the response ends at once | after upstream is given up, the client gets the rest first |
//! | pipe | `timeouts::state`, `timeouts::time_upstream`, `timeouts::time_client` | each turn restarts both timers | each side's progress restarts its own |
//! | read | `linger::start`, `linger::reason`, `linger::keep_no_more` | the response ends | nothing more is read |
//! | read | `delay::stop_waiting` | nothing | upstream was delayed for the client: not any more |
//! | read | `lend::waits_to_be_sent` | no | a loan is sent before more is received |
//! | read | `counts::received`, `counts::queued` | nothing | counts |
//! | read | `stream::goes_on`, `stream::seems_ended` | a buffer waits to be full | a stream's does not, nor the last of a response |
//! | raw | `lend::borrow` | own buffers | a large buffer of the worker's |
//! | raw | `lend::is_loan`, `lend::give_back` | the buffer is free | a loan is the worker's again |
//! | raw | `wide::bytes_to_expect` | one buffer at a time | as many as the socket has data for |
//! | spill | `fallback::is_memory_only`, `stream::is_live` | spill | not after the disk failed, nor what has no end |
//! | spill | `delay::wait` | at once | after `event_pipe_spill_delay` |
//! | spill | `segments::choose_file`, `segments::used` | one file, all that was written | the next file, what is on disk |
//! | spill | `segments::grown`, `segments::linked`, `counts::spilled` | nothing | notes |
//! | spill | `lend::is_loan` | `temp_file_write_size` | a loan is written as a whole |
//! | spill | `fallback::go_on_without_disk` | the response ends | goes on in memory |
//! | write | `busy::bytes`, `busy::sort` | walks `busy` | keeps its end and its size |
//! | write | `wide::busy_limit`, `lend::is_loan` | the busy size | what the client takes; a loan is sent as a whole |
//! | write | `stream::follows_up`, `linger::follows_up` | no | the output is called again without new data |
//! | write | `stream::before_output`, `stream::note_flush`, `counts::before_output`, `after_output` | nothing | flushes a stream's last; counts, notes what the client took |
//! | write | `segments::done` | nothing | closes files that have been sent |
//! | write | `linger::is_cut` | the last bytes may be postponed | not of a response that is cut |
//! | write | `start_final_flush`, `end_final_flush` | nothing | counts; loans and files go back when they have been sent |
//!
//! Three rules:
//!
//! 1. A question (`is_`, `has_`, `may_`, `owes_`, ...) has no effect; what acts has the
//!    name of an action.
//! 2. An extension changes no chain of the pipe and calls no filter. Exceptions, by
//!    their purpose: `busy` sorts, `segments` owns `p->temp_file`, `linger` the flags
//!    of upstream, `timeouts` the timers.
//! 3. An extension uses handles of `nginx`, and extensions further down in this order:
//!    `timeouts`; `counts`, `give_back`; `status`, `linger`, `lend`; `wide`, `segments`,
//!    `busy`, `stream`, `delay`, `fallback`; `text`, `descriptors`, `filters`. It uses no file of the algorithm.

#![forbid(unsafe_code)]

pub(crate) mod busy;
pub(crate) mod counts;
pub(crate) mod delay;
pub(crate) mod descriptors;
pub(crate) mod fallback;
pub(crate) mod filters;
pub(crate) mod give_back;
pub(crate) mod lend;
pub(crate) mod linger;
pub(crate) mod segments;
pub(crate) mod status;
pub(crate) mod stream;
pub(crate) mod text;
pub(crate) mod timeouts;
pub(crate) mod wide;

use crate::nginx::{Abort, Log, Pipe, State, Worker, off_t};
use counts::FinalFlush;

/// A turn of the pipe begins.
pub(crate) fn start_turn(p: Pipe<'_>) {
    let Some(state) = p.open_state() else {
        return;
    };

    #[cfg(ngx_threads)]
    note_aio(p);

    counts::start_turn(state);
    wide::start_turn(state);
}

/// The request ends, and the pipe with it: the worker gets back what the pipe has of it.
pub(crate) fn close(state: &State<'_>) {
    lend::give_back_any(state);
    segments::close_all(state);
}

/// A worker with so many connections starts.
pub(crate) fn init_worker(worker: &Worker, connections: u64, log: Log<'_>) {
    descriptors::init_worker(worker, connections, log);
    filters::init_worker(worker);
}

/// A thread may have been given work for the request since the last turn, by whoever
/// sends from its files: HTTP/2 does that between two turns, and it depends on the
/// file's handler whether the pipe is told. (Differs from nginx, which asks the request
/// only before the pipe writes.)
#[cfg(ngx_threads)]
fn note_aio(p: Pipe<'_>) {
    p.set_aio(p.request_aio());
}

/// A turn of the pipe ends.
pub(crate) fn end_turn(p: Pipe<'_>, result: Result<(), Abort>) {
    counts::end_turn(p, result);
}

/// The output was given a batch of `bytes`, and what it has sent is sorted out.
pub(crate) fn after_output(p: Pipe<'_>, bytes: off_t, exceeds_busy_size: bool) {
    counts::after_output(p);
    wide::after_output(p, bytes, exceeds_busy_size);
}

/// Upstream is finished: the output is about to be given all there is.
pub(crate) fn start_final_flush<'p>(p: Pipe<'p>) -> Option<FinalFlush<'p>> {
    let flush = counts::start_final_flush(p);

    give_back::start_final_flush(p);

    flush
}

/// The output has been given all there is.
pub(crate) fn end_final_flush<'p>(p: Pipe<'p>, flush: Option<FinalFlush<'p>>) {
    counts::end_final_flush(p, flush);
    give_back::end_final_flush(p);
}

//! What this pipe does beyond nginx's, one file for each extension. The files of the
//! algorithm (`pipe`, `read`, `write`, `spill`, `raw`) ask and tell the extensions at
//! the seams of this table, and nowhere else. A pipe without a state, as with
//! `event_pipe_extensions off`, gets nginx's answer at each seam.
//!
//! | asked by | seam | nginx | this pipe |
//! |---|---|---|---|
//! | pipe | `turns::start` | the turn runs | the pipe waits until other pipes of the worker have moved |
//! | pipe | `start_turn`, `end_turn` | nothing | counts, notes what is on disk and lent, forgets the client's room, notes `r->aio` |
//! | pipe | `stream::owes_flush` | no | a stream's output keeps nothing back |
//! | pipe | `linger::reason` | a turn sends first if it is told to | after upstream is given up, each turn does |
//! | pipe | `linger::owes_flush`, `linger::end` | the response ends at once | after upstream is given up, the client gets the rest first |
//! | pipe | `timeouts::state`, `timeouts::time_upstream`, `timeouts::time_client` | each turn restarts both timers | each side's progress restarts its own |
//! | read | `linger::start`, `linger::reason`, `linger::keep_no_more` | the response ends | nothing more is read |
//! | read | `delay::stop_waiting` | nothing | the delay of upstream's read event for the client's sake is over |
//! | read | `turns::limit` | no limit but that of the rate | no more at once than may still be moved |
//! | read | `turns::cut_short`, `turns::received` | a turn goes on as long as there is something to receive | a turn ends when the worker's pipes have moved enough |
//! | read | `memory::waits_to_be_sent` | no | a loan is sent before more is received |
//! | read | `memory::passes_through` | only what is cacheable is written to disk at once | so is what was received into a loan and cannot stay there |
//! | read | `counts::received`, `counts::queued` | nothing | counts |
//! | read | `stream::goes_on`, `stream::seems_ended` | a buffer waits to be full | a stream's buffer does not wait, nor does the last buffer of a response |
//! | raw | `memory::borrow`, `memory::borrow_small` | own buffers | a part of the worker's memory |
//! | raw | `memory::end_with_data` | a buffer is filtered when it is full | a large part ends where its data ends |
//! | raw | `memory::is_part`, `memory::give_back` | the buffer is free | a part goes back, and a loan to the worker |
//! | raw | `wide::bytes_to_expect` | one buffer at a time | as many as the socket has data for |
//! | spill | `fallback::is_memory_only`, `stream::is_live` | spill | no spill after the disk has failed, nor of a live stream |
//! | spill | `delay::wait` | spills at once | spills after `event_pipe_spill_delay` |
//! | spill | `segments::choose_file`, `segments::used` | one file; the limit is for all that was written | several segments; the limit is for what is on disk |
//! | spill | `segments::grown`, `segments::linked`, `counts::spilled` | nothing | notes how much was spilled |
//! | spill | `memory::write_size` | `temp_file_write_size` | a loan is written as a whole |
//! | spill | `memory::is_to_be_sent`, `memory::end_passing` | what is cacheable is sent from the file | from the loan, if the client takes it at once and the output would read the file |
//! | spill | `memory::spilled` | nothing | notes that there is no memory to stay in |
//! | spill | `fallback::go_on_without_disk` | the response ends | goes on in memory |
//! | write | `busy::bytes`, `busy::sort` | walks `busy` | keeps the end and the size of `busy` |
//! | write | `wide::busy_limit`, `memory::is_part` | the busy size | a wide batch is as large as the client's room; a part is sent as a whole |
//! | write | `stream::follows_up`, `linger::reason`, `memory::follows_up` | no | the output is called again without new data |
//! | write | `stream::before_output`, `stream::note_flush`, `counts::before_output`, `after_output` | nothing | marks the last of a stream's data to be flushed; counts, notes how much of the client's room is used |
//! | write | `segments::done` | nothing | closes segments that have been sent |
//! | write | `linger::is_cut`, `linger::is_incomplete` | the last bytes may be postponed | the last bytes of a response that is cut are not postponed |
//! | write | `start_final_flush`, `end_final_flush` | nothing | counts; loans and segments go back when they have been sent |
//!
//! Three rules:
//!
//! 1. A question (`is_`, `has_`, `may_`, `owes_`, ...) has no effect; what acts has the
//!    name of an action.
//! 2. An extension changes no chain of the pipe and calls no filter. Exceptions, by
//!    their purpose: `busy` sorts chains, `segments` sets `p->temp_file`, `linger` sets
//!    the flags of upstream, `timeouts` sets timers, `turns` has nginx call pipes that
//!    have waited.
//! 3. An extension uses handles of `nginx`, and extensions further down in this order:
//!    `timeouts`, `turns`; `counts`, `give_back`; `status`, `linger`, `memory`; `json`,
//!    `prometheus`; `advice`, `metrics`; `zones`, `variables`; `totals`, `wide`, `segments`,
//!    `busy`, `stream`, `delay`, `fallback`; `machine`; `text`, `descriptors`, `filters`. An
//!    extension uses no file of the algorithm.

#![forbid(unsafe_code)]

pub(crate) mod advice;
pub(crate) mod busy;
pub(crate) mod counts;
pub(crate) mod delay;
pub(crate) mod descriptors;
pub(crate) mod fallback;
pub(crate) mod filters;
pub(crate) mod give_back;
pub(crate) mod json;
pub(crate) mod linger;
pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod metrics;
pub(crate) mod prometheus;
pub(crate) mod segments;
pub(crate) mod status;
pub(crate) mod stream;
pub(crate) mod text;
pub(crate) mod timeouts;
pub(crate) mod totals;
pub(crate) mod turns;
pub(crate) mod variables;
pub(crate) mod wide;
pub(crate) mod zones;

use crate::nginx::{Abort, Pipe, State, off_t};
use counts::FinalFlush;

/// Tells the extensions that a turn of the pipe begins. Makes the pipe's state in the
/// first turn.
pub(crate) fn start_turn(p: Pipe<'_>) {
    let Some(state) = p.open_state() else {
        return;
    };

    #[cfg(ngx_threads)]
    note_aio(p);

    counts::start_turn(state);
    memory::start_turn(state);
    wide::start_turn(state);
}

/// Gives the loans back to the worker, closes the segments that are not nginx's, and
/// takes the pipe out of the worker's queue, when the request ends.
pub(crate) fn close(state: &State<'_>) {
    turns::leave(state);
    memory::give_back_all(state);
    segments::close_all(state);
}

/// Notes whether a thread works for the request. Somebody who sends from the request's
/// files may have given work to a thread since the last turn: HTTP/2 does so between
/// two turns, and the file's handler decides whether the pipe is told. (Differs from
/// nginx, which asks the request only before the pipe writes.)
#[cfg(ngx_threads)]
fn note_aio(p: Pipe<'_>) {
    p.set_aio(p.request_aio());
}

/// Tells the extensions that a turn of the pipe ends, with its result.
pub(crate) fn end_turn(p: Pipe<'_>, result: Result<(), Abort>) {
    turns::end(p, result);
    counts::end_turn(p, result);
}

/// Tells the extensions that the output was given a batch of `bytes`, and that sent
/// buffers have been sorted into `free`.
pub(crate) fn after_output(p: Pipe<'_>, bytes: off_t, exceeds_busy_size: bool) {
    counts::after_output(p);
    wide::after_output(p, bytes, exceeds_busy_size);
}

/// Tells the extensions that the final flush begins: upstream is finished, and the
/// output is about to be given all there is.
pub(crate) fn start_final_flush<'p>(p: Pipe<'p>) -> Option<FinalFlush<'p>> {
    let flush = counts::start_final_flush(p);

    give_back::start_final_flush(p);

    flush
}

/// Tells the extensions that the output has been given all there is.
pub(crate) fn end_final_flush<'p>(p: Pipe<'p>, flush: Option<FinalFlush<'p>>) {
    counts::end_final_flush(p, flush);
    give_back::end_final_flush(p);
}

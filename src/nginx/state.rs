//! What the library keeps beside nginx's own structures: for each pipe its
//! state and the settings of its location, and for each worker what it lends.
//! The structures are declared in `nginx-module/ngx_event_pipe_glue.h`.

use super::Abort;
use super::bindings::{
    self, NGX_EVENT_PIPE_END_CLIENT_ERROR, NGX_EVENT_PIPE_END_COMPLETE,
    NGX_EVENT_PIPE_END_INTERNAL_ERROR, NGX_EVENT_PIPE_END_UPSTREAM_CLOSED,
    NGX_EVENT_PIPE_END_UPSTREAM_ERROR, NGX_EVENT_PIPE_END_UPSTREAM_TIMEOUT,
    NGX_EVENT_PIPE_LINGER_BREACH, NGX_EVENT_PIPE_LINGER_NO_MEMORY, NGX_EVENT_PIPE_LINGER_NOT,
    NGX_EVENT_PIPE_LINGER_TIMEOUT, NGX_EVENT_PIPE_PROGRESS_MADE, NGX_EVENT_PIPE_PROGRESS_NONE,
    NGX_OK, ngx_event_pipe_counts_t, ngx_event_pipe_loan_s, ngx_event_pipe_segment_s,
    ngx_event_pipe_settings_t, ngx_event_pipe_state_t, ngx_flag_t, ngx_int_t, ngx_msec_t,
    ngx_uint_t, off_t,
};
use super::buf::{Buf, Link};
use super::file::TempFile;
use super::handle::handle;
use super::pipe::Pipe;

handle! {
    /// The state of a pipe, `ngx_event_pipe_state_t`. It lives in the request's
    /// pool.
    State => ngx_event_pipe_state_t;

    /// The directives.
    always settings: Settings => settings;
    /// The last link of `busy`, while there is one.
    link busy_tail: Link => busy_tail, set_busy_tail;
    /// The memory of the raw buffers that are busy, in bytes.
    value busy_bytes: usize => busy_bytes, set_busy_bytes;
    /// Bytes that the client was found to take at once.
    value room: usize => room, set_room;
    /// They were found in this turn, and it has not been given as many since.
    flag room_known: (room_known_raw, set_room_known_raw) => room_known, set_room_known;
    /// What the worker has lent to this pipe.
    link loan: Loan => loan, set_loan;
    /// The temporary files, from the oldest to the one that is written to.
    link segments: Segment => segments, set_segments;
    /// The one that is written to.
    link last_segment: Segment => last_segment, set_last_segment;
    /// Those that can be used again.
    link spare_segments: Segment => spare_segments, set_spare_segments;
    /// Another file could not be opened: it is not tried again.
    flag has_last_file: (has_last_file_raw, set_has_last_file_raw) => has_last_file, set_has_last_file;
    /// Bytes in all of them.
    value on_disk: off_t => on_disk, set_on_disk;
    /// The steady clock when the response started.
    value started: ngx_msec_t => started;
    /// The kernel's figure of what the client takes was too high: the busy size limits
    /// the rest of the response.
    flag overestimated: (overestimated_raw, set_overestimated_raw) => overestimated, set_overestimated;
    /// Writing to disk has failed: it is not tried again.
    flag memory_only: (memory_only_raw, set_memory_only_raw) => memory_only, set_memory_only;
    /// All raw buffers are full and the client takes nothing.
    flag client_lags: (client_lags_raw, set_client_lags_raw) => client_lags, set_client_lags;
    /// The pipe has delayed upstream's read event until `event_pipe_spill_delay` is
    /// over.
    flag delayed_by_us: (delayed_by_us_raw, set_delayed_by_us_raw) => delayed_by_us, set_delayed_by_us;
    /// The steady clock when `client_lags` became true.
    value lags_since: ngx_msec_t => lags_since, set_lags_since;
    /// What upstream has sent goes to the client at once.
    flag stream: (stream_raw, set_stream_raw) => stream;
    /// The client of the stream must not be given ever older parts of it.
    flag live: (live_raw, set_live_raw) => live;
    /// The steady clock when upstream last made progress, or was not waited for.
    value upstream_since: ngx_msec_t => upstream_since, set_upstream_since;
    /// The steady clock when the client last made progress, or was not waited
    /// for.
    value client_since: ngx_msec_t => client_since, set_client_since;
    value linger: ngx_uint_t => linger_raw, set_linger_raw;
    /// The output was given all there is.
    flag finished: (finished_raw, set_finished_raw) => finished, set_finished;
    /// What the output was given last and may still hold: `busy` of then.
    link last_busy: Link => last_busy, set_last_busy;
    /// Likewise, `out` of then.
    link last_out: Link => last_out, set_last_out;
    /// Likewise, `in` of then.
    link last_in: Link => last_in, set_last_in;
    /// The output has been told not to keep back what it was given last.
    flag flushed: (flushed_raw, set_flushed_raw) => flushed, set_flushed;
}

handle! {
    /// The directives of a location, `ngx_event_pipe_settings_t`.
    Settings => ngx_event_pipe_settings_t;

    value extensions: ngx_flag_t => extensions_flag;
    value wide: ngx_flag_t => wide_flag;
    /// Bytes that a worker may lend in all, `event_pipe_lend`.
    value lend: usize => lend;
    value spill_fallback: ngx_flag_t => spill_fallback_flag;
    value spill_segments: ngx_uint_t => spill_segments_choice;
    /// How long a client may hold upstream back before its response is spilled,
    /// `event_pipe_spill_delay`, in milliseconds.
    value spill_delay: ngx_msec_t => spill_delay;
    value separate_timeouts: ngx_flag_t => separate_timeouts_flag;
    value stream: ngx_uint_t => stream_choice;
}

impl Settings<'_> {
    /// Whether anything is done beyond nginx, `event_pipe_extensions`. A pipe
    /// without has no state.
    pub(crate) fn extensions(self) -> bool {
        self.extensions_flag() != 0
    }

    /// Whether to read and to write more at once than nginx does,
    /// `event_pipe_wide`.
    pub(crate) fn wide(self) -> bool {
        self.wide_flag() != 0
    }

    /// Whether a response goes on without the disk when that fails,
    /// `event_pipe_spill_fallback`.
    pub(crate) fn spill_fallback(self) -> bool {
        self.spill_fallback_flag() != 0
    }

    /// Whether what is spilled goes to several files, `event_pipe_spill_segments`.
    pub(crate) fn spill_segments(self) -> bool {
        self.spill_segments_choice() != 0
    }

    /// Whether anything may go on before a buffer is full, `event_pipe_stream`.
    pub(crate) fn stream(self) -> bool {
        self.stream_choice() != 0
    }

    /// Whether the timer of either side is its own,
    /// `event_pipe_separate_timeouts`.
    pub(crate) fn separate_timeouts(self) -> bool {
        self.separate_timeouts_flag() != 0
    }
}

handle! {
    /// What is counted of a response, `ngx_event_pipe_counts_t`.
    Counts => ngx_event_pipe_counts_t;

    /// Bytes of the body that are to be given to the output: those in `in`,
    /// `writing` and `out`.
    value queued: off_t => queued, set_queued;
    /// Bytes that the output was given and has not sent, at the most.
    value held: off_t => held, set_held;
    /// The most bytes of both that have waited for the client.
    value peak: off_t => peak, set_peak;
    /// Bytes that the output was given.
    value passed: off_t => passed, set_passed;
    /// Bytes written to the temporary file, if not for a cache or store.
    value spilled: off_t => spilled, set_spilled;
    /// Bytes received into loans.
    value lent: off_t => lent, set_lent;
    /// Calls of `recv_chain`.
    value reads: ngx_uint_t => reads, set_reads;
    /// Calls of the output filter.
    value writes: ngx_uint_t => writes, set_writes;
    /// Loans that were received into.
    value loans: ngx_uint_t => loans, set_loans;
    /// How many times upstream was held back.
    value blocked_count: ngx_uint_t => blocked_count, set_blocked_count;
    /// The calls of `recv_chain` when it was the last time.
    value blocked_reads: ngx_uint_t => blocked_reads, set_blocked_reads;
    value end: ngx_uint_t => end_raw, set_end_raw;
    /// The last turn has left upstream held back.
    flag blocked: (blocked_raw, set_blocked_raw) => blocked, set_blocked;
    /// The last turn has left something that the client is to take.
    flag awaits_client: (awaits_client_raw, set_awaits_client_raw) => awaits_client, set_awaits_client;
    /// The output was given all there is.
    flag final_flush_started: (final_flush_started_raw, set_final_flush_started_raw) => final_flush_started, set_final_flush_started;
    /// Nobody wants the body but a cache.
    flag header_only: (header_only_raw, set_header_only_raw) => header_only;
}

/// How a response has ended within a turn of the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum End {
    /// All was received and given to the output.
    Complete = NGX_EVENT_PIPE_END_COMPLETE,
    /// Upstream has closed the connection too early.
    UpstreamClosed = NGX_EVENT_PIPE_END_UPSTREAM_CLOSED,
    /// Reading from upstream has failed, or it has broken its protocol.
    UpstreamError = NGX_EVENT_PIPE_END_UPSTREAM_ERROR,
    /// Upstream has not sent anything for too long.
    UpstreamTimeout = NGX_EVENT_PIPE_END_UPSTREAM_TIMEOUT,
    /// The output has failed.
    ClientError = NGX_EVENT_PIPE_END_CLIENT_ERROR,
    /// There was no memory, or no room on the disk, or likewise.
    InternalError = NGX_EVENT_PIPE_END_INTERNAL_ERROR,
}

/// Why nothing more is read of upstream, although what it has sent has yet to be
/// taken by the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Linger {
    /// Upstream has not sent anything for too long.
    Timeout = NGX_EVENT_PIPE_LINGER_TIMEOUT,
    /// The input filter does not understand what upstream has sent.
    Breach = NGX_EVENT_PIPE_LINGER_BREACH,
    /// There is no memory to read on.
    NoMemory = NGX_EVENT_PIPE_LINGER_NO_MEMORY,
}

/// What the client has done since it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing.
    Nothing,
    /// It has taken something.
    Made,
    /// There is no way to tell.
    Unknown,
}

impl Counts<'_> {
    /// Whether something is known to have gone wrong.
    pub(crate) fn has_failed(self) -> bool {
        self.end_raw() > NGX_EVENT_PIPE_END_COMPLETE as ngx_uint_t
    }

    /// What the last turn has left has been so until now: adds to its times.
    pub(crate) fn pass_time(self) {
        // SAFETY: a live structure (`from_raw`).
        unsafe { bindings::ngx_event_pipe_glue_pass_time(self.as_raw()) }
    }

    /// Notes how the response has ended.
    pub(crate) fn set_end(self, end: End) {
        self.set_end_raw(end as ngx_uint_t);
    }
}

handle! {
    /// A raw buffer that belongs to the worker and is lent to one pipe at a
    /// time, `ngx_event_pipe_loan_t`.
    Loan => ngx_event_pipe_loan_s;
}

impl<'p> Loan<'p> {
    /// The raw buffer itself.
    pub(crate) fn raw(self) -> Buf<'p> {
        // SAFETY: the field of a live structure (`from_raw`).
        let raw = unsafe { &raw mut (*self.as_raw()).raw };

        // SAFETY: the address of a field is not null; while the loan is lent it
        // lives like the pipe's own buffers.
        unsafe { Buf::from_non_null(raw) }
    }

    /// Gives it back to the worker. Nothing of the pipe may refer to it any
    /// more.
    pub(crate) fn give_back(self) {
        // SAFETY: lent by `borrow`, and taken out of the state by the caller.
        unsafe { bindings::ngx_event_pipe_glue_give_back(self.as_raw()) }
    }
}

handle! {
    /// One of the temporary files of a response, `ngx_event_pipe_segment_t`.
    Segment => ngx_event_pipe_segment_s;

    /// The file.
    always file: TempFile => file;
    /// The next younger one, or the next spare one.
    link next: Segment => next, set_next;
    /// Its file buffers that have not been sent.
    value awaited: ngx_uint_t => awaited, set_awaited;
}

/// Whether the worker may open one more file than nginx would.
pub(crate) fn may_open_file() -> bool {
    // SAFETY: compares two variables of this worker's.
    unsafe { bindings::ngx_event_pipe_glue_may_open() != 0 }
}

impl Segment<'_> {
    /// Whether it has a file of its own, not nginx's.
    pub(crate) fn is_own(self) -> bool {
        // SAFETY: the field of a live structure (`from_raw`).
        let own = unsafe { &raw mut (*self.as_raw()).own };

        self.file().as_raw() == own
    }
}

impl<'p> State<'p> {
    /// What is counted.
    pub(crate) fn counts(self) -> Counts<'p> {
        // SAFETY: the field of a live structure (`from_raw`).
        let counts = unsafe { &raw mut (*self.as_raw()).counts };

        // SAFETY: the address of a field is not null; it lives as long.
        unsafe { Counts::from_non_null(counts) }
    }

    /// Notes what nginx has found between two turns: that a peer has timed out.
    pub(crate) fn note_end(self) {
        // SAFETY: a live state, whose pipe is the one at hand.
        unsafe { bindings::ngx_event_pipe_glue_note_end(self.as_raw()) }
    }

    /// A segment for the state's list, with nginx's file if it is the first
    /// one. `None` if there is no memory.
    pub(crate) fn new_segment(self) -> Option<Segment<'p>> {
        // SAFETY: a live state, whose pipe is the one at hand.
        let segment = unsafe { bindings::ngx_event_pipe_glue_segment(self.as_raw()) };

        // SAFETY: null, or a structure in the pipe's pool.
        unsafe { Segment::from_raw(segment) }
    }

    /// Creates the file of a segment, unless there is one or nginx does it.
    pub(crate) fn open(self, segment: Segment<'p>) -> Result<(), Abort> {
        // SAFETY: a live state and a segment of its list.
        let rc =
            unsafe { bindings::ngx_event_pipe_glue_open_segment(self.as_raw(), segment.as_raw()) };

        if rc == NGX_OK as ngx_int_t {
            Ok(())
        } else {
            Err(Abort)
        }
    }

    /// Closes the file of a segment, which nobody may refer to any more.
    pub(crate) fn close(self, segment: Segment<'p>) {
        // SAFETY: a live state and a segment of its list.
        unsafe { bindings::ngx_event_pipe_glue_close_segment(self.as_raw(), segment.as_raw()) }
    }

    /// Why nothing more is read of upstream; `None` as long as it is read.
    pub(crate) fn linger(self) -> Option<Linger> {
        match self.linger_raw() as u32 {
            NGX_EVENT_PIPE_LINGER_NOT => None,
            NGX_EVENT_PIPE_LINGER_TIMEOUT => Some(Linger::Timeout),
            NGX_EVENT_PIPE_LINGER_BREACH => Some(Linger::Breach),
            _ => Some(Linger::NoMemory),
        }
    }

    /// Notes that nothing more is to be read of upstream.
    pub(crate) fn set_linger(self, why: Linger) {
        self.set_linger_raw(why as ngx_uint_t);
    }

    /// What the client has done since the last call of this function: seen
    /// below the socket's buffer, TLS and HTTP/2.
    pub(crate) fn client_progress(self) -> Progress {
        // SAFETY: a live state, whose pipe is the one at hand.
        match unsafe { bindings::ngx_event_pipe_glue_client_progress(self.as_raw()) } as u32 {
            NGX_EVENT_PIPE_PROGRESS_NONE => Progress::Nothing,
            NGX_EVENT_PIPE_PROGRESS_MADE => Progress::Made,
            _ => Progress::Unknown,
        }
    }

    /// Whether upstream has sent anything since the last call of this function,
    /// be it a part of what TLS needs. The pipe has a connection to upstream.
    pub(crate) fn upstream_progressed(self) -> bool {
        // SAFETY: a live state, whose pipe is the one at hand and has a
        // connection to upstream, says the caller.
        let progress = unsafe { bindings::ngx_event_pipe_glue_upstream_progress(self.as_raw()) };

        progress as u32 != NGX_EVENT_PIPE_PROGRESS_NONE
    }

    /// Has the pipe looked after between its turns, in so many milliseconds if
    /// not before.
    pub(crate) fn watch(self, timer: ngx_msec_t) {
        // SAFETY: a live state, whose timer stops at the latest when its pool
        // is destroyed.
        unsafe { bindings::ngx_event_pipe_glue_watch(self.as_raw(), timer) }
    }

    /// Takes a loan from the worker; `None` if it has lent what it may, or if
    /// there is no memory. The caller keeps the loan in the state until it is given
    /// back, which nginx does when it destroys the pool at the latest.
    pub(crate) fn borrow(self) -> Option<Loan<'p>> {
        // SAFETY: a live state, whose pipe is the one at hand.
        let loan = unsafe { bindings::ngx_event_pipe_glue_borrow(self.as_raw()) };

        // SAFETY: null, or a structure that stays until it is given back.
        unsafe { Loan::from_raw(loan) }
    }
}

impl<'p> Pipe<'p> {
    /// The state of this pipe. `None` if it is no request's, if
    /// `event_pipe_extensions` is off or if there is no memory: then it works as
    /// nginx's.
    pub(crate) fn state(self) -> Option<State<'p>> {
        // SAFETY: a pipe that its owner has set up.
        let state = unsafe { bindings::ngx_event_pipe_glue_state(self.as_raw()) };

        // SAFETY: null, or a structure in the pipe's pool.
        unsafe { State::from_raw(state) }
    }
}

//! What the library keeps beside nginx's own structures: for each pipe its
//! state and the settings of its location, and for each worker what it lends.
//! The structures are declared in `nginx-module/ngx_event_pipe_glue.h`.

use super::bindings::{
    self, NGX_EVENT_PIPE_END_CLIENT_ERROR, NGX_EVENT_PIPE_END_COMPLETE,
    NGX_EVENT_PIPE_END_INTERNAL_ERROR, NGX_EVENT_PIPE_END_UPSTREAM_CLOSED,
    NGX_EVENT_PIPE_END_UPSTREAM_ERROR, ngx_event_pipe_counts_t, ngx_event_pipe_loan_s,
    ngx_event_pipe_settings_t, ngx_event_pipe_state_t, ngx_flag_t, ngx_msec_t, ngx_uint_t, off_t,
};
use super::chain::{Buf, Link};
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
    /// The client has not taken what it was expected to: nothing more is
    /// expected of it.
    flag narrow: (narrow_raw, set_narrow_raw) => narrow, set_narrow;
}

handle! {
    /// The directives of a location, `ngx_event_pipe_settings_t`.
    Settings => ngx_event_pipe_settings_t;

    value wide: ngx_flag_t => wide_flag;
    /// Bytes that a worker may lend in all, `event_pipe_lend`.
    value lend: usize => lend;
}

impl Settings<'_> {
    /// Whether to read and to write more at once than nginx does,
    /// `event_pipe_wide`.
    pub(crate) fn wide(self) -> bool {
        self.wide_flag() != 0
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
    /// For how long it was, in milliseconds.
    value blocked_time: ngx_msec_t => blocked_time, set_blocked_time;
    /// For how long the client was waited for.
    value client_time: ngx_msec_t => client_time, set_client_time;
    /// When the last turn was.
    value since: ngx_msec_t => since, set_since;
    value end: ngx_uint_t => end_raw, set_end_raw;
    /// The last turn has left upstream held back.
    flag blocked: (blocked_raw, set_blocked_raw) => blocked, set_blocked;
    /// The last turn has left something that the client is to take.
    flag waiting: (waiting_raw, set_waiting_raw) => waiting, set_waiting;
    /// The output was given all there is.
    flag rest: (rest_raw, set_rest_raw) => rest, set_rest;
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
    /// The output has failed.
    ClientError = NGX_EVENT_PIPE_END_CLIENT_ERROR,
    /// There was no memory, or no room on the disk, or likewise.
    InternalError = NGX_EVENT_PIPE_END_INTERNAL_ERROR,
}

impl Counts<'_> {
    /// Whether something is known to have gone wrong.
    pub(crate) fn has_failed(self) -> bool {
        self.end_raw() > NGX_EVENT_PIPE_END_COMPLETE as ngx_uint_t
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

    /// Takes a loan from the worker; `None` if it has lent what it may, or if
    /// there is no memory. It is the state's until it is given back, which
    /// nginx does when it destroys the pool at the latest.
    pub(crate) fn borrow(self) -> Option<Loan<'p>> {
        // SAFETY: a live state, whose pipe is the one at hand.
        let loan = unsafe { bindings::ngx_event_pipe_glue_borrow(self.as_raw()) };

        // SAFETY: null, or a structure that stays until it is given back.
        let loan = unsafe { Loan::from_raw(loan) };
        self.set_loan(loan);

        loan
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

    /// How many bytes the client takes without making anybody wait, as far as
    /// can be seen from here; 0 if it cannot be seen.
    pub(crate) fn room(self) -> usize {
        // SAFETY: a pipe that has a state, so it is a request's.
        unsafe { bindings::ngx_event_pipe_glue_room(self.as_raw()) }
    }
}

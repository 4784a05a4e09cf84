//! What the library keeps beside nginx's own structures: for each pipe its
//! state and the settings of its location, and for each worker what it lends.
//! The structures are declared in `nginx-module/ngx_event_pipe_glue.h`.

use super::bindings::{
    self, ngx_event_pipe_loan_s, ngx_event_pipe_settings_t, ngx_event_pipe_state_t, ngx_flag_t,
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
    /// Writing to disk has failed: it is not tried again.
    flag memory_only: (memory_only_raw, set_memory_only_raw) => memory_only, set_memory_only;
}

handle! {
    /// The directives of a location, `ngx_event_pipe_settings_t`.
    Settings => ngx_event_pipe_settings_t;

    value wide: ngx_flag_t => wide_flag;
    /// Bytes that a worker may lend in all, `event_pipe_lend`.
    value lend: usize => lend;
    value spill_fallback: ngx_flag_t => spill_fallback_flag;
}

impl Settings<'_> {
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

    /// The request gives up what was to be kept of this response, in a cache or
    /// as a stored file. The file itself stays open.
    pub(crate) fn discard(self) {
        // SAFETY: a pipe that has a state, so it is a request's, with its file.
        unsafe { bindings::ngx_event_pipe_glue_discard(self.as_raw()) }
    }

    /// How many bytes the client takes without making anybody wait, as far as
    /// can be seen from here; 0 if it cannot be seen.
    pub(crate) fn room(self) -> usize {
        // SAFETY: a pipe that has a state, so it is a request's.
        unsafe { bindings::ngx_event_pipe_glue_room(self.as_raw()) }
    }
}

//! What the tests that link this library may see of a state, and set in a worker. The
//! library that is linked into nginx does not have this file.

use core::ffi::c_void;
use core::sync::atomic::Ordering;

use crate::extensions::{counts, zones};
use crate::nginx::{self, Linger, Loan, Segment, State, ngx_event_pipe_state_t, worker};

/// How many bytes of the request's pool a segment takes.
pub const SEGMENT_SIZE: usize = size_of::<Segment<'_>>();

/// Why nothing more is read from upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// Upstream has sent nothing for too long.
    Timeout,
    /// Upstream has sent what the input filter does not understand.
    Breach,
    /// There is no memory to read on.
    NoMemory,
}

/// The values of a state at one moment.
#[derive(Clone, Copy, Default)]
#[allow(missing_docs)] // The names are those of the state's parts.
pub struct View {
    /// How many loans the pipe has, and how many parts of them are in use.
    pub loans_held: usize,
    pub parts: usize,
    /// The loan's data is to be spilled at once.
    pub is_passing: bool,
    /// Data has been spilled in this turn because the client is behind.
    pub is_spilling: bool,
    pub given_up: Option<GivenUp>,
    pub has_segments: bool,
    pub is_last_file: bool,
    pub is_finished: bool,
    pub is_flushed: bool,
    pub is_upstream_delayed: bool,
    pub is_queued: bool,
    pub passed: u64,
    pub spilled: u64,
    pub lent: u64,
    pub peak: i64,
    pub reads: u64,
    pub writes: u64,
    pub loans: u64,
    pub blocked_count: u64,
    pub blocked_time: u64,
    pub client_time: u64,
    pub cut_turns: u64,
    pub queue_time: u64,
    /// Why the response has ended, as a number: the place in the table of
    /// `$event_pipe_end`.
    pub end: u32,
}

impl View {
    /// Copies the values of a state.
    ///
    /// # Safety
    ///
    /// `state` is a state that `ngx_event_pipe_rust_open` has made, and its pipe still
    /// exists.
    pub unsafe fn of(state: *const core::ffi::c_void) -> Self {
        let state = state.cast_mut().cast::<ngx_event_pipe_state_t>();

        // SAFETY: as this function requires.
        unsafe { State::enter(state, view) }
    }
}

/// The loans of a pipe, from the oldest on.
fn loans(state: &State<'_>) -> impl Iterator<Item = &'static Loan> {
    core::iter::successors(state.memory.oldest.get(), |loan| loan.next.get())
}

fn view(state: &State<'_>) -> View {
    let counts = &state.counts;

    View {
        loans_held: loans(state).count(),
        parts: loans(state).map(|loan| loan.parts.get()).sum(),
        is_passing: state.memory.is_passing.get(),
        is_spilling: state.memory.is_spilling.get(),
        given_up: state.linger.get().map(|why| match why {
            Linger::Timeout => GivenUp::Timeout,
            Linger::Breach => GivenUp::Breach,
            Linger::NoMemory => GivenUp::NoMemory,
        }),
        has_segments: state.segments.oldest.get().is_some(),
        is_last_file: state.segments.is_last_file.get(),
        is_finished: state.give_back.is_finished.get(),
        is_flushed: state.stream.is_flushed.get(),
        is_upstream_delayed: state.delay.is_upstream_delayed.get(),
        is_queued: state.turns.place.is_taken(),
        passed: counts.passed.get(),
        spilled: counts.spilled.get(),
        lent: counts.lent.get(),
        peak: counts.peak.get(),
        reads: counts.reads.get(),
        writes: counts.writes.get(),
        loans: counts.loans.get(),
        blocked_count: counts.blocked_count.get(),
        blocked_time: counts.blocked_time.get(),
        client_time: counts.client_time.get(),
        cut_turns: counts.cut_turns.get(),
        queue_time: counts.queue_time.get(),
        end: crate::extensions::counts::end_so_far(state) as u32,
    }
}

/// How many bytes a board with one lane has.
pub const BOARD_SIZE: usize = nginx::board_size(1);

/// Counts a response until now on a board with one lane.
///
/// # Safety
///
/// As for [`View::of`]; `board` is a board that `ngx_event_pipe_rust_create_board` has
/// made.
pub unsafe fn count(state: *mut c_void, board: *const c_void) {
    // SAFETY: as this function requires.
    let board = unsafe { nginx::board(board) };
    let account = board.and_then(|board| zones::account(board, zones::NONE));

    let count = |state: &State<'_>| {
        if let Some(account) = account {
            zones::commit(account, &counts::response(state));
        }
    };

    // SAFETY: as this function requires.
    unsafe { State::enter(state.cast::<ngx_event_pipe_state_t>(), count) }
}

/// What all responses of a board with one lane are at that are not over: how many they
/// are, and how many bytes they have on disk and lent.
///
/// # Safety
///
/// `board` is a board that `ngx_event_pipe_rust_create_board` has made.
pub unsafe fn in_use(board: *const c_void) -> [u64; 3] {
    // SAFETY: as this function requires.
    let board = unsafe { nginx::board(board) };
    let account = board.and_then(|board| zones::account(board, zones::NONE));

    account.map_or([0; 3], |account| {
        let row = account.row;

        [&row.active, &row.disk, &row.lent].map(|gauge| gauge.load(Ordering::Relaxed))
    })
}

/// Makes the limit of descriptors look lowered since the worker started, or not
/// lowered.
pub fn set_lowered(is_lowered: bool) {
    worker()
        .files_max
        .set(if is_lowered { u64::MAX } else { 0 });
}

/// Begins a worker whose pipes have moved nothing.
pub fn start_worker() {
    worker().moved.set(0);
    worker().last_cycle.set(None);
}

/// How much the worker's pipes have moved in this cycle of events.
pub fn moved() -> u64 {
    worker().moved.get()
}

/// Forgets which filters have been noted.
pub fn forget_filters() {
    worker().has_unknown_filter.set(false);
}

/// Sets how many temporary files the worker may have that nginx would not have.
pub fn set_segments_max(files: u64) {
    worker().segments_max.set(files);
}

//! What the library keeps for a pipe beside nginx's own structure: the settings of its
//! location, and a state of parts, one for each extension.
//!
//! The state lies in memory of the request's pool, but only this library reads and
//! writes the state. So a state is a Rust structure like any other, with shared
//! references to it, and with `Cell`s for what changes, because a callback into the
//! pipe's own functions may change a state while an outer function looks at it.

use core::cell::Cell;
use core::ptr::null;

#[cfg(test)]
use super::bindings::ngx_flag_t;
use super::bindings::{
    self, NGX_EVENT_PIPE_MEMORY_AUTO, NGX_EVENT_PIPE_SEGMENTS_ON, NGX_EVENT_PIPE_STREAM_ON,
    ngx_event_pipe_settings_t, ngx_event_pipe_state_t, ngx_msec_t, ngx_uint_t, off_t,
};
use super::board::Account;
use super::buf::{Buf, Link};
use super::connection::clock;
use super::file::TempFile;
use super::handle::handle;
use super::loan::Loan;
use super::pipe::Pipe;
use super::pool::Pool;

handle! {
    /// The directives of a location, `ngx_event_pipe_settings_t`.
    Settings => ngx_event_pipe_settings_t;

    /// Whether the pipe does anything beyond nginx, `event_pipe_extensions`. A pipe for
    /// which the answer is no has no state.
    setting extensions: ngx_flag_t => extensions;
    /// Whether the pipe reads and writes more at once than nginx does,
    /// `event_pipe_wide`.
    setting wide: ngx_flag_t => wide;
    /// How many bytes of memory a worker may lend to its pipes, `event_pipe_memory`; or
    /// `auto`.
    value memory: usize => memory_choice;
    /// Whether a response goes on without the disk when the disk fails,
    /// `event_pipe_spill_fallback`.
    setting spill_fallback: ngx_flag_t => spill_fallback;
    /// Whether a response is spilled to several files, `event_pipe_spill_segments`.
    setting spill_segments: ngx_uint_t => spill_segments;
    value spill_segments: ngx_uint_t => spill_segments_choice;
    /// How long a client may hold upstream back before the response is spilled,
    /// `event_pipe_spill_delay`, in milliseconds.
    value spill_delay: ngx_msec_t => spill_delay;
    /// Whether data may be passed on before a buffer is full, `event_pipe_stream`.
    setting stream: ngx_uint_t => stream;
    value stream: ngx_uint_t => stream_choice;
    /// Whether a side's timer depends on the progress of that side only,
    /// `event_pipe_separate_timeouts`.
    setting separate_timeouts: ngx_flag_t => separate_timeouts;
    /// How much all pipes of a worker move in a cycle of events before this pipe waits
    /// for its turn, `event_pipe_max_chunk`, in bytes; 0 if this pipe never waits.
    value max_chunk: usize => max_chunk;
}

impl Settings<'_> {
    /// Whether a response is spilled to several files even if there are filters that
    /// are not known, `event_pipe_spill_segments on`.
    pub(crate) fn forces_segments(self) -> bool {
        self.spill_segments_choice() == NGX_EVENT_PIPE_SEGMENTS_ON as ngx_uint_t
    }

    /// How many bytes of memory a worker may lend to its pipes. `auto` is what
    /// `event_pipe_memory auto` stands for.
    pub(crate) fn memory(self, auto: usize) -> usize {
        match self.memory_choice() {
            MEMORY_AUTO => auto,
            size => size,
        }
    }

    /// Whether every response is a stream, `event_pipe_stream on`.
    pub(crate) fn streams_all(self) -> bool {
        self.stream_choice() == NGX_EVENT_PIPE_STREAM_ON as ngx_uint_t
    }
}

/// The value of the directive `event_pipe_memory auto`.
const MEMORY_AUTO: usize = NGX_EVENT_PIPE_MEMORY_AUTO as isize as usize;

/// The state of a pipe.
pub(crate) struct State<'p> {
    /// The pipe itself.
    pub(crate) pipe: Pipe<'p>,
    /// The settings of the pipe's location.
    pub(crate) settings: Settings<'p>,
    /// When the response started, in milliseconds by [`clock`].
    pub(crate) started: ngx_msec_t,
    pub(crate) busy: Busy<'p>,
    pub(crate) counts: Counts<'p>,
    pub(crate) delay: Delay,
    pub(crate) fallback: Fallback,
    pub(crate) give_back: GiveBack<'p>,
    pub(crate) linger: Cell<Option<Linger>>,
    pub(crate) memory: Memory<'p>,
    pub(crate) segments: Segments<'p>,
    pub(crate) stream: Stream,
    pub(crate) timeouts: Timeouts,
    pub(crate) turns: Turns,
    pub(crate) wide: Wide,
}

/// What is kept of the chain `busy`.
#[derive(Default)]
pub(crate) struct Busy<'p> {
    /// The last link of `busy`; valid only while `busy` is not empty.
    pub(crate) tail: Cell<Option<Link<'p>>>,
    /// The memory of the raw buffers whose shadows are in `busy`, in bytes.
    pub(crate) bytes: Cell<usize>,
}

/// The counts of a response.
#[derive(Default)]
pub(crate) struct Counts<'p> {
    /// Bytes of the body that are not yet given to the output: those in `in`, `writing`
    /// and `out`.
    pub(crate) queued: Cell<off_t>,
    /// Bytes that the output was given and has not sent, at the most.
    pub(crate) held: Cell<off_t>,
    /// The most bytes that were queued and held, together, at the end of a turn.
    pub(crate) peak: Cell<off_t>,
    /// Bytes of the body that the output was given.
    pub(crate) passed: Count,
    /// Bytes written to temporary files because the client was slow, not for a cache or
    /// store.
    pub(crate) spilled: Count,
    /// Bytes received into loans.
    pub(crate) lent: Count,
    /// Calls of `recv_chain`.
    pub(crate) reads: Count,
    /// Calls of the output filter.
    pub(crate) writes: Count,
    /// Reads into loans.
    pub(crate) loans: Count,
    /// How many times upstream was held back.
    pub(crate) blocked_count: Count,
    /// The value of `reads` when upstream was held back the last time.
    pub(crate) blocked_reads: Cell<u64>,
    /// How long upstream was held back, in milliseconds.
    pub(crate) blocked_time: Count,
    /// How long the client was waited for, in milliseconds.
    pub(crate) client_time: Count,
    /// How many times the pipe has waited for its turn.
    pub(crate) cut_turns: Count,
    /// How long the pipe has waited for its turn, in milliseconds.
    pub(crate) queue_time: Count,
    /// The moment until which both times are counted, in milliseconds by [`clock`].
    pub(crate) since: Cell<ngx_msec_t>,
    /// How the response has ended, as far as the pipe knows.
    pub(crate) end: Cell<End>,
    /// Upstream was held back when the last turn ended.
    pub(crate) blocked: Cell<bool>,
    /// The client was waited for when the last turn ended.
    pub(crate) awaits_client: Cell<bool>,
    /// The final flush has begun: the output was given everything, or is about to be.
    pub(crate) final_flush_started: Cell<bool>,
    /// The client does not get the body, which is for a cache only.
    pub(crate) header_only: bool,
    /// Where the response is counted, if it is.
    pub(crate) account: Option<Account<'p>>,
    /// What the account knows of the response: bytes on disk, and bytes that are lent.
    pub(crate) noted_disk: Cell<u64>,
    pub(crate) noted_lent: Cell<u64>,
}

/// A sum that only grows.
#[derive(Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    /// The sum so far.
    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }

    /// Adds `n`; a negative number counts as zero.
    pub(crate) fn add(&self, n: impl TryInto<u64>) {
        let n = n.try_into().unwrap_or(0);

        self.0.set(self.0.get().wrapping_add(n));
    }
}

/// How a response has ended, as far as the pipe knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(crate) enum End {
    /// The request has ended before the pipe was finished.
    #[default]
    Aborted,
    /// The whole response was received, and nothing has failed.
    Complete,
    /// Upstream has closed the connection too early.
    UpstreamClosed,
    /// Reading from upstream has failed, or upstream has broken its protocol.
    UpstreamError,
    /// Upstream has not sent anything for too long.
    UpstreamTimeout,
    /// The output has failed.
    ClientError,
    /// The client has not taken anything for too long.
    ClientTimeout,
    /// There was no memory, no room on the disk, or something of the kind.
    InternalError,
}

/// The wait before something is spilled.
#[derive(Default)]
pub(crate) struct Delay {
    /// The client lags: all raw buffers are full and the client takes nothing.
    pub(crate) client_lags: Cell<bool>,
    /// When `client_lags` became true, in milliseconds by [`clock`].
    pub(crate) lags_since: Cell<ngx_msec_t>,
    /// The pipe has delayed upstream's read event until `event_pipe_spill_delay` is
    /// over.
    pub(crate) is_upstream_delayed: Cell<bool>,
}

/// What is kept for the case that the disk fails.
#[derive(Default)]
pub(crate) struct Fallback {
    /// Writing to disk has failed: nothing more of the response is spilled.
    pub(crate) is_memory_only: Cell<bool>,
}

/// The chains that the output held or was given in the final flush, and may still hold.
#[derive(Default)]
pub(crate) struct GiveBack<'p> {
    /// The state is finished: the output was given everything.
    pub(crate) is_finished: Cell<bool>,
    /// What is left of `busy` as it was at the final flush.
    pub(crate) busy: Cell<Option<Link<'p>>>,
    /// What is left of `out` as it was at the final flush.
    pub(crate) out: Cell<Option<Link<'p>>>,
    /// What is left of `in` as it was at the final flush.
    pub(crate) input: Cell<Option<Link<'p>>>,
}

/// Why the pipe has given upstream up: nothing more is read, although the client has
/// yet to take what upstream has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linger {
    /// Upstream has not sent anything for too long.
    Timeout,
    /// The input filter does not understand what upstream has sent.
    Breach,
    /// There is no memory to read on.
    NoMemory,
}

/// What the worker has lent to this pipe.
#[derive(Default)]
pub(crate) struct Memory<'p> {
    /// The oldest loan, from which the others can be reached, and the youngest.
    pub(crate) oldest: Cell<Option<&'static Loan>>,
    pub(crate) youngest: Cell<Option<&'static Loan>>,
    /// The first of the buffers that can be parts again; the `shadow` of each points to
    /// the next.
    pub(crate) free_parts: Cell<Option<Buf<'p>>>,
    /// Bytes of the loans.
    pub(crate) bytes: Cell<usize>,
    /// The most bytes that the loans have had.
    pub(crate) most: Cell<usize>,
    /// The loan's data is to be written to the temporary file at once.
    pub(crate) is_passing: Cell<bool>,
    /// Data has been spilled in this turn because the client is behind.
    pub(crate) is_spilling: Cell<bool>,
}

/// The temporary files of a response.
#[derive(Default)]
pub(crate) struct Segments<'p> {
    /// The oldest segment, from which the next ones can be reached.
    pub(crate) oldest: Cell<Option<&'p Segment<'p>>>,
    /// The segment that is written to.
    pub(crate) last: Cell<Option<&'p Segment<'p>>>,
    /// The first of the spare segments, from which the others can be reached.
    pub(crate) spare: Cell<Option<&'p Segment<'p>>>,
    /// Bytes in all segments that are open.
    pub(crate) on_disk: Cell<off_t>,
    /// A file could not be opened: no other file is tried.
    pub(crate) is_last_file: Cell<bool>,
}

/// One of the temporary files of a response.
pub(crate) struct Segment<'p> {
    /// The file of the segment: nginx's own if the segment is the first.
    pub(crate) file: TempFile<'p>,
    /// Whether the file is not nginx's.
    pub(crate) is_own: bool,
    /// The pool that closes the file when it is destroyed; only while the file is open,
    /// and only for a file that is not nginx's.
    pub(crate) pool: Cell<Option<Pool<'p>>>,
    /// How many file buffers of the segment have not been sent.
    pub(crate) awaited: Cell<usize>,
    /// The next younger segment or, of a spare segment, the next spare one.
    pub(crate) next: Cell<Option<&'p Segment<'p>>>,
}

/// Whether and how far the response is a stream.
#[derive(Default)]
pub(crate) struct Stream {
    /// The response is a stream: its data goes to the client before a buffer is full.
    pub(crate) is_stream: bool,
    /// The stream is live: its client must not be given ever older data.
    pub(crate) is_live: bool,
    /// The output has been told to keep nothing back of what it was given last.
    pub(crate) is_flushed: Cell<bool>,
}

/// What is known of the progress of both sides.
pub(crate) struct Timeouts {
    /// When upstream last made progress, or was not waited for, in milliseconds by
    /// [`clock`].
    pub(crate) upstream_since: Cell<ngx_msec_t>,
    /// Bytes that had been received when upstream last made progress, plus those that
    /// had come in below TLS; -1 at first.
    pub(crate) received: Cell<off_t>,
    /// How far the client was when the pipe last looked at its progress.
    pub(crate) client: Cell<ClientPosition>,
}

/// How far the client is, whatever the buffers of the socket, TLS and HTTP/2 hold: a
/// number changes when the client takes something, and none changes when it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientPosition {
    /// Bytes of the response, or of the stream, given to the socket.
    pub(crate) sent: off_t,
    /// Bytes that have left the socket's buffer, those of TLS included.
    pub(crate) left: i64,
    /// HTTP/2: bytes that the client lets the stream send.
    pub(crate) window: isize,
}

/// A state's place in the queue of the pipes that wait for their turn.
pub(crate) struct Place {
    /// The state is in the queue.
    pub(super) is_taken: Cell<bool>,
    /// The states before and behind this one in the queue, or null.
    pub(super) before: Cell<StatePointer>,
    pub(super) behind: Cell<StatePointer>,
}

/// A pointer to a state, or null. The lifetime stands for none.
pub(super) type StatePointer = *const State<'static>;

impl Place {
    /// A place of a state that is not in the queue.
    fn new() -> Self {
        Self {
            is_taken: Cell::new(false),
            before: Cell::new(null()),
            behind: Cell::new(null()),
        }
    }

    /// Whether the state is in the queue.
    pub(crate) fn is_taken(&self) -> bool {
        self.is_taken.get()
    }
}

/// The pipe's turns among those of the other pipes of its worker.
pub(crate) struct Turns {
    /// The place in the queue of the pipes that wait for their turn.
    pub(crate) place: Place,
    /// When the wait in the queue began, in milliseconds by [`clock`].
    pub(crate) since: Cell<ngx_msec_t>,
    /// A turn is running. (None is while the pipe does nothing for others to move
    /// first.)
    pub(crate) is_running: Cell<bool>,
    /// When the turn began, in nanoseconds by `nanoseconds`.
    pub(crate) started: Cell<u64>,
    /// Bytes that the pipe has received in this turn.
    pub(crate) received: Cell<u64>,
    /// `recv_chain` was called in this turn.
    pub(crate) has_received: Cell<bool>,
    /// How much of its credit the pipe has used, in bytes.
    pub(crate) used: Cell<u64>,
    /// When credit was last given back, in milliseconds by [`clock`].
    pub(crate) grown: Cell<ngx_msec_t>,
    /// The pipe carries bulk.
    pub(crate) is_bulk: Cell<bool>,
    /// The pipe is counted in `waiting_bulk`: it carried bulk when it was put in the queue.
    pub(crate) waits_as_bulk: Cell<bool>,
    /// How many turns in a row were cut short, and had the pipe served before all others.
    pub(crate) in_row: Cell<usize>,
    /// More could be moved in this turn.
    pub(crate) is_cut: Cell<bool>,
    /// The next turn is that for which the pipe has waited in the queue.
    pub(crate) is_served: Cell<bool>,
    /// This turn is that for which the pipe has waited in the queue.
    pub(crate) was_served: Cell<bool>,
    /// The pipe was told to send first, and has not run since.
    pub(crate) owes_write: Cell<bool>,
}

/// What is kept of how much the client takes at once.
#[derive(Default)]
pub(crate) struct Wide {
    /// The client's room, in bytes.
    pub(crate) room: Cell<usize>,
    /// The kernel was asked for the room in this turn, and the client has not been
    /// given most of it since.
    pub(crate) is_room_known: Cell<bool>,
    /// The kernel's figure of what the client takes was too high: the busy size limits
    /// the rest of the response.
    pub(crate) is_overestimated: Cell<bool>,
}

impl<'p> State<'p> {
    /// The state of a pipe whose response is about to be read.
    fn new(
        pipe: Pipe<'p>,
        settings: Settings<'p>,
        stream: Stream,
        account: Option<Account<'p>>,
    ) -> Self {
        Self {
            pipe,
            settings,
            started: clock(),
            busy: Busy::default(),
            counts: Counts {
                since: Cell::new(clock()),
                header_only: pipe.downstream_error(),
                account,
                ..Counts::default()
            },
            delay: Delay::default(),
            fallback: Fallback::default(),
            give_back: GiveBack::default(),
            linger: Cell::new(None),
            memory: Memory::default(),
            segments: Segments::default(),
            stream,
            timeouts: Timeouts {
                upstream_since: Cell::new(clock()),
                received: Cell::new(-1),
                client: Cell::default(),
            },
            turns: Turns {
                place: Place::new(),
                since: Cell::new(0),
                is_running: Cell::new(false),
                started: Cell::new(0),
                received: Cell::new(0),
                has_received: Cell::new(false),
                used: Cell::new(0),
                grown: Cell::new(clock()),
                is_bulk: Cell::new(false),
                waits_as_bulk: Cell::new(false),
                in_row: Cell::new(0),
                is_cut: Cell::new(false),
                is_served: Cell::new(false),
                was_served: Cell::new(false),
                owes_write: Cell::new(false),
            },
            wide: Wide::default(),
        }
    }

    /// Writes a new state into memory of the request's pool.
    ///
    /// # Safety
    ///
    /// `memory` has [`STATE_SIZE`] bytes, is aligned to 16 and belongs to nobody else; it
    /// lives as long as the pipe, whose request has these settings.
    pub(crate) unsafe fn create(
        memory: *mut ngx_event_pipe_state_t,
        pipe: Pipe<'p>,
        settings: *mut ngx_event_pipe_settings_t,
        stream: impl FnOnce(Settings<'p>) -> Stream,
        account: Option<Account<'p>>,
    ) {
        // SAFETY: not null, and alive as long as the request, says the caller.
        let settings = unsafe { Settings::from_non_null(settings) };
        let state = State::new(pipe, settings, stream(settings), account);

        // SAFETY: memory for a state, says the caller.
        unsafe { memory.cast::<State<'p>>().write(state) }
    }

    /// Runs `body` on a state that nginx has called the library with.
    ///
    /// # Safety
    ///
    /// `state` is a state that [`State::create`] has made, and its pipe lives until the
    /// call returns.
    pub(crate) unsafe fn enter<R>(
        state: *mut ngx_event_pipe_state_t,
        body: impl for<'a> FnOnce(&'a State<'a>) -> R,
    ) -> R {
        // SAFETY: made by `create`, says the caller; there are only shared references
        // to a state.
        body(unsafe { &*state.cast::<State<'_>>() })
    }
}

/// How many bytes a state needs.
pub(crate) const STATE_SIZE: usize = size_of::<State<'_>>();

/// The C side aligns a state to 16 bytes.
const _: () = assert!(align_of::<State<'_>>() <= 16);

impl<'p> Pipe<'p> {
    /// The state of this pipe. `None` if the pipe is not that of a request, if
    /// `event_pipe_extensions` is off or if there was no memory: then the pipe works as
    /// nginx's.
    pub(crate) fn state(self) -> Option<&'p State<'p>> {
        // SAFETY: a pipe that its owner has set up.
        let state = unsafe { bindings::ngx_event_pipe_glue_state(self.as_raw()) };

        // SAFETY: null, or made by `State::create` in the pipe's pool; there are only
        // shared references to a state.
        unsafe { state.cast::<State<'p>>().as_ref() }
    }

    /// The state of this pipe, as [`Pipe::state`] returns it; makes the state at the
    /// first call for a pipe.
    pub(crate) fn open_state(self) -> Option<&'p State<'p>> {
        // SAFETY: a pipe that its owner has set up.
        let state = unsafe { bindings::ngx_event_pipe_glue_open_state(self.as_raw()) };

        // SAFETY: null, or made by `State::create` in the pipe's pool; there are only
        // shared references to a state.
        unsafe { state.cast::<State<'p>>().as_ref() }
    }
}

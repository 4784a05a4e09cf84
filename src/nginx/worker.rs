//! What a worker process keeps for all of its pipes: loans, the number of segments,
//! whether all filters are known, where it counts, and the pipes that wait for their
//! turn.

use core::cell::Cell;

use super::bindings;
use super::loan::Loans;
use super::queue::Queue;

/// What the library keeps once in each worker process.
pub(crate) struct Worker {
    /// The loans, lent or not.
    pub(crate) loans: Loans,
    /// How many bytes may be lent with `event_pipe_memory auto`.
    pub(crate) auto_memory: Cell<usize>,
    /// nginx is to call the library when loans may have been idle.
    pub(crate) is_idle_watched: Cell<bool>,
    /// How many segments that nginx would not have the worker may have
    /// (`segments_max`), and has (`segments_open`).
    pub(crate) segments_max: Cell<u64>,
    pub(crate) segments_open: Cell<u64>,
    /// The limit of descriptors when `segments_max` was computed.
    pub(crate) files_max: Cell<u64>,
    /// There is a filter that is not known: what it does with files is not known.
    pub(crate) has_unknown_filter: Cell<bool>,
    /// The number of the process, and that of its lane of the board.
    pub(crate) process: Cell<u32>,
    pub(crate) lane: Cell<usize>,
    /// How much the pipes of this worker have moved in this cycle of events, in bytes or
    /// in nanoseconds, whichever were more in each turn.
    pub(crate) moved: Cell<u64>,
    /// The pipes that wait for their turn.
    pub(crate) waiting: Queue,
    /// How many of these pipes carried bulk when they began to wait.
    pub(crate) waiting_bulk: Cell<usize>,
    /// The cycle at whose end nginx calls the library; `None` if nginx does not.
    pub(crate) last_cycle: Cell<Option<Cycle>>,
}

/// A cycle of events: nginx waits for events, and handles those that have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cycle {
    This,
    Next,
}

// SAFETY: nginx calls the library in one thread of each worker process, the one with
// the event loop; its other threads only read and write files.
unsafe impl Sync for Worker {}

static WORKER: Worker = Worker {
    loans: Loans::new(),
    auto_memory: Cell::new(0),
    is_idle_watched: Cell::new(false),
    segments_max: Cell::new(0),
    segments_open: Cell::new(0),
    files_max: Cell::new(0),
    has_unknown_filter: Cell::new(false),
    process: Cell::new(0),
    lane: Cell::new(0),
    moved: Cell::new(0),
    waiting: Queue::new(),
    waiting_bulk: Cell::new(0),
    last_cycle: Cell::new(None),
};

/// The worker that this process is.
pub(crate) fn worker() -> &'static Worker {
    &WORKER
}

impl Worker {
    /// Has nginx call the library, `ngx_event_pipe_rust_end_cycle`, when the events of
    /// this cycle, or of the next one, have been handled. Does nothing if nginx calls the
    /// library at the end of a cycle anyway.
    pub(crate) fn call_at_end(&self, cycle: Cycle) {
        if self.last_cycle.get().is_none() {
            self.last_cycle.set(Some(cycle));

            // SAFETY: posts an event of the module's own, which is not posted.
            unsafe { bindings::ngx_event_pipe_glue_end_cycle((cycle == Cycle::Next).into()) }
        }
    }

    /// Has nginx call the library, `ngx_event_pipe_rust_idle`, after this time. A worker
    /// that is to exit does not wait for that.
    pub(crate) fn call_when_idle(&self, after: bindings::ngx_msec_t) {
        // SAFETY: sets the timer of an event of the module's own.
        unsafe { bindings::ngx_event_pipe_glue_idle(after) }
    }
}

/// How many descriptors the process may have: now, and at most if it asks for more.
/// `None` if that is not known.
#[allow(clippy::unnecessary_cast)] // of `rlim_t`, which is no `u64` everywhere
pub(crate) fn file_limits() -> Option<(u64, u64)> {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };

    // SAFETY: `limits` is a local structure.
    let rc = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits) };

    (rc == 0).then_some((limits.rlim_cur as u64, limits.rlim_max as u64))
}

/// Sets the process's limit of descriptors to `now`, which is at most `max`. Tells
/// whether the system grants that.
pub(crate) fn set_file_limit(now: u64, max: u64) -> bool {
    let limits = libc::rlimit {
        rlim_cur: now as libc::rlim_t,
        rlim_max: max as libc::rlim_t,
    };

    // SAFETY: `limits` is a local structure.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) == 0 }
}

/// The limit of descriptors that stands for no limit.
#[allow(clippy::unnecessary_cast)] // as above
pub(crate) const UNLIMITED: u64 = libc::RLIM_INFINITY as u64;

//! What a worker process keeps for all of its pipes: loans, the number of segments,
//! whether all filters are known, where it counts, and the pipes that wait for their
//! turn.

use core::cell::Cell;
use core::ptr::null_mut;

use super::bindings::{self, ngx_buf_t};
use super::buf::Buf;
use super::log::Log;
use super::queue::Queue;

/// What the library keeps once in each worker process.
pub(crate) struct Worker {
    /// The first of the loans that are not lent; the `shadow` of each points to the
    /// next.
    free_loans: Cell<*mut ngx_buf_t>,
    /// Bytes of all loans of this worker, lent or not.
    pub(crate) loan_bytes: Cell<usize>,
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
    free_loans: Cell::new(null_mut()),
    loan_bytes: Cell::new(0),
    segments_max: Cell::new(0),
    segments_open: Cell::new(0),
    files_max: Cell::new(0),
    has_unknown_filter: Cell::new(false),
    process: Cell::new(0),
    lane: Cell::new(0),
    moved: Cell::new(0),
    waiting: Queue::new(),
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

    /// Takes a loan of `size` bytes that is not lent. `None` if there is none. The
    /// caller has the loan until it calls [`Worker::keep_loan`].
    pub(crate) fn take_loan<'p>(&self, size: usize) -> Option<Buf<'p>> {
        // SAFETY: null, or made by `new_loan`; such a buffer is never freed.
        let loan: Buf<'p> = unsafe { Buf::from_raw(self.free_loans.get()) }?;

        self.free_loans
            .set(loan.shadow().map_or(null_mut(), Buf::as_raw));
        set_up(loan, size);

        Some(loan)
    }

    /// Allocates a loan of `size` bytes, which stays the worker's for good. `None` if
    /// there is no memory. The caller has the loan until it calls
    /// [`Worker::keep_loan`].
    pub(crate) fn new_loan<'p>(&self, size: usize, log: Log<'_>) -> Option<Buf<'p>> {
        let bytes = size.checked_add(size_of::<ngx_buf_t>())?;

        // SAFETY: a live log.
        let memory = unsafe { bindings::ngx_alloc(bytes, log.as_raw()) };

        // SAFETY: null, or memory for a buffer, which `set_up` fills.
        let loan: Buf<'p> = unsafe { Buf::from_raw(memory.cast()) }?;

        self.loan_bytes
            .set(self.loan_bytes.get().saturating_add(size));
        set_up(loan, size);

        Some(loan)
    }

    /// Takes a loan back. No buffer of any pipe refers to the loan any more.
    pub(crate) fn keep_loan(&self, loan: Buf<'_>, size: usize) {
        // SAFETY: the memory of a loan, which nobody else looks at from now on.
        unsafe { bindings::ngx_event_pipe_glue_forbid(memory(loan), size) }

        // SAFETY: null, or the first of the loans that are not lent.
        loan.set_shadow(unsafe { Buf::from_raw(self.free_loans.get()) });
        self.free_loans.set(loan.as_raw());
    }
}

/// The memory behind the structure of a loan.
fn memory(loan: Buf<'_>) -> *mut u8 {
    // SAFETY: `new_loan` has allocated the memory behind the structure with it.
    unsafe { loan.as_raw().add(1).cast() }
}

/// Sets all fields of a loan, so that it is an empty raw buffer.
fn set_up(loan: Buf<'_>, size: usize) {
    let start = memory(loan);

    // SAFETY: the memory of a loan that is not lent.
    unsafe { bindings::ngx_event_pipe_glue_permit(start, size) }

    loan.clear();
    loan.set_start(start);
    loan.set_pos(start);
    loan.set_last(start);
    loan.set_end(start.wrapping_add(size));
    loan.set_temporary(true);
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

//! The board: memory that all workers share, in which they count.
//!
//! All of the board are atomic numbers, so a worker may read what another one is writing,
//! and every bit pattern is valid. A board whose bytes are all zero is an empty one. What
//! the numbers mean, `extensions::zones` decides.
//!
//! The board has a *lane* for each worker process, a lane has a *row* for each zone, and
//! only the worker that owns the lane writes to its rows: the sum over all lanes is what
//! all workers have counted.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// How many zones may have a name.
pub(crate) const NAMES: usize = 256;

/// How many zones there are: one for what has no name, one for the names that are too
/// many, and those with a name.
pub(crate) const ZONES: usize = NAMES + 2;

/// How many bytes a name has at most.
pub(crate) const NAME_LEN: usize = 63;

/// How many numbers the totals of a zone are.
pub(crate) const WORDS: usize = 96;

/// How many places there are in the table by which a name is found; a power of two.
pub(crate) const INDEX: usize = 1024;

/// What all workers know of the zones.
#[repr(C, align(64))]
pub(crate) struct Head {
    /// How many lanes there are.
    lanes: AtomicU32,
    /// How many zones have a name.
    pub(crate) count: AtomicU32,
    /// Not 0 after a name was one too many.
    pub(crate) has_overflowed: AtomicU32,
    /// The number of a name's zone, at a place by the hash of the name or behind that; 0
    /// if the place is empty.
    pub(crate) index: [AtomicU16; INDEX],
    pub(crate) names: [Name; NAMES],
}

/// The name of a zone. Never changes once the zone is counted in `count`.
#[repr(C)]
pub(crate) struct Name {
    pub(crate) len: AtomicU8,
    pub(crate) bytes: [AtomicU8; NAME_LEN],
}

/// What one worker has counted.
#[repr(C, align(64))]
pub(crate) struct Lane {
    /// The process that owns the lane; 0 if none ever did.
    pub(crate) owner: AtomicU32,
    /// The memory of all loans of the worker, lent or not, in bytes; and what
    /// `event_pipe_memory` allows the worker.
    pub(crate) loans: AtomicU64,
    pub(crate) loans_max: AtomicU64,
    pub(crate) rows: [Row; ZONES],
}

/// What one worker has counted in one zone.
#[repr(C)]
pub(crate) struct Row {
    /// The responses that are not over.
    pub(crate) active: AtomicU64,
    /// What they have in temporary files, in bytes.
    pub(crate) disk: AtomicU64,
    /// What is lent to them, in bytes.
    pub(crate) lent: AtomicU64,
    /// How many times the totals were replaced. The last bit tells which copy of the
    /// totals is in force.
    pub(crate) version: AtomicU32,
    pub(crate) copies: [[AtomicU64; WORDS]; 2],
}

/// A board, in memory that stays where it is for `'b`.
#[derive(Clone, Copy)]
pub(crate) struct Board<'b> {
    pub(crate) head: &'b Head,
    pub(crate) lanes: &'b [Lane],
}

/// How many bytes a board with this many lanes has.
pub(crate) const fn board_size(lanes: usize) -> usize {
    size_of::<Head>().saturating_add(lanes.saturating_mul(size_of::<Lane>()))
}

/// Makes an empty board for as many lanes as the memory has room for.
///
/// # Safety
///
/// The memory has `size` bytes, at least those of a [`board_size`], which are all zero;
/// it is aligned to 64 bytes, and nobody uses it yet.
pub(crate) unsafe fn create_board(memory: *mut c_void, size: usize) {
    let lanes = size
        .saturating_sub(size_of::<Head>())
        .checked_div(size_of::<Lane>());

    // SAFETY: memory for a head, says the caller; all bytes zero are a valid one.
    let head = unsafe { &*memory.cast::<Head>() };

    head.lanes
        .store(lanes.unwrap_or(0) as u32, Ordering::Relaxed);
}

/// The board in this memory; `None` for null.
///
/// # Safety
///
/// Null, or a board that [`create_board`] has made, which stays where it is for `'b`.
pub(crate) unsafe fn board<'b>(memory: *const c_void) -> Option<Board<'b>> {
    // SAFETY: null, or a board, says the caller; all of it are atomic numbers.
    let head = unsafe { memory.cast::<Head>().as_ref() }?;
    let count = head.lanes.load(Ordering::Relaxed);

    // SAFETY: the lanes begin behind the head, in the same memory.
    let lanes = unsafe { memory.cast::<Head>().add(1) }.cast::<Lane>();

    // SAFETY: as many lanes as `create_board` has found room for; all of them are atomic
    // numbers.
    let lanes = unsafe { core::slice::from_raw_parts(lanes, count as usize) };

    Some(Board { head, lanes })
}

/// The row and the lane in which a worker counts a response.
#[derive(Clone, Copy)]
pub(crate) struct Account<'b> {
    pub(crate) lane: &'b Lane,
    pub(crate) row: &'b Row,
    /// Other workers write to the row, too: there were fewer lanes than workers.
    pub(crate) is_shared: bool,
}

/// The process that this is.
pub(crate) fn process_id() -> u32 {
    // SAFETY: getpid(2) has no precondition.
    unsafe { libc::getpid() as u32 }
}

/// Whether there is a process with this number. A process of somebody else counts, too.
pub(crate) fn is_alive(process: u32) -> bool {
    // SAFETY: signal 0 is none; the call only looks for the process.
    let rc = unsafe { libc::kill(process as libc::pid_t, 0) };

    rc == 0 || last_error() != libc::ESRCH
}

/// The number of the last error of a system call; 0 if that is not known.
fn last_error() -> i32 {
    #[cfg(target_os = "linux")]
    let error = {
        // SAFETY: no precondition.
        let place = unsafe { libc::__errno_location() };

        // SAFETY: a variable of this thread.
        unsafe { *place }
    };

    #[cfg(not(target_os = "linux"))]
    let error = 0;

    error
}

#[cfg(test)]
pub(crate) mod tests {
    use std::alloc::{Layout, alloc_zeroed, dealloc};

    use super::*;

    /// Runs a test with a new board.
    pub(crate) fn with_board(lanes: usize, test: impl FnOnce(Board<'_>)) {
        let layout = Layout::from_size_align(board_size(lanes), 64).unwrap();
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) };
        // SAFETY: memory of this size, all bytes zero.
        unsafe { create_board(memory.cast(), layout.size()) }
        // SAFETY: a board that has just been made.
        test(unsafe { board(memory.cast()) }.unwrap());
        // SAFETY: allocated above with this layout.
        unsafe { dealloc(memory, layout) }
    }

    #[test]
    fn a_board_has_the_lanes_that_its_memory_has_room_for() {
        with_board(3, |board| assert_eq!(board.lanes.len(), 3));
        // SAFETY: null is none.
        assert!(unsafe { board(core::ptr::null()) }.is_none());
    }

    #[test]
    fn a_process_that_is_gone_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        assert!(is_alive(child.id()));
        child.wait().unwrap();
        assert!(!is_alive(child.id()));
        assert!(is_alive(process_id()));
    }
}

//! `event_pipe_wide`: reads and writes more at once than nginx does, in the same
//! memory, so that a body takes fewer system calls.
//!
//! nginx allocates one buffer at a time and reads into that buffer, however much waits
//! in the socket. And nginx gives the output no more than the busy size at a time,
//! however much the client would take.

#![forbid(unsafe_code)]

use crate::nginx::{Connection, Pipe, State, off_t, within};

/// The state of a pipe that may send wide batches.
pub(crate) fn state<'p>(p: Pipe<'p>) -> Option<&'p State<'p>> {
    p.state()
        .filter(|state| state.settings.wide() && !state.wide.is_overestimated.get())
}

/// For how many bytes the pipe may allocate buffers before it reads: those that wait in
/// upstream's socket, within `limit` if that is not 0. (nginx: 0, as it allocates one
/// buffer at a time.)
pub(crate) fn bytes_to_expect<'p>(p: Pipe<'p>, upstream: Connection<'p>, limit: off_t) -> off_t {
    if p.state().is_none_or(|state| !state.settings.wide()) {
        return 0;
    }

    let waiting = upstream
        .bytes_available()
        .map_or(0, |bytes| off_t::try_from(bytes).unwrap_or(off_t::MAX));

    within(limit, waiting)
}

/// How many bytes of raw buffers the output may hold: the busy size, or all that the
/// client takes at once if the output holds nothing yet. (nginx: the busy size.)
pub(crate) fn busy_limit(p: Pipe<'_>) -> isize {
    let may_exceed = p.busy_size() > 0 && p.busy().is_none();
    let room = state(p)
        .filter(|_| may_exceed)
        .map_or(0, |state| ask_room(p, state));

    isize::try_from(room)
        .unwrap_or(isize::MAX)
        .max(p.busy_size())
}

/// The client's room in bytes; 0 if it is not known. Asks the kernel once a turn, and
/// again when most of the room has been used.
pub(crate) fn ask_room(p: Pipe<'_>, state: &State<'_>) -> usize {
    let wide = &state.wide;

    if !wide.is_room_known.replace(true) {
        wide.room.set(p.room());
    }

    wide.room.get()
}

/// Forgets the client's room when a turn begins.
pub(crate) fn start_turn(state: &State<'_>) {
    state.wide.is_room_known.set(false);
}

/// Notes that the output was given a batch of `bytes`. If a wide batch within the client's
/// room has left something in `busy`, the kernel's figure is too high for this client:
/// batches stay within the busy size for the rest of the response.
pub(crate) fn after_output(p: Pipe<'_>, bytes: off_t, exceeds_busy_size: bool) {
    let Some(wide) = p.state().map(|state| &state.wide) else {
        return;
    };
    let used = usize::try_from(bytes).unwrap_or(usize::MAX);
    let was_promised = wide.is_room_known.get() && used <= wide.room.get();
    let busy_size = p.busy_size().unsigned_abs();

    match room_after(wide.room.get(), used, busy_size, exceeds_busy_size) {
        Some(room) => wide.room.set(room),
        None => wide.is_room_known.set(false),
    }

    if exceeds_busy_size && was_promised && p.busy().is_some() {
        wide.is_overestimated.set(true);
    }
}

/// The client's room, in bytes, after a batch of `used` bytes; `None` if the kernel is to
/// be asked before the next batch.
fn room_after(
    room: usize,
    used: usize,
    busy_size: usize,
    exceeds_busy_size: bool,
) -> Option<usize> {
    if !exceeds_busy_size && room <= busy_size {
        // The room is too little for a wide batch: not worth another system call in
        // this turn.
        return Some(0);
    }

    // With most of the room used, the client may have taken as much again.
    let left = room.saturating_sub(used);
    (left > used).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::room_after;

    #[test]
    fn room_that_is_left_needs_no_question() {
        assert_eq!(room_after(1000, 300, 100, true), Some(700));
        assert_eq!(room_after(1000, 499, 100, true), Some(501));
    }

    #[test]
    fn room_that_is_used_up_is_asked_for_again() {
        assert_eq!(room_after(1000, 500, 100, true), None);
        assert_eq!(room_after(1000, 2000, 100, true), None);
    }

    #[test]
    fn less_room_than_the_busy_size_is_none_in_this_turn() {
        assert_eq!(room_after(100, 10, 100, false), Some(0));
        assert_eq!(room_after(101, 10, 100, false), Some(91));
        assert_eq!(room_after(100, 10, 100, true), Some(90));
    }
}

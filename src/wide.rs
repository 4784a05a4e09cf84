//! Reading and writing more at once than nginx does, in the same memory: fewer
//! system calls for the same body. `event_pipe_wide off` leaves it at nginx's
//! pattern.
//!
//! Nginx allocates one buffer at a time and reads into it, however much waits
//! in the socket; and it hands to the output no more than the busy size at a
//! time, however much the client would take.

#![forbid(unsafe_code)]

use crate::Abort;
use crate::nginx::{Connection, Link, Pipe, State, off_t};
use crate::read::allocate;

/// The state of a pipe that may read and write wide.
pub(crate) fn state<'p>(p: Pipe<'p>) -> Option<State<'p>> {
    p.state()
        .filter(|state| state.settings().wide() && !state.narrow())
}

/// Appends new buffers to a chain that is to be received into, as many as are
/// needed for what is known to wait and may be read, and as may be allocated.
pub(crate) fn extend<'p>(
    p: Pipe<'p>,
    upstream: Connection<'p>,
    chain: Link<'p>,
    limit: off_t,
) -> Result<(), Abort> {
    if p.allocated() >= p.bufs_num() || p.single_buf() {
        return Ok(());
    }

    if p.state().is_none_or(|state| !state.settings().wide()) {
        return Ok(());
    }

    let mut missing = upstream.waiting().map_or(0, |waiting| {
        let waiting = off_t::try_from(waiting).unwrap_or(off_t::MAX);
        if limit > 0 {
            waiting.min(limit)
        } else {
            waiting
        }
    });
    let mut last = chain;

    for link in chain.iter() {
        missing = missing.saturating_sub(link.buf().room() as off_t);
        last = link;
    }

    while missing > 0 && p.allocated() < p.bufs_num() {
        let link = allocate(p)?;

        last.set_next(Some(link));
        last = link;
        missing = missing.saturating_sub(link.buf().room() as off_t);
    }

    Ok(())
}

/// How many bytes of raw buffers may be with the output: the busy size, or all
/// that the client takes at once if nothing is owed to it.
pub(crate) fn busy_limit(p: Pipe<'_>) -> isize {
    let may_exceed = p.busy_size() > 0 && p.busy().is_none();
    let room = state(p)
        .filter(|_| may_exceed)
        .map_or(0, |state| room(p, state));

    isize::try_from(room)
        .unwrap_or(isize::MAX)
        .max(p.busy_size())
}

/// How many bytes the client takes at once; 0 if that cannot be known. It is
/// asked once a turn, and again when most of it has been used.
pub(crate) fn room<'p>(p: Pipe<'p>, state: State<'p>) -> usize {
    if !state.room_known() {
        state.set_room(p.room());
        state.set_room_known(true);
    }

    state.room()
}

/// What was seen of the client's side in an earlier turn is no longer true.
pub(crate) fn start_turn(p: Pipe<'_>) {
    if let Some(state) = p.state() {
        state.set_room_known(false);
    }
}

/// The output was given a batch of so many bytes, a wide one if it exceeds the
/// busy size. If the client has not taken all of that, so much is not expected
/// of it again.
pub(crate) fn handed_over(p: Pipe<'_>, bytes: off_t, is_wide: bool) {
    let Some(state) = p.state() else {
        return;
    };
    let used = usize::try_from(bytes).unwrap_or(usize::MAX);
    let left = state.room().saturating_sub(used);

    if !is_wide && state.room() <= p.busy_size().unsigned_abs() {
        // What was too little is less now; to ask again is not worth it.
        state.set_room(0);
    } else if left > used {
        state.set_room(left);
    } else {
        // Enough for one more like it there may be again.
        state.set_room_known(false);
    }

    if is_wide && p.busy().is_some() {
        state.set_narrow(true);
    }
}

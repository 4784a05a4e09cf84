//! `event_pipe_max_chunk`: fair turns. In each cycle of events, all pipes of a worker
//! together move about as much as this directive says. A pipe that comes when so much
//! has been moved waits for its turn in a queue: first come, first served. So a large
//! response never makes the other connections of its worker wait for long. (Under
//! nginx, a pipe goes on until one side would have to be waited for, which on a fast
//! network may take long.)
//!
//! What a pipe moves is measured in bytes that the pipe has received, or in nanoseconds
//! of the worker's time, whichever is more: a write to a slow disk, or TLS, may cost
//! more time than the bytes tell.
//!
//! Three kinds of pipes never wait: a pipe that has credit, a pipe whose upstream is
//! finished or given up, and a pipe that waits for something else, like a rate limit or
//! a thread. The credit is enough for a small response, or for the first bytes of a large
//! one, and grows with time: a stream of messages does not wait behind downloads.
//!
//! The queue is served after the events of each cycle, so whatever has come in meanwhile
//! goes first. At least one pipe is served in each cycle, and each turn receives at
//! least once.
//!
//! Each change from one pipe to another costs: the peers of the one fall asleep, those of
//! the other are woken, and the data in their sockets is no longer in the processor's
//! cache. So a pipe that carries *bulk* (it has moved much more than its credit, and always
//! has more) has several turns in a row before it goes to the end of the queue, as long as
//! all that wait carry bulk. In between, each cycle's events go first as ever.
//!
//! An event that is `ready` has no timer, so for a side that has done its part
//! time in the queue is no time-out. A worker that is to exit does so when no timer is
//! left, so the event that serves the queue has one.

#![forbid(unsafe_code)]

use crate::extensions::linger;
use crate::nginx::{
    Abort, Cycle, Pipe, State, Worker, clock, nanoseconds, off_t, update, within, worker,
};

/// The credit of a pipe that has received nothing yet, in bytes: for so many, the pipe
/// does not wait. In tests that link the library, all sizes are small.
const CREDIT: u64 = if cfg!(feature = "std") { 16 } else { 64 << 10 };

/// In how many milliseconds a credit that is used up is whole again. With [`CREDIT`], a
/// response that comes at 1 MiB/s never waits.
const CREDIT_TIME: u64 = 64;

/// The least that a read is limited to, in bytes: smaller reads cost more than they help.
const LEAST: u64 = CREDIT / 4;

/// The most bytes of credit that a pipe can have used, which are more than the pipe has:
/// so a large response that becomes slow waits for a second at most as before. A pipe that
/// has used less does not carry bulk.
const DEBT: u64 = if cfg!(feature = "std") { 4 } else { 16 } * CREDIT;

/// The most turns in a row that a pipe has, and the part of them that a pipe needs to carry
/// bulk.
const IN_ROW: usize = 8;
const PART_OF_ROW: usize = 4;

/// Within how many turns all that wait have had theirs, if one turn each is not more. With
/// half a millisecond for a turn, that is an eighth of a second.
const ROUND: usize = if cfg!(feature = "std") { 16 } else { 256 };

/// The state of a pipe whose turns are limited. (nginx: none are.)
fn state<'p>(p: Pipe<'p>) -> Option<&'p State<'p>> {
    p.state().filter(|state| state.settings.max_chunk() > 0)
}

/// Begins a turn. Tells whether the pipe sends first in this turn; `None` if the pipe
/// has to wait in the queue: then the pipe does nothing now. (nginx: `write`.)
pub(crate) fn start(p: Pipe<'_>, write: bool) -> Option<bool> {
    let Some(state) = state(p) else {
        return Some(write);
    };

    let turns = &state.turns;
    let write = turns.owes_write.get() || write;
    let is_served = turns.is_served.replace(false);

    turns.was_served.set(is_served);
    grow_credit(state);

    if !is_served && may_wait(p, state) && has_to_wait(state) {
        turns.owes_write.set(write);
        turns.is_cut.set(true);
        return None;
    }

    turns.owes_write.set(false);
    turns.is_running.set(true);
    turns.started.set(nanoseconds());
    turns.received.set(0);
    turns.has_received.set(false);

    Some(write)
}

/// Whether the pipe's work can wait for as long as other pipes move.
fn may_wait(p: Pipe<'_>, state: &State<'_>) -> bool {
    let goes_on = p.upstream().is_some_and(|upstream| {
        // A delayed event wakes the pipe by itself, and nginx leaves it alone before.
        upstream.is_open() && !upstream.read().delayed()
    });

    goes_on
        && !has_credit(state)
        && !p.upstream_finished()
        && !is_at_work(p)
        && state.linger.get().is_none()
}

/// Whether a thread works for the request, or its result is to be collected.
fn is_at_work(p: Pipe<'_>) -> bool {
    #[cfg(ngx_threads)]
    if p.aio() {
        return true;
    }

    p.writing().is_some()
}

/// Whether others have to move first, or enough has been moved in this cycle.
fn has_to_wait(state: &State<'_>) -> bool {
    !worker().waiting.is_empty() || is_enough(state, worker().moved.get())
}

fn is_enough(state: &State<'_>, moved: u64) -> bool {
    moved >= state.settings.max_chunk() as u64
}

/// Notes that the pipe has received `size` bytes; 0 or less if nothing was received.
pub(crate) fn received(p: Pipe<'_>, size: isize) {
    if let Some(state) = state(p) {
        let turns = &state.turns;
        let bytes = size.max(0).unsigned_abs() as u64;

        turns.has_received.set(true);
        update(&turns.received, |received| received.saturating_add(bytes));
        update(&turns.used, |used| used.saturating_add(bytes).min(DEBT));
    }
}

/// Whether the pipe has received so little that it need not wait.
fn has_credit(state: &State<'_>) -> bool {
    state.turns.used.get() < CREDIT
}

/// Gives back credit for the time since the last call of this function.
fn grow_credit(state: &State<'_>) {
    let now = clock();
    let passed = now.wrapping_sub(state.turns.grown.replace(now)) as u64;

    update(&state.turns.used, |used| used_after(used, passed));
}

/// How much of the credit is used `passed` milliseconds after `used` bytes of it were.
fn used_after(used: u64, passed: u64) -> u64 {
    used.saturating_sub(passed.saturating_mul(CREDIT) / CREDIT_TIME)
}

/// Cuts the turn short if enough has been moved in this cycle: then nothing more is
/// received, although more could be. Tells whether that is so. (nginx: no.)
pub(crate) fn cut_short(p: Pipe<'_>) -> bool {
    let Some(state) = state(p) else {
        return false;
    };

    let is_over = is_over(state);

    state.turns.is_cut.set(is_over);

    is_over
}

fn is_over(state: &State<'_>) -> bool {
    let may_end = state.turns.has_received.get() && !has_credit(state);
    let moved = || worker().moved.get().saturating_add(moved_in_turn(state));

    may_end && is_enough(state, moved())
}

/// The most bytes to receive at once, which are at most `limit` if that is not 0: what may
/// still be moved in this cycle, or the pipe's credit. (nginx: `limit`.)
pub(crate) fn limit(p: Pipe<'_>, limit: off_t) -> off_t {
    let Some(state) = state(p) else {
        return limit;
    };

    let max = state.settings.max_chunk() as u64;
    let moved = worker()
        .moved
        .get()
        .saturating_add(state.turns.received.get());
    let credit = CREDIT.saturating_sub(state.turns.used.get());
    let most = max.saturating_sub(moved).max(credit).max(LEAST);
    let most = off_t::try_from(most).unwrap_or(off_t::MAX);

    within(limit, most)
}

/// How much the pipe has moved since its turn began.
fn moved_in_turn(state: &State<'_>) -> u64 {
    let elapsed = nanoseconds().saturating_sub(state.turns.started.get());

    elapsed.max(state.turns.received.get())
}

/// Ends a turn, with its result. If the turn was cut short, or the pipe did nothing for
/// others to move first, the pipe waits in the queue.
pub(crate) fn end(p: Pipe<'_>, result: Result<(), Abort>) {
    let Some(state) = state(p) else {
        return;
    };

    let worker = worker();
    let is_cut = state.turns.is_cut.replace(false);

    let waits = is_cut && result.is_ok() && goes_on(p);

    if state.turns.is_running.replace(false) {
        worker
            .moved
            .set(worker.moved.get().saturating_add(moved_in_turn(state)));
        note_bulk(worker, state, waits);
    }

    match waits {
        true => wait(worker, state),
        false => {
            state.turns.in_row.set(0);
            leave(state);
        }
    }

    worker.call_at_end(match worker.waiting.is_empty() {
        true => Cycle::This,
        false => Cycle::Next,
    });
}

/// Whether nginx goes on with the pipe after a turn.
fn goes_on(p: Pipe<'_>) -> bool {
    let has_client = !p.downstream_error() || p.cacheable();

    has_client && !p.upstream_finished() && linger::reason(p).is_none()
}

/// Puts the pipe in the queue, unless the pipe is in the queue: at the end, or before all
/// others if the pipe comes from the queue and the next turn is the pipe's, too.
fn wait(worker: &Worker, state: &State<'_>) {
    let turns = &state.turns;

    if turns.place.is_taken() {
        return;
    }

    let is_bulk = turns.is_bulk.get();
    let in_row = turns.in_row.get().saturating_add(1);
    let has_next = turns.was_served.get() && is_bulk && in_row < most_in_row(worker);

    match has_next {
        true => worker.waiting.push_first(state),
        false => worker.waiting.push(state),
    }

    turns.in_row.set(if has_next { in_row } else { 0 });
    turns.waits_as_bulk.set(is_bulk);
    update(&worker.waiting_bulk, |bulk| {
        bulk.saturating_add(is_bulk.into())
    });
    turns.since.set(clock());
    state.counts.cut_turns.add(1_u64);
}

/// Notes at the end of a turn whether the pipe carries bulk: whether the pipe has used all
/// credit that there is, and has more to move after this turn, or had for at least a quarter
/// of the turns that the pipe may have in a row. So a pipe whose client takes only a little at
/// once does not wait behind the turns in a row of others.
fn note_bulk(worker: &Worker, state: &State<'_>, has_more: bool) {
    let turns = &state.turns;
    let in_row = turns.in_row.get().saturating_mul(PART_OF_ROW);
    let is_much = has_more || in_row >= most_in_row(worker);

    turns.is_bulk.set(is_much && turns.used.get() == DEBT);
}

/// How many turns in a row a pipe may have that carries bulk.
fn most_in_row(worker: &Worker) -> usize {
    let waiting = worker.waiting.count.get();

    match waiting == worker.waiting_bulk.get() {
        true => turns_of_round(waiting.saturating_add(1)),
        false => 1,
    }
}

/// How many turns each of so many pipes has in a round.
fn turns_of_round(pipes: usize) -> usize {
    ROUND.checked_div(pipes).unwrap_or(0).clamp(1, IN_ROW)
}

/// Takes the pipe out of the queue, if it is there: when the pipe is served, has nothing
/// to wait for any more, or ends.
pub(crate) fn leave(state: &State<'_>) {
    if state.turns.place.is_taken() {
        let waited = clock().wrapping_sub(state.turns.since.get());
        let was_bulk = state.turns.waits_as_bulk.get();

        state.counts.queue_time.add(waited as u64);
        worker().waiting.remove(state);
        update(&worker().waiting_bulk, |bulk| {
            bulk.saturating_sub(was_bulk.into())
        });
    }
}

/// Ends a cycle of events: what the pipes of the worker move is counted anew. If some
/// pipes wait since the last cycle, the queue is served; if some wait only since this
/// one, the next cycle's events go first.
pub(crate) fn end_cycle() {
    let worker = worker();

    worker.moved.set(0);

    if worker.last_cycle.take() == Some(Cycle::Next) {
        serve(worker);
    }

    if !worker.waiting.is_empty() {
        worker.call_at_end(Cycle::Next);
    }
}

/// Has nginx run the pipes that wait, at least one, until enough has been moved.
fn serve(worker: &Worker) {
    let mut is_first = true;

    let may_serve = |state: &State<'_>, is_first: bool| {
        let may = is_first || !is_enough(state, worker.moved.get());

        if may {
            leave(state);
            state.turns.is_served.set(true);
        }

        may
    };

    while worker
        .waiting
        .resume_first(|state| may_serve(state, is_first))
    {
        is_first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::{CREDIT, CREDIT_TIME, DEBT, IN_ROW, ROUND, turns_of_round, used_after};

    #[test]
    fn credit_grows_with_time() {
        assert_eq!(used_after(CREDIT, 0), CREDIT);
        assert_eq!(used_after(CREDIT, CREDIT_TIME / 2), CREDIT / 2);
        assert_eq!(used_after(CREDIT, CREDIT_TIME), 0);
    }

    #[test]
    fn a_few_have_several_turns_in_a_row_and_many_one_each() {
        assert_eq!(turns_of_round(1), IN_ROW);
        assert_eq!(turns_of_round(ROUND / 4), 4);
        assert_eq!(turns_of_round(ROUND), 1);
        assert_eq!(turns_of_round(usize::MAX), 1);
    }

    #[test]
    fn there_is_no_more_than_the_whole_credit() {
        assert_eq!(used_after(10, CREDIT_TIME), 0);
        assert_eq!(used_after(DEBT, u64::MAX), 0);
    }
}

//! `event_pipe_memory`: the worker's memory, which is lent to its pipes in large pieces,
//! the *loans*. (nginx has no such memory: a response has the buffers of its location,
//! and the disk.)
//!
//! A pipe receives into loans for one of three purposes:
//!
//! 1. *The client takes everything at once.* The response is received into a loan and
//!    sent from it, and as a rule the worker has the loan back within the same turn.
//! 2. *The client is behind.* What it has yet to take stays in memory, in as many loans
//!    as are the response's share. Beyond that, the oldest data is spilled, a loan at a
//!    time.
//! 3. *The data goes through the temporary file in any case*, because the response is
//!    cacheable, or because it is spilled and finds no memory to stay in: then the loan
//!    serves a large read and a large write, and goes back.
//!
//! The share of a response depends on what is left: a pipe may have one more loan if the
//! loans that it has are no more than will then be left. So one response gets half of the
//! memory, two get a third each, and there is always something left for the next. The
//! last eighth, and at least the last four loans, are kept by nobody: the other two
//! purposes, which give loans back soon, find something there.
//!
//! A loan that nobody has used for a while goes back to the system.

#![forbid(unsafe_code)]

use crate::extensions::{segments, stream, wide};
use crate::nginx::{
    Buf, Connection, LOAN, Link, Links, Loan, Pipe, Settings, State, ngx_msec_t, off_t, update,
    worker,
};

/// A large part of a loan is not worthwhile for data that so many of the pipe's own
/// buffers can hold.
const OWN_BUFS: usize = 2;

/// The part of the memory in which nothing is kept for clients that are behind, and the
/// least bytes of that part.
const RESERVE: usize = 8;
const LEAST_RESERVE: usize = 4 * LOAN;

/// A loan that was not needed for this time, and for twice this time at most, goes back
/// to the system, in milliseconds.
const IDLE: ngx_msec_t = 30_000;

/// What a pipe receives into.
pub(crate) struct Part<'p> {
    pub(crate) buf: Buf<'p>,
    /// The most bytes to receive; 0 is no limit.
    pub(crate) limit: off_t,
}

/// The state of a pipe that may have loans. Under a rate limit, nginx delays the client by
/// how much is written at once, so there everything stays as under nginx.
fn state<'p>(p: Pipe<'p>) -> Option<&'p State<'p>> {
    p.state()
        .filter(|state| limit(state.settings) > 0 && !p.single_buf() && !p.is_limited())
}

/// How many bytes the worker may lend for pipes with these settings.
pub(crate) fn limit(settings: Settings<'_>) -> usize {
    settings.memory(worker().auto_memory.get())
}

/// A large part of a loan to receive into, if that is worthwhile. `None` if the pipe is to
/// receive into its own buffers, as under nginx.
pub(crate) fn borrow<'p>(p: Pipe<'p>, upstream: Connection<'p>) -> Option<Part<'p>> {
    let state = state(p)?;

    if p.cacheable() {
        return pass_through(p, state, upstream);
    }

    if p.downstream_error() {
        return None;
    }

    if p.client_ready() {
        return send_at_once(p, state, upstream);
    }

    let kept = keep(p, state, || is_worthwhile(p, upstream), LOAN);

    kept.or_else(|| match state.memory.is_spilling.get() {
        true => pass_through(p, state, upstream),
        false => None,
    })
}

/// A part of a loan that takes the place of one of the pipe's own buffers, all of which
/// are full, for a client that is behind. (nginx: none.)
pub(crate) fn borrow_small<'p>(p: Pipe<'p>) -> Option<Buf<'p>> {
    let state =
        state(p).filter(|_| !p.cacheable() && !p.downstream_error() && !p.client_ready())?;

    keep(p, state, || true, p.bufs_size()).map(|part| part.buf)
}

/// Whether so much waits in upstream's socket that a large part is worthwhile.
fn is_worthwhile(p: Pipe<'_>, upstream: Connection<'_>) -> bool {
    upstream
        .bytes_available()
        .is_some_and(|waiting| waiting > least_worthwhile(p))
}

fn least_worthwhile(p: Pipe<'_>) -> usize {
    p.bufs_size().saturating_mul(OWN_BUFS)
}

/// The first purpose: the client has got all of the response so far, and takes at least
/// `limit` bytes more at once.
fn send_at_once<'p>(p: Pipe<'p>, state: &State<'p>, upstream: Connection<'p>) -> Option<Part<'p>> {
    let may_borrow = state.memory.oldest.get().is_none()
        && p.limit_rate() == 0
        && p.out().is_none()
        && p.busy().is_none();

    if !may_borrow || wide::state(p).is_none() || !is_worthwhile(p, upstream) {
        return None;
    }

    let room = wide::ask_room(p, state).saturating_sub(queued(state));

    if room <= least_worthwhile(p) || !is_free(state) {
        return None;
    }

    part_of_new(p, state, LOAN, room as off_t)
}

/// How many bytes are to be sent before those of a loan: with nothing on disk, the
/// bytes in `in`.
fn queued(state: &State<'_>) -> usize {
    usize::try_from(state.counts.queued.get()).unwrap_or(0)
}

/// The second purpose: the data stays in memory until the client takes it. `size` is how
/// many bytes the part is to have.
fn keep<'p>(
    p: Pipe<'p>,
    state: &State<'p>,
    is_worthwhile: impl FnOnce() -> bool,
    size: usize,
) -> Option<Part<'p>> {
    if stream::is_live(p) {
        return None;
    }

    // A part is at least as large as one of the pipe's own buffers.
    let last = state
        .memory
        .youngest
        .get()
        .filter(|last| last.left() >= p.bufs_size());
    let may_keep = last.is_some() || may_keep(p, state);

    if !may_keep || !is_worthwhile() {
        return None;
    }

    match last {
        Some(last) => part_of(p, state, last, size, 0),
        None => part_of_new(p, state, size, 0),
    }
}

/// Whether the pipe may keep one more loan: within its share, and together with what is
/// on disk within `max_temp_file_size`.
fn may_keep(p: Pipe<'_>, state: &State<'_>) -> bool {
    let kept = state.memory.bytes.get();

    is_share(limit(state.settings), worker().loans.lent.get(), kept)
        && has_room_on_disk(p, kept.saturating_add(LOAN))
}

/// Whether one more loan is within the share of a response that has `kept` bytes of the
/// `memory`, of which `lent` bytes are lent.
fn is_share(memory: usize, lent: usize, kept: usize) -> bool {
    let reserve = (memory / RESERVE).max(LEAST_RESERVE);

    memory
        .saturating_sub(reserve)
        .checked_sub(lent.saturating_add(LOAN))
        .is_some_and(|left| kept <= left)
}

/// Whether `bytes` more could be spilled. So a response never takes more memory and disk
/// together than `max_temp_file_size`.
fn has_room_on_disk(p: Pipe<'_>, bytes: usize) -> bool {
    let used = p.temp_file().map_or(0, |file| segments::used(p, file));
    let bytes = off_t::try_from(bytes).unwrap_or(off_t::MAX);

    used.saturating_add(bytes) <= p.max_temp_file_size()
}

/// The third purpose: one loan at a time, whose data is written to the temporary file at
/// once.
fn pass_through<'p>(p: Pipe<'p>, state: &State<'p>, upstream: Connection<'p>) -> Option<Part<'p>> {
    let may_borrow = state.memory.oldest.get().is_none()
        && is_free(state)
        && (p.cacheable() || has_room_on_disk(p, queued(state).saturating_add(LOAN)));

    if !may_borrow || !is_worthwhile(p, upstream) {
        return None;
    }

    let part = part_of_new(p, state, LOAN, 0)?;
    state.memory.is_passing.set(true);

    Some(part)
}

/// Whether the worker has memory for one more loan, the reserve included.
fn is_free(state: &State<'_>) -> bool {
    worker().loans.lent.get().saturating_add(LOAN) <= limit(state.settings)
}

/// A part of a new loan.
fn part_of_new<'p>(p: Pipe<'p>, state: &State<'p>, size: usize, limit: off_t) -> Option<Part<'p>> {
    let loan = worker()
        .loans
        .lend(number(state), self::limit(state.settings))?;

    append(state, loan);

    let bytes = state.memory.bytes.get().saturating_add(LOAN);
    state.memory.bytes.set(bytes);
    update(&state.memory.most, |most| most.max(bytes));

    let part = part_of(p, state, loan, size, limit);

    if part.is_none() {
        take_back(state, loan);
    }

    part
}

/// Makes a loan the youngest of the pipe's.
fn append(state: &State<'_>, loan: &'static Loan) {
    let last = state.memory.youngest.replace(Some(loan));

    loan.previous.set(last);

    match last {
        Some(last) => last.next.set(Some(loan)),
        None => state.memory.oldest.set(Some(loan)),
    }
}

/// Takes a loan out of the pipe's.
fn remove(state: &State<'_>, loan: &Loan) {
    let (previous, next) = (loan.previous.get(), loan.next.get());

    match previous {
        Some(previous) => previous.next.set(next),
        None => state.memory.oldest.set(next),
    }

    match next {
        Some(next) => next.previous.set(previous),
        None => state.memory.youngest.set(previous),
    }
}

/// A part of the loan: `size` bytes, or as many as are left.
fn part_of<'p>(
    p: Pipe<'p>,
    state: &State<'p>,
    loan: &Loan,
    size: usize,
    limit: off_t,
) -> Option<Part<'p>> {
    let buf = match state.memory.free_parts.get() {
        Some(buf) => {
            state.memory.free_parts.set(buf.shadow());
            buf
        }
        None => p.pool().calloc_buf()?,
    };

    loan.set_up_part(buf, size);

    Some(Part { buf, limit })
}

/// The number of the pipe as an owner of loans: its state's address, which no other pipe
/// of the worker has.
fn number(state: &State<'_>) -> usize {
    core::ptr::from_ref(state).addr()
}

/// The loan of the pipe that a buffer lies in.
fn loan_of(state: &State<'_>, buf: Buf<'_>) -> Option<&'static Loan> {
    worker()
        .loans
        .find(buf)
        .filter(|loan| loan.is_of(number(state)))
}

/// Whether the pipe has a loan.
pub(crate) fn has_loans(state: &State<'_>) -> bool {
    state.memory.oldest.get().is_some()
}

/// Whether a loan has data that the client can take now: then that data is sent before
/// more is received.
pub(crate) fn waits_to_be_sent(p: Pipe<'_>) -> bool {
    let chain = match p.cacheable() {
        true => p.out(),
        false => p.input(),
    };

    chain.is_some() && p.client_ready() && p.state().is_some_and(has_loans)
}

/// Whether what the output holds is sent on without new data. What was received into a loan
/// may all be in the file, where nginx would have kept some of it in its own buffers; then
/// nothing new comes before upstream sends more. (nginx: no.)
pub(crate) fn follows_up(p: Pipe<'_>) -> bool {
    state(p).is_some()
}

/// Whether the buffer is a part, or a shadow of a part.
pub(crate) fn is_part<'p>(p: Pipe<'p>, buf: Buf<'p>) -> bool {
    p.state().is_some_and(|state| loan_of(state, buf).is_some())
}

/// Ends a large part behind its `bytes` of data: a large part does not wait to be filled.
/// The rest of the loan is for the next part.
pub(crate) fn end_with_data(p: Pipe<'_>, part: Buf<'_>, bytes: isize) {
    let left = part.room().wrapping_sub(bytes).max(0).unsigned_abs();
    let end = part.last().wrapping_offset(bytes);

    if let Some(loan) = p.state().and_then(|state| loan_of(state, part)) {
        part.set_end(end);
        loan.used.set(loan.used.get().saturating_sub(left));
    }
}

/// Gives a raw buffer that nobody needs any more back if it is a part: the pipe must not
/// use the part any more. The loan goes back to the worker with its last part. Tells
/// whether the buffer was a part.
pub(crate) fn give_back<'p>(p: Pipe<'p>, raw: Buf<'p>) -> bool {
    let Some(state) = p.state() else {
        return false;
    };
    let Some(loan) = loan_of(state, raw) else {
        return false;
    };

    raw.set_shadow(state.memory.free_parts.replace(Some(raw)));
    loan.parts.set(loan.parts.get().saturating_sub(1));

    if loan.parts.get() == 0 {
        take_back(state, loan);
    }

    true
}

/// Gives a loan back to the worker.
fn take_back(state: &State<'_>, loan: &'static Loan) {
    let memory = &state.memory;

    remove(state, loan);
    memory.bytes.set(memory.bytes.get().saturating_sub(LOAN));
    worker().loans.take_back(loan);

    if memory.oldest.get().is_none() {
        memory.is_passing.set(false);
    }

    if !worker().is_idle_watched.replace(true) {
        worker().call_when_idle(IDLE);
    }
}

/// Gives all loans back to the worker: nobody needs them any more. Called at the latest
/// when the request's pool is destroyed.
pub(crate) fn give_back_all(state: &State<'_>) {
    while let Some(loan) = state.memory.oldest.get() {
        take_back(state, loan);
    }
}

/// Notes that a turn begins.
pub(crate) fn start_turn(state: &State<'_>) {
    state.memory.is_spilling.set(false);
}

/// Notes that data has been spilled because the client is behind: in this turn, what
/// comes next finds no memory to stay in.
pub(crate) fn spilled(p: Pipe<'_>) {
    if let Some(state) = p.state() {
        state.memory.is_spilling.set(true);
    }
}

/// Whether what the pipe has received is to be written to the temporary file before more
/// is received. (nginx: no.)
pub(crate) fn passes_through(p: Pipe<'_>) -> bool {
    p.state().is_some_and(|state| state.memory.is_passing.get())
        && (p.cacheable() || !p.client_ready())
}

/// Whether data in a loan that has just been written to the file of a cacheable response is
/// to be sent from the loan: if the client takes all of its `size` bytes at once, and the
/// output would read them back from the file. (nginx: no.)
pub(crate) fn is_to_be_sent<'p>(p: Pipe<'p>, chain: Option<Link<'p>>, size: isize) -> bool {
    let Some(state) = wide::state(p).filter(|state| state.memory.is_passing.get()) else {
        return false;
    };

    p.cacheable()
        && !p.downstream_error()
        && p.client_ready()
        && p.out().is_none()
        && p.busy().is_none()
        && !p.downstream().sendfile()
        && Links::from(chain).all(|link| is_part(p, link.buf()))
        && wide::ask_room(p, state) >= size.max(0).unsigned_abs()
}

/// Notes that the loan's data is in the file, and is sent from the loan as well: the loan
/// stays until then.
pub(crate) fn end_passing(p: Pipe<'_>) {
    if let Some(state) = p.state() {
        state.memory.is_passing.set(false);
    }
}

/// The most bytes of a write to the temporary file: enough for the oldest loan, or for a
/// loan and what comes before it. (nginx: `temp_file_write_size`.)
pub(crate) fn write_size(p: Pipe<'_>) -> isize {
    let write_size = p.temp_file_write_size();

    let least = match p.state().filter(|state| has_loans(state)) {
        Some(state) if state.memory.is_passing.get() => 2 * LOAN,
        Some(_) => LOAN,
        None => 0,
    };

    write_size.max(least as isize)
}

/// Gives the memory of loans back to the system that nobody has needed since the last
/// call. nginx calls this function after a time, if the library has asked for that.
pub(crate) fn give_back_idle() {
    let worker = worker();
    let loans = &worker.loans;

    for _ in 0..loans.least_free.get() {
        loans.give_back_one();
    }

    loans.least_free.set(loans.free_count.get());

    let is_left = loans.free_count.get() > 0 || loans.lent.get() > 0;

    worker.is_idle_watched.set(is_left);

    if is_left {
        worker.call_when_idle(IDLE);
    }
}

#[cfg(test)]
mod tests {
    use super::{LEAST_RESERVE, LOAN, RESERVE, is_share};

    /// How many loans each of `responses` gets, when each takes one in turn.
    fn shares(memory: usize, responses: usize) -> Vec<usize> {
        let mut kept = vec![0; responses];

        loop {
            let lent = kept.iter().sum();
            let poorest = kept.iter_mut().min().expect("a response");

            if !is_share(memory, lent, *poorest) {
                return kept.iter().map(|bytes| bytes / LOAN).collect();
            }

            *poorest = poorest.saturating_add(LOAN);
        }
    }

    #[test]
    fn one_response_gets_half_of_what_may_be_kept() {
        assert_eq!(shares(RESERVE * LOAN * 16, 1), [7 * 16 / 2]);
    }

    #[test]
    fn several_leave_as_much_as_each_has() {
        assert_eq!(shares(RESERVE * LOAN * 16, 3), [7 * 16 / 4; 3]);
    }

    #[test]
    fn many_get_one_each_until_nothing_is_left() {
        let shares = shares(RESERVE * LOAN, 100);

        assert_eq!(shares.iter().sum::<usize>(), 4);
    }

    #[test]
    fn the_last_four_loans_are_not_kept() {
        assert!(!is_share(LOAN - 1, 0, 0));
        assert!(!is_share(LEAST_RESERVE, 0, 0));
        assert!(is_share(LEAST_RESERVE + LOAN, 0, 0));
    }
}

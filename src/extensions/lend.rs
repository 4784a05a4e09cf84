//! `event_pipe_lend`: while a client takes everything at once, its response is
//! received into a large buffer of the worker's instead of the pipe's own buffers,
//! and as a rule the worker has the buffer back within the same turn. (nginx has no
//! such thing.)
//!
//! A pipe has at most one loan. Should the client not take what was received into
//! the loan, that is sent or spilled like the data of any other raw buffer, as a
//! whole; the pipe goes on in its own buffers.

#![forbid(unsafe_code)]

use crate::extensions::wide;
use crate::nginx::{Buf, Connection, Log, Pipe, State, Worker, off_t, worker};

/// Not worth a loan: what two of the pipe's own buffers can take.
const OWN_BUFS: usize = 2;

/// Bytes of a loan. In tests that link the library, loans are as small as all else.
const LOAN: usize = if cfg!(feature = "std") { 40 } else { 256 << 10 };

/// Takes a raw buffer of the worker's, and tells the most bytes to receive: what the
/// client takes. `None` if the pipe's own buffers are to be used, as nginx does.
pub(crate) fn borrow<'p>(p: Pipe<'p>, upstream: Connection<'p>) -> Option<(Buf<'p>, off_t)> {
    let state = wide::state(p).filter(|state| may_borrow(p, state))?;
    let worthwhile = p.bufs_size().saturating_mul(OWN_BUFS);

    if upstream.bytes_available()? <= worthwhile {
        return None;
    }

    let limit = wide::ask_room(p, state).saturating_sub(queued(state));

    if limit <= worthwhile {
        return None;
    }

    let loan = lend(worker(), state.settings.lend(), p.log())?;
    state.lend.loan.set(Some(loan));

    Some((loan, limit as off_t))
}

/// Only a response that is passed on as it comes, to a client that has got all of it
/// so far.
fn may_borrow<'p>(p: Pipe<'p>, state: &State<'p>) -> bool {
    state.settings.lend() > 0
        && state.lend.loan.get().is_none()
        && !p.cacheable()
        && !p.single_buf()
        && p.limit_rate() == 0
        && !p.downstream_error()
        && p.out().is_none()
        && p.busy().is_none()
        && p.client_ready()
}

/// Bytes that are to be sent before the loan's. With nothing on disk, those in `in`.
fn queued(state: &State<'_>) -> usize {
    usize::try_from(state.counts.queued.get()).unwrap_or(0)
}

/// A raw buffer that nobody has, or a new one while the worker's are fewer than `most`
/// bytes.
fn lend<'p>(worker: &Worker, most: usize, log: Log<'p>) -> Option<Buf<'p>> {
    worker.take_loan(LOAN).or_else(|| {
        let with_this = worker.loan_bytes.get().saturating_add(LOAN);

        (with_this <= most).then(|| worker.new_loan(LOAN, log))?
    })
}

/// Whether the loan has data that the client can take now: then that is sent before
/// anything else is received.
pub(crate) fn waits_to_be_sent(p: Pipe<'_>) -> bool {
    p.input().is_some() && p.client_ready() && loan(p).is_some()
}

/// What is lent to this pipe.
pub(crate) fn loan<'p>(p: Pipe<'p>) -> Option<Buf<'p>> {
    p.state()?.lend.loan.get()
}

/// Whether the buffer is the loan, or a shadow of it: both have its memory.
pub(crate) fn is_loan<'p>(p: Pipe<'p>, buf: Buf<'p>) -> bool {
    loan(p).is_some_and(|loan| loan.start() == buf.start())
}

/// Nobody needs the raw buffer any more. If it is the loan, gives it back to the
/// worker: the pipe must not use it any more. Tells whether that is so.
pub(crate) fn give_back<'p>(p: Pipe<'p>, raw: Buf<'p>) -> bool {
    let Some(state) = p.state() else {
        return false;
    };

    let is_loan = state.lend.loan.get() == Some(raw);

    if is_loan {
        give_back_any(state);
    }

    is_loan
}

/// Nobody needs the loan any more, if there is one: gives it back to the worker. Called
/// at the latest when the request's pool goes.
pub(crate) fn give_back_any(state: &State<'_>) {
    if let Some(loan) = state.lend.loan.take() {
        worker().keep_loan(loan, LOAN);
    }
}

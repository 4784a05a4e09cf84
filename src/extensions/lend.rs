//! `event_pipe_lend`: while a client takes everything at once, the pipe receives the
//! response into a large buffer of the worker's instead of its own buffers, and as a
//! rule the worker has the buffer back within the same turn. (nginx has no such
//! buffers.)
//!
//! A pipe has at most one loan. If the client does not take the loan's data, the data
//! is sent or spilled like that of any other raw buffer, but as a whole, and the pipe
//! receives into its own buffers again.

#![forbid(unsafe_code)]

use crate::extensions::wide;
use crate::nginx::{Buf, Connection, Log, Pipe, State, off_t, worker};

/// A loan is not worthwhile for data that so many of the pipe's own buffers can hold.
const OWN_BUFS: usize = 2;

/// The size of a loan in bytes. In tests that link the library, loans are as small as
/// all other sizes.
pub(crate) const LOAN: usize = if cfg!(feature = "std") { 40 } else { 256 << 10 };

/// Takes a loan from the worker, and tells the most bytes to receive into it: as many
/// as the client takes at once. `None` if the pipe is to receive into its own buffers,
/// as under nginx.
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

    let loan = lend(state.settings.lend(), p.log())?;
    state.lend.loan.set(Some(loan));

    Some((loan, limit as off_t))
}

/// Whether the pipe may borrow: its response is passed on as it comes, and the client
/// has got all of it so far.
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

/// How many bytes are to be sent before those of a loan: with nothing on disk, the
/// bytes in `in`.
fn queued(state: &State<'_>) -> usize {
    usize::try_from(state.counts.queued.get()).unwrap_or(0)
}

/// A large buffer of the worker's that is not lent, or a new one if the worker's
/// buffers then have no more than `most` bytes.
fn lend<'p>(most: usize, log: Log<'p>) -> Option<Buf<'p>> {
    worker().take_loan(LOAN).or_else(|| {
        let with_this = worker().loan_bytes.get().saturating_add(LOAN);

        (with_this <= most).then(|| worker().new_loan(LOAN, log))?
    })
}

/// Whether the loan has data that the client can take now: then that data is sent
/// before more is received.
pub(crate) fn waits_to_be_sent(p: Pipe<'_>) -> bool {
    p.input().is_some() && p.client_ready() && loan(p).is_some()
}

/// The loan of this pipe.
pub(crate) fn loan<'p>(p: Pipe<'p>) -> Option<Buf<'p>> {
    p.state()?.lend.loan.get()
}

/// Whether the buffer is the loan, or a shadow of the loan: both start at the loan's
/// memory.
pub(crate) fn is_loan<'p>(p: Pipe<'p>, buf: Buf<'p>) -> bool {
    loan(p).is_some_and(|loan| loan.start() == buf.start())
}

/// Gives a raw buffer that nobody needs any more back to the worker if it is the loan:
/// the pipe must not use the loan any more. Tells whether the buffer was the loan.
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

/// Gives the loan, if the pipe has one, back to the worker: nobody needs it any more.
/// Called at the latest when the request's pool is destroyed.
pub(crate) fn give_back_any(state: &State<'_>) {
    if let Some(loan) = state.lend.loan.take() {
        worker().keep_loan(loan, LOAN);
    }
}

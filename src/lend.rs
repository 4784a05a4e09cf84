//! Lending: while a client takes everything at once, its response is received
//! into a large buffer of the worker's instead of the pipe's own ones, and the
//! worker has it back within the same turn. (nginx has nothing like it.)
//!
//! A pipe has at most one loan. Should the client not take what was received
//! into it, it is sent or spilled like any other raw buffer, as a whole; the
//! pipe's own buffers are there besides.

#![forbid(unsafe_code)]

use crate::nginx::{Address, Buf, Connection, Link, Loan, Pipe, State, off_t};
use crate::read::downstream_ready;
use crate::wide;

/// Not worth a loan: what two of the pipe's own buffers can take.
const OWN_BUFS: usize = 2;

/// A chain to receive into, the loan at its end, and the most that the client
/// takes. `None` if the pipe's own buffers are to be used.
pub(crate) fn borrow<'p>(p: Pipe<'p>, upstream: Connection<'p>) -> Option<(Link<'p>, off_t)> {
    let state = wide::state(p).filter(|state| may_borrow(p, *state))?;
    let worthwhile = p.bufs_size().saturating_mul(OWN_BUFS);

    if upstream.waiting()? <= worthwhile {
        return None;
    }

    let limit = wide::room(p, state).saturating_sub(queued(state));

    if limit <= worthwhile {
        return None;
    }

    let loan = state.borrow()?;

    let Some(link) = p.pool().link_to(loan.raw()) else {
        give_back(state, loan);
        return None;
    };

    Some((behind_partial(p, link), limit as off_t))
}

/// Only for a response that is passed on as it comes, to a client to which
/// nothing is owed.
fn may_borrow<'p>(p: Pipe<'p>, state: State<'p>) -> bool {
    state.settings().lend() > 0
        && state.loan().is_none()
        && !p.cacheable()
        && !p.single_buf()
        && p.limit_rate() == 0
        && !p.downstream_error()
        && p.out().is_none()
        && p.busy().is_none()
        && downstream_ready(p)
}

/// What is to be sent before: with nothing on disk, what is in `in`.
fn queued(state: State<'_>) -> usize {
    usize::try_from(state.counts().queued()).unwrap_or(0)
}

/// A partly filled buffer comes first: what upstream sends next belongs behind
/// its data.
fn behind_partial<'p>(p: Pipe<'p>, link: Link<'p>) -> Link<'p> {
    match p.free_raw_bufs() {
        Some(first) if first.buf().pos() != first.buf().last() => {
            p.set_free_raw_bufs(first.next());
            first.set_next(Some(link));
            first
        }
        _ => link,
    }
}

/// What is lent to this pipe.
fn loan<'p>(p: Pipe<'p>) -> Option<Loan<'p>> {
    p.state()?.loan()
}

/// The raw buffer that is lent to this pipe.
pub(crate) fn lent<'p>(p: Pipe<'p>) -> Option<Buf<'p>> {
    loan(p).map(Loan::raw)
}

/// Where the memory that is lent to this pipe starts; shadows start there, too.
pub(crate) fn lent_memory(p: Pipe<'_>) -> Option<Address> {
    lent(p).map(Buf::start)
}

/// Nobody needs the raw buffer any more. If it is the loan, the worker has it
/// back, and the pipe must not use it.
pub(crate) fn returns<'p>(p: Pipe<'p>, raw: Buf<'p>) -> bool {
    let Some(state) = p.state() else {
        return false;
    };

    match state.loan().filter(|loan| loan.raw() == raw) {
        Some(loan) => {
            give_back(state, loan);
            true
        }
        None => false,
    }
}

/// Nobody needs what is lent to this pipe any more.
pub(crate) fn take_back(p: Pipe<'_>) {
    if let Some(raw) = lent(p) {
        returns(p, raw);
    }
}

fn give_back<'p>(state: State<'p>, loan: Loan<'p>) {
    state.set_loan(None);
    loan.give_back();
}

/// Takes the loan, if nothing was received into it, off a chain in which it
/// comes first, or second behind a partly filled buffer.
pub(crate) fn without_loan<'p>(p: Pipe<'p>, chain: Option<Link<'p>>) -> Option<Link<'p>> {
    let first = chain?;
    let lent = lent(p);

    if lent == Some(first.buf()) {
        return take_off(p, first);
    }

    if let Some(second) = first.next().filter(|link| lent == Some(link.buf())) {
        first.set_next(take_off(p, second));
    }

    chain
}

fn take_off<'p>(p: Pipe<'p>, link: Link<'p>) -> Option<Link<'p>> {
    let next = link.next();

    returns(p, link.buf());
    p.pool().free_link(link);

    next
}

//! When spilling fails, because the disk is full, broken or not there, the
//! response goes on without it: what was spilled is sent, the rest waits in
//! memory for the client, and upstream waits for memory. (Under nginx it ends.)
//! `event_pipe_spill_fallback off` leaves it at nginx's way.

#![forbid(unsafe_code)]

use crate::Abort;
use crate::nginx::{Link, Pipe};

/// Whether this response may not be spilled any more.
pub(crate) fn is_memory_only(p: Pipe<'_>) -> bool {
    p.state().is_some_and(|state| state.memory_only())
}

/// `chain`, with the header in front if that has yet to be written, could not
/// be: it goes back to where it was taken from.
///
/// What is to be kept must be whole, so this response is not kept.
pub(crate) fn go_on_in_memory<'p>(p: Pipe<'p>, chain: Link<'p>) -> Result<(), Abort> {
    let state = p
        .state()
        .filter(|state| state.settings().spill_fallback())
        .ok_or(Abort)?;

    state.set_memory_only(true);

    if p.cacheable() {
        p.discard();
        p.set_cacheable(false);
    }

    if let Some(body) = without_header(p, chain) {
        put_back(p, body);
    }

    // Nobody else may wake the client's side: it may have been idle.
    p.set_read(true);

    Ok(())
}

fn without_header<'p>(p: Pipe<'p>, chain: Link<'p>) -> Option<Link<'p>> {
    if p.buf_to_file().is_none() {
        return Some(chain);
    }

    let body = chain.next();

    p.set_buf_to_file(None);
    p.pool().free_link(chain);

    body
}

/// Meanwhile more may have come behind it.
fn put_back<'p>(p: Pipe<'p>, chain: Link<'p>) {
    let tail = chain.tail();

    match p.input() {
        Some(rest) => tail.set_next(Some(rest)),
        None => p.set_last_in(tail.next_slot()),
    }

    p.set_input(Some(chain));
}

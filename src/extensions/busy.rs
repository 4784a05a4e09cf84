//! What the output was given and has not sent: the chain `busy`, and the memory of raw
//! buffers that `busy` keeps from being received into.
//!
//! With many small shadows `busy` becomes long. So this file keeps the end and the
//! memory of `busy`, and looks only at the links that have been sent.

#![forbid(unsafe_code)]

use core::ptr::null_mut;

use crate::nginx::{Address, Buf, Link, Links, Pipe, State};

/// The memory of raw buffers that the output still holds, in bytes.
pub(crate) fn bytes(p: Pipe<'_>) -> usize {
    match p.state() {
        Some(state) => state.busy.bytes.get(),
        None => memory(Links::from(p.busy()), null_mut()),
    }
}

/// Sorts the links that the output was given, from `first` to `last`, and those that
/// were in `busy` before: links that have been sent go to `free`, the others to `busy`.
/// Gives the buffers that were sent.
pub(crate) fn sort<'p>(
    p: Pipe<'p>,
    first: Option<Link<'p>>,
    last: Option<Link<'p>>,
) -> impl Iterator<Item = Buf<'p>> {
    // With a cyclic file, buffers that were sent earlier matter as well.
    let known = p.free().filter(|_| !p.cyclic_temp_file());

    match p.state() {
        Some(state) => sort_and_count(p, state, first, last),
        None => p.update_chains(first),
    }

    sent_since(p, known).map(Link::buf)
}

/// The links that have been sent since `known` was the first of `free`: nginx puts sent
/// links to the front of `free`.
fn sent_since<'p>(p: Pipe<'p>, known: Option<Link<'p>>) -> impl Iterator<Item = Link<'p>> {
    Links::from(p.free()).take_while(move |link| Some(*link) != known)
}

fn sort_and_count<'p>(
    p: Pipe<'p>,
    state: &State<'p>,
    first: Option<Link<'p>>,
    last: Option<Link<'p>>,
) {
    let known = p.free();
    let tail = p.busy().and_then(|_| state.busy.tail.get());
    let added = memory(Links::from(first), null_mut());

    match tail.zip(first) {
        Some((tail, first)) => {
            tail.set_next(Some(first));
            p.update_chains(None);
        }
        None => p.update_chains(first),
    }

    let removed = memory(sent_since(p, known), start_of(p.busy()));
    let left = state.busy.bytes.get().wrapping_add(added);

    state.busy.tail.set(last.or(tail));
    state.busy.bytes.set(match p.busy() {
        Some(_) => left.saturating_sub(removed),
        None => 0,
    });
}

/// The memory of the raw buffers whose shadows `links` hold, in bytes. Each raw buffer
/// counts once: neighbouring shadows with one start are of one raw buffer. The raw
/// buffer with the start `counted` is left out, because the caller counts it elsewhere.
fn memory<'p>(links: impl Iterator<Item = Link<'p>>, mut counted: Address) -> usize {
    let mut bytes: usize = 0;

    for buf in links.map(Link::buf) {
        if buf.recycled() && buf.start() != counted {
            bytes = bytes.wrapping_add_signed(buf.capacity());
            counted = buf.start();
        }
    }

    bytes
}

/// The start of the link's memory, or null if its buffer is not recycled.
fn start_of(link: Option<Link<'_>>) -> Address {
    link.map(Link::buf)
        .filter(|buf| buf.recycled())
        .map_or(null_mut(), Buf::start)
}

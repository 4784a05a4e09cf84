//! `event_pipe_spill_fallback`: when spilling fails, because the disk is full, broken
//! or not there, the response goes on without the disk. Data that was spilled before is
//! sent, the other data waits in memory for the client, and upstream waits for memory.
//! (nginx ends the response.)

#![forbid(unsafe_code)]

use crate::nginx::{Abort, Pipe};

/// Whether the response is memory only: writing to disk has failed, and nothing more is
/// spilled.
pub(crate) fn is_memory_only(p: Pipe<'_>) -> bool {
    p.state()
        .is_some_and(|state| state.fallback.is_memory_only.get())
}

/// Makes the response memory only after writing to disk has failed; an error if the
/// response has to end. A cache entry or a stored file must be whole, so the request
/// gives up the one that it was writing.
pub(crate) fn go_on_without_disk(p: Pipe<'_>) -> Result<(), Abort> {
    let state = p
        .state()
        .filter(|state| state.settings.spill_fallback())
        .ok_or(Abort)?;

    state.fallback.is_memory_only.set(true);

    if p.cacheable() {
        p.discard();
        p.set_cacheable(false);
    }

    Ok(())
}

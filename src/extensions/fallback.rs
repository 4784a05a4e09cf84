//! `event_pipe_spill_fallback`: when spilling fails, because the disk is full, broken
//! or not there, the response goes on without the disk. What was spilled is sent, the
//! rest waits in memory for the client, and upstream waits for memory. (nginx ends
//! the response.)

#![forbid(unsafe_code)]

use crate::nginx::{Abort, Pipe};

/// Whether this response may not be spilled any more.
pub(crate) fn is_memory_only(p: Pipe<'_>) -> bool {
    p.state()
        .is_some_and(|state| state.fallback.is_memory_only.get())
}

/// Writing to disk has failed: nothing more of this response is spilled. An error if
/// the response has to end. What is to be kept must be whole, so the request gives up
/// what it was to keep of this response.
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

//! The ring that joins a raw buffer and its shadows:
//! `ngx_event_pipe_remove_shadow_links`.
//!
//! A raw buffer points to its first shadow, each shadow to the next, and the
//! last one, which is marked as such, back to the raw buffer.

#![forbid(unsafe_code)]

use crate::nginx::Buf;

/// Opens the ring: the raw buffer's memory is about to be overwritten, so its
/// former shadows, which may still be linked somewhere, no longer own it.
pub(crate) fn remove_shadow_links(raw: Buf<'_>) {
    let mut next = raw.shadow();

    if next.is_none() {
        return;
    }

    while let Some(shadow) = next {
        let last = shadow.last_shadow();
        next = shadow.shadow().filter(|_| !last);

        shadow.set_temporary(false);
        shadow.set_recycled(false);
        shadow.set_last_shadow(false);
        shadow.set_shadow(None);
    }

    raw.set_shadow(None);
}

//! The input filter of protocols whose body comes without framing:
//! `ngx_event_pipe_copy_input_filter`.

#![forbid(unsafe_code)]

use crate::nginx::{Buf, Level, Link, Pipe, debug, error, off_t};

/// Appends a shadow of the raw buffer to `in`. If the length of the body is known, the
/// shadow has no more bytes than are still to come. `None` if there is no memory.
pub(crate) fn copy<'p>(p: Pipe<'p>, raw: Buf<'p>) -> Option<()> {
    if raw.pos() == raw.last() {
        return Some(());
    }

    if p.upstream_done() {
        debug!(p.log(), c"input data after close");
        return Some(());
    }

    if p.length() == 0 {
        p.set_upstream_done(true);
        warn_extra_data(p);
        return Some(());
    }

    let link = p.get_free_buf()?;
    let shadow = link.buf();

    shadow.copy_from(raw);
    shadow.set_shadow(Some(raw));
    shadow.set_tag(p.tag());
    shadow.set_last_shadow(true);
    shadow.set_recycled(true);
    raw.set_shadow(Some(shadow));

    debug!(p.log(), c"input buf #%d", shadow.num());

    append(p, link);
    count(p, shadow);

    Some(())
}

fn append<'p>(p: Pipe<'p>, link: Link<'p>) {
    match p.input_end() {
        Some(slot) => slot.set(link),
        None => p.set_input(Some(link)),
    }

    p.set_last_in(link.next_slot());
}

/// Subtracts the shadow's bytes from the bytes that are still to come (`length`), and
/// cuts the bytes that exceed them off the shadow.
fn count(p: Pipe<'_>, shadow: Buf<'_>) {
    if p.length() == -1 {
        return;
    }

    let size = shadow.len() as off_t;

    if size > p.length() {
        warn_extra_data(p);

        shadow.set_last(shadow.pos().wrapping_offset(p.length() as isize));
        p.set_upstream_done(true);
        return;
    }

    p.set_length(p.length().wrapping_sub(size));
}

fn warn_extra_data(p: Pipe<'_>) {
    error!(
        p.log(),
        Level::Warn,
        0,
        c"upstream sent more data than specified in \"Content-Length\" header"
    );
}

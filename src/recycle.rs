//! The way back: raw buffers that nobody needs any more become free to be
//! received into. `ngx_event_pipe_add_free_buf`, `ngx_event_pipe_drain_chains`.

#![forbid(unsafe_code)]

use crate::nginx::{Buf, Link, Pipe};
use crate::{Abort, lend, segments};

/// Makes a raw buffer empty and puts it on the free list; `None` if there is no
/// memory for that.
pub(crate) fn add_free_buf<'p>(p: Pipe<'p>, raw: Buf<'p>) -> Option<()> {
    if lend::returns(p, raw) {
        return Some(());
    }

    let link = p.pool().link_to(raw)?;

    // The header that has yet to be written to the cache file lies at the start
    // of the first raw buffer's memory: only what is behind it is free.
    let free_from = match p.buf_to_file() {
        Some(header) if header.start() == raw.start() => header.last(),
        _ => raw.start(),
    };

    raw.set_pos(free_from);
    raw.set_last(free_from);
    raw.set_shadow(None);

    insert(p, link);

    Some(())
}

/// A partly filled buffer must stay the first of the list: what upstream sends
/// next belongs behind its data.
fn insert<'p>(p: Pipe<'p>, link: Link<'p>) {
    match p.free_raw_bufs() {
        Some(first) if first.buf().pos() != first.buf().last() => {
            link.set_next(first.next());
            first.set_next(Some(link));
        }
        first => {
            link.set_next(first);
            p.set_free_raw_bufs(Some(link));
        }
    }
}

/// The shadow is done with: if it is the last of its raw buffer, so is that.
pub(crate) fn release<'p>(p: Pipe<'p>, shadow: Buf<'p>) -> Result<(), Abort> {
    if shadow.last_shadow() {
        if let Some(raw) = shadow.shadow() {
            add_free_buf(p, raw).ok_or(Abort)?;
        }

        shadow.set_last_shadow(false);
    }

    shadow.set_shadow(None);

    Ok(())
}

/// There is nobody to send to: throws away all that was to be sent, so that its
/// buffers can be received into.
///
/// What is in `busy` stays there. The output may refer to it even after an
/// error: HTTP/2 goes on to send the frames that it has queued. (The C original
/// recycles those buffers too, before nginx 1.30.6.) They go with the pool.
pub(crate) fn drain_chains(p: Pipe<'_>) -> Result<(), Abort> {
    while let Some(chain) = take_unsent(p) {
        let mut next = Some(chain);

        while let Some(link) = next {
            release(p, link.buf())?;

            if link.buf().temp_file() {
                segments::done(p, link.buf());
            }

            next = link.next();
            link.set_next(p.free());
            p.set_free(Some(link));
        }
    }

    Ok(())
}

fn take_unsent<'p>(p: Pipe<'p>) -> Option<Link<'p>> {
    if let Some(chain) = p.out() {
        p.set_out(None);
        return Some(chain);
    }

    let chain = p.input()?;
    p.set_input(None);
    Some(chain)
}

//! The input filters of the protocols.

use std::mem::zeroed;
use std::ptr::null_mut;

use super::{Fallible, World, world};
use crate::config::Framing;
use crate::nginx as n;
use crate::trace::Event;

/// The pipe's own filter, watched.
pub(super) unsafe extern "C" fn copy(
    p: *mut n::ngx_event_pipe_t,
    raw: *mut n::ngx_buf_t,
) -> n::ngx_int_t {
    watched(raw, |w| {
        let copy = w.side.copy_input_filter();
        // SAFETY: passes on what the pipe has given.
        let result = unsafe {
            (*raw).shadow = null_mut();
            copy(p, raw)
        };
        // SAFETY: the filter has linked a shadow to the raw buffer, or none.
        if let Some(shadow) = unsafe { (*raw).shadow.as_ref() } {
            // SAFETY: its data lies in the raw buffer.
            unsafe {
                let size = shadow.last.offset_from(shadow.pos) as usize;
                world().add_to_body(shadow.pos, size);
            }
        }
        result
    })
}

/// A filter like those of chunks and records.
pub(super) unsafe extern "C" fn framed(
    p: *mut n::ngx_event_pipe_t,
    raw: *mut n::ngx_buf_t,
) -> n::ngx_int_t {
    // SAFETY: a raw buffer that the pipe has just handed over.
    watched(raw, |w| unsafe { frame(w, p, raw) })
}

/// Runs a filter, and notes what it was given and what came of it.
fn watched(
    raw: *mut n::ngx_buf_t,
    filter: impl FnOnce(&mut World) -> n::ngx_int_t,
) -> n::ngx_int_t {
    let w = world();
    let described = w.describe(raw);
    w.check_filtered(raw);
    w.check_passed(raw);
    let result = filter(w);
    if result == n::NGX_ERROR as isize {
        let w = world();
        w.note_breach();
        w.extra.has_breached |= w.pipe.downstream_error() == 0;
    }
    world().trace.push(Event::InputFilter {
        raw: described,
        result,
    });
    result
}

unsafe fn frame(w: &mut World, p: *mut n::ngx_event_pipe_t, raw: *mut n::ngx_buf_t) -> isize {
    // SAFETY: the pipe and its buffers, as nginx's own filters use them.
    unsafe {
        if (*raw).pos == (*raw).last || (*p).upstream_done() != 0 {
            return n::NGX_OK as isize;
        }
        if (*p).length == 0 && w.config.framing == Framing::Chunks {
            (*p).set_upstream_done(1);
            return n::NGX_OK as isize;
        }

        let Ok(last) = shadows(w, p, raw) else {
            return n::NGX_ERROR as isize;
        };
        tell_what_follows(w, p);

        if last.is_null() {
            return (w.side.add_free_buf())(p, raw);
        }
        (*last).shadow = raw;
        (*last).set_last_shadow(1);
        other_than_error(w)
    }
}

/// Links a shadow for each part of the raw buffer that belongs to the body.
/// Returns the last of them, or null.
unsafe fn shadows(
    w: &mut World,
    p: *mut n::ngx_event_pipe_t,
    raw: *mut n::ngx_buf_t,
) -> Result<*mut n::ngx_buf_t, ()> {
    // SAFETY: the pipe and its buffers, as nginx's own filters use them.
    unsafe {
        let mut slot = &raw mut (*raw).shadow;
        let mut last: *mut n::ngx_buf_t = null_mut();
        let mut at = (*raw).pos;

        while at < (*raw).last {
            // Framing, then data.
            let left = (*raw).last.offset_from(at) as u64;
            at = at.add(w.choices.below(left.min(3) + 1) as usize);
            let left = (*raw).last.offset_from(at) as u64;
            if left == 0 {
                break;
            }
            let size = match w.choices.one_in(3) {
                true => w.choices.between(1, left),
                false => left,
            } as usize;

            let cl = n::ngx_chain_get_free_buf((*p).pool, &raw mut (*p).free);
            if cl.is_null() {
                return Err(());
            }
            let b = (*cl).buf;
            *b = zeroed();
            (*b).pos = at;
            (*b).start = (*raw).start;
            (*b).end = (*raw).end;
            (*b).tag = (*p).tag;
            (*b).num = (*raw).num;
            (*b).set_temporary(1);
            (*b).set_recycled(1);
            *slot = b;
            slot = &raw mut (*b).shadow;
            if (*p).in_.is_null() {
                (*p).in_ = cl;
            } else {
                *(*p).last_in = cl;
            }
            (*p).last_in = &raw mut (*cl).next;

            w.add_to_body(at, size);
            at = at.add(size);
            (*b).last = at;
            last = b;

            // As HTTP/2 may: with a shadow linked that is not marked the last.
            if w.fails(Fallible::InputFilter) {
                return Err(());
            }
        }

        (*raw).pos = at;
        Ok(last)
    }
}

/// What the protocol says after a buffer: how much is to come at least, that
/// all has come, or that upstream has failed.
unsafe fn tell_what_follows(w: &mut World, p: *mut n::ngx_event_pipe_t) {
    // SAFETY: the pipe that has called.
    unsafe {
        if w.config.framing == Framing::Chunks {
            (*p).length = match w.choices.one_in(12) {
                true => 0,
                false => w.choices.between(1, 6) as i64,
            };
            return;
        }
        if (*p).length != -1 {
            (*p).length = w.choices.below(6) as i64;
        }
        if w.choices.one_in(12) {
            (*p).set_upstream_done(1);
        }
        if w.config.faults != 0 && w.choices.one_in(w.config.faults * 2) {
            (*p).set_upstream_error(1);
            (*p).set_upstream_eof(0);
        }
    }
}

/// The pipe cares only whether a filter has failed.
fn other_than_error(w: &mut World) -> isize {
    let codes = [
        n::NGX_OK as isize,
        n::NGX_AGAIN as isize,
        n::NGX_DONE as isize,
    ];
    match w.config.faults {
        0 => codes[0],
        _ => w.choices.pick(&codes),
    }
}

impl World {
    /// # Safety
    ///
    /// `size` readable bytes at `data`.
    unsafe fn add_to_body(&mut self, data: *const u8, size: usize) {
        // SAFETY: says the caller.
        let data = unsafe { std::slice::from_raw_parts(data, size) };
        self.body.extend_from_slice(data);
    }
}

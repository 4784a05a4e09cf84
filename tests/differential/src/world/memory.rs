//! The pool: nginx's own, watched.

use std::ffi::c_void;

use ngx_event_pipe::inspect::SEGMENT_SIZE;

use super::{Fallible, current, ok_unless};
use crate::nginx as n;
use crate::trace::Event;

/// Before memory is taken from a pool: `NGX_OK` lets it happen. What the
/// harness allocates for itself is its own business.
#[unsafe(no_mangle)]
extern "C" fn harness_alloc(size: usize) -> n::ngx_int_t {
    let Some(w) = current() else {
        return ok_unless(false);
    };
    let failed = w.fails(Fallible::Alloc);
    if failed {
        w.note_breach();
    }
    w.trace.push(Event::Alloc { size, failed });
    ok_unless(failed)
}

/// Before memory is allocated that is to be zero, as is that of a segment.
#[unsafe(no_mangle)]
extern "C" fn harness_zalloc(size: usize) -> n::ngx_int_t {
    let is_segment = size == SEGMENT_SIZE;
    if let Some(w) = current().filter(|_| is_segment) {
        w.check_may_segment();
    }
    let rc = harness_alloc(size);
    if let Some(w) = current().filter(|_| is_segment && rc == n::NGX_OK as isize) {
        w.extra.segments += 1;
    }
    rc
}

/// Before memory is given back to the pool.
#[unsafe(no_mangle)]
extern "C" fn harness_pfree(address: *mut c_void) {
    let Some(w) = current() else {
        return;
    };
    let name = w.names.of(address);
    w.names.forget(address);
    w.trace.push(Event::Free(name));
    w.check_freed(address.cast());
}

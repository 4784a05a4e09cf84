//! Event registrations and the log.

use super::{Fallible, World, current, ok_unless, world};
use crate::deviation::Deviation;
use crate::nginx as n;
use crate::trace::Event;

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_handle_read_event(
    event: *mut n::ngx_event_t,
    flags: n::ngx_uint_t,
) -> n::ngx_int_t {
    let w = world();
    w.push_rest();
    let failed = w.fails(Fallible::HandleRead);
    w.trace.push(Event::HandleRead { flags, failed });
    // SAFETY: an event of this world.
    unsafe { w.register(event) };
    ok_unless(failed)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_handle_write_event(
    event: *mut n::ngx_event_t,
    lowat: usize,
) -> n::ngx_int_t {
    let w = world();
    w.push_rest();
    let failed = w.fails(Fallible::HandleWrite);
    w.trace.push(Event::HandleWrite { lowat, failed });
    // SAFETY: an event of this world.
    unsafe { w.register(event) };
    ok_unless(failed)
}

impl World {
    /// Whether an event is active after that depends on the event method and on
    /// what was there before: here, on chance.
    ///
    /// # Safety
    ///
    /// An event of this world.
    unsafe fn register(&mut self, event: *mut n::ngx_event_t) {
        let active = u32::from(!self.choices.one_in(4));
        // SAFETY: says the caller.
        unsafe { (*event).set_active(active) };
        // SAFETY: says the caller.
        unsafe { self.note_timer(event) };
    }

    /// Whether both sides need to have this line: not where a defect of one of
    /// them is put right from outside, which its log does not know.
    fn compares_line(&self, text: &str) -> bool {
        if text.starts_with("pipe preread:") {
            let is_full = self.config.header == self.config.header_buffer;
            return !is_full || !self.deviates(Deviation::FullHeader);
        }
        if text.starts_with("pipe buf busy") {
            let has_failed = self.pipe.downstream_error() != 0;
            return !has_failed || !self.deviates(Deviation::TakenBack);
        }
        true
    }

    /// Replaces what `%p` has printed by the address's number.
    fn without_addresses(&mut self, text: &str) -> String {
        let words = text.split(' ').map(|word| {
            let digits = word.trim_start_matches("out:").trim_end_matches(',');
            match usize::from_str_radix(digits, 16) {
                Ok(address) if digits.len() == 16 => {
                    let name = self.names.of(address as *const u8);
                    word.replace(digits, &format!("#{name}"))
                }
                _ => word.to_string(),
            }
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

/// nginx has logged a line.
#[unsafe(no_mangle)]
unsafe extern "C" fn harness_log(level: n::ngx_uint_t, err: i32, text: *const u8, size: usize) {
    let Some(w) = current() else {
        return;
    };
    // SAFETY: the text that nginx has just formatted.
    let text = unsafe { std::slice::from_raw_parts(text, size) };
    let text = String::from_utf8_lossy(text);
    if !w.compares_line(&text) {
        return;
    }
    let text = match level >= n::NGX_LOG_DEBUG as usize {
        true => w.without_addresses(&text),
        false => text.into_owned(),
    };
    w.trace.push(Event::Log { level, err, text });
}

//! Ctrl-C and its like: clean up, then end.

use std::io::Result;
use std::process;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// From now on an interrupt runs `clean_up`, in a thread of its own, and ends
/// the process with the status that shells give for it.
pub(crate) fn on_interrupt(clean_up: impl FnOnce() + Send + 'static) -> Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            clean_up();
            process::exit(128 + signal);
        }
    });
    Ok(())
}

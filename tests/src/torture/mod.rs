//! Torture: a real nginx whose every call that can fail is made to fail, one in
//! each run, on stock and on ours.
//!
//! A library of this folder (`interpose.c`) stands between nginx and the system.
//! It fails the call that the test names, and lets nginx go on only when the
//! test says so: upstream, client and nginx take turns, and so every run of a
//! scenario makes the same calls in the same order, on both sides.

mod control;
mod fault;
mod outcome;
mod reader;
mod scenario;
mod side;
mod trial;

pub use fault::Call;
pub use scenario::{Scenario, scenarios};
pub use trial::{Injected, torment, torment_extended, undisturbed};

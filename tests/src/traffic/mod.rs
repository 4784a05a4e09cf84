//! Traffic through real nginx processes: the same cases on stock and on ours.

mod buffers;
mod cancel;
mod case;
pub mod cases;
mod disk;
mod journal;
mod outcome;
mod world;

pub use buffers::Buffers;
pub use cancel::cancel_with_frames_queued;
pub use case::{Amount, Case, Content, Exchange, Expect, Log, SUBSTITUTE, Spill, Stored};
pub use disk::TinyDisk;
pub(crate) use journal::kind;
pub use outcome::{Outcome, check, compare};
pub use world::{Flavour, World};

//! What the tests share: nginx built from source, started, and talked to.

mod binaries;
pub mod build;
pub mod checker;
pub mod client;
pub mod compare;
pub mod cycles;
pub mod peers;
pub mod process;
pub mod project;
pub mod random;
pub mod server;
pub mod stage;
mod tail;
pub mod time;
pub mod torture;
pub mod traffic;
pub mod upstream;

pub use binaries::{Binaries, binaries, checked_binaries, optimised, without_pools};
pub use stage::Stage;

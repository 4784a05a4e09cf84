//! Real output filters as the judge: two nginx, one with its own pipe and one
//! with this project's, under the same random configuration and peers.
//!
//! Whatever this pipe does beyond nginx's has no original to be compared with,
//! so the relation is: never worse than stock. Every byte that a client gets is
//! right; what is whole on stock is whole here; when upstream breaks, a client
//! gets at least as much; nothing is logged that stock does not; nothing more is
//! open than is said. See [`verdict::NAMED`] for what is better.
//!
//! Some promises hold on this project's side whatever stock does, see
//! `Outcome::hold_to_promises` and the cases of `focused`.
//!
//! A difference counts when it shows again while stock's side never has it. The
//! time-outs are long, but in cases with a slow link: there they are several times
//! what the link takes for the next bytes.

pub mod campaign;
pub mod case;
mod conf;
mod focused;
mod generate;
mod link;
mod model;
mod outcome;
mod probe;
mod reader;
mod shrink;
mod side;
mod tunnel;
pub mod verdict;

pub use campaign::{Campaign, Options, Summary};
pub use case::Case;
pub use generate::generate;

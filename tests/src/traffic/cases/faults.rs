//! Faults of the machine: temporary files that cannot be written.

use std::path::Path;

use super::super::{Amount, Buffers, Case, Log};
use super::named;
use crate::client::{Leave, Manner};
use crate::upstream::{Framing, Protocol, Reply};

/// Where no file can be created: the place of the directory is taken.
pub(in super::super) const UNWRITABLE: &str = "unwritable";

/// Temporary files that cannot be created.
pub fn unwritable() -> Vec<Case> {
    let of = |protocol| of_directory(protocol, UNWRITABLE, "PREFIX/unwritable");
    let cases = Protocol::ALL.into_iter().flat_map(of);
    cases
        .map(|case| case.with(|case| case.says = Some("[crit] open()")))
        .collect()
}

/// Temporary files in a `directory` that has little space.
pub fn full(directory: &Path) -> Vec<Case> {
    let directory = directory.to_string_lossy();
    let of = |protocol| of_directory(protocol, "full", &directory);
    let cases = Protocol::ALL.into_iter().flat_map(of);
    // Whether some or none of a write still fits, depends on the others.
    let says = "[crit] pwritev()";
    cases
        .map(|case| {
            case.with(|case| {
                case.says = Some(says);
                case.unsure.push(says);
            })
        })
        .collect()
}

fn of_directory(protocol: Protocol, fault: &str, directory: &str) -> Vec<Case> {
    let new = |name: &str, framing| {
        let mut reply = Reply::random(51, 400_000);
        reply.framing = framing;
        let name = named(protocol, &format!("{fault}/{name}"));
        Case::new(name, protocol, reply)
            .buffers(Buffers::SMALL)
            .conf(&format!("@_temp_path {directory};"))
    };
    let stalled = |name: &str, framing| {
        new(name, framing)
            .manner(Manner::STALLED)
            .amount(Amount::Some)
    };
    let leaves = new("leaves", Framing::Length)
        .manner(Manner::leaving(Leave::Stalled))
        .exchange(|exchange| {
            exchange.expect.status = None;
            exchange.expect.amount = Amount::Some;
        });
    vec![
        stalled("length", Framing::Length),
        stalled("close", Framing::Close),
        stalled("cached", Framing::Length)
            .cached()
            // Often not even the header has left nginx then.
            .exchange(|exchange| exchange.expect.status = None),
        leaves.with(|case| case.log = Log::Severe),
    ]
}

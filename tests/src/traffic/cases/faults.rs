//! Faults of the machine: temporary files that cannot be written.

use std::path::Path;

use super::super::{Amount, Buffers, Case, Log, Stored};
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
    // The response ends where stock cannot write it; ours goes on in memory.
    let stalled = |name: &str, framing| {
        new(name, framing)
            .manner(Manner::STALLED)
            .with(|case| case.defect = Some("D8"))
    };
    let leaves = new("leaves", Framing::Length)
        .manner(Manner::leaving(Leave::Stalled))
        .exchange(|exchange| {
            exchange.expect.status = None;
            exchange.expect.amount = Amount::Some;
        });
    vec![
        stalled("length", Framing::Length),
        stalled("chunked", Framing::chunks(700)),
        // It is not kept: the second time it comes from upstream again.
        stalled("cached", Framing::Length)
            .cached()
            .exchange(|exchange| exchange.expect.headers = vec![("X-Cache", "MISS")])
            .then(|exchange| exchange.manner = Manner::FAST)
            .with(|case| case.requests = Some(2)),
        stalled("stored", Framing::Length)
            .conf("root PREFIX/store; @_store on;")
            .with(|case| case.store = Some(Stored::Nothing)),
        leaves.with(|case| case.log = Log::Severe),
    ]
}

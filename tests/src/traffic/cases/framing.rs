//! Honest upstreams: every way to tell where a body ends, with sizes around
//! every boundary, and headers around the size of their buffer.

use super::super::{Buffers, Case, Expect, Spill};
use super::named;
use crate::upstream::{Cuts, End, Framing, Hold, Point, Protocol, Records, Reply};

const BUFFERS: Buffers = Buffers::SMALL;

/// Nothing, next to nothing, and around one to four buffers and beyond.
const SIZES: [usize; 13] = [
    0, 1, 1023, 1024, 1025, 2047, 2048, 2049, 3072, 4096, 4097, 5120, 10_000,
];

pub(super) fn cases(protocol: Protocol) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, framing) in framings(protocol) {
        for size in SIZES {
            let mut reply = Reply::random(size as u64, size);
            reply.framing = framing.clone();
            cases.push(whole(protocol, &format!("{name}/{size}"), reply));
        }
    }
    cases.extend(splits(protocol));
    cases.extend(headers(protocol));
    if protocol == Protocol::FastCgi {
        cases.extend(records());
    }
    cases
}

/// The ways in which the protocol can tell the end.
pub(super) fn framings(protocol: Protocol) -> Vec<(&'static str, Framing)> {
    let mut framings = vec![("length", Framing::Length), ("close", Framing::Close)];
    if protocol == Protocol::Http {
        let trailers = Framing::Chunked {
            sizes: vec![1000, 24],
            trailers: true,
        };
        framings.push(("chunks", Framing::chunks(700)));
        framings.push(("tiny-chunks", Framing::chunks(1)));
        framings.push(("trailers", trailers));
    }
    framings
}

/// All of `reply` must come, without help of a file.
fn whole(protocol: Protocol, name: &str, reply: Reply) -> Case {
    let case = Case::new(named(protocol, name), protocol, reply);
    case.buffers(BUFFERS.file(0))
        .with(|case| case.spill = Spill::Never)
}

/// What is sent in one go need not come in one go.
fn splits(protocol: Protocol) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, framing) in framings(protocol) {
        let mut reply = Reply::random(7, 3000);
        reply.framing = framing;
        let cuts = [
            ("slow-header", Cuts::Every(16, Hold::Moment)),
            ("scattered", scattered(3)),
            ("scattered-again", scattered(4)),
            (
                "last-byte-late",
                Cuts::At(vec![(Point::End(1), Hold::Drained)]),
            ),
            ("end-late", Cuts::At(vec![(Point::End(0), Hold::Drained)])),
            (
                "header-first",
                Cuts::At(vec![(Point::Body(0), Hold::Drained)]),
            ),
            (
                "byte-first",
                Cuts::At(vec![(Point::Body(1), Hold::Drained)]),
            ),
        ];
        for (how, cuts) in cuts {
            let reply = Reply {
                cuts,
                ..reply.clone()
            };
            cases.push(whole(protocol, &format!("{name}/{how}"), reply));
        }
    }
    cases
}

fn scattered(seed: u64) -> Cuts {
    Cuts::Scattered {
        seed,
        count: 25,
        hold: Hold::Moment,
    }
}

/// The header leaves one byte of its buffer, none (a defect of stock), or does
/// not fit.
fn headers(protocol: Protocol) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, framing) in framings(protocol) {
        let reply = |size| {
            let mut reply = Reply::random(8, 5000);
            reply.framing = framing.clone();
            reply.header_size = Some(size);
            reply.records.header_alone = true;
            reply
        };
        let size = BUFFERS.header;
        let name = |what| format!("{name}/header-{what}");
        cases.push(whole(protocol, &name("one-byte-free"), reply(size - 1)));
        let full = whole(protocol, &name("fills-its-buffer"), reply(size));
        cases.push(full.with(|case| case.defect = Some("D1")));
        let mut large = reply(size + 1);
        // What nginx leaves unread would make it a reset.
        large.end = End::Hang;
        let large = whole(protocol, &name("too-big"), large);
        cases.push(large.exchange(|exchange| exchange.expect = Expect::error(502)));
    }
    cases
}

fn records() -> Vec<Case> {
    let reply = |records| {
        let mut reply = Reply::random(9, 5000);
        reply.records = records;
        reply
    };
    let records = Records::default;
    let small = Records {
        size: 100,
        ..records()
    };
    let padded = Records {
        padding: 255,
        size: 333,
        ..records()
    };
    let error = Records {
        stderr: Some("PHP message: oops"),
        size: 512,
        padding: 3,
        ..records()
    };
    let mut odd = reply(small.clone());
    odd.cuts = Cuts::Every(37, Hold::Moment);
    let mut headers = reply(padded.clone());
    headers.cuts = Cuts::Every(341, Hold::Moment);
    vec![
        whole(Protocol::FastCgi, "records/small", reply(small)),
        whole(Protocol::FastCgi, "records/padded", reply(padded)),
        whole(Protocol::FastCgi, "records/stderr", reply(error)),
        whole(Protocol::FastCgi, "records/split", odd),
        whole(Protocol::FastCgi, "records/split-in-padding", headers),
        whole(Protocol::FastCgi, "records/byte", {
            let mut reply = reply(Records {
                size: 1,
                ..records()
            });
            reply.records.header_alone = false;
            reply
        }),
    ]
}

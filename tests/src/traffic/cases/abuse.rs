//! Upstreams that do not keep their word.

use super::super::{Amount, Buffers, Case, Expect};
use super::framing::framings;
use super::named;
use crate::upstream::{Body, Cuts, End, Framing, Hold, Point, Protocol, Reply};

const BUFFERS: Buffers = Buffers::SMALL;

pub(super) fn cases(protocol: Protocol) -> Vec<Case> {
    let mut cases = no_header(protocol);
    for (name, framing) in framings(protocol) {
        let reply = |size| {
            let mut reply = Reply::random(11, size);
            reply.framing = framing.clone();
            reply
        };
        let new = |what: &str, reply| {
            let name = named(protocol, &format!("{name}/{what}"));
            Case::new(name, protocol, reply).buffers(BUFFERS)
        };
        cases.push(extra(new(
            "extra",
            Reply {
                extra: 10,
                ..reply(300)
            },
        )));
        cases.push(extra(new(
            "much-extra",
            Reply {
                extra: 9000,
                ..reply(5000)
            },
        )));
        if framing == Framing::Length {
            cases.push(extra(new("extra-buffers", after_buffers(reply(0)))));
        }
        if framing != Framing::Close {
            for size in [0, 1, 600, 1024, 2500] {
                let reply = short(reply(3000), size);
                let reset = Reply {
                    end: End::Reset,
                    ..reply.clone()
                };
                cases.push(new(&format!("short/{size}"), reply).amount(Amount::Same));
                cases.push(new(&format!("reset/{size}"), reset).amount(Amount::Some));
            }
            let silent = Reply {
                end: End::Hang,
                ..short(reply(3000), 2500)
            };
            let case = new("silent", silent).amount(Amount::Received(framing.body_within(2500)));
            let case = case.with(|case| case.says = Some("timed out"));
            cases.push(case.conf("@_read_timeout 1s;"));
        }
        cases.extend(after_end(&framing, new("after-end", reply(3500))));
    }
    cases
}

/// The body ends with a buffer, and what is too much fills more of them.
fn after_buffers(mut reply: Reply) -> Reply {
    let header = 500;
    let size = BUFFERS.header - header + BUFFERS.size;
    reply.header_size = Some(header);
    reply.records.header_alone = true;
    reply.body = Body::Random { seed: 12, size };
    reply.extra = 3 * BUFFERS.size;
    reply.cuts = Cuts::At(vec![(Point::Body(0), Hold::Drained)]);
    reply
}

/// The upstream sends all, but then does not close the connection properly.
fn after_end(framing: &Framing, case: Case) -> Vec<Case> {
    let ends = |case: &Case, name: &str, end| {
        let mut case = case.clone();
        case.name = case.name.replace("after-end", name);
        case.scripts[0].1[0].end = end;
        case
    };
    let reset = ends(&case, "reset-after-end", End::Reset);
    let hang = ends(&case, "hang-after-end", End::Hang);
    if case.protocol == Protocol::FastCgi {
        // Without this, nginx wants to see the connection end.
        let keep = "fastcgi_keep_conn on;";
        return vec![
            reset.clone().with(|case| case.defect = Some("D2")),
            ends(&case, "kept/reset-after-end", End::Reset).conf(keep),
            ends(&case, "kept/hang-after-end", End::Hang).conf(keep),
        ];
    }
    match framing {
        Framing::Close => vec![reset.amount(Amount::Some)],
        Framing::Length | Framing::Chunked { .. } => vec![reset, hang],
    }
}

fn short(mut reply: Reply, size: usize) -> Reply {
    reply.stop = Some(Point::Body(size));
    reply
}

/// Whether nginx gets to see what is too much depends on how it comes in.
fn extra(case: Case) -> Case {
    let framing = &case.scripts[0].1[0].framing;
    if *framing == Framing::Close && case.protocol != Protocol::FastCgi {
        // Then it is just a longer body.
        return case.with(|case| case.scripts[0].1[0].extra = 0);
    }
    case.with(|case| case.unsure = vec!["sent more data than", "sent data after final chunk"])
}

/// The connection ends before the header does.
fn no_header(protocol: Protocol) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, end, status) in [
        ("closed", End::Fin, 502),
        ("reset", End::Reset, 502),
        ("silent", End::Hang, 504),
    ] {
        for size in [0, 20] {
            let mut reply = Reply::random(1, 100);
            reply.stop = Some(Point::Start(size));
            reply.end = end;
            reply.cuts = Cuts::At(vec![(Point::Start(size), Hold::Drained)]);
            let name = named(protocol, &format!("no-header/{name}/{size}"));
            let mut case = Case::new(name, protocol, reply);
            if end == End::Hang {
                case = case.conf("@_read_timeout 1s;");
            }
            cases.push(case.exchange(|exchange| exchange.expect = Expect::error(status)));
        }
    }
    cases
}

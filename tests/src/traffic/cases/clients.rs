//! Clients of every kind, most of them too slow for the upstream.

use super::super::{Amount, Buffers, Case, Content, Exchange, Expect, Log, Spill};
use super::named;
use crate::client::{Leave, Manner, Pace};
use crate::upstream::{Body, Cuts, End, Framing, Hold, Point, Protocol, Reply};

/// More than all sockets and buffers hold.
const LARGE: usize = 300_000;

pub(super) fn cases(protocol: Protocol) -> Vec<Case> {
    let mut cases = slow(protocol);
    cases.extend(leaving(protocol));
    cases.extend(requests(protocol));
    cases
}

fn new(protocol: Protocol, name: &str, framing: Framing) -> Case {
    let mut reply = Reply::random(21, LARGE);
    reply.framing = framing;
    Case::new(named(protocol, name), protocol, reply)
}

fn slow(protocol: Protocol) -> Vec<Case> {
    let mut cases = Vec::new();
    let buffers = [
        ("2x1k", Buffers::new(2, 1024)),
        ("9x1k", Buffers::new(9, 1024)),
        (
            "3x1000",
            Buffers {
                header: 1000,
                busy: 1700,
                write: 1000,
                ..Buffers::new(3, 1000)
            },
        ),
        (
            "8x4k",
            Buffers {
                busy: 8192,
                ..Buffers::new(8, 4096)
            },
        ),
        (
            "64x16k",
            Buffers {
                busy: 65536,
                ..Buffers::new(64, 16384)
            },
        ),
    ];
    for (name, buffers) in buffers {
        for (file, limit) in [
            ("no-file", 0),
            ("small-file", 20_000),
            ("large-file", 1 << 30),
        ] {
            let spill = match limit {
                0 => Spill::Never,
                _ if buffers.total() > LARGE => Spill::May,
                _ => Spill::Must,
            };
            let stalled = |how: &str, framing| {
                new(protocol, &format!("stalled/{name}/{file}/{how}"), framing)
                    .buffers(buffers.file(limit))
                    .manner(Manner::STALLED)
                    .with(|case| case.spill = spill)
            };
            cases.push(stalled("close", Framing::Close));
            if protocol == Protocol::Http {
                cases.push(stalled("chunks", Framing::chunks(300)));
            }
            let trickle = new(protocol, &format!("trickle/{name}/{file}"), Framing::Length)
                .buffers(buffers.file(limit))
                .manner(Manner::at(Pace::Trickle(3000)));
            cases.push(trickle);
        }
    }
    cases
}

/// The client leaves; what happens to the upstream then is nginx's business.
fn leaving(protocol: Protocol) -> Vec<Case> {
    let none = Expect {
        status: None,
        headers: Vec::new(),
        content: Content::Own,
        amount: Amount::Some,
    };
    let some = |exchange: &mut Exchange| exchange.expect.amount = Amount::Some;
    let leaves = |name: &str, leave| {
        new(protocol, &format!("leaves/{name}"), Framing::Length)
            .buffers(Buffers::SMALL)
            .manner(Manner::leaving(leave))
            .with(|case| case.log = Log::Severe)
    };
    let no_answer = |exchange: &mut Exchange| exchange.expect = none.clone();
    let ignored = "@_ignore_client_abort on;";
    // Half of the body comes when nobody is there any more.
    let waits = |case: &mut Case| {
        let half = (Point::Body(LARGE / 2), Hold::ClientGone);
        case.scripts[0].1[0].cuts = Cuts::At(vec![half]);
    };
    vec![
        leaves("before-half", Leave::After(5000))
            .conf(ignored)
            .exchange(some)
            .with(waits),
        leaves("before-half-cached", Leave::After(5000))
            .cached()
            .exchange(some)
            .with(waits)
            .then(hit),
        leaves("early", Leave::After(1)).exchange(some),
        leaves("midway", Leave::After(100_000)).exchange(some),
        leaves("ignored", Leave::After(5000))
            .conf(ignored)
            .exchange(some),
        leaves("stalled", Leave::Stalled).exchange(no_answer),
        leaves("stalled-ignored", Leave::Stalled)
            .conf(ignored)
            .exchange(no_answer),
        leaves("stalled-no-file", Leave::Stalled)
            .conf(ignored)
            .with(|case| case.conf = case.conf.replace("size 1073741824", "size 0"))
            .exchange(no_answer),
        leaves("deaf", Leave::Deaf)
            .conf("send_timeout 300ms;")
            .exchange(no_answer),
        leaves("half", Leave::HalfClose).conf(ignored),
        // The cache gets it all, whether or not anybody waits for it.
        leaves("cached", Leave::After(5000))
            .cached()
            .exchange(some)
            .then(hit),
        leaves("stalled-cached", Leave::Stalled)
            .cached()
            .exchange(no_answer)
            .then(hit),
    ]
}

fn hit(exchange: &mut Exchange) {
    let body = Body::Random {
        seed: 21,
        size: LARGE,
    };
    *exchange = Exchange::new(Expect::all(Content::Whole(body)));
    exchange.expect.headers = vec![("X-Cache", "HIT")];
}

fn requests(protocol: Protocol) -> Vec<Case> {
    let body = Body::Random {
        seed: 21,
        size: LARGE,
    };
    let part = Expect {
        status: Some(206),
        ..Expect::all(Content::Part(body, 100..200_000))
    };
    let ranged = |exchange: &mut Exchange| {
        exchange
            .request
            .headers
            .push("Range: bytes=100-199999".to_owned());
        exchange.expect = part.clone();
    };
    let head = |exchange: &mut Exchange| {
        exchange.request.method = "HEAD";
        exchange.expect = Expect::all(Content::Empty);
    };
    let old = |exchange: &mut Exchange| exchange.request.version = "HTTP/1.0";
    let keep = |exchange: &mut Exchange| exchange.request.keep = true;
    let close = |exchange: &mut Exchange| exchange.request.keep = false;

    let mut cases = vec![
        new(protocol, "range", Framing::Length)
            .conf("@_force_ranges on;")
            .exchange(ranged),
        new(protocol, "head", Framing::Length).exchange(head),
        new(protocol, "head/close", Framing::Close).exchange(head),
        new(protocol, "http-1.0/length", Framing::Length).exchange(old),
        new(protocol, "http-1.0/close", Framing::Close)
            .exchange(old)
            .amount(Amount::UntilClose),
        new(protocol, "keepalive", Framing::Close)
            .exchange(keep)
            .then(keep)
            .then(head)
            .then(close),
        new(protocol, "keepalive/slow", Framing::Length)
            .buffers(Buffers::SMALL)
            .manner(Manner::STALLED)
            .exchange(keep)
            .then(close),
    ];
    let pool = |name: &str, framing| {
        let mut reply = Reply::random(22, 50_000);
        reply.framing = framing;
        reply.end = End::Keep;
        Case::new(named(protocol, name), protocol, reply)
            .with(|case| case.keepalive = Some(2))
            .then(|_| {})
            .then(|_| {})
            .with(|case| case.connections = Some(1))
    };
    match protocol {
        Protocol::Http => {
            cases.push(pool("pool/length", Framing::Length));
            cases.push(pool("pool/chunks", Framing::chunks(900)));
            let slow = pool("pool/slow", Framing::chunks(77));
            cases.push(slow.buffers(Buffers::SMALL).manner(Manner::STALLED));
        }
        Protocol::FastCgi => {
            for (name, framing) in [
                ("pool/length", Framing::Length),
                ("pool/close", Framing::Close),
            ] {
                cases.push(pool(name, framing).conf("fastcgi_keep_conn on;"));
            }
        }
        Protocol::Scgi | Protocol::Uwsgi => {}
    }
    cases
}

//! Responses that are kept, and those that must not be.

use std::time::Duration;

use super::super::{Amount, Buffers, Case, Content, Exchange, Expect};
use super::framing::framings;
use super::{cache_status, named};
use crate::client::{Manner, Pace};
use crate::upstream::{Body, End, Framing, Point, Protocol, Reply};

/// Around the buffers and what is written to a file at a time.
const SIZES: [usize; 9] = [0, 1, 700, 1024, 2048, 3072, 4096, 5120, 100_000];

const LARGE_BUFFERS: Buffers = Buffers {
    busy: 65536,
    ..Buffers::new(64, 16384)
};

/// Longer than a response of one second is valid, seen by nginx's clock.
const EXPIRED: Duration = Duration::from_millis(2200);

pub(super) fn cases(protocol: Protocol) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, framing) in framings(protocol) {
        for size in SIZES {
            let case = new(protocol, &format!("{name}/{size}"), &framing, size);
            cases.push(miss_then_hit(case));
        }
        let large = |what: &str| new(protocol, &format!("{name}/{what}"), &framing, 200_000);
        cases.push(miss_then_hit(large("stalled").manner(Manner::STALLED)));
        cases.push(miss_then_hit(
            large("trickle").manner(Manner::at(Pace::Trickle(2000))),
        ));
        if name != "tiny-chunks" {
            // Long enough for more to come while it is written.
            let long = new(protocol, &format!("{name}/long"), &framing, 3_000_000);
            cases.push(miss_then_hit(
                long.with(|case| case.conf = LARGE_BUFFERS.to_string())
                    .cached(),
            ));
        }
        if framing != Framing::Close {
            cases.push(broken(large("short"), End::Fin));
            cases.push(broken(large("reset"), End::Reset));
        }
    }
    cases.extend(lives(protocol));
    cases.extend(heads(protocol));
    cases
}

fn new(protocol: Protocol, name: &str, framing: &Framing, size: usize) -> Case {
    let mut reply = Reply::random(41, size);
    reply.framing = framing.clone();
    Case::new(named(protocol, &format!("cache/{name}")), protocol, reply)
        .buffers(Buffers::SMALL)
        .cached()
}

/// The second request must not reach the upstream.
fn miss_then_hit(case: Case) -> Case {
    case.exchange(cache_status("MISS"))
        .then(|exchange| exchange.manner = Manner::FAST)
        .exchange(cache_status("HIT"))
        .with(|case| case.requests = Some(1))
}

/// What breaks off must not be kept.
fn broken(case: Case, end: End) -> Case {
    case.with(|case| {
        let replies = &mut case.scripts[0].1;
        let whole = replies[0].clone();
        replies.insert(0, whole);
        replies[0].stop = Some(Point::Body(100_000));
        replies[0].end = end;
        case.requests = Some(2);
    })
    .then(cache_status("MISS"))
    .with(|case| case.exchanges[0].expect.amount = Amount::Some)
    .then(cache_status("HIT"))
}

/// A response is replaced, expires, or outlives its upstream.
fn lives(protocol: Protocol) -> Vec<Case> {
    let body = |seed| Body::Random { seed, size: 20_000 };
    let content = |seed| Expect::all(Content::Whole(body(seed)));
    let seen = move |seed, status| {
        move |exchange: &mut Exchange| {
            exchange.expect = content(seed);
            exchange.expect.headers = vec![("X-Cache", status)];
        }
    };
    let new = |name: &str, replies: Vec<Reply>| {
        let name = named(protocol, &format!("cache/{name}"));
        let case = Case::new(name, protocol, replies[0].clone()).buffers(Buffers::SMALL);
        case.with(|case| case.scripts[0].1 = replies)
    };
    let reply = |seed| Reply::new(body(seed));
    let brief = |seed| {
        let mut reply = reply(seed);
        reply.headers.push("X-Accel-Expires: 1".to_owned());
        reply
    };
    let mut down = reply(9);
    down.stop = Some(Point::Start(0));
    down.end = End::Reset;

    let bypass = new("bypass", vec![reply(1), reply(2)])
        .cached()
        .conf("@_cache_bypass $arg_new;")
        .then(seen(1, "HIT"))
        .then(|exchange| exchange.request.uri += "?new=1")
        .exchange(seen(2, "BYPASS"))
        .then(|exchange| exchange.request.uri = "main".to_owned())
        .exchange(seen(2, "HIT"));
    let expired = new("expired", vec![brief(1), reply(2)])
        .cached()
        .then(|exchange| exchange.pause = EXPIRED)
        .exchange(seen(2, "EXPIRED"))
        .then(seen(2, "HIT"))
        .exchange(|exchange| exchange.pause = Duration::ZERO);
    let stale = new("stale", vec![brief(1), down])
        .cached()
        .conf("@_cache_use_stale error;")
        .then(|exchange| exchange.pause = EXPIRED)
        .exchange(seen(1, "STALE"));
    let updating = new("updating", vec![brief(1), reply(2)])
        .cached()
        .conf("@_cache_use_stale updating; @_cache_background_update on;")
        .then(|exchange| exchange.pause = EXPIRED)
        .exchange(seen(1, "STALE"));
    vec![bypass, expired, stale, updating]
}

/// A request for the header alone fills the cache with the whole response.
fn heads(protocol: Protocol) -> Vec<Case> {
    let head = |exchange: &mut Exchange| {
        exchange.request.method = "HEAD";
        exchange.expect = Expect::all(Content::Empty);
    };
    let case = |name: &str, size| new(protocol, name, &Framing::Length, size);
    let get = |size| {
        move |exchange: &mut Exchange| {
            let body = Body::Random { seed: 41, size };
            *exchange = Exchange::new(Expect::all(Content::Whole(body)));
        }
    };
    let mut cases = Vec::new();
    if protocol == Protocol::Http {
        for (name, size) in [("head", 2000), ("head-large", 150_000)] {
            let case = case(name, size).exchange(head).then(get(size));
            cases.push(case.exchange(cache_status("HIT")));
        }
    }
    let part = |exchange: &mut Exchange| {
        exchange
            .request
            .headers
            .push("Range: bytes=10-99999".to_owned());
        exchange.expect.status = Some(206);
        let body = Body::Random {
            seed: 41,
            size: 150_000,
        };
        exchange.expect.content = Content::Part(body, 10..100_000);
    };
    let ranged = case("range", 150_000).with(|case| {
        case.scripts[0].1[0]
            .headers
            .push("Accept-Ranges: bytes".to_owned());
    });
    cases.push(miss_then_hit(ranged.exchange(part)));
    cases
}

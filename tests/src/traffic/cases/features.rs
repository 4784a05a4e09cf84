//! What stands between the pipe and the client, or beside it.

use std::sync::Arc;

use super::super::{Amount, Buffers, Case, Content, Exchange, Expect, Log, SUBSTITUTE, Stored};
use super::framing::framings;
use super::{cache_status, named};
use crate::client::{Leave, Manner, Pace};
use crate::upstream::{Body, Cuts, End, Framing, Hold, NEEDLE, Point, Protocol, Reply};

const TEXT: Body = Body::Words {
    seed: 31,
    size: 80_000,
};

pub(super) fn cases(protocol: Protocol) -> Vec<Case> {
    let mut cases = filters(protocol);
    cases.extend(rates(protocol));
    cases.extend(stores(protocol));
    cases.extend(pages(protocol));
    if matches!(protocol, Protocol::Http | Protocol::FastCgi) {
        cases.extend(slices(protocol));
    }
    cases
}

fn filters(protocol: Protocol) -> Vec<Case> {
    let gzip = "gzip on; gzip_types *; gzip_min_length 0; gzip_proxied any;";
    let substitute =
        format!("sub_filter {NEEDLE} {SUBSTITUTE}; sub_filter_once off; sub_filter_types *;");
    let zip = |exchange: &mut Exchange| {
        exchange
            .request
            .headers
            .push("Accept-Encoding: gzip".to_owned());
        exchange.expect.content = Content::Gzip(TEXT);
        exchange.expect.headers = vec![("Content-Encoding", "gzip")];
    };
    let pin = |exchange: &mut Exchange| exchange.expect.content = Content::Substituted(TEXT);

    let mut cases = Vec::new();
    for (how, manner) in [
        ("fast", Manner::FAST),
        ("trickle", Manner::at(Pace::Trickle(2000))),
        ("stalled", Manner::STALLED),
    ] {
        for (framing_name, framing) in framings(protocol) {
            let new = |name: &str| {
                let mut reply = Reply::new(TEXT);
                reply.framing = framing.clone();
                let name = named(protocol, &format!("{name}/{how}/{framing_name}"));
                Case::new(name, protocol, reply)
                    .buffers(Buffers::SMALL)
                    .manner(manner)
            };
            cases.push(new("gzip").conf(gzip).exchange(zip));
            cases.push(new("sub").conf(&substitute).exchange(pin));
        }
    }
    cases
}

fn rates(protocol: Protocol) -> Vec<Case> {
    let new = |name: &str, size| {
        let name = named(protocol, &format!("rate/{name}"));
        Case::new(name, protocol, Reply::random(32, size)).buffers(Buffers::new(8, 4096))
    };
    vec![
        new("client", 60_000).conf("limit_rate 50k;"),
        new("client-after", 60_000).conf("limit_rate 40k; limit_rate_after 20k;"),
        new("upstream", 40_000).conf("@_limit_rate 25000;"),
        new("upstream-slow-client", 40_000)
            .conf("@_limit_rate 25000;")
            .manner(Manner::at(Pace::Trickle(500))),
        new("both", 40_000).conf("@_limit_rate 30000; limit_rate 30000;"),
        new("upstream-cached", 40_000)
            .conf("@_limit_rate 30000;")
            .cached(),
        // The product with the seconds passed does not fit.
        new("upstream-huge", 40_000).conf("@_limit_rate 4611686018427387903;"),
    ]
}

fn stores(protocol: Protocol) -> Vec<Case> {
    let mut cases = Vec::new();
    for (framing_name, framing) in framings(protocol) {
        let new = |name: &str, size| {
            let mut reply = Reply::random(33, size);
            reply.framing = framing.clone();
            let name = named(protocol, &format!("store/{name}/{framing_name}"));
            Case::new(name, protocol, reply)
                .buffers(Buffers::SMALL)
                .conf("root PREFIX/store; @_store on;")
                .with(|case| case.store = Some(Stored::All))
        };
        cases.push(new("small", 500));
        cases.push(new("large", 200_000));
        cases.push(new("stalled", 200_000).manner(Manner::STALLED));
        let some = |exchange: &mut Exchange| exchange.expect.amount = Amount::Some;
        let left = new("left", 200_000)
            .conf("@_ignore_client_abort on;")
            .manner(Manner::leaving(Leave::After(3000)))
            .exchange(some);
        cases.push(left.with(|case| case.log = Log::Severe));
        if framing == Framing::Length {
            let broken = new("broken", 200_000).amount(Amount::Some).with(|case| {
                case.scripts[0].1[0].stop = Some(Point::Body(100_000));
                case.store = Some(Stored::Nothing);
            });
            cases.push(broken);
        }
    }
    cases
}

/// A page that includes others, each through a pipe of its own.
fn pages(protocol: Protocol) -> Vec<Case> {
    let parts = |seed| Body::Words { seed, size: 30_000 };
    let text = |text: &str| Body::Text(Arc::from(text));
    let filler = "x".repeat(5000);
    let mut cases = Vec::new();
    for (name, manner) in [
        ("fast", Manner::FAST),
        ("trickle", Manner::at(Pace::Trickle(1500))),
        ("stalled", Manner::STALLED),
    ] {
        for (framing_name, framing) in framings(protocol) {
            let reply = |body| Reply {
                framing: framing.clone(),
                ..Reply::new(body)
            };
            let page = format!(
                "{filler}<!--#include virtual=\"one\" -->{filler}<!--#include virtual=\"two\" -->end"
            );
            let whole = vec![
                text(&filler),
                parts(1),
                text(&filler),
                parts(2),
                text("end"),
            ];
            let name = named(protocol, &format!("ssi/{name}/{framing_name}"));
            let case = Case::new(name, protocol, reply(text(&page)))
                .buffers(Buffers::SMALL)
                .conf("ssi on; ssi_types *;")
                .exchange(|exchange| exchange.expect = Expect::all(Content::Joined(whole)))
                .manner(manner)
                .with(|case| {
                    case.scripts.push(("one", vec![reply(parts(1))]));
                    case.scripts.push(("two", vec![reply(parts(2))]));
                    case.requests = Some(3);
                });
            cases.push(case);
        }
    }
    cases
}

fn slices(protocol: Protocol) -> Vec<Case> {
    let body = || Body::Random {
        seed: 34,
        size: 50_000,
    };
    let new = |name: &str| {
        let mut reply = Reply::new(body());
        reply.ranges = true;
        if protocol == Protocol::Http {
            reply.end = End::Keep;
        }
        reply.headers.push("ETag: \"one\"".to_owned());
        let range = match protocol {
            Protocol::Http => {
                "proxy_set_header Range $slice_range; proxy_set_header Connection \"\";"
            }
            _ => {
                "fastcgi_param HTTP_RANGE $slice_range; \
                 fastcgi_param REQUEST_METHOD $request_method; fastcgi_param REQUEST_URI $uri;"
            }
        };
        Case::new(named(protocol, &format!("slice/{name}")), protocol, reply)
            .buffers(Buffers::SMALL)
            .conf("slice 4k;")
            .conf(range)
    };
    let cache = "@_cache @; @_cache_key $uri$slice_range; @_cache_valid any 1h; \
                 add_header X-Cache $upstream_cache_status;";
    let ranged = |exchange: &mut Exchange| {
        exchange
            .request
            .headers
            .push("Range: bytes=5000-20000".to_owned());
        exchange.expect.status = Some(206);
        exchange.expect.content = Content::Part(body(), 5000..20001);
    };
    vec![
        new("plain"),
        new("stalled").manner(Manner::STALLED),
        new("range").exchange(ranged),
        new("cached")
            .conf(cache)
            .then(cache_status("HIT"))
            .with(|case| case.requests = Some(13)),
        new("cached-range")
            .conf(cache)
            .exchange(ranged)
            .then(cache_status("HIT"))
            .with(|case| case.requests = Some(4)),
        new("slow-slices").conf(cache).with(|case| {
            case.scripts[0].1[0].cuts = Cuts::Every(900, Hold::Moment);
        }),
    ]
}

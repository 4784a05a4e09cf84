//! Cases drawn at random from the whole product, the same for the same seed.

use super::super::{
    Amount, Buffers, Case, Content, Exchange, Expect, Log, SUBSTITUTE, Spill, Stored,
};
use super::cache_status;
use crate::client::{Leave, Manner, Pace};
use crate::random::Random;
use crate::upstream::{Body, Cuts, End, Framing, Hold, NEEDLE, Point, Protocol, Records, Reply};

/// What the sockets between nginx and a slow client hold at most.
const IN_SOCKETS: usize = 64 << 10;

/// `count` cases.
pub fn generated(seed: u64, count: usize) -> Vec<Case> {
    let mut random = Random::new(seed);
    (0..count).map(|nth| case(&mut random, nth)).collect()
}

fn case(random: &mut Random, nth: usize) -> Case {
    let protocol = *random.pick(&Protocol::ALL);
    let buffers = Buffers::random(random);
    let mut reply = reply(random, protocol, &buffers);
    let mut feature = feature(random);
    let mut manner = manner(random);
    if matches!(feature, Feature::Gzip | Feature::Sub) {
        // They take the length away, and with it what tells FastCGI's broken
        // responses.
        reply.stop = None;
        reply.end = End::Fin;
    }
    if feature == Feature::Gzip {
        // How much comes of how much is not to be foreseen.
        manner.leave = None;
    }
    if feature == Feature::Ranges && reply.framing != Framing::Length {
        // nginx must know the size.
        feature = Feature::None;
    }
    if matches!(manner.leave, Some(Leave::After(size)) if 2 * size >= reply.body.size())
        || reply.stop.is_some()
    {
        // It would not get that far.
        manner.leave = None;
    }
    let broken = reply.stop.is_some();

    let name = format!(
        "generated/{nth}-{}-{}-{feature:?}-{}",
        protocol.module(),
        framing_name(&reply.framing),
        manner_name(manner),
    );
    let size = reply.body.size();
    let chunked = matches!(reply.framing, Framing::Chunked { .. });
    let case = Case::new(name.to_lowercase(), protocol, reply)
        .buffers(buffers)
        .manner(manner)
        // Split by a cut, a message makes two lines.
        .with(|case| case.unsure.push("FastCGI sent in stderr"))
        .with(|case| case.spill = spill(feature, manner, &buffers, size, broken));
    // A chunk is bigger on the wire than in the file.
    let case = case.with(|case| {
        if chunked && case.spill == Spill::Must {
            case.spill = Spill::May;
        }
    });
    let case = if broken {
        case.amount(Amount::Some)
    } else {
        case
    };
    let case = leaving(case, manner);
    featured(case, feature, broken || manner.leave.is_some())
}

fn reply(random: &mut Random, protocol: Protocol, buffers: &Buffers) -> Reply {
    let seed = random.bits();
    let size = size(random, buffers);
    let mut reply = Reply::new(Body::Words { seed, size });
    reply.framing = match random.below(3) {
        0 => Framing::Length,
        1 if protocol == Protocol::Http => {
            let sizes = (0..3).map(|_| chunk(random)).collect();
            let trailers = random.once_in(3);
            Framing::Chunked { sizes, trailers }
        }
        1 => Framing::Length,
        _ => Framing::Close,
    };
    reply.records = Records {
        size: *random.pick(&[50, 511, 4096, 0xffff]),
        padding: *random.pick(&[0, 0, 1, 7, 255]),
        header_alone: random.once_in(2),
        stderr: random.once_in(4).then_some("message"),
        bare_end: false,
    };
    if random.once_in(2) {
        // Neither too big for the buffer nor just filling it (a defect), not
        // even with what a cache puts before it.
        reply.header_size = Some(random.between(150, 400));
        reply.records.header_alone = true;
        reply.records.size = reply.records.size.max(511);
    }
    reply.cuts = cuts(random);
    if reply.framing != Framing::Close && size > 0 && random.once_in(6) {
        reply.stop = Some(Point::Body(random.below(size)));
        reply.end = *random.pick(&[End::Fin, End::Reset]);
    }
    reply
}

/// Around the sizes of buffers, and far beyond.
fn size(random: &mut Random, buffers: &Buffers) -> usize {
    let near = match random.below(6) {
        0 => random.below(3),
        1 => buffers.size * random.between(1, 3),
        2 => buffers.busy,
        3 => buffers.total().min(200_000),
        4 => buffers.write * random.between(1, 4),
        _ => random.between(50_000, 300_000),
    };
    (near + random.below(3)).saturating_sub(1)
}

fn chunk(random: &mut Random) -> usize {
    let largest = *random.pick(&[16, 700, 9000]);
    random.between(1, largest)
}

fn cuts(random: &mut Random) -> Cuts {
    let hold = match random.below(3) {
        0 => Hold::Drained,
        _ => Hold::Moment,
    };
    match random.below(4) {
        0 => Cuts::Scattered {
            seed: random.bits(),
            count: random.between(1, 30),
            hold,
        },
        1 => Cuts::At(vec![(Point::Body(0), hold), (Point::End(1), hold)]),
        _ => Cuts::None,
    }
}

fn manner(random: &mut Random) -> Manner {
    match random.below(7) {
        0..2 => Manner::FAST,
        2 => Manner::at(Pace::Trickle(random.between(500, 5000))),
        3 => Manner::leaving(Leave::After(random.between(1, 20_000))),
        _ => Manner::STALLED,
    }
}

/// What of nginx takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feature {
    None,
    IgnoreAbort,
    Cache,
    Store,
    Gzip,
    Sub,
    LimitRate,
    OldClient,
    Ranges,
}

fn feature(random: &mut Random) -> Feature {
    use Feature::{Cache, Gzip, IgnoreAbort, LimitRate, None, OldClient, Ranges, Store, Sub};
    *random.pick(&[
        None,
        None,
        None,
        IgnoreAbort,
        Cache,
        Cache,
        Store,
        Gzip,
        Sub,
        LimitRate,
        OldClient,
        Ranges,
    ])
}

/// A large enough response to a client that does not read goes to a file where
/// there may be one.
fn spill(feature: Feature, manner: Manner, buffers: &Buffers, size: usize, broken: bool) -> Spill {
    let is_plain = matches!(feature, Feature::None | Feature::IgnoreAbort | Feature::Sub);
    if buffers.file == 0 && !matches!(feature, Feature::Store) {
        return Spill::Never;
    }
    let large = size > buffers.total() + IN_SOCKETS;
    match is_plain && !broken && manner.pace == Pace::Stalled && large {
        true => Spill::Must,
        false => Spill::May,
    }
}

fn leaving(case: Case, manner: Manner) -> Case {
    if manner.leave.is_none() {
        return case;
    }
    case.amount(Amount::Some)
        .with(|case| case.log = Log::Severe)
}

fn featured(case: Case, feature: Feature, cut: bool) -> Case {
    let body = case.scripts[0].1[0].body.clone();
    let size = body.size();
    match feature {
        Feature::None => case,
        Feature::IgnoreAbort => case.conf("@_ignore_client_abort on;"),
        Feature::LimitRate => case.conf("limit_rate 200k; @_limit_rate 300k;"),
        Feature::Store => case
            .conf("root PREFIX/store; @_store on; @_ignore_client_abort on;")
            .with(|case| case.store = store(case)),
        Feature::Cache if cut => case.cached(),
        Feature::Cache => case
            .cached()
            .exchange(cache_status("MISS"))
            .then(|exchange| exchange.manner = Manner::FAST)
            .exchange(cache_status("HIT")),
        Feature::Gzip => case
            .conf("gzip on; gzip_types *; gzip_min_length 0; gzip_proxied any;")
            .exchange(|exchange| {
                exchange
                    .request
                    .headers
                    .push("Accept-Encoding: gzip".to_owned());
                exchange.expect.content = Content::Gzip(body);
            }),
        Feature::Sub => case
            .conf(&format!(
                "sub_filter {NEEDLE} {SUBSTITUTE}; sub_filter_once off; sub_filter_types *;"
            ))
            .exchange(|exchange| exchange.expect.content = Content::Substituted(body)),
        Feature::OldClient => {
            let has_length = case.scripts[0].1[0].framing == Framing::Length;
            let case = case.exchange(|exchange| exchange.request.version = "HTTP/1.0");
            match cut || has_length {
                true => case,
                false => case.amount(Amount::UntilClose),
            }
        }
        Feature::Ranges if cut || size < 1000 => case,
        Feature::Ranges => case
            .conf("@_force_ranges on;")
            .exchange(|exchange: &mut Exchange| {
                let line = format!("Range: bytes=500-{}", size - 200);
                exchange.request.headers.push(line);
                exchange.expect = Expect {
                    status: Some(206),
                    ..Expect::all(Content::Part(body, 500..size - 199))
                };
            }),
    }
}

/// Of a response that tells its end, nothing is stored unless all came.
fn store(case: &Case) -> Option<Stored> {
    let reply = &case.scripts[0].1[0];
    Some(match reply.stop {
        Some(_) => Stored::Nothing,
        None => Stored::All,
    })
}

fn framing_name(framing: &Framing) -> &'static str {
    match framing {
        Framing::Length => "length",
        Framing::Chunked { .. } => "chunks",
        Framing::Close => "close",
    }
}

fn manner_name(manner: Manner) -> &'static str {
    match (manner.leave, manner.pace) {
        (Some(_), _) => "leaves",
        (None, Pace::Fast) => "fast",
        (None, Pace::Trickle(_)) => "trickle",
        (None, Pace::Stalled) => "stalled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_cases() {
        let names = |seed| -> Vec<String> {
            let cases = generated(seed, 50);
            cases.into_iter().map(|case| case.name).collect()
        };
        assert_eq!(names(1), names(1));
        assert_ne!(names(1), names(2));
    }
}

//! Random cases that are about one thing each: what this pipe promises where the
//! paths through both pipes part, and chance alone would seldom lead.

use super::case::{Case, Framing, Include, LIVE, Listen, Location, Pace, Reply, Request};
use super::generate::BUFFERS;
use crate::random::Random;
use crate::upstream::Protocol;

fn framing(random: &mut Random, protocol: Protocol) -> Framing {
    match random.below(3) {
        0 => Framing::Length,
        1 if matches!(protocol, Protocol::Http | Protocol::FastCgi) => {
            Framing::Chunks(*random.pick(&[1000, 8192, 50_000]))
        }
        _ => Framing::Close,
    }
}

/// Pictures of cameras, which come faster than their clients take them.
pub(super) fn camera(seed: u64, random: &mut Random) -> Case {
    let count = random.between(1, 2);
    let mut one = |_| {
        let protocol = *random.pick(&Protocol::ALL);
        let framing = framing(random, protocol);
        let mut reply = Reply::plain(random.between(600_000, 2_000_000), framing);
        reply.headers = vec![format!("Content-Type: {}; boundary=b", random.pick(&LIVE))];
        reply.pauses = Some((random.between(20_000, 100_000), 500));
        let mut location = Location::plain(protocol, reply);
        if random.once_in(3) {
            location.conf.push(random.pick(&BUFFERS).0.to_owned());
        }
        location
    };
    let locations: Vec<Location> = (0..count).map(&mut one).collect();
    let slow = |location| Request {
        gulps: Some((*random.pick(&[10_000, 30_000]), 2000)),
        ..Request::plain(location)
    };
    let requests = (0..count).map(slow).collect();
    let mut case = Case::plain(seed, locations, requests);
    case.listen = Listen {
        http2: random.once_in(3).then_some(65_535),
        tls: random.once_in(6),
        sndbuf: Some(*random.pick(&[8 << 10, 32 << 10])),
        rcvbuf: Some(32 << 10),
        link: None,
    };
    case.server = lines(random, &["sendfile on;", "aio threads; aio_write on;"]);
    case.ours = lines(
        random,
        &["event_pipe_memory 0;", "event_pipe_spill_delay 5ms;"],
    );
    case
}

/// A response behind whose end upstream leaves the connection open: its own word
/// for the end has to be enough.
pub(super) fn farewell(seed: u64, random: &mut Random) -> Case {
    let protocol = match random.once_in(5) {
        true => Protocol::Http,
        false => Protocol::FastCgi,
    };
    let framing = match framing(random, protocol) {
        Framing::Close if protocol == Protocol::Http => Framing::Length,
        framing => framing,
    };
    let size = *random.pick(&[200, 10_000, 100_000]);
    let mut reply = Reply::plain(1 + random.below(size), framing);
    reply.stays = true;
    reply.bare_end = !random.once_in(4);
    let mut location = Location::plain(protocol, reply);
    if random.once_in(3) {
        location.conf.push(random.pick(&BUFFERS).0.to_owned());
    }
    if random.once_in(3) {
        let line = "@_cache @; @_cache_valid any 1h; @_cache_key $uri;";
        location.conf.push(line.to_owned());
    }
    let mut case = Case::plain(seed, vec![location], vec![Request::plain(0)]);
    case.listen.http2 = random.once_in(3).then_some(65_535);
    case.listen.tls = random.once_in(6);
    case.server = lines(random, &["sendfile on;", "postpone_output 0;"]);
    case.ours = lines(random, &["event_pipe_memory 0;", "event_pipe_stream on;"]);
    case
}

/// A page that includes some responses which are worth a loan, and then one that
/// takes its time: meanwhile, others must find what the worker lends.
pub(super) fn loans(seed: u64, random: &mut Random) -> Case {
    let (part, slow) = (1, 2);
    let mut parts: Vec<Location> = Vec::new();
    for size in [2000, random.between(200_000, 600_000), 1000] {
        let protocol = *random.pick(&Protocol::ALL);
        parts.push(Location::plain(
            protocol,
            Reply::plain(size, framing(random, protocol)),
        ));
    }
    // The fewer bytes of its own a pipe can receive at once, the more a loan spares.
    parts[part].conf.push(BUFFERS[0].0.to_owned());
    parts[slow].reply.stands = true;
    let count = random.between(1, 6);
    let include = |nth| Include {
        block: 1 + nth,
        location: if nth == count { slow } else { part },
        wait: true,
    };
    parts[0].includes = (0..=count).map(include).collect();

    let mut case = Case::plain(seed, parts, vec![Request::plain(0)]);
    case.probe = Some(part);
    case.listen = Listen {
        http2: random.once_in(3).then_some(4 << 20),
        // nginx itself gathers what goes into a record.
        tls: false,
        sndbuf: Some(2 << 20),
        rcvbuf: None,
        link: None,
    };
    case.server = lines(random, &["sendfile on;", "tcp_nopush on;"]);
    // The client is looked at so often in that time that its loans come back soon.
    case.server
        .push("send_timeout 4s; postpone_output 0;".to_owned());
    case.ours = match random.below(3) {
        0 => Vec::new(),
        1 => vec!["event_pipe_memory 512k;".to_owned()],
        _ => vec!["event_pipe_memory 256k;".to_owned()],
    };
    case
}

/// A peer on a slow link, which sends or takes a little several times in a time-out,
/// though nginx sees nothing of it for longer: above the link there is a socket's
/// buffer, a record of TLS, a frame of HTTP/2. The other peer never stops for long.
pub(super) fn living(seed: u64, random: &mut Random) -> Case {
    let mut case = match random.once_in(3) {
        true => slow_upstream(seed, random),
        false => slow_client(seed, random),
    };
    case.server = lines(random, &["sendfile on;", "http2_chunk_size 64k;"]);
    case.server.push("send_timeout 1500ms;".to_owned());
    case.locations[0]
        .conf
        .push("@_read_timeout 1500ms;".to_owned());
    case.listen.http2 = random.once_in(3).then_some(1 << 20);
    case.listen.tls = random.once_in(2);
    case
}

/// A record of TLS takes upstream almost three seconds.
fn slow_upstream(seed: u64, random: &mut Random) -> Case {
    let framing = framing(random, Protocol::Http);
    let size = random.between(40_000, 100_000);
    let mut main = Location::plain(Protocol::Http, Reply::plain(size, framing));
    main.tls = Some(16_384);
    main.link = Some(Pace {
        step: 300,
        rest: 50_000,
        until: 25_000,
    });
    Case::plain(seed, vec![main], vec![Request::plain(0)])
}

/// The socket's buffer takes the client about three seconds until nginx is told that
/// there is room again; the client's own takes it a fifth of a second.
fn slow_client(seed: u64, random: &mut Random) -> Case {
    let protocol = *random.pick(&Protocol::ALL);
    let mut reply = Reply::plain(900_000, framing(random, protocol));
    reply.burst = 600_000;
    reply.pauses = Some((2000, 30_000));
    let main = Location::plain(protocol, reply);
    let mut case = Case::plain(seed, vec![main], vec![Request::plain(0)]);
    case.listen.sndbuf = Some(208 << 10);
    case.listen.rcvbuf = Some(4 << 10);
    case.listen.link = Some(Pace {
        step: 400,
        rest: 12_500,
        until: 110_000,
    });
    case
}

/// Each of them by chance.
fn lines(random: &mut Random, all: &[&str]) -> Vec<String> {
    let some = all.iter().filter(|_| random.once_in(3));
    some.map(|line| (*line).to_owned()).collect()
}

//! What upstream has sent before it breaches its protocol is accepted, and the
//! client gets all of it; but the response is not taken for complete, and not
//! kept. Stock delivers less than that, ours never less than stock.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use pipe_tests::client::{Http2, Manner, Pace};
use pipe_tests::random::Random;
use pipe_tests::server::{Nginx, loopback};
use pipe_tests::traffic::{
    Amount, Buffers, Case, Content, Expect, Flavour, Outcome, Stored, World, check,
};
use pipe_tests::upstream::{Body, Cuts, Framing, Hold, Point, Protocol, Reply};
use pipe_tests::{Binaries, Stage};

const EPOLL: Flavour = Flavour::EPOLL;

const THREADS: Flavour = Flavour {
    name: "threads",
    threads: true,
    ..EPOLL
};

const SENDFILE: Flavour = Flavour {
    name: "sendfile",
    sendfile: true,
    ..THREADS
};

/// The number of the one stream of a client that speaks HTTP/2, and how much
/// nginx may send on it.
const STREAM: u32 = 1;
const WINDOW: u32 = 1 << 30;

/// The end of a chunked body, and that of a FastCGI response: a record without
/// content, and one that ends the request.
const LAST_CHUNK: usize = "0\r\n\r\n".len();
const LAST_RECORDS: usize = 8 + 16;

/// One way to breach a protocol.
#[derive(Clone)]
struct Breach {
    name: &'static str,
    protocol: Protocol,
    /// So much of the end of the response is missing.
    missing: usize,
    /// What comes in its place.
    bytes: &'static [u8],
}

impl Breach {
    const fn chunked(name: &'static str, missing: usize, bytes: &'static [u8]) -> Self {
        Self {
            name,
            protocol: Protocol::Http,
            missing,
            bytes,
        }
    }

    const fn record(name: &'static str, bytes: &'static [u8]) -> Self {
        Self {
            name,
            protocol: Protocol::FastCgi,
            missing: LAST_RECORDS,
            bytes,
        }
    }

    /// A good body of this size, and then the breach.
    fn reply(&self, size: usize) -> Reply {
        let mut reply = Reply::random(91, size);
        if self.protocol == Protocol::Http {
            reply.framing = Framing::chunks(1000);
        } else {
            reply.framing = Framing::Close;
            reply.records.size = 8000;
            reply.records.padding = 3;
        }
        reply.stop = Some(Point::End(self.missing));
        reply.breach = self.bytes.to_vec();
        reply
    }
}

/// No number of bytes is `zz`.
const SIZE_OF_A_CHUNK: Breach = Breach::chunked("zz", LAST_CHUNK, b"zz\r\n");

/// There are no records of this version.
const VERSION_OF_A_RECORD: Breach = Breach::record("version", &[9, 6, 0, 1, 0, 0, 0, 0]);

const MAIN: [Breach; 2] = [SIZE_OF_A_CHUNK, VERSION_OF_A_RECORD];

const ALL: [Breach; 7] = [
    SIZE_OF_A_CHUNK,
    VERSION_OF_A_RECORD,
    Breach::chunked("too-large", LAST_CHUNK, b"fffffffffffffffffff\r\n"),
    // The line that is to end after a chunk's bytes does not.
    Breach::chunked("no-end", 2 + LAST_CHUNK, b"XX3e8\r\n"),
    Breach::record("type", &[1, 11, 0, 1, 0, 0, 0, 0]),
    Breach::record("id", &[1, 6, 7, 1, 0, 0, 0, 0]),
    // Good bytes, if only they could be told from others.
    Breach::record(
        "version-and-more",
        b"\x09\x06\x00\x01\x00\x04\x00\x00more\x01\x06\x00\x01\x00\x04\x00\x00more",
    ),
];

/// The sizes that stock is known to cut, one that comes with the header, and
/// none at all.
const SIZES: [usize; 4] = [50_000, 100_000, 500, 0];

fn case(name: &str, breach: &Breach, size: usize) -> Case {
    let name = format!("{}/{name}/{size}", breach.name);
    Case::new(name, breach.protocol, breach.reply(size))
        .amount(Amount::Only(size))
        .with(|case| case.says = Some("upstream sent "))
        .exchange(|exchange| {
            if size == 0 {
                // Whether the header is worth a response by itself.
                exchange.expect.status = None;
            }
        })
}

/// That each of `cases` breaks off where it must on ours, and not after that on
/// stock; without ours' own directives, which stock does not know.
fn run(flavour: Flavour, cases: &[Case]) -> Result<()> {
    run_with(&pipe_tests::binaries()?, flavour, cases)
}

/// The same for cases that only ours knows the directives of.
fn run_ours(flavour: Flavour, cases: &[Case]) -> Result<()> {
    let ours = pipe_tests::binaries()?.ours;
    let stock = ours.clone();
    run_with(&Binaries { stock, ours }, flavour, cases)
}

fn run_with(binaries: &Binaries, flavour: Flavour, cases: &[Case]) -> Result<()> {
    let world = World::start(flavour, cases, binaries)?;
    let mut wrong = Vec::new();
    for (nth, case) in cases.iter().enumerate() {
        let (stock, ours) = world.outcomes(nth, case)?;
        let of_stock = bytes(&stock);
        if let Err(error) = check(case, &ours).and_then(|()| expect_no_less(&stock, &ours)) {
            wrong.push(format!("{}: {error} (stock: {of_stock:?})", case.name));
        }
    }
    world.stop()?;
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Error::other(wrong.join("\n"))),
    }
}

fn bytes(outcome: &Outcome) -> Vec<usize> {
    let answers = outcome.answers.iter();
    answers.map(|answer| answer.body.len()).collect()
}

fn expect_no_less(stock: &Outcome, ours: &Outcome) -> Result<()> {
    let (stock, ours) = (bytes(stock), bytes(ours));
    let pairs = stock.iter().zip(&ours);
    match pairs.clone().all(|(stock, ours)| stock <= ours) {
        true => Ok(()),
        false => Err(Error::other(format!("{ours:?} bytes, less than stock"))),
    }
}

/// Every breach at the end of bodies of all sizes.
fn everything() -> Vec<Case> {
    let pairs = ALL
        .iter()
        .flat_map(|breach| SIZES.map(|size| (breach, size)));
    pairs
        // There is no chunk whose end could be missing.
        .filter(|(breach, size)| *size > 0 || breach.missing != LAST_CHUNK + 2)
        .map(|(breach, size)| case("fast", breach, size))
        .collect()
}

#[test]
fn a_fast_client_gets_it() -> Result<()> {
    run(EPOLL, &everything())
}

#[test]
fn with_threads_and_sendfile() -> Result<()> {
    run(THREADS, &everything())?;
    run(SENDFILE, &everything())
}

/// A name, and what it does to a case.
type Variant = (&'static str, fn(Case) -> Case);

/// Each breach of [`MAIN`] with each variant.
fn each(variants: &[Variant]) -> Vec<Case> {
    let mut cases = Vec::new();
    for breach in &MAIN {
        for (name, change) in variants {
            for size in [500, 50_000, 300_000] {
                cases.push(change(case(name, breach, size)));
            }
        }
    }
    cases
}

fn reply(case: &mut Case) -> &mut Reply {
    &mut case.scripts[0].1[0]
}

/// The end of what is good comes with the breach, or has been read before.
#[test]
fn however_it_is_read() -> Result<()> {
    let cases = each(&[
        ("breach-alone", |case| {
            case.with(|case| {
                let at = reply(case).stop.expect("it stops");
                reply(case).cuts = Cuts::At(vec![(at, Hold::Drained)]);
            })
        }),
        ("in-pieces", |case| {
            case.with(|case| reply(case).cuts = Cuts::Every(7000, Hold::Drained))
        }),
        ("tiny-buffers", |case| {
            case.conf(&Buffers::SMALL.to_string())
        }),
        ("tiny-buffers-in-pieces", |case| {
            case.conf(&Buffers::SMALL.to_string())
                .with(|case| reply(case).cuts = Cuts::Every(3333, Hold::Drained))
        }),
        ("no-file", |case| case.conf("@_max_temp_file_size 0;")),
        ("limited", |case| case.conf("@_limit_rate 100m;")),
    ]);
    run(EPOLL, &cases)?;
    run(THREADS, &cases)
}

/// It had not taken all of it when the breach came.
#[test]
fn a_slow_client_gets_it() -> Result<()> {
    let cases = each(&[
        ("stalled", |case| case.manner(Manner::STALLED)),
        ("trickle", |case| {
            case.manner(Manner::at(Pace::Trickle(3000)))
        }),
        ("stalled-tiny-buffers", |case| {
            case.conf(&Buffers::SMALL.to_string())
                .manner(Manner::STALLED)
        }),
        ("stalled-no-file", |case| {
            case.conf("@_max_temp_file_size 0;").manner(Manner::STALLED)
        }),
    ]);
    run(EPOLL, &cases)?;
    run(THREADS, &cases)?;
    run(SENDFILE, &cases)
}

const CACHE: &str = "@_cache @; @_cache_key $uri; @_cache_valid any 1h;";

/// The second request is for upstream again.
fn not_cached(case: Case) -> Case {
    case.conf(CACHE)
        .then(|_| ())
        .with(|case| case.requests = Some(2))
}

fn stored(case: Case) -> Case {
    case.conf("root PREFIX/store; @_store on;")
        .with(|case| case.store = Some(Stored::Nothing))
}

#[test]
fn nothing_of_it_is_kept() -> Result<()> {
    let cases = each(&[
        ("cache", not_cached),
        ("cache-stalled", |case| {
            not_cached(case).manner(Manner::STALLED)
        }),
        ("store", stored),
        ("store-stalled", |case| stored(case).manner(Manner::STALLED)),
        // Upstream is asked for the body all the same.
        ("head", |case| {
            not_cached(case.exchange(|exchange| {
                exchange.request.method = "HEAD";
                exchange.expect = Expect::all(Content::Empty);
            }))
        }),
    ]);
    run(EPOLL, &cases)?;
    run(THREADS, &cases)
}

/// The page breaks off within what it includes.
#[test]
fn within_a_page_that_includes_it() -> Result<()> {
    let before = "x".repeat(5000);
    let text = |text: &str| Body::Text(Arc::from(text));
    let mut cases = Vec::new();
    for breach in &MAIN {
        for (name, manner) in [("ssi", Manner::FAST), ("ssi-stalled", Manner::STALLED)] {
            // With nothing of the part, how much of the page has gone out before depends
            // on chance, on stock as well: that is another response's.
            for size in SIZES.into_iter().filter(|size| *size > 0) {
                let part = breach.reply(size);
                let mut page = Reply::new(text(&format!(
                    "{before}<!--#include virtual=\"part\" -->after"
                )));
                page.framing = Framing::Close;
                let whole = vec![text(&before), part.body.clone(), text("after")];
                let case = case(name, breach, size)
                    .conf("ssi on; ssi_types *;")
                    .exchange(|exchange| {
                        exchange.expect.content = Content::Joined(whole);
                        exchange.expect.amount = Amount::Only(before.len() + size);
                    })
                    .manner(manner)
                    .with(|case| case.scripts = vec![("main", vec![page]), ("part", vec![part])]);
                cases.push(case);
            }
        }
    }
    run(EPOLL, &cases)?;
    run(THREADS, &cases)
}

#[test]
fn whatever_the_directives_say() -> Result<()> {
    let cases = each(&[
        ("stream", |case| case.conf("event_pipe_stream on;")),
        ("stream-stalled", |case| {
            case.conf("event_pipe_stream on;").manner(Manner::STALLED)
        }),
        ("unlent", |case| case.conf("event_pipe_memory 0;")),
        ("narrow", |case| case.conf("event_pipe_wide off;")),
        ("delay", |case| {
            case.conf("event_pipe_spill_delay 1h;")
                .manner(Manner::STALLED)
        }),
        ("segments", |case| {
            case.conf("@_max_temp_file_size 64k;")
                .manner(Manner::STALLED)
        }),
    ]);
    run_ours(EPOLL, &cases)?;
    run_ours(SENDFILE, &cases)
}

/// What an HTTP/2 client gets of `reply` until nginx gives the stream up.
fn by_http2(binary: &Path, breach: &Breach, reply: &Reply, conf: &str) -> Result<Vec<u8>> {
    let protocol = breach.protocol;
    let stage = Stage::start(binary, |it| {
        it.listen("http2");
        it.http += "proxy_http_version 1.1;\n";
        it.pass("/", protocol, protocol.peer(), conf);
    })?;
    stage.play("/", reply.clone());

    let mut client = Http2::open(stage.address(), false, WINDOW)?;
    client.get(STREAM, "/")?;
    let mut body = Vec::new();
    let ended = loop {
        match client.part(STREAM) {
            Ok(Some(part)) => body.extend(part),
            Ok(None) => break true,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break false,
            Err(error) => return Err(error),
        }
    };
    assert!(!ended, "the response is taken for complete");
    drop(client);
    stage.stop()?;
    Ok(body)
}

#[test]
fn an_http2_client_gets_it() -> Result<()> {
    let Binaries { stock, ours } = pipe_tests::binaries()?;
    let small = Buffers::SMALL.to_string();
    for breach in &MAIN {
        for size in SIZES {
            for conf in ["", &small, "aio threads; aio_write on; sendfile on;"] {
                let reply = breach.reply(size);
                let stock = by_http2(&stock, breach, &reply, conf)?;
                let ours = by_http2(&ours, breach, &reply, conf)?;
                let said = format!("{}: {} of {size}, {conf}", breach.name, ours.len());
                assert!(ours.len() >= stock.len(), "{said}; stock: {}", stock.len());
                assert!(ours == reply.body.bytes(), "{said}");
            }
        }
    }
    Ok(())
}

/// Frames of HTTP/2 for the first stream: the settings, a header with the status
/// 200, and the body.
fn frames(body: &[u8]) -> Vec<u8> {
    let mut bytes = frame(4, 0, 0, &[]);
    bytes.extend(frame(1, 4, STREAM, &[0x88]));
    for part in body.chunks(10_000) {
        bytes.extend(frame(0, 0, STREAM, part));
    }
    bytes
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Says `bytes` to whoever connects and has asked for something, and waits for
/// the connection to be closed.
fn say_once(bytes: Vec<u8>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((loopback(), 0))?;
    let address = listener.local_addr()?;
    // It ends with the connection.
    thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut asked = [0; 4096];
        stream.read(&mut asked).map(drop)?;
        stream.write_all(&bytes)?;
        while stream.read(&mut asked)? > 0 {}
        Ok(())
    });
    Ok(address)
}

/// What a client gets of a body over an upstream connection that speaks HTTP/2,
/// on which a header for a stream that nobody has asked for comes after it.
fn over_http2(binary: &Path, body: &[u8], manner: Manner) -> Result<Vec<u8>> {
    let upstream = say_once([frames(body), frame(1, 4, 3, &[0x88])].concat())?;
    let stage = Stage::start(binary, |it| {
        it.listen("sndbuf=8k");
        it.pass("/", Protocol::Http, upstream, "proxy_http_version 2;");
    })?;
    let answer = stage.ask("/", manner)?;
    assert!(!answer.complete, "the response is taken for complete");
    stage.stop()?;
    Ok(answer.body)
}

#[test]
fn over_an_upstream_connection_by_http2() -> Result<()> {
    let Binaries { stock, ours } = pipe_tests::binaries()?;
    let known = Nginx::test(&stock, |it| it.http += "proxy_http_version 2;\n");
    if known.is_err() {
        eprintln!("skipped: nginx of this version speaks no HTTP/2 to upstreams");
        return Ok(());
    }
    for size in [500, 50_000, 100_000] {
        let body = Random::new(92).bytes(size);
        for manner in [Manner::FAST, Manner::at(Pace::Trickle(3000))] {
            let stock = over_http2(&stock, &body, manner)?;
            let ours = over_http2(&ours, &body, manner)?;
            let said = format!("{} of {size}, {manner:?}", ours.len());
            assert!(ours.len() >= stock.len(), "{said}; stock: {}", stock.len());
            assert!(ours == body, "{said}");
        }
    }
    Ok(())
}

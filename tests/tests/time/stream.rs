//! Events arrive when they are sent. The upstream sends each only when nginx has
//! nothing left to do with the one before: an event that the client does not have
//! then, is held back.

use std::io::{Read, Result};
use std::path::Path;

use flate2::read::GzDecoder;
use pipe_tests::client::{Manner, Pace};
use pipe_tests::upstream::{Cuts, Framing, Hold, Protocol, Reply};
use pipe_tests::{Binaries, Stage, binaries};

use crate::pace::{self, PATH, STREAM, Setup, Speech};

/// Bytes of an event.
const EVENT: usize = 120;

/// How many there are.
const EVENTS: usize = 4;

/// All that the client is to have at some time: the header, then each event.
fn stops() -> impl Iterator<Item = usize> {
    (0..EVENTS).map(|nth| nth * EVENT)
}

/// A response of events.
fn events(framing: &Framing, kind: &str) -> Reply {
    // What has been compressed is not smaller, and can be waited for alike.
    let mut reply = Reply::random(1, EVENTS * EVENT);
    reply.headers.push(format!("Content-Type: {kind}"));
    reply.framing = framing.clone();
    reply.records.header_alone = true;
    reply.records.size = EVENT;
    reply
}

/// The bytes of an event on the wire.
fn size(protocol: Protocol, framing: &Framing) -> usize {
    EVENT
        + match (protocol, framing) {
            (Protocol::FastCgi, _) => 8,
            (_, Framing::Chunked { .. }) => "78\r\n\r\n".len(),
            _ => 0,
        }
}

fn framings(protocol: Protocol) -> Vec<Framing> {
    let mut framings = vec![Framing::Length, Framing::Close];
    if protocol == Protocol::Http {
        framings.push(Framing::chunks(EVENT));
    }
    framings
}

/// Every event arrives in the end; but those of `missed` do not when they are
/// sent.
fn check(binary: &Path, setup: &Setup, reply: &Reply, missed: &[usize]) -> Result<()> {
    let stage = pace::Stage::start(binary, setup)?;
    let mut client = stage.client(PATH)?;
    let mut upstream = stage.upstream_sends(reply, 0)?;
    let mut late = Vec::new();
    for stop in stops() {
        client.read(usize::MAX)?;
        if client.received(STREAM) < Some(stop) {
            late.push(stop);
        }
        upstream.send(size(setup.protocol, &reply.framing))?;
        stage.time.settle()?;
    }
    upstream.send(usize::MAX)?;
    drop(upstream);
    stage.time.settle()?;
    client.read(usize::MAX)?;

    assert!(!client.is_open(), "{setup:?}, {:?}", reply.framing);
    let mut body = client.finish();
    if setup.directives.contains("gzip") {
        let compressed = std::mem::take(&mut body);
        GzDecoder::new(&compressed[..]).read_to_end(&mut body)?;
    }
    assert_eq!(body, reply.body.bytes(), "{setup:?}");
    assert_eq!(late, missed, "{setup:?}, {:?}", reply.framing);
    stage.stop()
}

fn setup(protocol: Protocol, speech: Speech, directives: &str) -> Setup {
    Setup {
        protocol,
        ..Setup::new(speech, directives)
    }
}

fn all() -> Vec<usize> {
    stops().collect()
}

/// Stock keeps back the header until some of the body is to follow, and what is
/// less than a buffer of the body unless it is in chunks.
#[test]
fn stock_keeps_events_back() -> Result<()> {
    let Binaries { stock, .. } = binaries()?;
    for protocol in Protocol::ALL {
        let setup = setup(protocol, Speech::Http1, "");
        for framing in framings(protocol) {
            let missed = match framing {
                Framing::Chunked { .. } => vec![0],
                _ => all(),
            };
            let reply = events(&framing, "text/event-stream");
            check(&stock, &setup, &reply, &missed)?;
        }
    }
    Ok(())
}

#[test]
fn events_arrive_at_once() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    for protocol in Protocol::ALL {
        let setup = setup(protocol, Speech::Http1, "");
        for framing in framings(protocol) {
            let reply = events(&framing, "text/event-stream; charset=utf-8");
            check(&ours, &setup, &reply, &[])?;
        }
    }
    Ok(())
}

/// A frame for each; that of the header stock sends at once, too.
#[test]
fn events_arrive_at_once_over_http2() -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    let reply = events(&Framing::Close, "text/event-stream");
    for protocol in Protocol::ALL {
        let setup = setup(protocol, Speech::Http2, "");
        check(&stock, &setup, &reply, &all()[1..])?;
        check(&ours, &setup, &reply, &[])?;
    }
    Ok(())
}

/// On their way through a cache, which has all of them; with a temporary file
/// that is sent, not read; compressed; with buffers of one event.
#[test]
fn events_arrive_at_once_whatever_else_is_done() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    let cache = "@_cache @; @_cache_key k; @_cache_valid any 1h;";
    let ways = [
        cache.to_owned(),
        format!("{cache} sendfile on;"),
        format!("{cache} aio threads; aio_write on;"),
        "@_store on;".to_owned(),
        "@_buffers 2 1k; @_buffer_size 1k; @_busy_buffers_size 1k;".to_owned(),
        "event_pipe_wide off; event_pipe_memory 0;".to_owned(),
        "gzip on; gzip_types *; gzip_min_length 0;".to_owned(),
    ];
    let reply = events(&Framing::Close, "text/event-stream");
    for protocol in [Protocol::Http, Protocol::FastCgi] {
        for directives in &ways {
            let setup = setup(protocol, Speech::Http1, directives);
            check(&ours, &setup, &reply, &[])?;
        }
    }
    Ok(())
}

/// The directive and the type decide.
#[test]
fn only_streams_are_passed_on() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    let at_once: &[usize] = &[];
    let kept_back = &all()[..];
    for (directives, kind, missed) in [
        ("", "text/plain", kept_back),
        ("", "application/x-ndjson", at_once),
        (
            "event_pipe_stream auto;",
            "Multipart/X-Mixed-Replace;boundary=b",
            at_once,
        ),
        ("event_pipe_stream off;", "text/event-stream", kept_back),
        ("event_pipe_stream on;", "text/plain", at_once),
    ] {
        let setup = Setup::new(Speech::Http1, directives);
        let reply = events(&Framing::Close, kind);
        check(&ours, &setup, &reply, missed)?;
    }
    Ok(())
}

/// What trickles in while the client is slow fills buffers and goes to disk.
#[test]
fn large_bodies_arrive_whole() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    let small = "event_pipe_stream on; @_buffers 4 1k; @_buffer_size 1k;\
                 @_busy_buffers_size 2k; @_temp_file_write_size 2k;";
    let cache = "@_cache @; @_cache_key k; @_cache_valid any 1h;";
    let ways = [
        small.to_owned(),
        format!("{small} @_max_temp_file_size 0;"),
        format!("{small} {cache}"),
        format!("{small} {cache} sendfile on;"),
        format!("{small} aio threads; aio_write on;"),
    ];
    for protocol in Protocol::ALL {
        for (nth, directives) in ways.iter().enumerate() {
            for manner in [
                Manner::FAST,
                Manner::at(Pace::Trickle(700)),
                Manner::STALLED,
            ] {
                let mut reply = Reply::random(nth as u64, 150_000);
                reply.framing = framings(protocol).pop().expect("there is one");
                reply.cuts = Cuts::Scattered {
                    seed: nth as u64,
                    count: 200,
                    hold: Hold::Moment,
                };
                let body = reply.body.bytes();
                let stage = Stage::start(&ours, |conf| {
                    conf.listen("sndbuf=8k");
                    conf.http += "proxy_http_version 1.1;\n";
                    conf.add_caches();
                    conf.pass("/", protocol, protocol.peer(), directives);
                })?;
                stage.play("/", reply);
                assert_eq!(stage.ask("/", manner)?.body, body);
                stage.stop()?;
            }
        }
    }
    Ok(())
}

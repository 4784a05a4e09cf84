//! A client that is too slow for a stream: one with no end holds upstream back,
//! and is not put on disk, from where the client would get ever older parts.

use std::io::Result;
use std::path::Path;
use std::time::Duration;

use pipe_tests::upstream::{Framing, Protocol, Reply};
use pipe_tests::{Binaries, binaries};

use crate::pace::{PATH, STREAM, Setup, Speech, Stage};

/// More than all buffers and sockets hold.
const SIZE: usize = 12 << 20;

/// What a client takes at a time, with rests that are longer than either side's
/// time-out in all.
const STEP: usize = 400 << 10;
const REST: Duration = Duration::from_secs(1);

/// What becomes of what a client has yet to take.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Upstream keeps it.
    HeldBack,
    /// It is in a temporary file, and upstream is done.
    Spilled,
    /// It is on its way to the cache, and upstream is done.
    Cached,
    /// It is in the worker's memory, and upstream is done.
    Kept,
}

/// The worker has memory for slow clients.
const MEMORY: &str = "event_pipe_memory 64m;";

/// And it has none.
const NO_MEMORY: &str = "event_pipe_memory 1m;";

const CACHE: &str = "@_cache @; @_cache_key k; @_cache_valid any 1h;";

fn response(protocol: Protocol, kind: &str) -> Reply {
    let mut reply = Reply::random(5, SIZE);
    reply.headers.push(format!("Content-Type: {kind}"));
    reply.framing = match protocol {
        Protocol::Http => Framing::chunks(50_000),
        _ => Framing::Close,
    };
    reply
}

/// Upstream sends whatever nginx takes, and the client takes it a step at a time,
/// once nothing goes on without it.
fn fate(binary: &Path, setup: &Setup, kind: &str) -> Result<Fate> {
    let reply = response(setup.protocol, kind);
    let body = reply.body.bytes();
    let stage = Stage::start(binary, setup)?;
    let mut client = stage.client(PATH)?;
    let mut upstream = stage.upstream_sends(&reply, 0)?;
    let mut left = usize::MAX;
    while upstream.left() < left {
        left = upstream.left();
        upstream.send(usize::MAX)?;
        stage.time.settle()?;
    }
    let is_held_back = left > 0;
    while client.is_open() {
        client.read(STEP)?;
        stage.time.advance(REST)?;
        upstream.send(usize::MAX)?;
        stage.time.settle()?;
    }
    assert!(client.finish() == body, "{kind}: another body, {setup:?}");

    let has_spilled = stage.error_log().contains("buffered to a temporary file");
    let fate = match (is_held_back, has_spilled) {
        (true, false) => Fate::HeldBack,
        (false, true) => Fate::Spilled,
        (false, false) if setup.directives.contains(CACHE) => Fate::Cached,
        (false, false) => Fate::Kept,
        (true, true) => panic!("{kind}: held back and spilled, {setup:?}"),
    };
    if fate == Fate::Cached {
        let mut client = stage.client(PATH)?;
        while client.is_open() {
            client.read(usize::MAX)?;
            stage.time.settle()?;
        }
        assert!(client.received(STREAM).is_some());
        assert!(client.finish() == body, "{kind}: another body is kept");
    }
    stage.stop()?;
    Ok(fate)
}

const LIVE: [&str; 2] = [
    "multipart/x-mixed-replace; boundary=picture",
    "text/event-stream",
];

#[test]
fn stock_spills_a_stream_that_has_no_end() -> Result<()> {
    let Binaries { stock, .. } = binaries()?;
    for kind in LIVE {
        let setup = Setup::new(Speech::Http1, "");
        assert_eq!(fate(&stock, &setup, kind)?, Fate::Spilled, "{kind}");
    }
    Ok(())
}

#[test]
fn a_stream_that_has_no_end_is_held_back() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    let [camera, events] = LIVE;
    let (http, http1) = (Protocol::Http, Speech::Http1);
    for (kind, protocol, speech, directives) in [
        (camera, http, http1, ""),
        (events, http, http1, ""),
        (camera, Protocol::FastCgi, http1, ""),
        (camera, http, Speech::Http2, ""),
        (camera, http, http1, "event_pipe_memory 0;"),
        (camera, http, http1, "aio threads; aio_write on;"),
    ] {
        let setup = Setup {
            protocol,
            ..Setup::new(speech, directives)
        };
        assert_eq!(
            fate(&ours, &setup, kind)?,
            Fate::HeldBack,
            "{kind} {setup:?}"
        );
    }
    Ok(())
}

/// Others stay in memory or spill, whatever the directives; and what is for a cache goes
/// there.
#[test]
fn all_else_goes_on_without_the_client() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    let [camera, events] = LIVE;
    for (kind, directives, wanted) in [
        ("application/x-ndjson", NO_MEMORY, Fate::Spilled),
        ("application/x-ndjson", MEMORY, Fate::Kept),
        ("text/plain", NO_MEMORY, Fate::Spilled),
        ("text/plain", MEMORY, Fate::Kept),
        (
            "text/plain",
            "event_pipe_memory 1m; event_pipe_stream on;",
            Fate::Spilled,
        ),
        (
            camera,
            "event_pipe_memory 1m; event_pipe_stream off;",
            Fate::Spilled,
        ),
        (camera, "event_pipe_extensions off;", Fate::Spilled),
        (events, CACHE, Fate::Cached),
    ] {
        let setup = Setup::new(Speech::Http1, directives);
        assert_eq!(fate(&ours, &setup, kind)?, wanted, "{kind} {directives}");
    }
    Ok(())
}

//! An upstream that hangs is given up in time, and nothing is lost that it had
//! sent before: the client takes it as long as it needs. In virtual time.

use std::io::Result;
use std::path::Path;
use std::time::Duration;

use pipe_tests::upstream::{Framing, Point, Protocol, Reply};
use pipe_tests::{Binaries, binaries};

use crate::pace::{PAGE, PATH, STREAM, Setup, Speech, Stage, TOO_LONG};

/// What comes before upstream hangs: more than sockets hold.
const SENT: usize = 300_000;

/// What the client takes every so often: it needs several time-outs for all.
const SIP: usize = 15_000;
const SOME_TIME: Duration = TOO_LONG.checked_div(4).expect("not by zero");

/// Sockets that hold little, so that nginx has the rest.
const TIGHT: usize = 16 << 10;

/// What fills no buffer stays behind on stock.
const BUFFER: usize = 16 << 10;

/// Nothing goes to disk.
const IN_MEMORY: &str = "@_buffers 32 16k; @_busy_buffers_size 32k; @_max_temp_file_size 0;";

/// What comes of a response that stops.
#[derive(Debug)]
struct Outcome {
    /// How much the client does not get of what upstream has sent.
    missing: usize,
    /// Whether upstream is given up in time, while the client takes that.
    in_time: bool,
}

/// Upstream stops in the middle of its response.
fn hang(binary: &Path, setup: &Setup, path: &str, framing: Framing) -> Result<Outcome> {
    let mut reply = Reply::random(1, 2 * SENT);
    reply.framing = framing;
    reply.stop = Some(Point::Body(SENT));
    let stage = Stage::start(binary, setup)?;
    let mut client = stage.client(path)?;
    let mut upstream = stage.upstream_sends(&reply, usize::MAX)?;
    let deadline = stage.time.passed() + TOO_LONG;
    let mut in_time = false;
    while client.is_open() {
        client.take(SIP)?;
        // In memory, nginx takes only as much as the client does.
        upstream.send(usize::MAX)?;
        stage.time.advance(SOME_TIME)?;
        if stage.time.passed() == deadline {
            in_time = client.is_open() && stage.has_upstream_timed_out();
        }
    }
    upstream.take(1)?;
    assert!(stage.has_upstream_timed_out() && !upstream.is_open());
    let body = client.finish();
    stage.stop()?;
    assert_eq!(body, reply.body.bytes()[..body.len()]);
    Ok(Outcome {
        missing: reply_size(setup.protocol, &reply.framing) - body.len(),
        in_time,
    })
}

/// Bytes of the body among those that upstream sends.
fn reply_size(protocol: Protocol, framing: &Framing) -> usize {
    if protocol == Protocol::FastCgi {
        // The header of the response and the first of the body share a record.
        return SENT - 8 * SENT.div_ceil(0xffff + 8).saturating_sub(1);
    }
    framing.body_within(SENT)
}

fn is_whole(setup: &Setup, path: &str, framing: &Framing) -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    let stock = hang(&stock, setup, path, framing.clone())?;
    assert!(!stock.in_time, "stock waits for its client");
    assert!(stock.missing < BUFFER, "{stock:?}, {setup:?}, {path}");

    let ours = hang(&ours, setup, path, framing.clone())?;
    let is_right = ours.in_time && ours.missing == 0;
    assert!(is_right, "{ours:?}, {setup:?}, {path}");
    Ok(())
}

fn setup(speech: Speech, directives: &str) -> Setup {
    Setup {
        socket: TIGHT,
        ..Setup::new(speech, directives)
    }
}

#[test]
fn what_has_come_is_sent_from_wherever_it_is() -> Result<()> {
    for directives in [
        IN_MEMORY,
        "",
        "sendfile on;",
        "aio threads; aio_write on;",
        "sendfile on; aio threads; aio_write on;",
    ] {
        is_whole(&setup(Speech::Http1, directives), PATH, &Framing::Length)?;
    }
    Ok(())
}

#[test]
fn and_to_whomever_it_is() -> Result<()> {
    for speech in [Speech::Tls, Speech::Http2, Speech::Http2Window] {
        for directives in ["", "sendfile on; aio threads; aio_write on;"] {
            is_whole(&setup(speech, directives), PATH, &Framing::Length)?;
        }
    }
    Ok(())
}

#[test]
fn and_for_a_page_that_includes_it() -> Result<()> {
    for directives in [IN_MEMORY, "", "sendfile on;", "aio threads; aio_write on;"] {
        is_whole(&setup(Speech::Http1, directives), PAGE, &Framing::Length)?;
    }
    Ok(())
}

#[test]
fn and_however_it_is_framed() -> Result<()> {
    let http = setup(Speech::Http1, "");
    for framing in [Framing::chunks(10_000), Framing::Close] {
        is_whole(&http, PATH, &framing)?;
    }
    for protocol in Protocol::ALL {
        let setup = Setup {
            protocol,
            ..http.clone()
        };
        is_whole(&setup, PATH, &Framing::Length)?;
    }
    Ok(())
}

/// How much of what upstream has sent comes to a client while upstream pauses.
fn pause(binary: &Path) -> Result<Option<usize>> {
    let mut reply = Reply::random(1, 2 * SENT);
    reply.stop = Some(Point::Body(SENT));
    let stage = Stage::start(binary, &setup(Speech::Http1, "@_read_timeout 1h;"))?;
    let mut client = stage.client(PATH)?;
    let upstream = stage.upstream_sends(&reply, usize::MAX)?;
    for _ in 0..2 * SENT / SIP {
        client.take(SIP)?;
        stage.time.advance(SOME_TIME)?;
    }
    let received = client.received(STREAM);
    drop((upstream, client));
    stage.time.settle()?;
    stage.stop()?;
    Ok(received)
}

#[test]
fn nor_does_it_wait_while_upstream_pauses() -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    let stock = pause(&stock)?;
    assert!(stock < Some(SENT), "{stock:?}");
    assert_eq!(pause(&ours)?, Some(SENT));
    Ok(())
}

/// What follows a switch of protocols that nobody has asked for is no body: it stays
/// behind, as on stock.
#[test]
fn what_follows_a_switch_of_protocols_is_not_sent() -> Result<()> {
    let mut reply = Reply::random(1, 100);
    reply.status = 101;
    reply.framing = Framing::Close;
    let Binaries { stock, ours } = binaries()?;
    for binary in [&stock, &ours] {
        let stage = Stage::start(binary, &setup(Speech::Http1, ""))?;
        let mut client = stage.client(PATH)?;
        let upstream = stage.upstream_sends(&reply, usize::MAX)?;
        while client.is_open() {
            client.take(SIP)?;
            stage.time.advance(SOME_TIME)?;
        }
        assert!(stage.has_upstream_timed_out());
        drop(upstream);
        assert!(client.finish().is_empty(), "{}", binary.display());
        stage.stop()?;
    }
    Ok(())
}

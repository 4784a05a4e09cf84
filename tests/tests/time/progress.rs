//! Who makes progress is waited for, and who makes none is given up in time: in
//! virtual time, so that nothing here depends on how fast the machine is.

use std::io::Result;
use std::path::Path;

use pipe_tests::upstream::{Protocol, Reply};
use pipe_tests::{Binaries, binaries};

use crate::pace::{HALF, PATH, Peer, STREAM, Setup, Speech, Stage, TOO_LONG};

/// More than the sockets to a client hold, and less than its sockets and
/// nginx's memory do.
const LARGE: usize = 600_000;
const SMALL: usize = 48_000;

/// So much that nginx is told that there is room for more.
const SWIG: usize = 200_000;

/// Sockets that hold little.
const TIGHT: usize = 4 << 10;

/// What is to be sent and taken in each half of a time-out.
#[derive(Clone, Copy, Debug)]
struct Flow {
    body: usize,
    /// What upstream sends of it before all else.
    burst: usize,
    /// What upstream sends then, and the client takes.
    drip: usize,
    sip: usize,
}

/// More than there is.
const ALL: usize = 1 << 20;

impl Flow {
    /// Whether the client gets all that upstream sends at this pace.
    fn is_whole(self, binary: &Path, setup: &Setup) -> Result<bool> {
        let reply = Reply::random(1, self.body);
        let stage = Stage::start(binary, setup)?;
        let mut client = stage.client(PATH)?;
        let mut upstream = Some(stage.upstream_sends(&reply, self.burst)?);
        while client.is_open() {
            client.take(self.sip)?;
            if let Some(peer) = &mut upstream {
                peer.send(self.drip)?;
            }
            upstream = upstream.filter(Peer::has_more);
            stage.time.advance(HALF)?;
        }
        let body = client.finish();
        stage.stop()?;
        Ok(body == reply.body.bytes())
    }

    /// Both are waited for, however long all of it takes.
    fn is_whole_on_both(self, setup: &Setup) -> Result<()> {
        let Binaries { stock, ours } = binaries()?;
        assert!(self.is_whole(&stock, setup)?, "stock, {self:?}, {setup:?}");
        assert!(self.is_whole(&ours, setup)?, "{self:?}, {setup:?}");
        Ok(())
    }
}

/// What a client's sockets hold is progress below what nginx sends.
#[test]
fn a_client_that_reads_from_large_sockets_is_waited_for() -> Result<()> {
    let flow = Flow {
        body: LARGE + 300_000,
        burst: LARGE,
        drip: 20_000,
        sip: 40_000,
    };
    for directives in ["", "sendfile on;", "aio threads; aio_write on;"] {
        flow.is_whole_on_both(&Setup::new(Speech::Http1, directives))?;
    }
    flow.is_whole_on_both(&Setup::new(Speech::Tls, ""))?;
    // Stock restarts the timer of the stream whenever upstream sends, but not that of
    // the connection, which it can seldom write to.
    let Binaries { ours, .. } = binaries()?;
    for speech in [Speech::Http2, Speech::Http2Tls] {
        let setup = Setup::new(speech, "");
        assert!(flow.is_whole(&ours, &setup)?, "{setup:?}");
    }
    Ok(())
}

/// Upstream is done, and nginx is told only when a third of the socket is free.
/// Stock does not see that the client reads all the time.
#[test]
fn nor_is_it_cut_when_upstream_is_done() -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    let flow = Flow {
        body: LARGE + 300_000,
        burst: ALL,
        drip: ALL,
        sip: 20_000,
    };
    for directives in ["", "sendfile on;", "aio threads; aio_write on;"] {
        let setup = Setup::new(Speech::Http1, directives);
        assert!(
            !flow.is_whole(&stock, &setup)?,
            "stock sees the client read"
        );
        assert!(flow.is_whole(&ours, &setup)?, "{setup:?}");
    }
    Ok(())
}

/// A record of TLS or a frame of HTTP/2 has gone out when its last byte has.
#[test]
fn a_client_on_a_slow_link_is_waited_for() -> Result<()> {
    let flow = Flow {
        body: SMALL + 2000,
        burst: SMALL,
        drip: 100,
        // As much as lets a client's kernel tell that there is room again.
        sip: 9000,
    };
    let tight = |speech| Setup {
        socket: TIGHT,
        ..Setup::new(speech, "")
    };
    // Whether stock sees it depends on how the client's kernel opens its window.
    let Binaries { ours, .. } = binaries()?;
    for speech in [Speech::Http1, Speech::Tls, Speech::Http2, Speech::Http2Tls] {
        assert!(flow.is_whole(&ours, &tight(speech))?, "{speech:?}");
    }
    Ok(())
}

/// A window that is opened little by little.
#[test]
fn nor_does_http2_hide_it() -> Result<()> {
    for directives in ["", "aio threads; aio_write on;"] {
        Flow {
            body: SMALL,
            burst: SMALL - 1000,
            drip: 20,
            sip: 900,
        }
        .is_whole_on_both(&Setup::new(Speech::Http2Window, directives))?;
    }
    Ok(())
}

#[test]
fn an_upstream_that_trickles_is_waited_for() -> Result<()> {
    let flow = Flow {
        body: 5000,
        burst: 0,
        drip: 200,
        sip: 1 << 20,
    };
    for speech in [Speech::Http1, Speech::Tls] {
        flow.is_whole_on_both(&Setup::new(speech, ""))?;
    }
    for protocol in Protocol::ALL {
        flow.is_whole_on_both(&Setup {
            protocol,
            ..Setup::new(Speech::Http1, "")
        })?;
    }
    Ok(())
}

/// A record of TLS is there when its last byte is.
#[test]
fn an_upstream_that_sends_tls_slowly_is_waited_for() -> Result<()> {
    let mut setup = Setup::new(Speech::Http1, "");
    setup.tls = true;
    Flow {
        body: SMALL,
        burst: 0,
        drip: 4000,
        sip: 1 << 20,
    }
    .is_whole_on_both(&setup)
}

/// Whether the client, who has taken a little and then takes nothing, is given
/// up in time while upstream sends a little now and then.
fn is_given_up(binary: &Path, setup: &Setup, drip: usize) -> Result<bool> {
    let stage = Stage::start(binary, setup)?;
    let mut client = stage.client(PATH)?;
    let mut upstream = stage.upstream_sends(&Reply::random(1, 3 * LARGE), 2 * LARGE)?;
    for _ in 0..4 {
        stage.time.advance(HALF)?;
        client.take(SWIG)?;
        upstream.send(drip)?;
    }
    assert!(!stage.has_given_client_up(), "{setup:?}, {drip}");
    stage.time.settle()?;
    client.rest()?;
    let deadline = stage.time.passed() + TOO_LONG;
    while stage.time.passed() < deadline {
        upstream.send(drip)?;
        stage.time.advance(TOO_LONG / 11)?;
    }
    let is_given_up = stage.has_given_client_up();
    drop((client, upstream));
    stage.stop()?;
    Ok(is_given_up)
}

#[test]
fn a_client_that_takes_nothing_is_given_up() -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    for speech in Speech::ALL {
        let setup = Setup::new(speech, "");
        // Stock sees upstream only; but HTTP/2 has a timer of its own for what is
        // in the connection's way.
        let has_own_timer = matches!(speech, Speech::Http2 | Speech::Http2Tls);
        let stock = is_given_up(&stock, &setup, 10)?;
        assert_eq!(stock, has_own_timer, "stock, {setup:?}");
        for directives in ["", "sendfile on;", "aio threads; aio_write on;"] {
            let setup = Setup::new(speech, directives);
            assert!(is_given_up(&ours, &setup, 10)?, "{setup:?}");
        }
    }
    Ok(())
}

#[test]
fn and_when_upstream_is_done() -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    for speech in Speech::ALL {
        let setup = Setup::new(speech, "");
        assert!(is_given_up(&stock, &setup, 3 * LARGE)?, "stock, {setup:?}");
        assert!(is_given_up(&ours, &setup, 3 * LARGE)?, "{setup:?}");
    }
    Ok(())
}

/// One stream's window stays shut while others of the connection go on.
#[test]
fn and_when_other_streams_go_on() -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    for (binary, drip, in_time) in [(&stock, 10, false), (&ours, 10, true), (&ours, ALL, true)] {
        let setup = Setup::new(Speech::Http2Window, "");
        let stage = Stage::start(binary, &setup)?;
        let reply = Reply::random(1, LARGE);
        let mut client = stage.client(PATH)?;
        let mut deaf = stage.upstream_sends(&reply, LARGE / 2)?;
        client.ask_too(STREAM + 2, PATH)?;
        let mut other = stage.upstream_sends(&reply, LARGE / 2)?;
        for _ in 0..11 {
            client.read(ALL)?;
            client.allow(STREAM + 2, 1000)?;
            deaf.send(drip)?;
            other.send(10)?;
            stage.time.advance(TOO_LONG / 11)?;
        }
        client.read(ALL)?;
        assert_eq!(!client.is_open(), in_time, "{drip}");
        assert_eq!(client.received(STREAM), Some(0));
        assert_eq!(client.received(STREAM + 2), Some(11 * 1000));
        drop((client, deaf, other));
        stage.stop()?;
    }
    Ok(())
}

/// Several streams that take turns: each is waited for.
#[test]
fn each_stream_that_makes_progress_is_waited_for() -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    let streams = [STREAM, STREAM + 2, STREAM + 4];
    for binary in [&stock, &ours] {
        let stage = Stage::start(binary, &Setup::new(Speech::Http2Window, ""))?;
        let reply = Reply::random(1, 20_000);
        let mut client = stage.client(PATH)?;
        let mut upstreams = vec![stage.upstream_sends(&reply, 15_000)?];
        for stream in &streams[1..] {
            client.ask_too(*stream, PATH)?;
            upstreams.push(stage.upstream_sends(&reply, 15_000)?);
        }
        for _ in 0..reply.body.size() / 400 {
            client.read(ALL)?;
            for (stream, upstream) in streams.iter().zip(&mut upstreams) {
                client.allow(*stream, 400)?;
                upstream.send(100)?;
                stage.time.advance(HALF / 3)?;
            }
        }
        client.read(ALL)?;
        for stream in streams {
            assert_eq!(client.received(stream), Some(reply.body.size()));
        }
        drop((client, upstreams));
        stage.stop()?;
    }
    Ok(())
}

//! Who makes progress is waited for, and who makes none is given up in time: in
//! virtual time, so that nothing here depends on how fast the machine is.

use std::io::Result;
use std::path::Path;

use pipe_tests::client::Http2;
use pipe_tests::upstream::{Framing, Point, Protocol, Reply};
use pipe_tests::{Binaries, binaries};

use crate::pace::{Client, HALF, PAGE, PATH, Peer, Setup, Speech, Stage, TOO_LONG};

/// More than the sockets to a client hold, and less than its sockets and
/// nginx's memory do.
const LARGE: usize = 600_000;
const SMALL: usize = 48_000;

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

/// Everything at once.
const ALL: usize = usize::MAX;

impl Flow {
    /// Whether the client gets all that upstream sends at this pace.
    fn is_whole(self, binary: &Path, setup: &Setup) -> Result<bool> {
        let reply = Reply::random(1, self.body);
        let stage = Stage::start(binary, setup)?;
        let mut client = stage.client(PATH)?;
        let mut upstream = stage.upstream()?;
        upstream.put(&setup.protocol.wire(&reply, PATH))?;
        upstream.send(self.burst)?;
        stage.time.settle()?;
        while client.is_open() {
            client.take(self.sip)?;
            upstream.send(self.drip)?;
            stage.time.advance(HALF)?;
        }
        drop(upstream);
        let body = client.finish();
        eprintln!("{} of {} {:?}", body.len(), self.body, stage.time.passed());
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
    flow.is_whole_on_both(&Setup::new(Speech::Tls, ""))
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
        assert!(!flow.is_whole(&stock, &setup)?, "stock sees the client read");
        assert!(flow.is_whole(&ours, &setup)?, "{setup:?}");
    }
    Ok(())
}

/// A record of TLS has gone out when its last byte has.
#[test]
fn a_client_on_a_slow_link_is_waited_for() -> Result<()> {
    for speech in [Speech::Http1, Speech::Tls] {
        let mut setup = Setup::new(speech, "");
        setup.socket = TIGHT;
        Flow {
            body: SMALL + 2000,
            burst: SMALL,
            drip: 100,
            sip: 2000,
        }
        .is_whole_on_both(&setup)?;
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
        .is_whole_on_both(&Setup::new(Speech::Http2, directives))?;
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
        let mut setup = Setup::new(Speech::Http1, "");
        setup.protocol = protocol;
        flow.is_whole_on_both(&setup)?;
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

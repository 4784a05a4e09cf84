//! A rate limit goes by a clock that nobody sets. (Set forward, a wall clock does
//! little harm to stock: it waits after each read for as long as that takes.)

use std::io::Result;
use std::path::Path;
use std::time::Duration;

use pipe_tests::upstream::Reply;
use pipe_tests::{Binaries, binaries};

use crate::pace::{PATH, Setup, Speech, Stage};

/// Bytes for each second begun.
const RATE: usize = 20_000;

/// Seconds that the response takes.
const SECONDS: usize = 4;

const HOUR: Duration = Duration::from_secs(3600);

/// Whether the client has all of the response several times later than the limit
/// asks for, though the clock is set back by an hour at its beginning.
fn is_whole(binary: &Path) -> Result<bool> {
    let directives = format!("@_limit_rate {RATE};");
    let stage = Stage::start(binary, &Setup::new(Speech::Http1, &directives))?;
    let reply = Reply::random(1, SECONDS * RATE);
    let mut client = stage.client(PATH)?;
    let mut upstream = stage.upstream_sends(&reply, usize::MAX)?;
    stage.time.set_wall(stage.time.wall() - HOUR);
    for _ in 0..3 * SECONDS {
        stage.time.advance(Duration::from_secs(1))?;
        upstream.send(usize::MAX)?;
        client.read(usize::MAX)?;
    }
    drop(upstream);
    let body = client.finish();
    stage.stop()?;
    Ok(body == reply.body.bytes())
}

#[test]
fn a_clock_set_back_does_not_freeze_a_transfer() -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    assert!(!is_whole(&stock)?, "stock freezes");
    assert!(is_whole(&ours)?);
    Ok(())
}

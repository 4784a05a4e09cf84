//! An output that waits for the disk does not use up the client's time.

use std::io::Result;
use std::time::Duration;

use pipe_tests::client::Manner;
use pipe_tests::upstream::{Cuts, Framing, Hold, Point, Protocol, Reply};
use pipe_tests::{Binaries, binaries};

use crate::stage::Scene;

const SIZE: usize = 120_000;

/// More than the client's side holds without the temporary file.
const BEFORE: usize = 100_000;

/// What fills no buffer may stay behind.
const BUFFER: usize = 4096;

/// The client takes all at once, as soon as some of it is on disk, and a thread
/// reads from a disk that is slower than the client's timeout. Stock leaves the
/// timer as it was when its output holds on to what it has, and gives up a client
/// that waits for it.
#[test]
fn a_slow_disk_does_not_time_out_the_client() -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    let library = pipe_tests::build::shared_library("tests/time/disk.c")?;

    let mut reply = Reply::random(1, SIZE);
    reply.framing = Framing::Length;
    reply.cuts = Cuts::At(vec![
        (Point::Body(BEFORE), Hold::Drained),
        (
            Point::Body(BEFORE),
            Hold::Received(BEFORE - BUFFER, Duration::from_secs(20)),
        ),
    ]);
    let directives = "aio threads; sendfile off; send_timeout 1s; @_buffers 8 4k;\
                      @_busy_buffers_size 8k; @_temp_file_write_size 16k;";
    let mut scene = Scene::new(Protocol::Http, reply, directives);
    scene.manner = Manner::STALLED;
    scene.env = vec![("LD_PRELOAD", library.into())];

    let outcome = scene.play(&stock)?;
    assert!(!outcome.answer.complete, "stock waits for its disk");
    assert!(outcome.log.contains("client timed out"));

    let outcome = scene.play(&ours)?;
    assert_eq!(outcome.answer.body, scene.reply.body.bytes());
    Ok(())
}

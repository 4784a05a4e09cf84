//! Each timeout is its side's own. Who ends first shows whose timer ran: no
//! time is measured here.

use std::io::Result;
use std::time::Duration;

use pipe_tests::client::{Leave, Manner, Pace};
use pipe_tests::upstream::{Cuts, End, Framing, Hold, Point, Protocol, Reply};
use pipe_tests::{Binaries, binaries};

use crate::stage::Scene;

/// More than sockets hold.
const SIZE: usize = 120_000;

/// What fills no buffer stays behind when upstream is given up.
const BUFFER: usize = 4096;

/// Bytes at a time, for a client that takes seconds to read all of it.
const SLOW: Manner = Manner::at(Pace::Trickle(8));

const DEAF: Manner = Manner {
    pace: Pace::Stalled,
    leave: Some(Leave::Deaf),
};

/// So many times, upstream stops for a part of its timeout: longer in all than
/// either timeout.
const STOPS: usize = 16;
const STOP: Duration = Duration::from_millis(150);

const TIMEOUTS: &str = "send_timeout 1s; @_read_timeout 1s;";

/// The body, then a byte now and then.
fn trickle() -> Reply {
    let mut reply = Reply::random(1, SIZE + STOPS);
    reply.framing = Framing::Length;
    // Nobody has as much as that: the upstream waits in vain, each time.
    let hold = Hold::Received(usize::MAX, STOP);
    let stop = |nth| (Point::Body(SIZE + nth), hold);
    reply.cuts = Cuts::At((0..STOPS).map(stop).collect());
    reply
}

/// A client that takes nothing is given up however much upstream sends.
fn is_given_up_by_ours(protocol: Protocol, http2: bool, directives: &str) -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    let mut scene = Scene::new(protocol, trickle(), &format!("{TIMEOUTS} {directives}"));
    scene.manner = DEAF;
    scene.http2 = http2;

    let stock = scene.play(&stock)?;
    assert_eq!(stock.missed.len(), STOPS, "stock gives up in time");

    let ours = scene.play(&ours)?;
    assert!(ours.missed.len() < STOPS, "the client is not given up");
    Ok(())
}

#[test]
fn a_stalled_client_times_out_while_upstream_sends() -> Result<()> {
    is_given_up_by_ours(Protocol::Http, false, "")?;
    is_given_up_by_ours(Protocol::Scgi, false, "")
}

/// HTTP/2 holds a response back by its window, whatever the connection takes.
#[test]
fn nor_does_http2_keep_it() -> Result<()> {
    is_given_up_by_ours(Protocol::Http, true, "")?;
    is_given_up_by_ours(Protocol::Http, true, "aio threads; aio_write on;")
}

/// An upstream that sends nothing is given up however much the client takes.
#[test]
fn a_hung_upstream_times_out_while_the_client_takes() -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    let mut reply = Reply::random(2, SIZE + 1);
    reply.framing = Framing::Length;
    reply.stop = Some(Point::Body(SIZE));
    reply.end = End::Hang;
    let mut scene = Scene::new(Protocol::Http, reply, TIMEOUTS);
    scene.manner = SLOW;

    let stock = scene.play(&stock)?;
    let missing = SIZE - stock.answer.body.len();
    assert!(missing < BUFFER, "stock gives up in time");

    let ours = scene.play(&ours)?;
    let missing = SIZE - ours.answer.body.len();
    assert!(missing > 2 * BUFFER, "upstream is not given up");
    Ok(())
}

/// And whoever makes progress is waited for, however long all of it takes.
#[test]
fn who_makes_progress_is_waited_for() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    for (reply, manner) in [
        (trickle(), Manner::FAST),
        (trickle(), SLOW),
        (Reply::random(3, SIZE), SLOW),
    ] {
        let mut scene = Scene::new(Protocol::Http, reply, TIMEOUTS);
        scene.manner = manner;
        let ours = scene.play(&ours)?;
        assert_eq!(ours.answer.body, scene.reply.body.bytes());
    }
    Ok(())
}

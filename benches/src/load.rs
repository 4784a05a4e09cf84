//! Requests for all the responses of a round, by whichever client the cell has.

use std::io::{Error, Result};
use std::time::{Duration, Instant};

use pipe_tests::peers::h2load::H2load;

use super::client;
use super::family::{Cell, Speech};
use super::front::Front;

/// Over HTTP/2, so many responses are under way on each connection.
const STREAMS: u64 = 4;

/// Gets so many responses, for so many clients at a time, and checks that each is whole; returns the time it
/// took.
pub(crate) fn run(front: &Front, cell: Cell, clients: u64, responses: u64) -> Result<Duration> {
    let start = Instant::now();
    match cell.family.speech {
        Speech::Http1 => client::fetch(front.address, cell, clients, responses)?,
        _ => h2load(front, cell, clients, responses)?,
    }
    Ok(start.elapsed())
}

fn h2load(front: &Front, cell: Cell, clients: u64, responses: u64) -> Result<()> {
    let family = cell.family;
    let scheme = if family.speech.is_tls() {
        "https"
    } else {
        "http"
    };
    let url = format!("{scheme}://{}/{}", front.address, cell.body());
    let (connections, streams) = match family.speech.is_http2() {
        true => (clients / STREAMS, STREAMS),
        false => (clients, 1),
    };
    let mut client = H2load::new(url).args(&[
        "-n",
        &responses.to_string(),
        "-c",
        &connections.to_string(),
        "-m",
        &streams.to_string(),
    ]);
    if !family.speech.is_http2() {
        client = client.args(&["--h1"]);
    }
    let report = client.run()?;
    let whole = report.succeeded == responses && report.data == responses * cell.size;
    match whole && report.failed == 0 {
        true => Ok(()),
        false => Err(Error::other(format!(
            "not {responses} whole responses for {cell}: {report:?}"
        ))),
    }
}

//! A client over HTTP/2 that cancels a stream while frames of it still wait in
//! nginx, and reads on: they refer to buffers of the pipe.

use std::io::{Error, ErrorKind, Result};
use std::path::Path;

use crate::Stage;
use crate::client::Http2;
use crate::server::{Leftovers, wait};
use crate::upstream::{Cuts, Framing, Hold, Point, Protocol, Reply};

/// Seven of the eight buffers may be on their way to the client at once, as
/// frames of a buffer each.
const LOCATION: &str = "proxy_buffer_size 4k; proxy_buffers 8 4k; proxy_busy_buffers_size 28k; \
                        proxy_max_temp_file_size 0; http2_chunk_size 4k; \
                        proxy_ignore_client_abort on;";

/// More than the sockets hold, so that frames must wait, but not more than the
/// pipe receives all the same.
const BEFORE: usize = 30_000;

/// What upstream sends then, more than there is room for, and ends: buffers
/// that are not needed any more are received into, and finally freed.
const AFTER: usize = 20_000;

/// More than a connection or a stream of these sends.
const WINDOW: u32 = 1 << 30;

/// Streams of the client.
const CANCELLED: u32 = 1;
const NEXT: u32 = 3;

/// Whether a frame is still queued when its memory is freed depends on timing.
const ATTEMPTS: usize = 20;

/// Has it happen to the nginx `binary` until it harms, or often enough. Says
/// whether the worker survives it, so that another response comes on the same
/// connection, and what nginx leaves.
pub fn cancel_with_frames_queued(binary: &Path) -> Result<(bool, Leftovers)> {
    let mut outcome = attempt(binary)?;
    for _ in 1..ATTEMPTS {
        let (survives, leftovers) = &outcome;
        if !survives || !leftovers.reports.is_empty() {
            break;
        }
        outcome = attempt(binary)?;
    }
    Ok(outcome)
}

fn attempt(binary: &Path) -> Result<(bool, Leftovers)> {
    let stage = Stage::start(binary, |conf| {
        conf.listen("sndbuf=4k http2");
        conf.pass("/", Protocol::Http, "peer", LOCATION);
    })?;
    let progress = stage.play("/cancelled", interrupted());
    let next = Reply::random(62, BEFORE + AFTER);
    stage.play("/next", next.clone());

    let mut client = Http2::open(stage.address(), true, WINDOW)?;
    client.get(CANCELLED, "/cancelled")?;
    progress.wait_for_peer();
    client.cancel(CANCELLED)?;
    if !wait(|| stage.nginx.error_log().contains("client canceled stream")) {
        return Err(Error::other("nginx does not see the stream cancelled"));
    }
    progress.client_gone();
    progress.wait_for_peer();

    // When the first of the frames is gone, the pipe is asked for more: now it
    // learns of the error, and comes to the end of upstream. The other frames
    // precede those of the next response.
    client.get(NEXT, "/next")?;
    let survives = match client.body(NEXT) {
        Ok(body) if body == next.body.bytes() => true,
        Ok(_) => return Err(Error::other("the next body on the connection differs")),
        Err(error) if is_end(&error) => false,
        Err(error) => return Err(error),
    };
    drop(client);
    Ok((survives, stage.end()?))
}

/// Whether the error is that nginx is not there any more.
fn is_end(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

/// A response whose rest waits until the client is gone.
fn interrupted() -> Reply {
    let mut reply = Reply::random(61, BEFORE + AFTER);
    reply.framing = Framing::Close;
    let at = Point::Body(BEFORE);
    reply.cuts = Cuts::At(vec![(at, Hold::Drained), (at, Hold::ClientGone)]);
    reply
}

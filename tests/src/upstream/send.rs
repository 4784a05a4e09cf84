//! Sending an answer with its interruptions and its end.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::drain::unread;
use super::reply::{End, Hold, Reply, Wire};
use super::{PATIENCE, Progress};

/// When nginx has not taken anything for so long, and has slept all the while as
/// far as is known, it does not want to. Where that is not known, wrong guesses
/// only change which way through the pipe is taken, not the outcome.
const STUCK: Duration = Duration::from_millis(200);

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Keep,
    Close,
}

/// Sends `wire` as `reply` says.
pub(super) fn send(
    stream: &TcpStream,
    wire: &Wire,
    reply: &Reply,
    progress: &Progress,
) -> Result<Then> {
    let (bytes, stop) = wire.stopped(reply);
    let mut sent = 0;
    for (at, hold) in wire.cuts(&reply.cuts) {
        if at > stop {
            break;
        }
        write(stream, &bytes[sent..at], progress)?;
        sent = at;
        wait(stream, hold, progress)?;
    }
    write(stream, &bytes[sent..], progress)?;
    end(stream, reply.end, progress)
}

fn wait(stream: &TcpStream, hold: Hold, progress: &Progress) -> Result<()> {
    match hold {
        Hold::Moment => thread::sleep(Duration::from_micros(300)),
        Hold::Pause(time) => thread::sleep(time),
        Hold::Drained => drain(stream, progress)?,
        Hold::Received(size, patience) => progress.wait_for_receipt(size, patience),
        Hold::ClientGone => {
            progress.stuck(true);
            progress.wait_for_leave();
        }
    }
    Ok(())
}

/// Writes all of `bytes`, and tells when nginx takes none of it.
fn write(mut stream: &TcpStream, mut bytes: &[u8], progress: &Progress) -> Result<()> {
    stream.set_write_timeout(Some(STUCK))?;
    let mut last = Instant::now();
    let mut slept = progress.nginx_sleeps();
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(size) => {
                bytes = &bytes[size..];
                last = Instant::now();
                slept = progress.nginx_sleeps();
                progress.stuck(false);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let sleeps = progress.nginx_sleeps();
                progress.stuck(slept && sleeps);
                slept = sleeps;
                if last.elapsed() > PATIENCE {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits until nginx has read everything, or has closed the connection.
fn drain(stream: &TcpStream, progress: &Progress) -> Result<()> {
    let mut last = (Instant::now(), usize::MAX);
    let mut pause = Duration::from_micros(100);
    while let Some(left) = unread(stream)?.filter(|left| *left > 0) {
        if left != last.1 {
            last = (Instant::now(), left);
            progress.stuck(false);
        } else if last.0.elapsed() > PATIENCE {
            return Err(Error::other("nginx does not read"));
        } else if last.0.elapsed() > STUCK && progress.nginx_sleeps() {
            progress.stuck(true);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    progress.stuck(false);
    Ok(())
}

fn end(mut stream: &TcpStream, end: End, progress: &Progress) -> Result<Then> {
    match end {
        End::Keep => {
            drain(stream, progress)?;
            return Ok(Then::Keep);
        }
        // The end must be there for nginx to know that it has got all.
        End::Fin => close(stream, progress)?,
        End::Received(size, patience) => {
            progress.wait_for_receipt(size, patience);
            close(stream, progress)?;
        }
        End::Reset => {
            drain(stream, progress)?;
            SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
        }
        End::Hang => {
            drain(stream, progress)?;
            progress.reply_ended();
            // Returns when nginx closes the connection, whatever the way.
            let _ = stream.read(&mut [0]);
        }
    }
    Ok(Then::Close)
}

fn close(stream: &TcpStream, progress: &Progress) -> Result<()> {
    stream.shutdown(std::net::Shutdown::Write)?;
    drain(stream, progress)
}

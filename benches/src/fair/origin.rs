//! The upstream of small requests and of large downloads, which can hold the
//! downloads to a pace.

use std::io::{BufRead, BufReader, Error, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::super::client::rest;
use super::super::family::{K, M};
use super::super::machine::hurry;
use super::super::server::Server;
use super::SMALL;

/// The most that is sent at a time.
static PART: [u8; 64 * K as usize] = [0; 64 * K as usize];

/// The server; it listens until this is dropped.
#[derive(Debug)]
pub(super) struct Origin {
    server: Server,
    sent: Arc<AtomicU64>,
}

impl Origin {
    /// Sends so many bytes in a second for each download; none is as many as
    /// are read.
    pub(super) fn start(pace: Option<u64>) -> Result<Self> {
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        Ok(Self {
            server: Server::start(move |stream| serve(stream, pace, &counter))?,
            sent,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The bytes sent so far, for all downloads.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// Answers the requests of one connection.
fn serve(stream: &TcpStream, pace: Option<u64>, sent: &AtomicU64) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(stream).lines();
    while let Some(request) = requests.next().transpose()? {
        for line in requests.by_ref() {
            if line?.is_empty() {
                break;
            }
        }
        match size(&request).ok_or_else(|| Error::other(request))? {
            SMALL => send_small(stream)?,
            size => send_download(stream, size, pace, sent)?,
        }
    }
    Ok(())
}

/// Reads `GET /7M HTTP/1.1`.
fn size(request: &str) -> Option<u64> {
    let name = request.strip_prefix("GET /")?.split(' ').next()?;
    match (name.strip_suffix('k'), name.strip_suffix('M')) {
        (Some(number), _) => Some(number.parse::<u64>().ok()? * K),
        (_, Some(number)) => Some(number.parse::<u64>().ok()? * M),
        _ => None,
    }
}

/// At once, whatever the downloads keep this core busy with: only the worker is
/// to be waited for.
fn send_small(mut stream: &TcpStream) -> Result<()> {
    hurry();
    let head = "HTTP/1.1 200 OK\r\nCache-Control: no-store";
    let mut answer = format!("{head}\r\nContent-Length: {SMALL}\r\n\r\n").into_bytes();
    answer.extend(&PART[..SMALL as usize]);
    stream.write_all(&answer)
}

fn send_download(
    mut stream: &TcpStream,
    size: u64,
    pace: Option<u64>,
    sent: &AtomicU64,
) -> Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let start = Instant::now();
    let mut done = 0;
    while done < size {
        rest(pace, start, done);
        let part = (size - done).min(PART.len() as u64);
        stream.write_all(&PART[..part as usize])?;
        done += part;
        sent.fetch_add(part, Ordering::Relaxed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        assert_eq!(size("GET /1k HTTP/1.0"), Some(1024));
        assert_eq!(size("GET /7M HTTP/1.1"), Some(7 << 20));
        assert_eq!(size("GET / HTTP/1.1"), None);
    }
}

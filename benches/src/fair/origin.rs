//! The upstreams: one of small requests, and one of large downloads, which can
//! hold them to a pace.

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
static PART: [u8; M as usize] = [0; M as usize];

/// The same at a pace: small, so that it comes evenly.
const PACED_PART: u64 = 64 * K;

/// Starts the upstream of small requests. It answers at once, whatever the
/// downloads keep its core busy with: only the worker is to be waited for.
pub(super) fn small() -> Result<Server> {
    Server::start(|stream| {
        hurry();
        serve(stream, |_| send_small(stream))
    })
}

/// The upstream of downloads; it listens until this is dropped.
#[derive(Debug)]
pub(super) struct Origin {
    server: Server,
    downloads: Arc<Downloads>,
}

/// How the downloads are sent, and what has been sent of all.
#[derive(Debug)]
struct Downloads {
    pace: Option<u64>,
    begun: AtomicU64,
    sent: AtomicU64,
}

impl Origin {
    /// Sends so many bytes in a second for each download; none is as many as
    /// are read.
    pub(super) fn start(pace: Option<u64>) -> Result<Self> {
        let downloads = Arc::new(Downloads {
            pace,
            begun: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        });
        let sender = Arc::clone(&downloads);
        let send = move |stream: &TcpStream| serve(stream, |size| sender.send(stream, size));
        Ok(Self {
            server: Server::start(send)?,
            downloads,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// How many downloads have begun so far.
    pub(super) fn begun(&self) -> u64 {
        self.downloads.begun.load(Ordering::Relaxed)
    }

    /// The bytes sent so far, for all downloads.
    pub(super) fn sent(&self) -> u64 {
        self.downloads.sent.load(Ordering::Relaxed)
    }
}

impl Downloads {
    fn send(&self, mut stream: &TcpStream, size: u64) -> Result<()> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        stream.write_all(head(size).as_bytes())?;
        let most = match self.pace {
            Some(_) => PACED_PART,
            None => PART.len() as u64,
        };
        let start = Instant::now();
        let mut sent = 0;
        while sent < size {
            rest(self.pace, start, sent);
            let part = (size - sent).min(most);
            stream.write_all(&PART[..part as usize])?;
            sent += part;
            self.sent.fetch_add(part, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn send_small(mut stream: &TcpStream) -> Result<()> {
    let mut answer = head(SMALL).into_bytes();
    answer.extend(&PART[..SMALL as usize]);
    stream.write_all(&answer)
}

fn head(size: u64) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
}

/// Has the requests of one connection answered, each with a body of the size
/// that it asks for.
fn serve(stream: &TcpStream, mut answer: impl FnMut(u64) -> Result<()>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(request) = lines.next().transpose()? {
        // The rest of the header, up to an empty line.
        while lines
            .next()
            .transpose()?
            .is_some_and(|line| !line.is_empty())
        {}
        answer(size(&request).ok_or_else(|| Error::other(request))?)?;
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

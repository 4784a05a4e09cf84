//! A client that costs next to nothing: it looks at the header of a response
//! and has the kernel throw the body away, so that it is never what a worker
//! waits for, unless it is to be.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::family::Cell;

/// Only keeps a bug from hanging the benchmark.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most that is taken from the socket at a time.
const GULP: usize = 1 << 20;

/// The same of a client with a pace, whose socket holds as little.
const SIP: usize = 1 << 16;

/// Has so many clients get so many responses in all, and checks that each is
/// whole.
pub(crate) fn fetch(server: SocketAddr, cell: Cell, clients: u64, responses: u64) -> Result<()> {
    let client = || {
        let mut connection = Connection::open(server, cell.family.pace)?;
        (0..responses / clients).try_for_each(|_| connection.fetch(cell))
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        let mut outcomes = threads.into_iter().map(|thread| thread.join());
        outcomes.try_for_each(|outcome| outcome.expect("a client does not panic"))
    })
}

/// A connection that is kept from one response to the next.
pub(crate) struct Connection {
    socket: Socket,
    pace: Option<u64>,
    waste: Vec<MaybeUninit<u8>>,
}

impl Connection {
    pub(crate) fn open(server: SocketAddr, pace: Option<u64>) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let gulp = match pace {
            Some(_) => SIP,
            None => GULP,
        };
        if pace.is_some() {
            socket.set_recv_buffer_size(gulp)?;
        }
        socket.connect_timeout(&server.into(), PATIENCE)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            pace,
            waste: vec![MaybeUninit::uninit(); gulp],
        })
    }

    pub(crate) fn fetch(&mut self, cell: Cell) -> Result<()> {
        let request = format!("GET /{} HTTP/1.1\r\nHost: bench\r\n\r\n", cell.body());
        let start = Instant::now();
        self.socket.write_all(request.as_bytes())?;
        let mut received = self.read_head(cell.size)?;
        while received < cell.size {
            rest(self.pace, start, received);
            received += self.discard(cell.size - received)?;
        }
        match received == cell.size {
            true => Ok(()),
            false => Err(Error::other(format!("{received} bytes for {cell}"))),
        }
    }

    /// Reads until the header ends; returns how much of the body came with it.
    fn read_head(&mut self, size: u64) -> Result<u64> {
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        let end = loop {
            let got = some(self.socket.read(&mut buffer)?)?;
            text.extend(&buffer[..got]);
            if let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
        };
        let head = String::from_utf8_lossy(&text[..end]).to_ascii_lowercase();
        let length = format!("content-length: {size}");
        if !head.starts_with("http/1.1 200 ") || !head.lines().any(|line| line == length) {
            return Err(Error::other(format!("not the response expected: {head}")));
        }
        Ok((text.len() - end - 4) as u64)
    }

    /// Takes up to `most` bytes without looking at them.
    fn discard(&mut self, most: u64) -> Result<u64> {
        let most = self.waste.len().min(most as usize);
        // Of TCP, this returns the size and copies nothing.
        let flags = libc::MSG_TRUNC;
        let got = self
            .socket
            .recv_with_flags(&mut self.waste[..most], flags)?;
        Ok(some(got)? as u64)
    }
}

/// Waits until so many bytes are due, at a pace of bytes in a second.
pub(crate) fn rest(pace: Option<u64>, start: Instant, bytes: u64) {
    if let Some(pace) = pace {
        let due = Duration::from_secs_f64(bytes as f64 / pace as f64);
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
}

/// No bytes are the end of the connection.
fn some(got: usize) -> Result<usize> {
    match got {
        0 => Err(Error::new(ErrorKind::UnexpectedEof, "a response was cut")),
        got => Ok(got),
    }
}

//! Scripted HTTP/1.x clients: they read as fast, as slowly and for as long as a
//! test wants, and tell exactly what came. And one for HTTP/2.

mod answer;
pub mod http2;

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

pub use answer::{Answer, Decoder, Ending};
pub use http2::{Http2, Part};

use crate::upstream::{PATIENCE, Progress};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET, HEAD or another one.
    pub method: &'static str,
    /// The path with whatever follows it.
    pub uri: String,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: &'static str,
    /// Further lines of the header.
    pub headers: Vec<String>,
    /// Whether the connection is to be kept.
    pub keep: bool,
}

impl Request {
    /// A GET by HTTP/1.1, after which the connection is closed.
    pub fn get(uri: impl Into<String>) -> Self {
        Self {
            method: "GET",
            uri: uri.into(),
            version: "HTTP/1.1",
            headers: Vec::new(),
            keep: false,
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("{} {} {}\r\n", self.method, self.uri, self.version);
        let connection = match self.keep {
            true => "keep-alive",
            false => "close",
        };
        text += &format!("Host: pipe\r\nConnection: {connection}\r\n");
        for line in &self.headers {
            text += &format!("{line}\r\n");
        }
        text + "\r\n"
    }
}

/// How fast a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Whatever comes at once.
    Fast,
    /// So many bytes at a time, with short rests.
    Trickle(usize),
    /// Nothing until nginx has taken all that the upstream sends, or takes no
    /// more of it.
    Stalled,
}

/// What a client does instead of staying and reading until the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// When it has so many bytes of the body.
    After(usize),
    /// Without having read anything, when nginx has taken all that the upstream
    /// sends, or takes no more of it.
    Stalled,
    /// Never: it reads nothing, and nginx has to end this.
    Deaf,
    /// It only says that it will not send any more, and goes on reading.
    HalfClose,
}

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How fast it reads.
    pub pace: Pace,
    /// When it leaves before the end.
    pub leave: Option<Leave>,
}

impl Manner {
    /// Reads all at once.
    pub const FAST: Self = Self::at(Pace::Fast);
    /// Reads nothing as long as it can.
    pub const STALLED: Self = Self::at(Pace::Stalled);

    /// Reads all at this pace.
    pub const fn at(pace: Pace) -> Self {
        Self { pace, leave: None }
    }

    /// Leaves before the end.
    pub const fn leaving(leave: Leave) -> Self {
        let pace = match leave {
            Leave::Stalled | Leave::Deaf => Pace::Stalled,
            Leave::After(_) => Pace::Trickle(1000),
            Leave::HalfClose => Pace::Fast,
        };
        Self {
            pace,
            leave: Some(leave),
        }
    }

    /// Whether its sockets are to hold as little as possible.
    pub fn is_slow(&self) -> bool {
        self.pace != Pace::Fast
    }
}

/// A connection to nginx.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// What came after the end of the last answer.
    ahead: Vec<u8>,
}

impl Connection {
    /// Connects; a slow client's socket takes little.
    pub fn open(address: SocketAddr, slow: bool) -> Result<Self> {
        Ok(Self {
            stream: connect(address, slow)?,
            ahead: Vec::new(),
        })
    }

    /// Waits no longer than this for the next bytes.
    pub fn set_patience(&mut self, patience: Duration) -> Result<()> {
        self.stream.set_read_timeout(Some(patience))
    }

    /// Sends `request` and reads the answer in the given manner.
    pub fn ask(
        &mut self,
        request: &Request,
        manner: Manner,
        progress: &Progress,
    ) -> Result<Answer> {
        self.stream.write_all(request.text().as_bytes())?;
        match manner.leave {
            Some(Leave::HalfClose) => self.stream.shutdown(Shutdown::Write)?,
            Some(Leave::Deaf) => return Ok(Decoder::new(request.method).finish(Ending::Left)),
            Some(Leave::Stalled) => {
                progress.wait_for_peer();
                return Ok(Decoder::new(request.method).finish(Ending::Left));
            }
            Some(Leave::After(_)) | None => {}
        }
        if manner.pace == Pace::Stalled {
            progress.wait_for_peer();
        }
        self.read_answer(request, manner, progress)
    }

    fn read_answer(
        &mut self,
        request: &Request,
        manner: Manner,
        progress: &Progress,
    ) -> Result<Answer> {
        let start = Instant::now();
        let mut decoder = Decoder::new(request.method);
        let mut buffer = vec![0; 65536];
        decoder.feed(&std::mem::take(&mut self.ahead))?;
        while !decoder.is_done() || !request.keep {
            if start.elapsed() > PATIENCE {
                return Err(too_slow());
            }
            let size = match self.read(&mut buffer, manner.pace) {
                Ok(0) => return Ok(decoder.finish(Ending::Closed)),
                Ok(size) => size,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Ok(decoder.finish(Ending::Reset));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(too_slow()),
                Err(error) => return Err(error),
            };
            decoder.feed(&buffer[..size])?;
            if let Some(size) = decoder.received() {
                progress.received(size);
            }
            if matches!(manner.leave, Some(Leave::After(size)) if decoder.body_size() >= size) {
                return Ok(decoder.finish(Ending::Left));
            }
        }
        self.ahead = decoder.take_excess();
        Ok(decoder.finish(Ending::Kept))
    }

    fn read(&mut self, buffer: &mut [u8], pace: Pace) -> Result<usize> {
        let Pace::Trickle(size) = pace else {
            return self.stream.read(buffer);
        };
        thread::sleep(Duration::from_micros(100));
        let size = size.min(buffer.len());
        self.stream.read(&mut buffer[..size])
    }

    /// Closes the connection with a reset.
    pub fn reset(self) -> Result<()> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }
}

/// Connects to nginx; a slow client's socket takes little.
pub fn connect(address: SocketAddr, slow: bool) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if slow {
        socket.set_recv_buffer_size(2048)?;
        // With the segments of the loopback device such a buffer would
        // never have room for the next one.
        socket.set_tcp_mss(536)?;
    }
    socket.connect_timeout(&address.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    // What is written is there, not only when what was before is acknowledged.
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn too_slow() -> Error {
    Error::new(ErrorKind::TimedOut, "the answer takes too long")
}

//! A client that speaks HTTP/2 frame by frame, over TCP and without being asked
//! whether it does (h2c by prior knowledge), and that does at each step what a
//! test wants.

use std::io::{BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::connect;
use crate::upstream::queues;

/// What a client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;

// Flags of frames.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The setting of the window that each stream begins with.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// The window that a connection begins with.
const DEFAULT_WINDOW: u32 = 65_535;

/// The code of an error: the stream is no longer needed.
const CANCEL: u32 = 8;

/// The one code of HPACK that begins with the index of `:status 200`.
const STATUS_200: u8 = 0x88;

/// A connection to nginx.
#[derive(Debug)]
pub struct Http2 {
    stream: BufReader<TcpStream>,
    /// The stream of the last frame, if that was its last.
    ended: Option<u32>,
}

/// What has come on a stream at once.
#[derive(Debug)]
pub struct Part {
    /// The number of the stream.
    pub stream: u32,
    /// Some of the body; of the header nothing.
    pub body: Vec<u8>,
    /// Whether the stream has ended with it, if so, whether well.
    pub end: Option<bool>,
}

/// One frame.
#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Http2 {
    /// Connects, and lets nginx send up to `window` bytes; a slow client's
    /// socket takes little of that.
    pub fn open(address: SocketAddr, slow: bool, window: u32) -> Result<Self> {
        let mut client = Self {
            stream: BufReader::new(connect(address, slow)?),
            ended: None,
        };
        client.stream.get_mut().write_all(PREFACE)?;

        let mut setting = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
        setting.extend(window.to_be_bytes());
        client.send(SETTINGS, 0, 0, &setting)?;

        if let Some(more) = window.checked_sub(DEFAULT_WINDOW).filter(|more| *more > 0) {
            client.send(WINDOW_UPDATE, 0, 0, &more.to_be_bytes())?;
        }
        Ok(client)
    }

    /// Lets nginx send so many more bytes on a stream and in all.
    pub fn allow(&mut self, stream: u32, more: u32) -> Result<()> {
        self.send(WINDOW_UPDATE, 0, 0, &more.to_be_bytes())?;
        self.send(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
    }

    /// Asks for `path` on a stream of an odd number higher than those before.
    pub fn get(&mut self, stream: u32, path: &str) -> Result<()> {
        // Of the static table: `:method GET`, `:scheme http`, and the names
        // `:path` and `:authority`, whose values follow.
        let mut headers = vec![0x82, 0x86];
        for (name, value) in [(0x04, path), (0x01, "pipe")] {
            headers.push(name);
            // Longer ones take more than a byte for the length.
            assert!(value.len() < 127, "{value} is too long");
            headers.push(value.len() as u8);
            headers.extend(value.bytes());
        }
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &headers)
    }

    /// Cancels a stream.
    pub fn cancel(&mut self, stream: u32) -> Result<()> {
        self.send(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
    }

    /// Reads the response on `stream`, which must be a good one, to its end,
    /// and whatever comes on others meanwhile.
    pub fn body(&mut self, stream: u32) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(part) = self.part(stream)? {
            body.extend(part);
        }
        Ok(body)
    }

    /// The next part of the body, and one without any bytes for the header
    /// before; `None` at the end. Whatever comes on other streams is passed over.
    pub fn part(&mut self, stream: u32) -> Result<Option<Vec<u8>>> {
        if self.ended.take_if(|ended| *ended == stream).is_some() {
            return Ok(None);
        }
        loop {
            let frame = self.receive()?;
            if frame.stream != stream {
                continue;
            }
            let part = match frame.kind {
                HEADERS if frame.payload.first() == Some(&STATUS_200) => Vec::new(),
                DATA => frame.payload,
                RST_STREAM => return Err(ErrorKind::ConnectionReset.into()),
                _ => return Err(Error::other(format!("unexpected: {frame:?}"))),
            };
            self.ended = (frame.flags & END_STREAM != 0).then_some(stream);
            return Ok(Some(part));
        }
    }

    /// All that has come on any stream, without waiting for what nginx has not
    /// sent; `None` when nginx has closed the connection.
    pub fn arrived(&mut self) -> Result<Option<Vec<Part>>> {
        let mut parts = Vec::new();
        loop {
            match self.has_arrived() {
                Ok(true) => {}
                Ok(false) => return Ok(Some(parts)),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
            let frame = match self.receive() {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
                frame => frame?,
            };
            let end = match frame.kind {
                DATA | HEADERS => (frame.flags & END_STREAM != 0).then_some(true),
                RST_STREAM => Some(false),
                _ => continue,
            };
            parts.push(Part {
                stream: frame.stream,
                body: match frame.kind {
                    DATA => frame.payload,
                    _ => Vec::new(),
                },
                end,
            });
        }
    }

    /// Whether there is something to be read, be it the end. What nginx has given
    /// to its kernel is waited for.
    fn has_arrived(&self) -> Result<bool> {
        let stream = self.stream.get_ref();
        while self.stream.buffer().is_empty() {
            stream.set_nonblocking(true)?;
            let peeked = stream.peek(&mut [0]);
            stream.set_nonblocking(false)?;
            match peeked {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                peeked => return peeked.map(|_| true),
            }
            SockRef::from(stream).set_tcp_quickack(true)?;
            if queues(stream)?.is_none_or(|queues| queues.unsent == 0) {
                return Ok(false);
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(true)
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.stream.get_mut().write_all(&frame)
    }

    /// The next frame; settings are confirmed.
    fn receive(&mut self) -> Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload)?;
        let frame = Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload,
        };
        if frame.kind == SETTINGS && frame.flags & ACK == 0 {
            self.send(SETTINGS, ACK, 0, &[])?;
        }
        Ok(frame)
    }
}

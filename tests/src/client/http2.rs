//! A client that speaks HTTP/2 frame by frame, over TCP and without being asked
//! whether it does (h2c by prior knowledge), and that does at each step what a
//! test wants.

use std::collections::BTreeMap;
use std::io::{BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};

use super::connect;

/// The size of what precedes the payload of a frame.
const HEAD: usize = 9;

/// What a client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Types of frames.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;

// Flags of frames.
const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The setting of the window that each stream begins with.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// The window that a connection begins with.
const DEFAULT_WINDOW: u32 = 65_535;

/// The code of an error: the stream is no longer needed.
const CANCEL: u32 = 8;

/// The one code of HPACK that begins with the index of `:status 200`.
const STATUS_200: u8 = 0x88;

/// What a client says first: nginx may send up to `window` bytes.
pub fn begin(window: u32) -> Vec<u8> {
    let mut setting = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
    setting.extend(window.to_be_bytes());
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &setting)].concat();
    if let Some(more) = window.checked_sub(DEFAULT_WINDOW).filter(|more| *more > 0) {
        bytes.extend(frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes()));
    }
    bytes
}

/// Lets nginx send so many more bytes on a stream and in all.
pub fn allow(stream: u32, more: u32) -> Vec<u8> {
    [0, stream]
        .map(|stream| frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes()))
        .concat()
}

/// Asks for `path` on a stream of an odd number higher than those before.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    get_with(stream, path, &[])
}

/// The same with further lines of the header, whose names are in lower case.
fn get_with(stream: u32, path: &str, lines: &[(&str, String)]) -> Vec<u8> {
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
    for (name, value) in lines {
        headers.push(0);
        for word in [*name, value.as_str()] {
            assert!(word.len() < 127, "{word} is too long");
            headers.push(word.len() as u8);
            headers.extend(word.bytes());
        }
    }
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &headers)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// What has come on a stream.
#[derive(Debug, Default)]
pub struct Received {
    /// Whether the header has.
    pub has_header: bool,
    /// Of the body.
    pub body: Vec<u8>,
    /// Whether the stream has ended.
    pub is_over: bool,
}

/// Takes frames apart as their bytes come.
#[derive(Debug, Default)]
pub struct Streams {
    pending: Vec<u8>,
    streams: BTreeMap<u32, Received>,
}

impl Streams {
    pub fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes);
        while let Some([a, b, c, kind, flags, stream @ ..]) = self.pending.first_chunk::<HEAD>() {
            let (kind, flags) = (*kind, *flags);
            let size = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let stream = u32::from_be_bytes(*stream);
            if self.pending.len() < HEAD + size {
                return;
            }
            let frame: Vec<u8> = self.pending.drain(..HEAD + size).collect();
            let received = self.streams.entry(stream).or_default();
            match kind {
                DATA => received.body.extend(&frame[HEAD..]),
                HEADERS => received.has_header = true,
                RST_STREAM => {}
                _ => continue,
            }
            received.is_over |= kind == RST_STREAM || flags & END_STREAM != 0;
        }
    }

    /// What has come on the stream of that number.
    pub fn received(&mut self, stream: u32) -> &Received {
        self.streams.entry(stream).or_default()
    }
}

/// A connection to nginx.
#[derive(Debug)]
pub struct Http2<S = TcpStream> {
    stream: BufReader<S>,
    /// The stream of the last frame, if that was its last.
    ended: Option<u32>,
}

/// What came of a response.
#[derive(Debug)]
pub struct Part {
    /// The stream it came on.
    pub stream: u32,
    /// Bytes of the body.
    pub bytes: Vec<u8>,
    /// Whether the response ends with them.
    pub is_last: bool,
}

/// One frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    fn into_part(self) -> Result<Part> {
        let bytes = match self.kind {
            HEADERS if self.payload.first() == Some(&STATUS_200) => Vec::new(),
            DATA => self.payload,
            RST_STREAM => return Err(ErrorKind::ConnectionReset.into()),
            _ => return Err(Error::other(format!("unexpected: {self:?}"))),
        };
        Ok(Part {
            stream: self.stream,
            bytes,
            is_last: self.flags & END_STREAM != 0,
        })
    }
}

impl Http2 {
    /// Connects, and lets nginx send up to `window` bytes; a slow client's
    /// socket takes little of that.
    pub fn open(address: SocketAddr, slow: bool, window: u32) -> Result<Self> {
        Self::over(connect(address, slow)?, window)
    }
}

impl<S: Read + Write> Http2<S> {
    /// Begins on a connection, and lets nginx send up to `window` bytes.
    pub fn over(stream: S, window: u32) -> Result<Self> {
        let mut client = Self {
            stream: BufReader::new(stream),
            ended: None,
        };
        client.say(&begin(window))?;
        Ok(client)
    }

    /// The connection.
    pub fn stream(&self) -> &S {
        self.stream.get_ref()
    }

    /// Lets nginx send so many more bytes on a stream and in all.
    pub fn allow(&mut self, stream: u32, more: u32) -> Result<()> {
        self.say(&allow(stream, more))
    }

    /// Asks for `path` on a stream of an odd number higher than those before.
    pub fn get(&mut self, stream: u32, path: &str) -> Result<()> {
        self.get_with(stream, path, &[])
    }

    /// Asks with further lines of the header, whose names are in lower case.
    pub fn get_with(&mut self, stream: u32, path: &str, lines: &[(&str, String)]) -> Result<()> {
        self.say(&get_with(stream, path, lines))
    }

    /// Cancels a stream.
    pub fn cancel(&mut self, stream: u32) -> Result<()> {
        self.say(&frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()))
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
            if frame.stream == stream {
                let part = frame.into_part()?;
                self.ended = part.is_last.then_some(stream);
                return Ok(Some(part.bytes));
            }
        }
    }

    /// The next part of the body on whatever stream, and one without any bytes
    /// for the header before.
    pub fn any_part(&mut self) -> Result<Part> {
        loop {
            let frame = self.receive()?;
            if frame.stream != 0 {
                return frame.into_part();
            }
        }
    }

    fn say(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The next frame; settings are confirmed.
    pub(crate) fn receive(&mut self) -> Result<Frame> {
        let mut head = [0; HEAD];
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
            self.say(&self::frame(SETTINGS, ACK, 0, &[]))?;
        }
        Ok(frame)
    }
}

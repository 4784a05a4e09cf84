//! Taking an HTTP/1.x response apart as it comes.

use std::io::{Error, Result};

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing is missing, and the connection goes on.
    Kept,
    /// The server closed the connection.
    Closed,
    /// The server reset the connection.
    Reset,
    /// The client left.
    Left,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code; 0 where not even that came.
    pub status: u16,
    /// The lines of the header after the first, in their order.
    pub headers: Vec<String>,
    /// The body, decoded.
    pub body: Vec<u8>,
    /// Trailers of a chunked body.
    pub trailers: Vec<String>,
    /// Whether the framing of the response says that it is complete; a body
    /// that ends with the connection is never known to be.
    pub complete: bool,
    /// How it ended.
    pub ending: Ending,
    /// How many bytes came after the end.
    pub excess: usize,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.headers, name)
    }
}

fn field<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    lines
        .iter()
        .filter_map(|line| line.split_once(": "))
        .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Header,
    /// So many bytes are missing.
    Length(usize),
    UntilClose,
    ChunkSize,
    /// So many bytes of the chunk are missing.
    Chunk(usize),
    ChunkEnd,
    Trailers,
    Done,
}

/// Takes the bytes of one response as they come.
#[derive(Debug)]
pub struct Decoder {
    is_head: bool,
    state: State,
    pending: Vec<u8>,
    answer: Answer,
}

impl Decoder {
    pub fn new(method: &str) -> Self {
        Self {
            is_head: method == "HEAD",
            state: State::Header,
            pending: Vec::new(),
            answer: Answer {
                status: 0,
                headers: Vec::new(),
                body: Vec::new(),
                trailers: Vec::new(),
                complete: false,
                ending: Ending::Closed,
                excess: 0,
            },
        }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How much of the body has come, once the header has.
    pub fn received(&self) -> Option<usize> {
        (self.state != State::Header).then(|| self.body_size())
    }

    pub(crate) fn body_size(&self) -> usize {
        self.answer.body.len()
    }

    pub(crate) fn take_excess(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    pub fn finish(mut self, ending: Ending) -> Answer {
        self.answer.complete = self.is_done();
        self.answer.ending = ending;
        self.answer.excess = match self.state {
            State::Done => self.pending.len(),
            _ => 0,
        };
        self.answer
    }

    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.pending.extend(bytes);
        let mut at = 0;
        while let Some(taken) = self.step(at)? {
            at += taken;
        }
        self.pending.drain(..at);
        Ok(())
    }

    /// Takes one thing from what is pending; says how long it is, none where it
    /// is not all there yet.
    fn step(&mut self, at: usize) -> Result<Option<usize>> {
        let pending = &self.pending[at..];
        match self.state {
            State::Done => return Ok(None),
            State::Length(missing) | State::Chunk(missing) => {
                let size = pending.len().min(missing);
                self.answer.body.extend(&pending[..size]);
                let after = match self.state {
                    State::Length(_) => State::Done,
                    _ => State::ChunkEnd,
                };
                let here = match self.state {
                    State::Length(_) => State::Length(missing - size),
                    _ => State::Chunk(missing - size),
                };
                self.state = if size == missing { after } else { here };
                return Ok((size > 0).then_some(size));
            }
            State::UntilClose => {
                self.answer.body.extend(pending);
                return Ok((!pending.is_empty()).then_some(pending.len()));
            }
            State::Header | State::ChunkSize | State::ChunkEnd | State::Trailers => {}
        }
        let Some(end) = pending.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let line = String::from_utf8_lossy(&pending[..end]).into_owned();
        self.line(&line)?;
        Ok(Some(end + 2))
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let wrong = || Error::other(format!("nginx sent {line:?} where that makes no sense"));
        match self.state {
            State::Header if self.answer.status == 0 => {
                let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
                self.answer.status = status.ok_or_else(wrong)?;
            }
            State::Header if line.is_empty() => self.state = self.framing().ok_or_else(wrong)?,
            State::Header => self.answer.headers.push(line.to_owned()),
            State::ChunkSize => {
                self.state = match usize::from_str_radix(line, 16).map_err(|_| wrong())? {
                    0 => State::Trailers,
                    size => State::Chunk(size),
                };
            }
            State::ChunkEnd if line.is_empty() => self.state = State::ChunkSize,
            State::Trailers if line.is_empty() => self.state = State::Done,
            State::Trailers => self.answer.trailers.push(line.to_owned()),
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// How the body is framed, as the header says.
    fn framing(&self) -> Option<State> {
        let answer = &self.answer;
        if self.is_head || matches!(answer.status, 204 | 304) {
            return Some(State::Done);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            return Some(State::ChunkSize);
        }
        let Some(length) = answer.header("content-length") else {
            return Some(State::UntilClose);
        };
        match length.parse().ok()? {
            0 => Some(State::Done),
            length => Some(State::Length(length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(method: &str, bytes: &[u8], step: usize) -> Answer {
        let mut decoder = Decoder::new(method);
        for part in bytes.chunks(step) {
            decoder.feed(part).expect("a response");
        }
        decoder.finish(Ending::Closed)
    }

    #[test]
    fn decodes_however_the_bytes_are_split() {
        let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            3\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\nmore";
        for step in 1..=text.len() {
            let answer = decode("GET", text, step);
            assert_eq!((answer.status, &answer.body[..]), (200, &b"abcde"[..]));
            assert_eq!(answer.trailers, ["X: y"]);
            assert!(answer.complete);
            assert_eq!(answer.excess, 4);
        }
    }

    #[test]
    fn knows_what_is_missing() {
        let cut = decode("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", 7);
        assert_eq!((cut.complete, &cut.body[..]), (false, &b"abc"[..]));
        let open = decode("GET", b"HTTP/1.1 200 OK\r\n\r\nabc", 5);
        assert_eq!((open.complete, &open.body[..]), (false, &b"abc"[..]));
        let head = decode("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 99);
        assert!(head.complete);
    }

    #[test]
    fn refuses_nonsense() {
        let mut decoder = Decoder::new("GET");
        let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n";
        assert!(decoder.feed(text).is_err());
    }
}

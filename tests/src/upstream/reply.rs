//! What a scripted peer answers, whatever the protocol.

use std::sync::Arc;
use std::time::Duration;

use super::Request;
use crate::random::Random;

/// The word that [`Body::Words`] has here and there, for filters to find.
pub const NEEDLE: &str = "needle";

/// The bytes of a response, made when they are needed.
#[derive(Clone, Debug)]
pub enum Body {
    /// Noise.
    Random { seed: u64, size: usize },
    /// Text that compresses, with a [`NEEDLE`] every now and then.
    Words { seed: u64, size: usize },
    /// Exactly this.
    Text(Arc<str>),
}

impl Body {
    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Random { seed, size } => Random::new(*seed).bytes(*size),
            Self::Words { seed, size } => words(*seed, *size),
            Self::Text(text) => text.as_bytes().to_vec(),
        }
    }

    /// How long it is.
    pub fn size(&self) -> usize {
        match self {
            Self::Random { size, .. } | Self::Words { size, .. } => *size,
            Self::Text(text) => text.len(),
        }
    }
}

fn words(seed: u64, size: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut text = String::with_capacity(size + 16);
    while text.len() < size {
        if random.once_in(20) {
            text += NEEDLE;
        } else {
            text += &format!("{:x}", random.bits() >> (8 * random.below(8)));
        }
        text.push(if random.once_in(9) { '\n' } else { ' ' });
    }
    text.truncate(size);
    text.into_bytes()
}

/// How the end of a body is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By a Content-Length header.
    Length,
    /// By HTTP/1.1 chunks whose sizes are these in turn.
    Chunked { sizes: Vec<usize>, trailers: bool },
    /// By nothing in the header: the connection ends, or the FastCGI request.
    Close,
}

impl Framing {
    /// Chunks of `size` bytes.
    pub fn chunks(size: usize) -> Self {
        Self::Chunked {
            sizes: vec![size],
            trailers: false,
        }
    }

    /// How much of a long body is in the first `wire` bytes after the header.
    pub fn body_within(&self, wire: usize) -> usize {
        let Self::Chunked { sizes, .. } = self else {
            return wire;
        };
        let (mut body, mut left) = (0, wire);
        for size in sizes.iter().cycle() {
            let head = format!("{size:x}\r\n").len();
            body += left.saturating_sub(head).min(*size);
            match left.checked_sub(head + size + "\r\n".len()) {
                None | Some(0) => break,
                Some(rest) => left = rest,
            }
        }
        body
    }
}

/// How FastCGI's records are cut.
#[derive(Clone, Debug)]
pub struct Records {
    /// The most a record holds.
    pub size: usize,
    /// How much padding follows it.
    pub padding: u8,
    /// Whether the header has a record for itself.
    pub header_alone: bool,
    /// A message that comes amid the body on standard error.
    pub stderr: Option<&'static str>,
    /// Whether the record that ends the request follows the body at once, without
    /// an empty record before it.
    pub bare_end: bool,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            size: 0xffff,
            padding: 0,
            header_alone: false,
            stderr: None,
            bare_end: false,
        }
    }
}

/// A place in what is sent.
#[derive(Clone, Copy, Debug)]
pub enum Point {
    /// So many bytes after the start.
    Start(usize),
    /// So many bytes after the end of the header.
    Body(usize),
    /// So many bytes before the end.
    End(usize),
}

/// What a peer waits for before it goes on.
#[derive(Clone, Copy, Debug)]
pub enum Hold {
    /// A moment, so that what was sent most likely is read by itself. Use it
    /// where the outcome does not depend on that.
    Moment,
    /// For so long. The same holds for it.
    Pause(Duration),
    /// Until nginx has read all of it.
    Drained,
    /// Until the client is gone.
    ClientGone,
    /// Until the client has the header and so many bytes of the body, or for so
    /// long: then it has missed them, and the peer goes on.
    Received(usize, Duration),
}

/// Where the peer stops sending for a while.
#[derive(Clone, Debug)]
pub enum Cuts {
    /// Nowhere.
    None,
    /// After every so many bytes.
    Every(usize, Hold),
    /// At random places.
    Scattered { seed: u64, count: usize, hold: Hold },
    /// Here.
    At(Vec<(Point, Hold)>),
}

/// What the peer does after the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Waits for the next request.
    Keep,
    /// Closes the connection.
    Fin,
    /// Resets the connection, after nginx has read all.
    Reset,
    /// Nothing, until nginx closes the connection.
    Hang,
    /// Closes the connection when the client has the header and so many bytes of
    /// the body, or after so long: then it has missed them.
    Received(usize, Duration),
}

/// One answer of a scripted peer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Further lines of the header.
    pub headers: Vec<String>,
    /// The header is padded so that it ends after so many bytes on the wire.
    pub header_size: Option<usize>,
    /// The body as promised.
    pub body: Body,
    /// How the end of the body is told.
    pub framing: Framing,
    /// So many bytes are sent after the end of the body.
    pub extra: usize,
    /// After so many bytes of the body comes what the protocol forbids, and nothing
    /// else: a chunk whose size is no number, a record of an unknown version. Only
    /// for chunks and FastCGI.
    pub breach_after: Option<usize>,
    /// No more of the response is sent after this.
    pub stop: Option<Point>,
    /// What comes in the place of the rest, where nothing is sent after
    /// `stop`: bytes that the protocol does not know.
    pub breach: Vec<u8>,
    /// Whether a Range header is honoured.
    pub ranges: bool,
    /// FastCGI only.
    pub records: Records,
    /// Where sending is interrupted.
    pub cuts: Cuts,
    /// How it ends.
    pub end: End,
}

impl Reply {
    /// An honest answer with this body, in one go.
    pub fn new(body: Body) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            header_size: None,
            body,
            framing: Framing::Length,
            extra: 0,
            breach_after: None,
            stop: None,
            breach: Vec::new(),
            ranges: false,
            records: Records::default(),
            cuts: Cuts::None,
            end: End::Fin,
        }
    }

    /// [`Reply::new`] with noise as its body.
    pub fn random(seed: u64, size: usize) -> Self {
        Self::new(Body::Random { seed, size })
    }

    /// What of this answers `request`: a part of the body where that asks for
    /// one and this honours ranges.
    pub(super) fn to(&self, request: &Request) -> (u16, Vec<String>, Vec<u8>) {
        let mut headers = self.headers.clone();
        let body = self.body.bytes();
        let range = request.range.filter(|_| self.ranges);
        let Some((first, last)) = range.filter(|(first, _)| *first < body.len()) else {
            return (self.status, headers, body);
        };
        let last = last.min(body.len() - 1);
        headers.push(format!(
            "Content-Range: bytes {first}-{last}/{}",
            body.len()
        ));
        (206, headers, body[first..=last].to_vec())
    }
}

/// The bytes of an answer.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) bytes: Vec<u8>,
    /// Where the header ends in them.
    pub(super) header: usize,
}

impl Wire {
    /// These bytes with what comes in the place of the rest, and where that
    /// begins.
    pub(super) fn stopped(&self, reply: &Reply) -> (Vec<u8>, usize) {
        let stop = reply.stop.map_or(self.bytes.len(), |at| self.offset(at));
        ([&self.bytes[..stop], &reply.breach].concat(), stop)
    }

    pub(super) fn offset(&self, point: Point) -> usize {
        let offset = match point {
            Point::Start(n) => n,
            Point::Body(n) => self.header + n,
            Point::End(n) => self.bytes.len().saturating_sub(n),
        };
        offset.min(self.bytes.len())
    }

    /// The places where sending is interrupted, in ascending order.
    pub(super) fn cuts(&self, cuts: &Cuts) -> Vec<(usize, Hold)> {
        let size = self.bytes.len();
        let mut places: Vec<(usize, Hold)> = match cuts {
            Cuts::None => Vec::new(),
            Cuts::Every(step, hold) => (*step..size).step_by(*step).map(|at| (at, *hold)).collect(),
            Cuts::Scattered { seed, count, hold } => {
                let mut random = Random::new(*seed);
                (0..*count).map(|_| (random.below(size), *hold)).collect()
            }
            Cuts::At(points) => points
                .iter()
                .map(|(point, hold)| (self.offset(*point), *hold))
                .collect(),
        };
        places.sort_by_key(|(at, _)| *at);
        places
    }
}

/// `lines` as a header that ends with an empty line and, where `size` is given,
/// is padded to it; `around` is what else counts as part of the header.
pub(super) fn header(lines: &[String], size: Option<usize>, around: usize) -> Vec<u8> {
    const PAD: &str = "X-Pad: ";
    let mut text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    if let Some(size) = size {
        let pad = (size - around)
            .checked_sub(text.len() + PAD.len() + 4)
            .expect("the header fits into its size");
        text += &format!("{PAD}{}\r\n", "p".repeat(pad));
    }
    text += "\r\n";
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_a_header_to_the_byte() {
        let lines = ["HTTP/1.1 200 OK".to_owned(), "A: b".to_owned()];
        assert_eq!(header(&lines, None, 0), b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
        for size in 100..104 {
            let padded = header(&lines, Some(size), 8);
            assert_eq!(padded.len() + 8, size);
            assert!(padded.ends_with(b"p\r\n\r\n"));
        }
    }

    #[test]
    fn knows_what_of_a_body_is_on_the_wire() {
        assert_eq!(Framing::Length.body_within(9), 9);
        // "2", CR, LF, "ab", CR, LF, and so on.
        let chunks = Framing::chunks(2);
        let bodies = [0, 3, 4, 5, 7, 10, 11, 14].map(|wire| chunks.body_within(wire));
        assert_eq!(bodies, [0, 0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn words_have_the_size_and_the_needle() {
        let text = words(3, 5000);
        assert_eq!(text.len(), 5000);
        let text = String::from_utf8(text).expect("words are text");
        assert!(text.matches(NEEDLE).count() > 5);
    }

    #[test]
    fn cuts_lie_within_the_wire() {
        let wire = Wire {
            bytes: vec![0; 100],
            header: 40,
        };
        let places = |cuts| -> Vec<usize> {
            let cuts = wire.cuts(&cuts);
            cuts.into_iter().map(|(at, _)| at).collect()
        };
        assert_eq!(places(Cuts::Every(30, Hold::Moment)), [30, 60, 90]);
        let points = [Point::End(3), Point::Start(1), Point::Body(2)];
        let points = points.map(|point| (point, Hold::Drained));
        assert_eq!(places(Cuts::At(points.to_vec())), [1, 42, 97]);
    }
}

//! Clients, with naps between their gulps.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode};
use socket2::{Domain, SockRef, Socket, Type};

use super::case::{Case, Request};
use super::link::Link;
use crate::client::http2::{DATA, END_STREAM, HEADERS, Http2, RST_STREAM};
use crate::client::{Decoder, Ending};

/// A response that does not go on for so long never will.
const PATIENCE: Duration = Duration::from_secs(12);

/// What a client got.
#[derive(Clone, Debug, Default)]
pub struct Got {
    /// The status code; 0 where there is none.
    pub status: u16,
    /// The header, unless by HTTP/2.
    pub headers: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the protocol says that it is complete.
    pub complete: bool,
    /// Whether only the end of the connection can tell that.
    pub until_close: bool,
    /// Whether it stood still until the client had enough of it.
    pub hung: bool,
}

impl Got {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.iter().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .next()
    }
}

/// A connection, over TLS or not.
#[derive(Debug)]
enum Stream {
    Plain(Link),
    Tls(SslStream<Link>),
}

impl Stream {
    fn open(case: &Case, address: SocketAddr) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if let Some(size) = case.listen.rcvbuf {
            socket.set_recv_buffer_size(size)?;
            // Segments as large as those of the loopback device would fill it.
            socket.set_tcp_mss(4096)?;
        }
        if case.listen.link.is_some() {
            // And the kernel tells nginx of no less than a segment that was taken.
            socket.set_tcp_mss(1024)?;
        }
        socket.connect_timeout(&address.into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let stream = Link::new(stream, case.listen.link);
        if !case.listen.tls {
            return Ok(Self::Plain(stream));
        }
        let mut connector = SslConnector::builder(SslMethod::tls())?;
        connector.set_verify(SslVerifyMode::NONE);
        if case.listen.http2.is_some() {
            connector.set_alpn_protos(b"\x02h2")?;
        }
        let stream = connector.build().connect("localhost", stream);
        stream.map(Self::Tls).map_err(Error::other)
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream.tcp(),
            Self::Tls(stream) => stream.get_ref().tcp(),
        }
    }

    fn reset(self) {
        // If that fails it is closed the other way.
        let _ = SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buffer),
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Asks for what all requests of the case ask for, and says what came; `received`
/// is told how much of the body of the first has come.
pub fn fetch_all(
    case: &Case,
    address: SocketAddr,
    received: &(impl Fn(usize) + Sync),
) -> Result<Vec<Got>> {
    if let Some(window) = case.listen.http2 {
        return streams(case, address, window, received);
    }
    thread::scope(|scope| {
        let clients: Vec<_> = case
            .requests
            .iter()
            .enumerate()
            .map(|(nth, request)| {
                scope.spawn(move || {
                    let tell = |size| {
                        if nth == 0 {
                            received(size);
                        }
                    };
                    fetch(case, request, address, tell)
                })
            })
            .collect();
        let join = |client: thread::ScopedJoinHandle<'_, _>| {
            client
                .join()
                .unwrap_or_else(|_| Err(Error::other("a client panicked")))
        };
        clients.into_iter().map(join).collect()
    })
}

fn fetch(
    case: &Case,
    request: &Request,
    address: SocketAddr,
    received: impl Fn(usize),
) -> Result<Got> {
    thread::sleep(Duration::from_micros(request.delay));
    let mut stream = match Stream::open(case, address) {
        Ok(stream) => stream,
        // Out of descriptors, nginx may close or reset what it cannot serve.
        Err(error) if case.spare_descriptors.is_some() && is_end(&error) => {
            return Ok(Got::default());
        }
        Err(error) => return Err(error),
    };
    let version = if request.old { "1.0" } else { "1.1" };
    let mut text = format!(
        "GET {} HTTP/{version}\r\nHost: pipe\r\nConnection: close\r\n",
        case.path(request.location)
    );
    for (name, value) in lines(request) {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    stream.write_all(text.as_bytes())?;

    let mut decoder = Decoder::new("GET");
    let mut buffer = vec![0; 65536];
    let mut hung = false;
    let mut thirst = request.gulps.map_or(usize::MAX, |(gulp, _)| gulp);
    loop {
        let most = buffer.len().min(thirst);
        match stream.read(&mut buffer[..most]) {
            Ok(0) => break,
            Ok(size) => {
                decoder.feed(&buffer[..size])?;
                thirst -= size;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                hung = true;
                break;
            }
            Err(error) if is_end(&error) => break,
            Err(error) => return Err(error),
        }
        if let Some(size) = decoder.received() {
            received(size);
            if request.leaves.is_some_and(|most| size >= most) {
                stream.reset();
                return Ok(got(decoder, false));
            }
        }
        if let Some((gulp, nap)) = request.gulps.filter(|_| thirst == 0) {
            thread::sleep(Duration::from_micros(nap));
            thirst = gulp;
        }
    }
    Ok(got(decoder, hung))
}

/// Errors that are an end of a connection, over TLS too.
fn is_end(error: &Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, Other, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof | Other
    )
}

fn got(decoder: Decoder, hung: bool) -> Got {
    let answer = decoder.finish(Ending::Closed);
    let until_close =
        answer.header("content-length").is_none() && answer.header("transfer-encoding").is_none();
    Got {
        status: answer.status,
        headers: answer.headers,
        body: answer.body,
        complete: answer.complete,
        until_close,
        hung,
    }
}

fn lines(request: &Request) -> Vec<(&'static str, String)> {
    let range = request
        .range
        .map(|(first, last)| ("range", format!("bytes={first}-{last}")));
    let gzip = request.gzip.then(|| ("accept-encoding", "gzip".to_owned()));
    range.into_iter().chain(gzip).collect()
}

/// One connection with a stream for each request.
fn streams(
    case: &Case,
    address: SocketAddr,
    window: u32,
    received: &impl Fn(usize),
) -> Result<Vec<Got>> {
    let mut client = Http2::over(Stream::open(case, address)?, window)?;
    let mut all: Vec<Got> = vec![Got::default(); case.requests.len()];
    let mut open: Vec<bool> = vec![true; all.len()];
    // What of each stream nginx has not been told that it was read.
    let mut read: Vec<usize> = vec![0; all.len()];
    let id = |nth: usize| 2 * nth as u32 + 1;
    for (nth, request) in case.requests.iter().enumerate() {
        thread::sleep(Duration::from_micros(request.delay));
        client.get_with(id(nth), &case.path(request.location), &lines(request))?;
    }
    while open.contains(&true) {
        let frame = match client.receive() {
            Ok(frame) => frame,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                for (got, _) in all.iter_mut().zip(&open).filter(|(_, open)| **open) {
                    got.hung = true;
                }
                break;
            }
            Err(error) if is_end(&error) => break,
            Err(error) => return Err(error),
        };
        let nth = (frame.stream.wrapping_sub(1) / 2) as usize;
        if frame.stream == 0 || nth >= all.len() {
            continue;
        }
        let request = &case.requests[nth];
        match frame.kind {
            HEADERS if all[nth].status == 0 => all[nth].status = status(&frame.payload),
            DATA => {
                read[nth] += frame.payload.len();
                if open[nth] {
                    all[nth].body.extend(&frame.payload);
                    if nth == 0 {
                        received(all[nth].body.len());
                    }
                }
                let (gulp, nap) = request.gulps.unwrap_or((1, 0));
                // Or else what all of them hold back could fill the connection's.
                if read[nth] >= gulp.min(window as usize / 2 / all.len()) {
                    thread::sleep(Duration::from_micros(nap));
                    if !sent(client.allow(id(nth), read[nth] as u32))? {
                        break;
                    }
                    read[nth] = 0;
                }
            }
            RST_STREAM => open[nth] = false,
            _ => {}
        }
        if open[nth] && matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
            all[nth].complete = true;
            open[nth] = false;
        }
        if open[nth]
            && request
                .leaves
                .is_some_and(|most| all[nth].body.len() >= most)
        {
            if !sent(client.cancel(id(nth)))? {
                break;
            }
            open[nth] = false;
        }
    }
    Ok(all)
}

/// Whether the connection was still there to be written to.
fn sent(result: Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if is_end(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The status in a header block of nginx's, which begins with it.
fn status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8a, ..] => 206,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        [_, 3, code @ ..] if code.len() >= 3 => {
            let code = std::str::from_utf8(&code[..3]).ok();
            code.and_then(|code| code.parse().ok()).unwrap_or(1)
        }
        _ => 1,
    }
}

//! Clients that take as much as they are told to.

use std::io::Result;
use std::net::{SocketAddr, TcpStream};

use pipe_tests::client::http2::{self, Streams};
use pipe_tests::client::{Decoder, Ending};
use socket2::{Domain, Socket, Type};

use super::peer::Peer;

/// What a client's socket holds, before the kernel doubles it; and the size of
/// its segments, by which the kernel opens the window.
const SOCKET: usize = 8 << 10;
const SEGMENT: u32 = 536;

/// The number of the first stream of a client that speaks HTTP/2, and a window
/// that holds nothing back.
pub const STREAM: u32 = 1;
const WINDOW: u32 = 1 << 30;

/// How a client speaks, and what sets its pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    Http1,
    Tls,
    Http2,
    Http2Tls,
    /// HTTP/2, and all is taken at once that comes; the window sets the pace.
    Http2Window,
}

impl Speech {
    pub const ALL: [Self; 5] = [
        Self::Http1,
        Self::Tls,
        Self::Http2,
        Self::Http2Tls,
        Self::Http2Window,
    ];

    /// The parameters of `listen`.
    pub(super) fn listen(self) -> &'static str {
        match self {
            Self::Http1 => "",
            Self::Tls => "ssl",
            Self::Http2 | Self::Http2Window => "http2",
            Self::Http2Tls => "ssl http2",
        }
    }

    fn connect(self, address: SocketAddr) -> Result<Peer> {
        let stream = connect(address)?;
        match self {
            Self::Tls => Peer::tls_client(stream, b"http/1.1"),
            Self::Http2Tls => Peer::tls_client(stream, b"h2"),
            _ => Peer::plain(stream),
        }
    }

    fn window(self) -> u32 {
        match self {
            Self::Http2Window => 0,
            _ => WINDOW,
        }
    }
}

/// A client that has asked for something.
pub struct Client {
    speech: Speech,
    peer: Peer,
    received: Received,
}

enum Received {
    Http1(Decoder),
    Http2(Streams),
}

impl Client {
    pub(super) fn ask(address: SocketAddr, speech: Speech, path: &str) -> Result<Self> {
        let peer = speech.connect(address)?;
        let (received, request) = match speech {
            Speech::Http1 | Speech::Tls => (
                Received::Http1(Decoder::new("GET")),
                request(path).into_bytes(),
            ),
            _ => (
                Received::Http2(Streams::default()),
                [http2::begin(speech.window()), http2::get(STREAM, path)].concat(),
            ),
        };
        let mut client = Self {
            speech,
            peer,
            received,
        };
        client.say(&request)?;
        Ok(client)
    }

    /// Asks for something else on one more stream.
    pub fn ask_too(&mut self, stream: u32, path: &str) -> Result<()> {
        self.say(&http2::get(stream, path))
    }

    /// Opens the window of a stream by so many bytes.
    pub fn allow(&mut self, stream: u32, more: u32) -> Result<()> {
        self.say(&http2::allow(stream, more))
    }

    fn say(&mut self, bytes: &[u8]) -> Result<()> {
        self.peer.put(bytes)?;
        self.peer.send(usize::MAX)
    }

    /// Takes up to so many bytes of what nginx has sent; or all of that, and
    /// opens the window by so many.
    pub fn take(&mut self, size: usize) -> Result<()> {
        if self.speech != Speech::Http2Window {
            return self.read(size);
        }
        self.read(usize::MAX)?;
        match self.is_open() {
            true => self.allow(STREAM, size as u32),
            false => Ok(()),
        }
    }

    /// Takes up to so many bytes of what nginx has sent.
    pub fn read(&mut self, size: usize) -> Result<()> {
        let bytes = self.peer.take(size)?;
        match &mut self.received {
            Received::Http1(decoder) => decoder.feed(&bytes),
            Received::Http2(streams) => {
                streams.feed(&bytes);
                Ok(())
            }
        }
    }

    /// Waits until the client's kernel, too, takes nothing more.
    pub fn rest(&self) -> Result<()> {
        self.peer.rest()
    }

    /// Whether more may come.
    pub fn is_open(&mut self) -> bool {
        self.peer.is_open()
            && match &mut self.received {
                Received::Http1(decoder) => !decoder.is_done(),
                Received::Http2(streams) => !streams.received(STREAM).is_over,
            }
    }

    /// How much of the body has come on a stream, once the header has.
    pub fn received(&mut self, stream: u32) -> Option<usize> {
        match &mut self.received {
            Received::Http1(decoder) => decoder.received(),
            Received::Http2(streams) => {
                let received = streams.received(stream);
                received.has_header.then_some(received.body.len())
            }
        }
    }

    /// What has come of the body.
    pub fn finish(self) -> Vec<u8> {
        match self.received {
            Received::Http1(decoder) => decoder.finish(Ending::Left).body,
            Received::Http2(mut streams) => streams.received(STREAM).body.clone(),
        }
    }
}

fn request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: pipe\r\nConnection: close\r\n\
         Accept-Encoding: gzip\r\n\r\n"
    )
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(SOCKET)?;
    socket.set_tcp_mss(SEGMENT)?;
    socket.connect(&address.into())?;
    Ok(socket.into())
}

//! Clients that take as much as they are told to.

use std::io::Result;
use std::net::{SocketAddr, TcpStream};

use pipe_tests::client::{Decoder, Ending, Http2};
use socket2::{Domain, Socket, Type};

use super::peer::Peer;

/// What a client's socket holds, before the kernel doubles it; and the size of
/// its segments, by which the kernel opens the window.
const SOCKET: usize = 8 << 10;
const SEGMENT: u32 = 536;

/// The number of the stream of a client that speaks HTTP/2.
const STREAM: u32 = 1;

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    Http1,
    Tls,
    Http2,
}

impl Speech {
    /// The parameters of `listen`.
    pub(super) fn listen(self) -> &'static str {
        match self {
            Self::Http1 => "",
            Self::Tls => "ssl",
            Self::Http2 => "http2",
        }
    }
}

/// A client that has asked for something.
pub struct Client {
    connection: Connection,
    /// What has come of the body.
    body: Vec<u8>,
    is_open: bool,
}

enum Connection {
    Http1(Peer, Decoder),
    Http2(Http2),
}

impl Client {
    pub(super) fn ask(address: SocketAddr, speech: Speech, path: &str) -> Result<Self> {
        let connection = match speech {
            Speech::Http2 => {
                let mut connection = Http2::open(address, false, 0)?;
                connection.get(STREAM, path)?;
                Connection::Http2(connection)
            }
            Speech::Http1 => ask(Peer::plain(connect(address)?)?, path)?,
            Speech::Tls => ask(Peer::tls_client(connect(address)?)?, path)?,
        };
        Ok(Self {
            connection,
            body: Vec::new(),
            is_open: true,
        })
    }

    /// Takes up to so many bytes, fewer where nginx has not sent as many; by
    /// HTTP/2 whatever has come, and then lets as many come.
    pub fn take(&mut self, size: usize) -> Result<()> {
        match &mut self.connection {
            Connection::Http1(peer, decoder) => {
                decoder.feed(&peer.take(size)?)?;
                self.is_open = peer.is_open() && !decoder.is_done();
            }
            Connection::Http2(connection) => {
                let Some(parts) = connection.arrived()? else {
                    self.is_open = false;
                    return Ok(());
                };
                for part in parts {
                    self.body.extend(part.body);
                    self.is_open &= part.end.is_none();
                }
                if self.is_open {
                    connection.allow(STREAM, size as u32)?;
                }
            }
        }
        Ok(())
    }

    /// Whether more may come.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// What has come of the body.
    pub fn finish(self) -> Vec<u8> {
        match self.connection {
            Connection::Http1(_, decoder) => decoder.finish(Ending::Left).body,
            Connection::Http2(_) => self.body,
        }
    }
}

fn ask(mut peer: Peer, path: &str) -> Result<Connection> {
    let text = format!("GET {path} HTTP/1.1\r\nHost: pipe\r\nConnection: close\r\n\r\n");
    peer.put(text.as_bytes())?;
    peer.send(usize::MAX)?;
    Ok(Connection::Http1(peer, Decoder::new("GET")))
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(SOCKET)?;
    socket.set_tcp_mss(SEGMENT)?;
    socket.connect(&address.into())?;
    Ok(socket.into())
}

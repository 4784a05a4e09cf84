//! One end of a connection to nginx, in plain or by TLS. Each of its bytes is
//! passed on when the test says so: none by itself.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use openssl::ssl::{self, Ssl, SslAcceptor, SslContext, SslFiletype, SslMethod, SslStream};
use pipe_tests::peers::openssl::Certificate;
use pipe_tests::server::wait;
use pipe_tests::upstream::queues;
use socket2::SockRef;

/// The most that a record of TLS holds.
const RECORD: usize = 16 << 10;

/// Longer than the kernel itself keeps back what it could send or acknowledge.
const STILL: Duration = Duration::from_millis(300);

/// What has come from the network, and what is to go there.
#[derive(Debug, Default)]
struct Wire {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let size = buffer.len().min(self.incoming.len());
        if size == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        buffer[..size].copy_from_slice(&self.incoming[..size]);
        self.incoming.drain(..size);
        Ok(size)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.outgoing.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
enum Layer {
    Plain(Wire),
    Tls(SslStream<Wire>),
}

/// An end of a connection.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    layer: Layer,
    is_open: bool,
}

impl Peer {
    /// Speaks without TLS.
    pub fn plain(stream: TcpStream) -> Result<Self> {
        Self::new(stream, Layer::Plain(Wire::default()))
    }

    /// The client of a TLS connection, who trusts anybody.
    pub fn tls_client(stream: TcpStream, application: &[u8]) -> Result<Self> {
        let mut context = SslContext::builder(SslMethod::tls())?;
        context.set_alpn_protos(&[&[application.len() as u8], application].concat())?;
        Self::tls(stream, &context.build(), SslStream::connect)
    }

    /// The server of a TLS connection.
    pub fn tls_server(stream: TcpStream, certificate: &Certificate) -> Result<Self> {
        let mut context = SslAcceptor::mozilla_intermediate(SslMethod::tls())?;
        let key: &Path = &certificate.key;
        context.set_private_key_file(key, SslFiletype::PEM)?;
        context.set_certificate_file(&certificate.certificate, SslFiletype::PEM)?;
        Self::tls(stream, context.build().context(), SslStream::accept)
    }

    fn new(stream: TcpStream, layer: Layer) -> Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            layer,
            is_open: true,
        })
    }

    fn tls(
        stream: TcpStream,
        context: &ssl::SslContextRef,
        handshake: impl Fn(&mut SslStream<Wire>) -> std::result::Result<(), ssl::Error>,
    ) -> Result<Self> {
        let tls = SslStream::new(Ssl::new(context)?, Wire::default())?;
        let mut peer = Self::new(stream, Layer::Tls(tls))?;
        let mut result = Ok(false);
        let done = wait(|| {
            result = peer.shake_hands(&handshake);
            !matches!(result, Ok(false))
        });
        match done {
            true => result.map(|_| peer),
            false => Err(Error::other("TLS is not agreed on")),
        }
    }

    /// Whether the handshake is over.
    fn shake_hands(
        &mut self,
        handshake: impl Fn(&mut SslStream<Wire>) -> std::result::Result<(), ssl::Error>,
    ) -> Result<bool> {
        self.receive(usize::MAX)?;
        let Layer::Tls(tls) = &mut self.layer else {
            return Ok(true);
        };
        let is_over = match handshake(tls) {
            Ok(()) => true,
            Err(error) if error.code() == ssl::ErrorCode::WANT_READ => false,
            Err(error) => return Err(Error::other(error)),
        };
        self.send(usize::MAX)?;
        Ok(is_over)
    }

    fn wire_mut(&mut self) -> &mut Wire {
        match &mut self.layer {
            Layer::Plain(wire) => wire,
            Layer::Tls(tls) => tls.get_mut(),
        }
    }

    fn wire(&self) -> &Wire {
        match &self.layer {
            Layer::Plain(wire) => wire,
            Layer::Tls(tls) => tls.get_ref(),
        }
    }

    /// Whether nginx has not closed the connection, as far as has been read.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Has `bytes` ready to be sent, by TLS in records as large as can be.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.layer {
            Layer::Plain(wire) => wire.write_all(bytes),
            Layer::Tls(tls) => bytes
                .chunks(RECORD)
                .try_for_each(|record| tls.write_all(record)),
        }
    }

    /// Sends up to so many of the bytes that are ready, as they are on the wire;
    /// fewer where nginx takes no more.
    pub fn send(&mut self, limit: usize) -> Result<()> {
        let bytes = mem::take(&mut self.wire_mut().outgoing);
        let mut sent = 0;
        while sent < bytes.len().min(limit) {
            match (&self.stream).write(&bytes[sent..bytes.len().min(limit)]) {
                Ok(size) => sent += size,
                Err(error) => {
                    self.check(error)?;
                    break;
                }
            }
        }
        self.wire_mut().outgoing = bytes[sent..].to_vec();
        Ok(())
    }

    /// Whether there is something left to be sent.
    pub fn has_more(&self) -> bool {
        self.left() > 0
    }

    /// How many bytes are ready to be sent.
    pub fn left(&self) -> usize {
        self.wire().outgoing.len()
    }

    /// Takes up to so many bytes off the wire, fewer where nginx has not sent as
    /// many, and returns those that they make for the application.
    pub fn take(&mut self, limit: usize) -> Result<Vec<u8>> {
        self.receive(limit)?;
        let mut bytes = Vec::new();
        let read = match &mut self.layer {
            Layer::Plain(wire) => wire.read_to_end(&mut bytes),
            Layer::Tls(tls) => tls.read_to_end(&mut bytes),
        };
        match read {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(bytes),
        }
    }

    /// What nginx has given to its kernel comes, however long that takes, and is
    /// acknowledged at once.
    fn receive(&mut self, limit: usize) -> Result<()> {
        let mut left = limit;
        // What has left nginx's end before a look at ours is there to be found.
        let mut all_is_here = false;
        while left > 0 && self.is_open {
            let mut buffer = vec![0; left.min(64 << 10)];
            match (&self.stream).read(&mut buffer) {
                Ok(0) => self.is_open = false,
                Ok(size) => {
                    self.wire_mut().incoming.extend(&buffer[..size]);
                    left -= size;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && !all_is_here => {
                    self.acknowledge()?;
                    all_is_here = queues(&self.stream)?.is_none_or(|queues| queues.unsent == 0);
                    thread::sleep(Duration::from_micros(100));
                }
                Err(error) => {
                    self.check(error)?;
                    break;
                }
            }
        }
        self.acknowledge()
    }

    /// Waits until the kernel has done all that it does by itself: what nginx has
    /// sent fills our socket, and is acknowledged.
    pub fn rest(&self) -> Result<()> {
        let mut still = (Instant::now(), None);
        while still.0.elapsed() < STILL {
            self.acknowledge()?;
            let now = queues(&self.stream)?;
            if still.1 != Some(now) {
                still = (Instant::now(), Some(now));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn acknowledge(&self) -> Result<()> {
        match self.is_open {
            true => SockRef::from(&self.stream).set_tcp_quickack(true),
            false => Ok(()),
        }
    }

    /// The connection may be closed, and nothing else may be wrong.
    fn check(&mut self, error: Error) -> Result<()> {
        match error.kind() {
            ErrorKind::WouldBlock => Ok(()),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                self.is_open = false;
                Ok(())
            }
            _ => Err(error),
        }
    }
}

/// Closing alone would not do where another thread starts a process, which has
/// the socket as well until it becomes its program.
impl Drop for Peer {
    fn drop(&mut self) {
        // nginx may have closed the connection.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

//! TLS before a plain peer: what comes from it goes on in records of one size.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod};
use socket2::SockRef;

use super::case::Pace;
use super::link::Link;
use crate::peers::openssl::Certificate;
use crate::server::loopback;

/// Longer than a request takes to come.
const PATIENCE: Duration = Duration::from_secs(25);

/// A listening socket whose connections go on to a peer.
#[derive(Debug)]
pub struct Tunnel {
    /// Where it listens.
    pub address: SocketAddr,
    /// The size of its records.
    pub record: usize,
    /// Over what they go, if that is slow.
    pub link: Option<Pace>,
    stopping: Arc<AtomicBool>,
}

impl Tunnel {
    /// Begins to listen.
    pub fn start(
        certificate: &Certificate,
        record: usize,
        link: Option<Pace>,
        peer: SocketAddr,
    ) -> Result<Self> {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())?;
        acceptor.set_private_key_file(&certificate.key, SslFiletype::PEM)?;
        acceptor.set_certificate_chain_file(&certificate.certificate)?;
        let acceptor = Arc::new(acceptor.build());
        let listener = TcpListener::bind((loopback(), 0))?;
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let acceptor = Arc::clone(&acceptor);
                thread::spawn(move || {
                    // What goes wrong here, the client sees.
                    let _ = carry(&acceptor, stream, (record, link), peer);
                });
            }
        });
        Ok(Self {
            address,
            record,
            link,
            stopping,
        })
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes up accept().
        let _ = TcpStream::connect(self.address);
    }
}

/// Carries one request there and the answer back.
fn carry(
    acceptor: &SslAcceptor,
    stream: TcpStream,
    (record, link): (usize, Option<Pace>),
    peer: SocketAddr,
) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let Ok(mut stream) = acceptor.accept(Link::new(stream, link)) else {
        return Ok(());
    };
    let mut plain = TcpStream::connect(peer)?;
    let mut request = Vec::new();
    let mut buffer = vec![0; record];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            size => request.extend(&buffer[..size]),
        }
    }
    plain.write_all(&request)?;
    loop {
        match plain.read(&mut buffer) {
            Ok(0) => break,
            Ok(size) => stream.write_all(&buffer[..size])?,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return SockRef::from(stream.get_ref().tcp()).set_linger(Some(Duration::ZERO));
            }
            Err(error) => return Err(error),
        }
    }
    // Without the end of the TLS session, nginx takes this for a failure.
    let _ = stream.shutdown();
    stream.get_ref().tcp().shutdown(Shutdown::Write)?;
    // A close with something unread would be a reset.
    let _ = stream.get_mut().read(&mut buffer);
    Ok(())
}

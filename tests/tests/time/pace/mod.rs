//! nginx in virtual time, between clients and an upstream that are the test's
//! own: it passes each byte on itself, and all of them stand still meanwhile.

mod client;
mod peer;

use std::ffi::OsString;
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipe_tests::peers::openssl::Certificate;
use pipe_tests::server::{Conf, Nginx, loopback, wait};
use pipe_tests::time::VirtualTime;
use pipe_tests::upstream::{Point, Protocol, Reply};

pub use client::{Client, STREAM, Speech};
pub use peer::Peer;

/// How long nginx waits for either side.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A side that makes progress so often is not given up.
pub const HALF: Duration = TIMEOUT.checked_div(2).expect("not by zero");

/// A side that has made none for so long is.
pub const TOO_LONG: Duration = Duration::from_secs(11);

/// What is asked for: this itself, or a page that includes it.
pub const PATH: &str = "/response";
pub const PAGE: &str = "/page";

/// What nginx's sockets hold, before the kernel doubles it.
const SOCKET: usize = 200 << 10;

/// How nginx is to be set up.
#[derive(Clone, Debug)]
pub struct Setup {
    pub protocol: Protocol,
    /// Whether upstream speaks TLS.
    pub tls: bool,
    pub speech: Speech,
    /// Of the location; `@` stands for the module's name.
    pub directives: String,
    /// Further locations; `peer` is upstream's name.
    pub locations: String,
    /// What nginx's sockets to the clients hold.
    pub socket: usize,
    /// Further libraries that stand between nginx and the system, and what they
    /// are told.
    pub preload: Vec<PathBuf>,
    pub env: Vec<(&'static str, OsString)>,
}

impl Setup {
    pub fn new(speech: Speech, directives: &str) -> Self {
        Self {
            protocol: Protocol::Http,
            tls: false,
            speech,
            directives: directives.to_owned(),
            locations: String::new(),
            socket: SOCKET,
            preload: Vec::new(),
            env: Vec::new(),
        }
    }

    fn env(&self, time: &VirtualTime) -> Vec<(&'static str, OsString)> {
        let mut env = time.env();
        env.extend(self.env.clone());
        for (name, value) in &mut env {
            if *name == "LD_PRELOAD" {
                let more = self.preload.iter();
                more.for_each(|library| {
                    value.push(":");
                    value.push(library);
                });
            }
        }
        env
    }

    fn configure(&self, conf: &mut Conf, upstream: SocketAddr) {
        let module = self.protocol.module();
        let seconds = TIMEOUT.as_secs();
        let prefix = conf.prefix().display();
        let locations = format!(
            "send_timeout {seconds}s; {module}_read_timeout {seconds}s;\n\
             location {PAGE} {{ root {prefix}; ssi on; ssi_types *; }}\n\
             location {PATH} {{ {} {} }}\n{}\n",
            self.protocol.pass(upstream, self.tls),
            self.directives.replace('@', module),
            self.locations
        );
        let page = format!("<!--#include virtual='{PATH}' -->");
        fs::write(conf.prefix().join(&PAGE[1..]), page).expect("the prefix is writable");
        conf.listen(&format!("sndbuf={} {}", self.socket, self.speech.listen()));
        conf.http += &format!(
            "proxy_http_version 1.1;\n\
             http2_max_concurrent_streams 8;\n\
             upstream peer {{ server {upstream}; }}\n"
        );
        conf.add_caches();
        conf.server += &locations;
    }
}

/// One nginx, its upstream's listening socket, and the time that both live in.
pub struct Stage {
    pub time: VirtualTime,
    setup: Setup,
    stage: pipe_tests::Stage<TcpListener>,
    /// How many sockets nginx has when it has no connection.
    sockets: usize,
    certificate: Certificate,
}

fn sockets(nginx: &Nginx) -> usize {
    let is_socket = |path: &&PathBuf| path.to_string_lossy().starts_with("socket:");
    nginx.descriptors().iter().filter(is_socket).count()
}

impl Stage {
    pub fn start(binary: &Path, setup: &Setup) -> Result<Self> {
        let time = VirtualTime::new()?;
        let listener = TcpListener::bind((loopback(), 0))?;
        let mut certificate = Err(Error::other("none"));
        let stage = pipe_tests::Stage::before(listener, binary, |conf, listener| {
            certificate = Certificate::create(conf.prefix());
            if let Ok(certificate) = &certificate {
                conf.server += &certificate.directives();
            }
            let address = listener.local_addr().expect("a listening socket has one");
            setup.configure(conf, address);
            conf.env = setup.env(&time);
        })?;
        time.settle()?;
        Ok(Self {
            time,
            setup: setup.clone(),
            sockets: sockets(&stage.nginx),
            stage,
            certificate: certificate?,
        })
    }

    /// A client that has asked for a path.
    pub fn client(&self, path: &str) -> Result<Client> {
        Client::ask(self.stage.address(), self.setup.speech, path)
    }

    /// Upstream's end of the next connection, the request on which has come.
    pub fn upstream(&self) -> Result<Peer> {
        let stream = self.accept()?;
        let mut peer = match self.setup.tls {
            true => Peer::tls_server(stream, &self.certificate)?,
            false => Peer::plain(stream)?,
        };
        while peer.take(usize::MAX)?.is_empty() {
            if !peer.is_open() {
                return Err(Error::other("nginx closes without a request"));
            }
            self.time.settle()?;
        }
        Ok(peer)
    }

    fn accept(&self) -> Result<TcpStream> {
        let listener = &self.stage.upstream;
        let mut accepted = Err(Error::other("nginx does not connect"));
        listener.set_nonblocking(true)?;
        wait(|| {
            accepted = listener.accept();
            !matches!(&accepted, Err(error) if error.kind() == ErrorKind::WouldBlock)
        });
        let (stream, _) = accepted?;
        Ok(stream)
    }

    /// The same, with an answer ready: its header is sent, and so many bytes of
    /// what follows.
    pub fn upstream_sends(&self, reply: &Reply, burst: usize) -> Result<Peer> {
        let protocol = self.setup.protocol;
        let mut header = reply.clone();
        header.stop = Some(Point::Body(0));
        let header = protocol.wire(&header, PATH);
        let mut peer = self.upstream()?;
        peer.put(&header)?;
        peer.send(usize::MAX)?;
        peer.put(&protocol.wire(reply, PATH)[header.len()..])?;
        peer.send(burst)?;
        self.time.settle()?;
        Ok(peer)
    }

    pub fn error_log(&self) -> String {
        self.stage.nginx.error_log()
    }

    /// Whether nginx says that it has given a client up.
    pub fn has_client_timed_out(&self) -> bool {
        self.error_log().contains("client timed out")
    }

    /// Whether nginx has given the one client up, before its response was over: it
    /// says so, or, as it does with a connection of HTTP/2, closes it without a word.
    pub fn has_given_client_up(&self) -> bool {
        self.has_client_timed_out() || sockets(&self.stage.nginx) <= self.sockets
    }

    /// Whether nginx has given upstream up.
    pub fn has_upstream_timed_out(&self) -> bool {
        self.error_log().contains("upstream timed out")
    }

    /// Ends nginx, which must have nothing left to do.
    pub fn stop(self) -> Result<()> {
        self.stage.stop()
    }
}

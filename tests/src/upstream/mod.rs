//! Scripted upstreams: peers that answer by HTTP/1.x, FastCGI, SCGI and uwsgi
//! just as a test wants it, byte by byte.
//!
//! Which answer is given depends on the path of the request alone, so any
//! number of tests can use one [`Upstreams`] at a time.

mod cgi;
mod drain;
mod fastcgi;
mod http;
mod progress;
mod reply;
mod send;

use std::collections::HashMap;
use std::fmt;
use std::io::{BufReader, Error, Read, Result};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use drain::{Queues, queues};
pub use progress::Progress;
pub use reply::{Body, Cuts, End, Framing, Hold, NEEDLE, Point, Records, Reply};

use crate::server::loopback;

/// Longer than any test takes: only keeps a bug from hanging the tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);

/// How a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    Http,
    FastCgi,
    Scgi,
    Uwsgi,
}

impl Protocol {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Http, Self::FastCgi, Self::Scgi, Self::Uwsgi];

    /// What the names of nginx's directives for it begin with.
    pub fn module(self) -> &'static str {
        match self {
            Self::Http => "proxy",
            Self::FastCgi => "fastcgi",
            Self::Scgi => "scgi",
            Self::Uwsgi => "uwsgi",
        }
    }

    /// The name that a [`Stage`](crate::Stage) has for the scripted peer.
    pub fn peer(self) -> &'static str {
        match self {
            Self::Http => "peer",
            _ => self.module(),
        }
    }

    /// The directive that passes requests on to `server`, which speaks TLS or not.
    pub fn pass(self, server: impl fmt::Display, tls: bool) -> String {
        let scheme = match (self, tls) {
            (Self::Http, false) => "http://",
            (Self::Http, true) => "https://",
            _ => "",
        };
        format!("{}_pass {scheme}{server};", self.module())
    }

    fn read_request(self, stream: &mut impl Read) -> Result<Option<Request>> {
        match self {
            Self::Http => http::read_request(stream),
            Self::FastCgi => fastcgi::read_request(stream),
            Self::Scgi => cgi::read_scgi(stream),
            Self::Uwsgi => cgi::read_uwsgi(stream),
        }
    }

    fn render(self, reply: &Reply, request: &Request) -> reply::Wire {
        match self {
            Self::Http => http::render(reply, request),
            Self::FastCgi => fastcgi::render(reply, request),
            Self::Scgi | Self::Uwsgi => cgi::render(reply, request),
        }
    }

    /// The bytes of `reply` to a GET of `uri`, as far as they are sent.
    pub fn wire(self, reply: &Reply, uri: &str) -> Vec<u8> {
        let wire = self.render(reply, &Request::new("GET", uri, None));
        wire.stopped(reply).0
    }
}

/// What of a request matters to a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// GET, HEAD or another one.
    pub method: String,
    /// The path without what follows a question mark.
    pub path: String,
    /// The first and the last byte that a Range header asks for.
    pub range: Option<(usize, usize)>,
    /// The size of the body that follows where the protocol does not tell it.
    body: usize,
}

impl Request {
    fn new(method: &str, uri: &str, range: Option<&str>) -> Self {
        let path = uri.split_once('?').map_or(uri, |(path, _)| path);
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            range: range.and_then(parse_range),
            body: 0,
        }
    }

    /// A request as CGI's variables tell it.
    fn from_variables(variables: &[(Vec<u8>, Vec<u8>)]) -> Result<Self> {
        let get = |wanted: &str| {
            let found = variables.iter().find(|(name, _)| name == wanted.as_bytes());
            found.map(|(_, value)| String::from_utf8_lossy(value))
        };
        let (Some(method), Some(uri)) = (get("REQUEST_METHOD"), get("REQUEST_URI")) else {
            return Err(Error::other("a request without method or URI"));
        };
        let mut request = Self::new(&method, &uri, get("HTTP_RANGE").as_deref());
        let size = get("CONTENT_LENGTH").and_then(|size| size.parse().ok());
        request.body = size.unwrap_or(0);
        Ok(request)
    }
}

fn parse_range(text: &str) -> Option<(usize, usize)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let last = if last.is_empty() {
        usize::MAX
    } else {
        last.parse().ok()?
    };
    Some((first.parse().ok()?, last))
}

/// The next byte; none at the end.
fn next_byte(stream: &mut impl Read) -> Result<Option<u8>> {
    let mut byte = [0];
    Ok((stream.read(&mut byte)? == 1).then_some(byte[0]))
}

/// What is answered to the requests for one path.
#[derive(Debug)]
pub struct Script {
    replies: Vec<Reply>,
    seen: Mutex<Vec<Seen>>,
    progress: Arc<Progress>,
}

/// One request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The request.
    pub request: Request,
    /// Tells the connections to the peers apart.
    pub connection: usize,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request {
            method,
            path,
            range,
            ..
        } = &self.request;
        write!(f, "{method} {path} {range:?}")
    }
}

impl Script {
    /// The first reply is for the first request, and so on; the last one is for
    /// all that follow.
    pub fn new(replies: Vec<Reply>, progress: Arc<Progress>) -> Self {
        assert!(!replies.is_empty(), "a script without a reply");
        Self {
            replies,
            seen: Mutex::default(),
            progress,
        }
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    fn reply_to(&self, request: &Request, connection: usize) -> &Reply {
        let mut seen = lock(&self.seen);
        seen.push(Seen {
            request: request.clone(),
            connection,
        });
        let nth = seen.len().min(self.replies.len());
        &self.replies[nth - 1]
    }
}

/// A panic elsewhere does not make the value wrong.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
struct Shared {
    scripts: Mutex<HashMap<String, Arc<Script>>>,
    connections: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    open: HashMap<usize, TcpStream>,
    count: usize,
    stopping: bool,
}

/// A listening peer of each protocol.
#[derive(Debug)]
pub struct Upstreams {
    shared: Arc<Shared>,
    peers: Vec<(Protocol, SocketAddr)>,
    threads: Vec<JoinHandle<()>>,
}

impl Upstreams {
    /// Has peers listen, each on a free port.
    pub fn start() -> Result<Self> {
        let mut upstreams = Self {
            shared: Arc::default(),
            peers: Vec::new(),
            threads: Vec::new(),
        };
        for protocol in Protocol::ALL {
            let listener = TcpListener::bind((loopback(), 0))?;
            upstreams.peers.push((protocol, listener.local_addr()?));
            let shared = Arc::clone(&upstreams.shared);
            let accept = move || accept(&listener, protocol, &shared);
            upstreams.threads.push(thread::spawn(accept));
        }
        Ok(upstreams)
    }

    /// Where the peer of `protocol` listens.
    pub fn address(&self, protocol: Protocol) -> SocketAddr {
        let peer = self.peers.iter().find(|(known, _)| *known == protocol);
        peer.expect("there is a peer of each protocol").1
    }

    /// Has requests for `path` answered by `script`.
    pub fn play(&self, path: &str, script: Arc<Script>) {
        lock(&self.shared.scripts).insert(path.to_owned(), script);
    }

    /// The requests for `path` so far that its present script has answered.
    pub fn seen(&self, path: &str) -> Vec<Seen> {
        let script = lock(&self.shared.scripts).get(path).cloned();
        script.map(|script| script.seen()).unwrap_or_default()
    }

    /// The progress of the script for `path`; a new one where there is no script.
    pub fn progress(&self, path: &str) -> Arc<Progress> {
        let script = lock(&self.shared.scripts).get(path).cloned();
        script.map_or_else(Arc::default, |script| Arc::clone(&script.progress))
    }

    /// Closes all connections, also those that are kept for later requests.
    pub fn hang_up(&self) {
        for stream in lock(&self.shared.connections).open.values() {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Upstreams {
    fn drop(&mut self) {
        lock(&self.shared.connections).stopping = true;
        self.hang_up();
        for (_, address) in &self.peers {
            // Wakes up accept().
            let _ = TcpStream::connect(address);
        }
        for thread in self.threads.drain(..) {
            // A panic in there has been printed.
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, protocol: Protocol, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        let mut connections = lock(&shared.connections);
        if connections.stopping {
            break;
        }
        // nginx may have closed the connection before it was accepted.
        let Ok(stream) = stream else { continue };
        let Ok(clone) = stream.try_clone() else {
            continue;
        };
        connections.count += 1;
        let id = connections.count;
        connections.open.insert(id, clone);
        drop(connections);

        let open = Open {
            id,
            shared: Arc::clone(shared),
        };
        threads.push(thread::spawn(move || {
            // What goes wrong here, the test sees from the client's side.
            let _ = serve(stream, protocol, open);
        }));
        threads.retain(|thread| !thread.is_finished());
    }
    for thread in threads {
        // A panic in there has been printed.
        let _ = thread.join();
    }
}

/// The entry of a connection among those that are open: while that is there, so
/// is the connection.
struct Open {
    id: usize,
    shared: Arc<Shared>,
}

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.shared.connections).open.remove(&self.id);
    }
}

/// Answers the requests of one connection.
fn serve(stream: TcpStream, protocol: Protocol, open: Open) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(&stream);
    while let Some(request) = protocol.read_request(&mut requests)? {
        let script = lock(&open.shared.scripts).get(&request.path).cloned();
        let Some(script) = script else {
            return Err(Error::other(format!("no script for {}", request.path)));
        };
        let reply = script.reply_to(&request, open.id);
        let wire = protocol.render(reply, &request);
        let sent = send::send(&stream, &wire, reply, &script.progress);
        script.progress.reply_ended();
        if sent? == send::Then::Close {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_ranges() {
        assert_eq!(parse_range("bytes=0-9"), Some((0, 9)));
        assert_eq!(parse_range("bytes=7-"), Some((7, usize::MAX)));
        assert_eq!(parse_range("lines=7-"), None);
    }
}

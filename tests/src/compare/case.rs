//! A case: all that both sides are given, as text that can be kept.

use std::fs;
use std::io::{Error, Result};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::upstream::Protocol;

/// One random configuration with its peers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// What its bodies are marked with.
    pub number: u64,
    /// How the server listens.
    pub listen: Listen,
    /// Directives of the server, for both sides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server: Vec<String>,
    /// Directives that only this project's nginx knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ours: Vec<String>,
    /// Whether what upstream has sent must be passed on at once. Then stock has
    /// `proxy_buffering off`, and upstream waits where its reply says so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub streams: bool,
    /// How many descriptors a worker has beyond what the sockets and one
    /// temporary file for each response take; with none there is no such limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub spare_descriptors: Option<usize>,
    /// A location that is asked for by itself, first when nothing else goes on, and
    /// then while a reply stands: that must not cost the worker more reads.
    #[serde(default, skip_serializing_if = "is_default")]
    pub probe: Option<usize>,
    /// Each is at the path of its place.
    pub locations: Vec<Location>,
    /// What clients ask for, all at the same time.
    pub requests: Vec<Request>,
}

/// How a server listens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listen {
    /// Whether all requests are streams of one connection by HTTP/2, and how
    /// large the windows of it and of each stream are at first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub http2: Option<u32>,
    /// Whether clients speak TLS.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: bool,
    /// The size of the send buffers of its connections.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sndbuf: Option<usize>,
    /// The size of the receive buffers of the clients.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rcvbuf: Option<usize>,
    /// Over what clients read, below TLS and HTTP/2, if that is slow.
    #[serde(default, skip_serializing_if = "is_default")]
    pub link: Option<Pace>,
}

/// A link that is slow for a while, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// So many bytes go over it at a time.
    pub step: usize,
    /// And then none for so many microseconds.
    pub rest: u64,
    /// It is slow until it has carried so many bytes.
    pub until: usize,
}

/// A location, whose response comes from an upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// How upstream speaks.
    pub protocol: Protocol,
    /// With HTTP, whether upstream speaks TLS, and how large its records are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: Option<usize>,
    /// Over what such an upstream sends, below TLS, if that is slow.
    #[serde(default, skip_serializing_if = "is_default")]
    pub link: Option<Pace>,
    /// What is included by SSI in its body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub includes: Vec<Include>,
    /// The location that is added before its body.
    #[serde(default, skip_serializing_if = "is_default")]
    pub before: Option<usize>,
    /// The location that is added after its body.
    #[serde(default, skip_serializing_if = "is_default")]
    pub after: Option<usize>,
    /// Whether a word of its body is replaced.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sub: bool,
    /// Further directives; `@` stands for the upstream module's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conf: Vec<String>,
    /// What upstream answers.
    pub reply: Reply,
}

/// An SSI include.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Include {
    /// Where in the body it is, in marked blocks.
    pub block: usize,
    /// What is included.
    pub location: usize,
    /// Whether it is waited for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wait: bool,
}

/// What upstream answers, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The size of its body, without what SSI replaces.
    pub size: usize,
    /// Further lines of the header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// How the end of the body is told.
    pub framing: Framing,
    /// So much is sent at a time, with a pause of so many microseconds after it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pauses: Option<(usize, u64)>,
    /// So many bytes come before the first pause.
    #[serde(default, skip_serializing_if = "is_default")]
    pub burst: usize,
    /// Upstream waits here, after so many bytes of the body, until the client
    /// has all that was sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<usize>,
    /// Upstream leaves its connection open behind the end of the body, until the
    /// client has all that was sent. On stock's side it closes the connection.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stays: bool,
    /// Upstream sends no more than the header until the probe is over.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stands: bool,
    /// With FastCGI, no empty record comes before the one that ends the request.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bare_end: bool,
    /// So many bytes come after the end of the body.
    #[serde(default, skip_serializing_if = "is_default")]
    pub extra: usize,
    /// How it breaks, if it does.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fault: Option<Fault>,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Framing {
    /// By its length.
    Length,
    /// By HTTP/1.1 chunks of such a size; with FastCGI records of such a size.
    Chunks(usize),
    /// By the end of the connection or of the FastCGI request.
    Close,
}

/// How a reply breaks after so many bytes of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The connection is closed.
    Close(usize),
    /// The connection is reset when nginx has read everything.
    Reset(usize),
    /// What follows the protocol forbids.
    Breach(usize),
}

/// What a client asks for, and how it reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Which location.
    pub location: usize,
    /// Whether by HTTP/1.0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub old: bool,
    /// The first and the last byte that are asked for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub range: Option<(usize, usize)>,
    /// Whether the client takes gzip.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gzip: bool,
    /// So many microseconds after the start.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delay: u64,
    /// After so many bytes the client naps for so many microseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gulps: Option<(usize, u64)>,
    /// After so many bytes it leaves: by a reset, or of a stream.
    #[serde(default, skip_serializing_if = "is_default")]
    pub leaves: Option<usize>,
}

/// Types of responses that have no end.
pub(super) const LIVE: [&str; 2] = ["text/event-stream", "multipart/x-mixed-replace"];

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Request {
    /// Of a client that takes all at once.
    pub(super) fn plain(location: usize) -> Self {
        Self {
            location,
            old: false,
            range: None,
            gzip: false,
            delay: 0,
            gulps: None,
            leaves: None,
        }
    }
}

impl Reply {
    /// What is sent as fast as can be, and is whole.
    pub(super) fn plain(size: usize, framing: Framing) -> Self {
        Self {
            size,
            headers: vec!["Content-Type: text/html".to_owned()],
            framing,
            pauses: None,
            burst: 0,
            holds: Vec::new(),
            stays: false,
            stands: false,
            bare_end: false,
            extra: 0,
            fault: None,
        }
    }
}

impl Location {
    /// What passes a reply on, and nothing else.
    pub(super) fn plain(protocol: Protocol, reply: Reply) -> Self {
        Self {
            protocol,
            tls: None,
            link: None,
            includes: Vec::new(),
            before: None,
            after: None,
            sub: false,
            conf: Vec::new(),
            reply,
        }
    }

    /// Whether its response has no end and is not kept.
    fn is_live(&self) -> bool {
        let is_kept = |line: &String| line.contains("_cache ") || line.contains("_store ");
        let is_type = |line: &String| {
            let value = line.strip_prefix("Content-Type: ");
            value.is_some_and(|value| LIVE.iter().any(|live| value.starts_with(live)))
        };
        self.reply.headers.iter().any(is_type) && !self.conf.iter().any(is_kept)
    }
}

impl Case {
    /// What has no directives but those of its locations.
    pub(super) fn plain(number: u64, locations: Vec<Location>, requests: Vec<Request>) -> Self {
        Self {
            number,
            listen: Listen::default(),
            server: Vec::new(),
            ours: Vec::new(),
            streams: false,
            spare_descriptors: None,
            probe: None,
            locations,
            requests,
        }
    }

    /// Reads a case from a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        let wrong = |error| Error::other(format!("{}: {error}", path.display()));
        serde_json::from_str(&text).map_err(wrong)
    }

    /// As text, to be read again.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a case is plain data") + "\n"
    }

    /// The path of a location.
    pub fn path(&self, location: usize) -> String {
        format!("/c{}/{location}", self.number)
    }

    /// The locations that a location's response is made of, itself first; some
    /// perhaps more than once.
    pub fn tree(&self, location: usize) -> Vec<usize> {
        let here = &self.locations[location];
        let included = here.includes.iter().map(|include| include.location);
        let parts = included.chain(here.before).chain(here.after);
        let below = parts.flat_map(|part| self.tree(part));
        std::iter::once(location).chain(below).collect()
    }

    /// Whether nothing that the response to `request` is made of breaks.
    pub fn is_sound(&self, request: &Request) -> bool {
        let breaks = |location: usize| self.locations[location].reply.fault.is_some();
        !self.tree(request.location).into_iter().any(breaks)
    }

    /// Whether some peer is on a slow link.
    pub fn is_on_slow_link(&self) -> bool {
        let slow = |location: &Location| location.link.is_some();
        self.listen.link.is_some() || self.locations.iter().any(slow)
    }

    /// Whether no response has an end, and none is kept: then this project's side
    /// must not write any of them to disk.
    pub fn is_live(&self) -> bool {
        let lines = self.server.iter().chain(&self.ours);
        let is_off = |line: &String| {
            ["event_pipe_stream off;", "event_pipe_extensions off;"].contains(&&**line)
        };
        let parts = self.requests.iter().map(|request| request.location);
        let mut parts = parts.flat_map(|location| self.tree(location));
        !lines.clone().any(is_off) && parts.all(|part| self.locations[part].is_live())
    }
}

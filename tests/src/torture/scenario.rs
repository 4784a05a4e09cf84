//! The scenarios: what upstream sends, what the client does, and the way that
//! the response takes through the pipe for that.

use super::fault::Call::{self, *};
use crate::traffic::Buffers;
use crate::upstream::{End, Framing, Point, Protocol, Reply};

/// What the client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// Reads whatever there is, after each step of upstream.
    Fast,
    /// Reads nothing until upstream has sent all, and then so much at a time.
    Slow(usize),
    /// Reads nothing, and is gone after so many steps of upstream.
    Leaves(usize),
}

const SLOW: Client = Client::Slow(3000);

/// One response and its way.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// The kinds of calls that it makes.
    pub calls: Vec<Call>,
    pub(super) protocol: Protocol,
    pub(super) buffers: Buffers,
    /// Directives; `@` stands for the protocol's module.
    pub(super) conf: String,
    pub(super) method: &'static str,
    pub(super) reply: Reply,
    /// How much upstream sends in one step.
    pub(super) step: usize,
    pub(super) client: Client,
}

impl Scenario {
    /// A response by HTTP in one step through small buffers to a fast client.
    fn new(name: &str, reply: Reply, calls: &[Call]) -> Self {
        Self {
            name: name.to_owned(),
            calls: [&[Receive, Send, Register, Allocate], calls].concat(),
            protocol: Protocol::Http,
            buffers: Buffers::SMALL,
            conf: String::new(),
            method: "GET",
            reply,
            step: 100_000,
            client: Client::Fast,
        }
    }

    /// Adds directives.
    fn conf(mut self, directives: &str) -> Self {
        self.conf += directives;
        self
    }

    /// Changes the rest.
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Has it use these buffers.
    fn buffers(self, buffers: Buffers) -> Self {
        self.with(|scenario| scenario.buffers = buffers)
    }

    fn framing(self, framing: Framing) -> Self {
        self.with(|scenario| scenario.reply.framing = framing)
    }

    fn fastcgi(self) -> Self {
        self.with(|scenario| {
            scenario.protocol = Protocol::FastCgi;
            scenario.reply.framing = Framing::Close;
            scenario.reply.records.size = 700;
            scenario.reply.records.padding = 5;
        })
    }

    fn steps(self, step: usize) -> Self {
        self.with(|scenario| scenario.step = step)
    }

    fn client(self, client: Client) -> Self {
        self.with(|scenario| scenario.client = client)
    }

    fn cached(self) -> Self {
        self.conf("@_cache @; @_cache_key $uri; @_cache_valid 200 1h;")
    }

    fn reset(self) -> Self {
        self.with(|scenario| scenario.reply.end = End::Reset)
    }

    /// Whether the client gets all, unless a call fails.
    pub(super) fn is_whole(&self) -> bool {
        self.reply.stop.is_none() && !self.client_leaves()
    }

    pub(super) fn client_leaves(&self) -> bool {
        matches!(self.client, Client::Leaves(_))
    }

    /// With everybody doing what they should.
    pub(super) fn in_health(&self) -> Self {
        self.clone().with(|scenario| {
            scenario.method = "GET";
            scenario.client = Client::Fast;
            scenario.reply.stop = None;
            scenario.reply.end = End::Fin;
        })
    }
}

/// What it takes to write a file and to keep it, or to send it, too.
const WRITE: [Call; 3] = [WriteFile, Open, Manage];
const WRITE_AND_READ: [Call; 4] = [WriteFile, Open, Manage, ReadFile];

const THREADS: &str = "aio threads; aio_write on;";

/// Of the size of some buffers.
fn some() -> Reply {
    Reply::random(61, 6000)
}

/// Of the size of many.
fn many() -> Reply {
    Reply::random(62, 20_000)
}

/// All scenarios.
pub fn scenarios() -> Vec<Scenario> {
    [direct(), spilled(), kept(), left(), broken()].concat()
}

/// From buffer to client.
fn direct() -> Vec<Scenario> {
    vec![
        Scenario::new("small", Reply::random(60, 300), &[]),
        Scenario::new("large", some(), &[]),
        Scenario::new("large-in-steps", some(), &[]).steps(700),
        Scenario::new("until-close", some(), &[])
            .framing(Framing::Close)
            .steps(1500),
        Scenario::new("chunked", some(), &[])
            .framing(Framing::chunks(400))
            .steps(1500),
        Scenario::new("fastcgi", some(), &[]).fastcgi().steps(1500),
        Scenario::new("memory", many(), &[])
            .buffers(Buffers::SMALL.file(0))
            .client(SLOW),
    ]
}

/// Through the temporary file to a slow client.
fn spilled() -> Vec<Scenario> {
    let spill = |name: &str| Scenario::new(name, many(), &WRITE_AND_READ).client(SLOW);
    let sendfile = |name: &str| {
        Scenario::new(name, many(), &WRITE)
            .client(SLOW)
            .conf("sendfile on;")
    };
    vec![
        spill("spill"),
        spill("spill-bounded").buffers(Buffers::SMALL.file(5000)),
        spill("spill-chunked").framing(Framing::chunks(400)),
        spill("spill-fastcgi").fastcgi(),
        spill("spill-threads").conf(THREADS),
        sendfile("spill-sendfile"),
        sendfile("spill-sendfile-threads").conf(THREADS),
    ]
}

/// Into a cache or a store.
fn kept() -> Vec<Scenario> {
    let cached =
        |name: &str, calls: &[Call]| Scenario::new(name, some(), calls).cached().steps(1500);
    vec![
        cached("cache", &WRITE_AND_READ),
        cached("cache-slow", &WRITE_AND_READ).client(SLOW),
        cached("cache-chunked", &WRITE_AND_READ).framing(Framing::chunks(400)),
        cached("cache-fastcgi", &WRITE_AND_READ).fastcgi(),
        cached("cache-threads", &WRITE_AND_READ).conf(THREADS),
        cached("cache-sendfile", &WRITE).conf("sendfile on;"),
        cached("cache-head", &WRITE).with(|scenario| scenario.method = "HEAD"),
        Scenario::new("store", some(), &WRITE_AND_READ)
            .conf("root PREFIX/store; @_store on;")
            .steps(1500),
    ]
}

/// The client goes away.
fn left() -> Vec<Scenario> {
    vec![
        Scenario::new("left", some(), &[])
            .conf("@_ignore_client_abort on;")
            .steps(700)
            .client(Client::Leaves(4)),
        Scenario::new("cache-left", some(), &WRITE_AND_READ)
            .cached()
            .steps(1500)
            .client(Client::Leaves(2)),
    ]
}

/// Upstream breaks off.
fn broken() -> Vec<Scenario> {
    let short = |name: &str, calls: &[Call]| {
        Scenario::new(name, some(), calls)
            .steps(1500)
            .with(|scenario| scenario.reply.stop = Some(Point::End(2500)))
    };
    vec![
        short("short", &[]),
        short("reset", &[]).reset(),
        short("cache-reset", &WRITE_AND_READ).cached().reset(),
        Scenario::new("fastcgi-reset", some(), &[])
            .fastcgi()
            .steps(1500)
            .reset(),
    ]
}

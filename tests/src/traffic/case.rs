//! What one case is: a location of nginx, what its upstream answers, what the
//! client does, and what must come of it.

use std::ops::Range;
use std::time::Duration;

use crate::client::{Manner, Request};
use crate::upstream::{Body, NEEDLE, Protocol, Reply};

/// What [`NEEDLE`] becomes where nginx is told to substitute it.
pub const SUBSTITUTE: &str = "<pin>";

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name, unique in its world.
    pub name: String,
    /// How the upstream speaks.
    pub protocol: Protocol,
    /// Directives for its location; `@` stands for the protocol's module.
    pub conf: String,
    /// How many connections its upstream keeps, none for the default.
    pub keepalive: Option<usize>,
    /// What is answered, by the last part of the path.
    pub scripts: Vec<(&'static str, Vec<Reply>)>,
    /// What the client does.
    pub exchanges: Vec<Exchange>,
    /// Whether a temporary file is used.
    pub spill: Spill,
    /// Which lines of the error log are compared.
    pub log: Log,
    /// What the error log must say.
    pub says: Option<&'static str>,
    /// Lines of the error log that come or not depending on timing.
    pub unsure: Vec<&'static str>,
    /// How many requests must reach the upstream.
    pub requests: Option<usize>,
    /// How many connections the upstream must see.
    pub connections: Option<usize>,
    /// What `@_store` must have made of it.
    pub store: Option<Stored>,
    /// A defect of nginx's own pipe that makes stock fail here.
    pub defect: Option<&'static str>,
}

impl Case {
    /// A request for `main`, answered by `reply`, of which all must come.
    pub fn new(name: impl Into<String>, protocol: Protocol, reply: Reply) -> Self {
        let expect = Expect::all(Content::Whole(reply.body.clone()));
        Self {
            name: name.into(),
            protocol,
            conf: String::new(),
            keepalive: None,
            scripts: vec![("main", vec![reply])],
            exchanges: vec![Exchange::new(expect)],
            spill: Spill::May,
            log: Log::All,
            says: None,
            unsure: Vec::new(),
            requests: None,
            connections: None,
            store: None,
            defect: None,
        }
    }

    /// Adds directives to the location.
    pub fn conf(mut self, directives: &str) -> Self {
        self.conf += directives;
        self.conf.push('\n');
        self
    }

    /// The client behaves like this, each time.
    pub fn manner(mut self, manner: Manner) -> Self {
        for exchange in &mut self.exchanges {
            exchange.manner = manner;
        }
        self
    }

    /// This much is expected, each time.
    pub fn amount(mut self, amount: Amount) -> Self {
        for exchange in &mut self.exchanges {
            exchange.expect.amount = amount;
        }
        self
    }

    /// Changes the last exchange.
    pub fn exchange(mut self, change: impl FnOnce(&mut Exchange)) -> Self {
        change(self.exchanges.last_mut().expect("a case has an exchange"));
        self
    }

    /// One more exchange, like the last one but for `change`.
    pub fn then(mut self, change: impl FnOnce(&mut Exchange)) -> Self {
        let last = self.exchanges.last().expect("a case has an exchange");
        self.exchanges.push(last.clone());
        self.exchange(change)
    }

    /// Changes the rest.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The request; its URI is relative to the location.
    pub request: Request,
    /// How the client behaves.
    pub manner: Manner,
    /// What must come.
    pub expect: Expect,
    /// How long to wait before, for something to expire.
    pub pause: Duration,
}

impl Exchange {
    /// A GET of `main` by a fast client.
    pub fn new(expect: Expect) -> Self {
        Self {
            request: Request::get("main"),
            manner: Manner::FAST,
            expect,
            pause: Duration::ZERO,
        }
    }
}

/// What must come of an exchange, whatever stock does.
#[derive(Clone, Debug)]
pub struct Expect {
    /// The status code; none where it depends on timing whether there is one.
    pub status: Option<u16>,
    /// Headers that must be there.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The body.
    pub content: Content,
    /// How much of it.
    pub amount: Amount,
}

impl Expect {
    /// All of `content`.
    pub fn all(content: Content) -> Self {
        Self {
            status: Some(200),
            headers: Vec::new(),
            content,
            amount: Amount::All,
        }
    }

    /// One of nginx's own error pages.
    pub fn error(status: u16) -> Self {
        Self {
            status: Some(status),
            headers: Vec::new(),
            content: Content::Own,
            amount: Amount::All,
        }
    }
}

/// What the client gets if all goes well.
#[derive(Clone, Debug)]
pub enum Content {
    /// What the upstream sends.
    Whole(Body),
    /// A part of that.
    Part(Body, Range<usize>),
    /// That with the needle substituted.
    Substituted(Body),
    /// That, compressed.
    Gzip(Body),
    /// Several bodies that a page includes.
    Joined(Vec<Body>),
    /// Nothing.
    Empty,
    /// A page of nginx's own, which is only compared.
    Own,
}

impl Content {
    /// The bytes, before any compression; none for nginx's own pages.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        Some(match self {
            Self::Whole(body) | Self::Gzip(body) => body.bytes(),
            Self::Part(body, range) => body.bytes()[range.clone()].to_vec(),
            Self::Substituted(body) => {
                let text = String::from_utf8(body.bytes()).expect("a text is substituted");
                text.replace(NEEDLE, SUBSTITUTE).into_bytes()
            }
            Self::Joined(bodies) => bodies.iter().flat_map(Body::bytes).collect(),
            Self::Empty => Vec::new(),
            Self::Own => return None,
        })
    }
}

/// How much of the content comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// All of it, and the client can tell.
    All,
    /// All of it, and only the end of the connection tells.
    UntilClose,
    /// It breaks off after exactly so many bytes.
    Only(usize),
    /// It breaks off somewhere, on both sides at the same place.
    Same,
    /// It breaks off after all of the so many bytes that nginx has received, but
    /// under stock perhaps before.
    Received(usize),
    /// It breaks off somewhere; where, depends on timing.
    Some,
}

/// Whether a temporary file is used (and nginx warns of it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spill {
    Must,
    Never,
    /// It depends on timing.
    May,
}

/// Which lines of the error log are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// All that concern the request.
    All,
    /// Those from level `warn` on: what is said about a client that leaves
    /// depends on where nginx learns of it.
    Severe,
}

/// What `@_store` must have made of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// A file with all of it.
    All,
    /// None.
    Nothing,
}

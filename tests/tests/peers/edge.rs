//! The nginx under test: what clients talk to.

use std::cell::RefCell;
use std::fs;
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::path::Path;

use pipe_tests::build::Pipe;
use pipe_tests::peers::curl::{Curl, Response};
use pipe_tests::peers::h2load::{H2load, Report};
use pipe_tests::peers::openssl::s_client;
use pipe_tests::server::{Nginx, wait};

use super::scenarios::Scenario;
use super::stage::Stage;
use super::upstream::Upstream;

/// How nginx tells that a client was slower than the upstream.
const SPILLED: &str = "an upstream response is buffered to a temporary file";

/// What makes a line of the error log one that must not be there.
const PROBLEMS: [&str; 5] = ["[warn]", "[error]", "[crit]", "[alert]", "[emerg]"];

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    Http11,
    Http2PriorKnowledge,
    Tls12,
    Tls13,
    Http2,
}

impl Speech {
    pub(crate) const ALL: [Self; 5] = [
        Self::Http11,
        Self::Http2PriorKnowledge,
        Self::Tls12,
        Self::Tls13,
        Self::Http2,
    ];

    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Self::Http2PriorKnowledge | Self::Http2)
    }

    fn is_tls(self) -> bool {
        matches!(self, Self::Tls12 | Self::Tls13 | Self::Http2)
    }
}

/// A running nginx under test, and what clients have got from it.
#[derive(Debug)]
pub(crate) struct Edge<'s> {
    stage: pipe_tests::Stage<&'s Stage>,
    idle_descriptors: usize,
    transcript: RefCell<Vec<String>>,
}

impl<'s> Edge<'s> {
    pub(crate) fn start(
        stage: &'s Stage,
        pipe: Pipe,
        upstream: Upstream,
        scenario: &Scenario,
    ) -> Result<Self> {
        let program = stage.program(pipe);
        let (parameter, directive) = program.http2();
        let module = |text: &str| text.replace('@', upstream.module());
        let stage = pipe_tests::Stage::before(stage, &program.path, |conf, stage| {
            conf.http = upstream.servers(stage);
            if scenario.caches() {
                conf.http += &module("@_cache_path cache keys_zone=peers:1m;");
            }
            // Little in the socket, so that a slow client is seen to be slow.
            conf.listen("sndbuf=64k");
            conf.listen(&format!("sndbuf=64k {parameter}"));
            conf.listen(&format!("sndbuf=64k ssl {parameter}"));
            conf.server += directive;
            if matches!(pipe, Pipe::Rust) {
                conf.server += scenario.own;
            }
            conf.server += &stage.certificate().directives();
            // The default has TLSv1.3 only since nginx 1.23.4.
            conf.server += "ssl_protocols TLSv1.2 TLSv1.3;\n";
            conf.server += "location = /ready { return 204; }\nroot store;\n";
            conf.server += &format!(
                "location / {{\n{}\n{}\n}}\n",
                upstream.pass(stage),
                module(scenario.location),
            );
        })?;
        await_processes(&stage.nginx, scenario.caches())?;
        // Once the worker has answered and closed the connection, it has handled
        // whatever had come before.
        stage.await_worker()?;
        Ok(Self {
            idle_descriptors: stage.nginx.descriptors().len(),
            stage,
            transcript: RefCell::default(),
        })
    }

    fn address(&self, speech: Speech) -> SocketAddr {
        let index = match speech {
            Speech::Http11 => 0,
            Speech::Http2PriorKnowledge => 1,
            Speech::Tls12 | Speech::Tls13 | Speech::Http2 => 2,
        };
        self.stage.nginx.addresses()[index]
    }

    fn authority(&self) -> &Path {
        &self.stage.upstream.certificate().certificate
    }

    /// The folder of nginx's files.
    pub(crate) fn prefix(&self) -> &Path {
        self.stage.nginx.prefix()
    }

    /// What the upstreams have under that name.
    pub(crate) fn upstream_body(&self, name: &str) -> Result<Vec<u8>> {
        self.stage.upstream.bodies().read(name)
    }

    /// A request by curl, not sent yet.
    pub(crate) fn curl(&self, speech: Speech, path: &str) -> Curl {
        let address = self.address(speech);
        let port = address.port();
        let scheme = if speech.is_tls() { "https" } else { "http" };
        let options: &[&str] = match speech {
            Speech::Http11 => &["--http1.1"],
            Speech::Http2PriorKnowledge => &["--http2-prior-knowledge"],
            Speech::Tls12 => &["--http1.1", "--tlsv1.2", "--tls-max", "1.2"],
            Speech::Tls13 => &["--http1.1", "--tlsv1.3"],
            Speech::Http2 => &["--http2"],
        };
        Curl::new(format!("{scheme}://localhost:{port}{path}"))
            .args(&["--resolve", &format!("localhost:{port}:{}", address.ip())])
            .args(options)
            .trust(self.authority())
    }

    /// Has curl fetch `path` with more of its options; what comes must have
    /// that status and be exactly that body.
    pub(crate) fn expect(
        &self,
        speech: Speech,
        path: &str,
        options: &[&str],
        status: u16,
        body: &[u8],
    ) -> Result<Response> {
        let response = self.curl(speech, path).args(options).fetch()?;
        let request = format!("{speech:?} {path} {options:?}");
        if response.status != status {
            let found = response.status;
            return Err(Error::other(format!(
                "{request}: {found} instead of {status}"
            )));
        }
        compare(&request, &response.body, body)?;
        self.note(format!("{request}: {}", head(&response)));
        Ok(response)
    }

    /// Has h2load send `requests` requests for `path`, whose body must come as
    /// many times.
    pub(crate) fn expect_many(
        &self,
        speech: Speech,
        path: &str,
        options: &[&str],
        requests: u64,
        body: &[u8],
    ) -> Result<()> {
        let count = format!("--requests={requests}");
        let report = self
            .h2load(speech, path)
            .args(options)
            .args(&[&count])
            .run()?;
        let wanted = Report {
            succeeded: requests,
            failed: 0,
            data: requests * body.len() as u64,
        };
        if report != wanted {
            return Err(Error::other(format!(
                "h2load {path} {options:?}: {report:?} instead of {wanted:?}"
            )));
        }
        self.note(format!("h2load {path} {options:?}: {report:?}"));
        Ok(())
    }

    /// Requests by h2load, not sent yet.
    pub(crate) fn h2load(&self, speech: Speech, path: &str) -> H2load {
        let address = self.address(speech);
        let scheme = if speech.is_tls() { "https" } else { "http" };
        H2load::new(format!("{scheme}://{address}{path}"))
    }

    /// Has openssl fetch `path`, which must be exactly `body`.
    pub(crate) fn expect_s_client(&self, path: &str, body: &[u8]) -> Result<()> {
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let response = s_client(self.address(Speech::Tls13), self.authority(), &request)?;
        let end = response.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.ok_or_else(|| Error::other(format!("s_client {path}: no response")))?;
        compare(&format!("s_client {path}"), &response[end + 4..], body)
    }

    /// Something that must be the same on stock nginx and on ours.
    fn note(&self, line: String) {
        self.transcript.borrow_mut().push(line);
    }

    /// That a response was too much for a client must be in the error log.
    pub(crate) fn expect_spilled(&self) -> Result<()> {
        match self.stage.nginx.error_log().contains(SPILLED) {
            true => Ok(()),
            false => Err(Error::other("no response went to a temporary file")),
        }
    }

    /// Once all clients are gone: nothing of what they had asked for may be
    /// left. Returns what was noted.
    pub(crate) fn finish(self) -> Result<Vec<String>> {
        // Fewer once the cache loader has ended.
        eventually("nginx closes all that it has opened", || {
            Ok(self.stage.nginx.descriptors().len() <= self.idle_descriptors)
        })?;
        let log = self.stage.nginx.error_log();
        let problems: Vec<_> = log.lines().filter(|line| is_problem(line)).collect();
        if !problems.is_empty() {
            return Err(Error::other(format!("error log: {problems:#?}")));
        }
        self.stage.stop()?;
        Ok(self.transcript.into_inner())
    }
}

fn is_problem(line: &str) -> bool {
    PROBLEMS.iter().any(|level| line.contains(level)) && !line.contains(SPILLED)
}

/// Waits until `done`; `what` is what an error says would never happen.
pub(crate) fn eventually(what: &str, done: impl Fn() -> Result<bool>) -> Result<()> {
    let mut outcome = Ok(false);
    wait(|| {
        outcome = done();
        !matches!(outcome, Ok(false))
    });
    match outcome? {
        true => Ok(()),
        false => Err(Error::other(format!("it does not happen that {what}"))),
    }
}

/// Waits until nginx has all of its processes.
fn await_processes(nginx: &Nginx, caches: bool) -> Result<()> {
    // With a cache there are two processes more, and the worker has a socket
    // to each, which it gets from the master before the master sleeps.
    let processes = if caches { 3 } else { 1 };
    let master = format!("/proc/{}", nginx.master());
    eventually("nginx starts all of its processes", || {
        let children = fs::read_to_string(format!("{master}/task/{}/children", nginx.master()))?;
        let state = fs::read_to_string(format!("{master}/stat"))?;
        Ok(children.split_whitespace().count() == processes && state.contains(") S "))
    })
}

/// An error that says where `found` begins to differ, if it does.
fn compare(request: &str, found: &[u8], wanted: &[u8]) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    let equal = found.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    let (found, wanted) = (found.len(), wanted.len());
    Err(Error::other(format!(
        "{request}: {found} bytes instead of {wanted}, the first {equal} of them right"
    )))
}

/// All of a response's head that does not tell the time.
fn head(response: &Response) -> String {
    let headers = response.headers.iter().filter(|(name, _)| name != "date");
    let headers: Vec<_> = headers
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    format!("HTTP/{} {} {headers:?}", response.version, response.status)
}

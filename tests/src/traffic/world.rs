//! A world: one nginx with stock's pipe and one with ours, of the same
//! configuration, each with upstreams of its own.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Error, Result};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::case::{Case, Spill};
use super::cases::UNWRITABLE;
use super::journal::{Journal, kind};
use super::outcome::{Outcome, check, compare};
use crate::client::{Answer, Connection, Ending, Leave};
use crate::server::{Conf, Nginx, wait};
use crate::upstream::{Progress, Script, Seen, Upstreams};
use crate::{Binaries, Stage};

/// Where everything is logged.
const DEBUG_LOG: &str = "debug.log";

/// What all cases of a world have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flavour {
    /// Its name.
    pub name: &'static str,
    /// The event method.
    pub method: &'static str,
    /// Whether temporary files are written by threads.
    pub threads: bool,
    /// Whether files are sent by sendfile().
    pub sendfile: bool,
    /// Whether everything is logged.
    pub debug: bool,
}

impl Flavour {
    /// nginx's defaults on Linux.
    pub const EPOLL: Self = Self {
        name: "epoll",
        method: "epoll",
        threads: false,
        sendfile: false,
        debug: false,
    };
}

/// Both nginx's with their upstreams.
#[derive(Debug)]
pub struct World {
    flavour: Flavour,
    stock: Side,
    ours: Side,
}

impl World {
    /// Starts everything that `cases` need; each is later named by its place
    /// among them.
    pub fn start(flavour: Flavour, cases: &[Case], binaries: &Binaries) -> Result<Self> {
        Ok(Self {
            flavour,
            stock: Side::start(flavour, cases, &binaries.stock, |_| "")?,
            ours: Side::start(flavour, cases, &binaries.ours, own_directives)?,
        })
    }

    /// Runs the `nth` case on both sides, checks each and compares them.
    pub fn run(&self, nth: usize, case: &Case) -> Result<()> {
        let (stock, ours) = self.outcomes(nth, case)?;
        check(case, &ours).map_err(of("ours"))?;
        match (case.defect, check(case, &stock)) {
            (None, checked) => {
                checked.map_err(of("stock"))?;
                compare(case, &stock, &ours)
            }
            (Some(_), Err(_)) => Ok(()),
            (Some(defect), Ok(())) => Err(Error::other(format!("stock has no defect {defect}"))),
        }
    }

    /// What comes of the `nth` case on stock and on ours.
    pub fn outcomes(&self, nth: usize, case: &Case) -> Result<(Outcome, Outcome)> {
        let stock = self.stock.run(nth, case).map_err(of("stock"))?;
        let ours = self.ours.run(nth, case).map_err(of("ours"))?;
        Ok((stock, ours))
    }

    /// Stops everything and checks what remained.
    pub fn stop(self) -> Result<()> {
        if self.flavour.debug {
            same_debug_lines(&self.stock.stage.nginx, &self.ours.stage.nginx)?;
        }
        self.stock.stop().map_err(of("stock"))?;
        self.ours.stop().map_err(of("ours"))
    }
}

/// Names the side that an error is of.
fn of(side: &str) -> impl Fn(Error) -> Error {
    move |error| Error::other(format!("{side}: {error}"))
}

/// One nginx with its upstreams.
#[derive(Debug)]
struct Side {
    stage: Stage,
    errors: Journal,
    access: Journal,
    /// How many descriptors the idle worker has.
    descriptors: usize,
}

impl Side {
    /// `own` gives what this side alone is told in the location of a case.
    fn start(
        flavour: Flavour,
        cases: &[Case],
        binary: &Path,
        own: fn(&Case) -> &'static str,
    ) -> Result<Self> {
        let stage = Stage::before(Upstreams::start()?, binary, |conf, upstreams| {
            configure(conf, flavour);
            for (nth, case) in cases.iter().enumerate() {
                add_location(conf, nth, case, own(case), upstreams);
            }
        })?;
        let nginx = &stage.nginx;
        if nginx.prefix().join(UNWRITABLE).is_dir() {
            nginx.obstruct(UNWRITABLE)?;
        }
        stage.await_worker()?;
        Ok(Self {
            errors: Journal::new(nginx.error_log_path()),
            access: Journal::new(nginx.prefix().join("access.log")),
            descriptors: nginx.descriptors().len(),
            stage,
        })
    }

    fn run(&self, nth: usize, case: &Case) -> Result<Outcome> {
        let id = id(nth);
        let progress = Arc::new(Progress::default());
        let mut scripts = Vec::new();
        for (name, replies) in &case.scripts {
            let script = Arc::new(Script::new(replies.clone(), Arc::clone(&progress)));
            scripts.push(Arc::clone(&script));
            self.stage.upstream.play(&format!("/{id}/{name}"), script);
        }

        let answers = self.converse(&id, case, &progress).map_err(|error| {
            let log = self.errors.lines(&id).unwrap_or_default();
            Error::other(format!("{error}; error log: {log:#?}; {case:#?}"))
        })?;

        let seen: Vec<Seen> = scripts.iter().flat_map(|script| script.seen()).collect();
        let connections: BTreeSet<usize> = seen.iter().map(|seen| seen.connection).collect();
        let prefix = self.stage.nginx.prefix();
        let lines = self.errors.lines(&id)?;
        let mut log: Vec<String> = lines.iter().map(|line| kind(line, prefix)).collect();
        log.sort_unstable();
        Ok(Outcome {
            answers,
            requests: seen.iter().map(Seen::to_string).collect(),
            connections: connections.len(),
            log,
            access: self.access.lines(&id)?,
            stored: fs::read(prefix.join("store").join(&id).join(case.scripts[0].0)).ok(),
        })
    }

    /// Does what the client does; after each request, nginx must be done with
    /// it, too: then it has logged all, and a cached response is in its place.
    fn converse(&self, id: &str, case: &Case, progress: &Progress) -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        let mut kept = None;
        for exchange in &case.exchanges {
            thread::sleep(exchange.pause);
            progress.begin();
            let slow = exchange.manner.is_slow();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => Connection::open(self.address(slow), slow)?,
            };
            let mut request = exchange.request.clone();
            request.uri = format!("/{id}/{}", request.uri);
            // It hears nothing, but stays until nginx gives up.
            let mut deaf = None;
            let answer = connection.ask(&request, exchange.manner, progress)?;
            match answer.ending {
                Ending::Kept => kept = Some(connection),
                Ending::Left if exchange.manner.leave == Some(Leave::Deaf) => {
                    deaf = Some(connection)
                }
                Ending::Left => connection.reset()?,
                Ending::Closed | Ending::Reset => drop(connection),
            }
            progress.client_gone();
            answers.push(answer);

            let logged = || {
                self.access
                    .lines(id)
                    .is_ok_and(|lines| lines.len() >= answers.len())
            };
            if !wait(logged) {
                return Err(Error::other("nginx does not end the request"));
            }
            drop(deaf);
        }
        Ok(answers)
    }

    fn address(&self, slow: bool) -> SocketAddr {
        self.stage.nginx.addresses()[usize::from(slow)]
    }

    fn stop(self) -> Result<()> {
        self.stage.upstream.hang_up();
        let open = || self.stage.nginx.descriptors();
        if !wait(|| open().len() <= self.descriptors) {
            let (before, now) = (self.descriptors, open());
            return Err(Error::other(format!(
                "descriptors open: {now:#?}, {before} before"
            )));
        }
        self.stage.stop()
    }
}

/// The first part of the path of a case.
fn id(nth: usize) -> String {
    format!("c{nth}")
}

/// What is to be spilled, or to meet a disk that fails, does not stay in the worker's
/// memory instead.
fn own_directives(case: &Case) -> &'static str {
    let meets_failure = case.says.is_some_and(|says| says.starts_with("[crit]"));
    match case.spill {
        Spill::Must => "event_pipe_memory 0;\n",
        Spill::May if meets_failure => "event_pipe_memory 1m;\n",
        Spill::Never | Spill::May => "",
    }
}

fn configure(conf: &mut Conf, flavour: Flavour) {
    conf.listen("");
    // For slow clients: what nginx has sent must not be hidden in its socket.
    conf.listen("sndbuf=4k");
    conf.server += "location = /ready { return 204; }\n";
    conf.events = format!("use {};\nworker_connections 1000;\n", flavour.method);
    if flavour.debug {
        let _ = writeln!(conf.main, "error_log {DEBUG_LOG} debug;");
    }

    conf.access_log = "access.log pipe";
    let http = &mut conf.http;
    *http += "log_format pipe '$status $upstream_status $upstream_cache_status request: \
              \"$request\"';\n";
    *http += "server_tokens off;\nlarge_client_header_buffers 4 8k;\nkeepalive_timeout 60s;\n\
              proxy_http_version 1.1;\nproxy_set_header Connection \"\";\n\
              proxy_next_upstream off;\nfastcgi_next_upstream off;\n\
              scgi_next_upstream off;\nuwsgi_next_upstream off;\n";
    if flavour.threads {
        *http += "aio threads;\naio_write on;\n";
    }
    if flavour.sendfile {
        *http += "sendfile on;\nsendfile_max_chunk 16k;\n";
    }
    conf.tell_requests();
    conf.add_caches();
}

fn add_location(conf: &mut Conf, nth: usize, case: &Case, own: &str, upstreams: &Upstreams) {
    let id = id(nth);
    let server = upstreams.address(case.protocol);
    let keepalive = case.keepalive.map(|count| format!("keepalive {count};"));
    let _ = writeln!(
        conf.http,
        "upstream {id} {{ server {server} max_fails=0; {} }}",
        keepalive.unwrap_or_default()
    );
    let directives = format!("{own}{}", case.conf);
    conf.pass(&format!("/{id}/"), case.protocol, &id, &directives);
}

/// How lines about the pipe begin.
const PIPE_LINES: [&str; 2] = ["[debug] pipe ", "[debug] input buf #"];

/// Lines that take an event while a thread works or has just finished: whether
/// one falls in between is chance, on either side. (The differential harness,
/// where a schedule says when a thread finishes, compares them as well.)
const BY_CHANCE: [&str; 2] = [
    "[debug] pipe read upstream: aio",
    "[debug] pipe read upstream: writing",
];

/// Under debugging, both write the same kinds of lines about the pipe.
fn same_debug_lines(stock: &Nginx, ours: &Nginx) -> Result<()> {
    let (stock, ours) = (debug_lines(stock)?, debug_lines(ours)?);
    if stock == ours && !stock.is_empty() {
        return Ok(());
    }
    let only = |a: &BTreeSet<String>, b| -> Vec<String> { a.difference(b).cloned().collect() };
    Err(Error::other(format!(
        "kinds of debug lines only stock has: {:#?}, only ours: {:#?}",
        only(&stock, &ours),
        only(&ours, &stock),
    )))
}

fn debug_lines(nginx: &Nginx) -> Result<BTreeSet<String>> {
    let log = BufReader::new(File::open(nginx.prefix().join(DEBUG_LOG))?);
    let mut kinds = BTreeSet::new();
    for line in log.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if !line.contains("pipe ") && !line.contains("input buf") {
            continue;
        }
        let kind = kind(&line, nginx.prefix());
        if PIPE_LINES.iter().any(|start| kind.starts_with(start))
            && !BY_CHANCE.iter().any(|start| kind.starts_with(start))
        {
            kinds.insert(without_pointers(&kind));
        }
    }
    Ok(kinds)
}

/// Pointers are hexadecimal, or one zero for null.
fn without_pointers(kind: &str) -> String {
    let words = kind.split_inclusive([' ', ',', ':', '#']);
    words
        .map(|word| {
            let digits = word.trim_end_matches([' ', ',', ':', '#']);
            let is_number = digits.contains('N')
                && digits
                    .trim_start_matches('-')
                    .chars()
                    .all(|char| char == 'N' || char.is_ascii_hexdigit());
            match is_number {
                true => word.replace(digits, "N"),
                false => word.to_owned(),
            }
        })
        .collect()
}

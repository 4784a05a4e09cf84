//! One nginx with its upstreams, under some cases one after the other.

use std::fs;
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::case::{Case, Fault, Framing, Location};
use super::conf::{self, Peers, Which};
use super::model;
use super::outcome::{Finding, Outcome};
use super::probe::Probe;
use super::reader;
use super::tunnel::Tunnel;
use crate::Stage;
use crate::peers::openssl::Certificate;
use crate::process;
use crate::server::{free_address, wait};
use crate::tail::Tail;
use crate::traffic::kind;
use crate::upstream::{
    Body, Cuts, End, Framing as UpstreamFraming, Hold, Point, Progress, Protocol, Records, Reply,
    Script, Upstreams,
};

/// How long upstream waits for a client to get what nginx must not hold back.
const HELD: Duration = Duration::from_secs(4);

/// How often a running worker is looked at.
const LOOK: Duration = Duration::from_millis(3);

/// What nginx may need to close what it has open when all clients are gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// The levels of the error log that count.
const LEVELS: [&str; 4] = ["[error] ", "[crit] ", "[alert] ", "[emerg] "];

/// What nginx needs besides sockets and files of cases; one more for whatever it
/// opens and closes at once.
const SLACK: usize = 1;

/// Upstreams of every kind.
#[derive(Debug)]
struct Far {
    upstreams: Upstreams,
    tunnels: Vec<Tunnel>,
}

impl Far {
    fn start(cases: &[Case], certificate: &Certificate) -> Result<Self> {
        let upstreams = Upstreams::start()?;
        let peer = upstreams.address(Protocol::Http);
        let locations = cases.iter().flat_map(|case| &case.locations);
        let mut tunnels: Vec<Tunnel> = Vec::new();
        for location in locations {
            if let Some(record) = location
                .tls
                .filter(|_| !tunnels.iter().any(is_of(location)))
            {
                tunnels.push(Tunnel::start(certificate, record, location.link, peer)?);
            }
        }
        Ok(Self { upstreams, tunnels })
    }
}

/// Whether a tunnel is that of the location.
fn is_of(location: &Location) -> impl Fn(&Tunnel) -> bool {
    let (record, link) = (location.tls, location.link);
    move |tunnel| Some(tunnel.record) == record && tunnel.link == link
}

impl Peers for Far {
    fn address(&self, location: &Location) -> SocketAddr {
        let tunnel = location.tls.filter(|_| location.protocol == Protocol::Http);
        match tunnel.and_then(|_| self.tunnels.iter().find(|tunnel| is_of(location)(tunnel))) {
            Some(tunnel) => tunnel.address,
            None => self.upstreams.address(location.protocol),
        }
    }
}

/// One nginx with its upstreams.
#[derive(Debug)]
pub struct Side {
    which: Which,
    stage: Stage<Far>,
    addresses: Vec<SocketAddr>,
    worker: u32,
    /// How many descriptors the idle worker has.
    idle: usize,
    /// And how many without those to other processes of nginx.
    own: usize,
    log: Tail,
}

/// What a worker has open.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    all: usize,
    temp_files: usize,
    temp_bytes: u64,
}

impl Side {
    /// Starts what `cases` need; each is later named by its place among them.
    pub fn start(
        which: Which,
        binary: &Path,
        cases: &[Case],
        certificate: &Certificate,
    ) -> Result<Self> {
        let far = Far::start(cases, certificate)?;
        let addresses: Vec<SocketAddr> = cases
            .iter()
            .map(|_| free_address())
            .collect::<Result<_>>()?;
        let stage = Stage::before(far, binary, |conf, far| {
            conf.events = "worker_connections 512;".to_owned();
            conf.tell_requests();
            conf.http += &conf::common(cases, &certificate.directives());
            conf.listen("");
            conf.server += "return 204;";
            for (case, address) in cases.iter().zip(&addresses) {
                let text = conf::server(case, which, *address, conf.prefix(), far);
                conf.http += &text;
            }
        })?;
        stage.await_worker()?;
        let workers = stage.nginx.workers();
        let worker = workers.first().copied();
        let mut side = Self {
            which,
            worker: worker.ok_or_else(|| Error::other("nginx has no worker"))?,
            log: Tail::of(stage.nginx.error_log_path()),
            stage,
            addresses,
            idle: 0,
            own: 0,
        };
        wait(|| {
            let now = side.open().all;
            let settled = now == side.idle;
            side.idle = now;
            settled
        });
        side.own = side.stage.nginx.descriptors().len();
        Ok(side)
    }

    /// Runs the `nth` case.
    pub fn run(&mut self, nth: usize, case: &Case) -> Result<Outcome> {
        let progress = Arc::new(Progress::default());
        let gate = Arc::new(Progress::default());
        for (location, here) in case.locations.iter().enumerate() {
            let reply = reply(case, location, here, self.which);
            let waits_for = if here.reply.stands { &gate } else { &progress };
            let script = Arc::new(Script::new(vec![reply], Arc::clone(waits_for)));
            self.stage
                .upstream
                .upstreams
                .play(&case.path(location), script);
        }
        if let Some(spare) = case.spare_descriptors {
            self.limit_descriptors(self.open().all + needs(case) + SLACK + spare)?;
        }
        let mut outcome = Outcome::default();
        let address = self.addresses[nth];
        let probe = Probe::new(case, self.worker, address)?;
        let done = AtomicBool::new(false);
        let all = thread::scope(|scope| {
            let clients = scope.spawn(|| {
                let all = reader::fetch_all(case, address, &|size| progress.received(size));
                done.store(true, Ordering::Release);
                all
            });
            let probed = probe.map_or(Ok(()), |probe| {
                progress.wait_for_receipt(probe.due, HELD);
                if let Some(more) = probe.costs_more()? {
                    outcome.findings.insert(Finding::Hoarded);
                    outcome.details.push(more);
                }
                Ok(())
            });
            gate.client_gone();
            while !done.load(Ordering::Acquire) {
                let open = self.open();
                outcome.temp_files = outcome.temp_files.max(open.temp_files);
                outcome.temp_bytes = outcome.temp_bytes.max(open.temp_bytes);
                thread::sleep(LOOK);
            }
            let all = clients
                .join()
                .unwrap_or_else(|_| Err(Error::other("a client panicked")));
            probed.and(all)
        });
        progress.client_gone();
        if !self.rests() {
            let find = match Path::new(&format!("/proc/{}/fd", self.worker)).exists() {
                true => Finding::LeftOpen,
                false => Finding::Died,
            };
            outcome.findings.insert(find);
            let open = self.stage.nginx.descriptors();
            outcome
                .details
                .push(format!("open: {open:?}, {} before", self.idle));
        }
        if case.spare_descriptors.is_some() {
            self.limit_descriptors(1024)?;
        }
        if !progress.missed().is_empty() {
            outcome.findings.insert(Finding::Held);
            outcome
                .details
                .push(format!("not received: {:?}", progress.missed()));
        }
        let log = self.log()?;
        let all = match all {
            Ok(all) => all,
            Err(error) => return Err(Error::other(format!("{error}; error log: {log:#?}"))),
        };
        for (nth, got) in all.iter().enumerate() {
            outcome.judge(case, nth, got);
        }
        outcome.findings.extend(log.into_iter().map(Finding::Log));
        if self.which == Which::Ours {
            outcome.hold_to_promises(case);
        }
        for location in 0..case.locations.len() {
            let stored = self
                .stage
                .nginx
                .prefix()
                .join(format!("store{}", case.path(location)));
            if fs::read(stored)
                .is_ok_and(|stored| stored != model::raw(case, location).into_bytes())
            {
                outcome.findings.insert(Finding::Stored(location));
            }
        }
        Ok(outcome)
    }

    /// Stops all, and checks what remained. A temporary file that stock forgets is not
    /// an error here.
    pub fn stop(self) -> Result<()> {
        let mut left = self.stage.end()?;
        // What is in its log has been compared.
        left.complaints.clear();
        if self.which == Which::Stock {
            left.temp_files.clear();
        }
        left.check()
    }

    fn open(&self) -> Open {
        let mut open = Open::default();
        for file in process::open(self.worker).unwrap_or_default() {
            open.all += 1;
            if file.is_temp_file() {
                open.temp_files += 1;
                open.temp_bytes += fs::metadata(&file.link).map_or(0, |file| file.len());
            }
        }
        open
    }

    /// Waits until the worker has nothing open but what it always has. Sockets to
    /// other processes of nginx come and go meanwhile.
    fn rests(&mut self) -> bool {
        let start = Instant::now();
        let mut pause = Duration::from_micros(500);
        loop {
            let now = self.open().all;
            if (1..=self.idle).contains(&now) || start.elapsed() > PATIENCE / 50 && self.has_own() {
                self.idle = now;
                return true;
            }
            if start.elapsed() > PATIENCE {
                return false;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Whether what is open, but for such sockets, is what the worker always has.
    fn has_own(&self) -> bool {
        (1..=self.own).contains(&self.stage.nginx.descriptors().len())
    }

    fn limit_descriptors(&self, most: usize) -> Result<()> {
        let limit = libc::rlimit {
            rlim_cur: most as libc::rlim_t,
            rlim_max: 4096,
        };
        // SAFETY: `limit` is a structure that is read; nothing is written.
        let result = unsafe {
            libc::prlimit(
                self.worker as libc::pid_t,
                libc::RLIMIT_NOFILE,
                &limit,
                std::ptr::null_mut(),
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(Error::last_os_error()),
        }
    }

    /// The kinds of lines that have come to the error log.
    fn log(&mut self) -> Result<Vec<String>> {
        let text = self.log.read_text()?;
        let prefix = self.stage.nginx.prefix();
        let kinds = text.lines().map(|line| kind(line, prefix));
        Ok(kinds
            .filter(|kind| LEVELS.iter().any(|level| kind.starts_with(level)))
            .collect())
    }
}

/// How many descriptors a case takes at most under nginx's own pipe.
fn needs(case: &Case) -> usize {
    let sockets = match case.listen.http2 {
        Some(_) => 1,
        None => case.requests.len(),
    };
    let responses: usize = case
        .requests
        .iter()
        .map(|request| case.tree(request.location).len())
        .sum();
    sockets + 2 * responses
}

/// What a scripted peer answers for a location.
fn reply(case: &Case, nth: usize, here: &Location, which: Which) -> Reply {
    let script = &here.reply;
    let mut reply = Reply::new(Body::Text(model::raw(case, nth).into()));
    reply.headers = script.headers.clone();
    reply.extra = script.extra;
    reply.ranges = true;
    reply.framing = match script.framing {
        Framing::Length => UpstreamFraming::Length,
        Framing::Chunks(size) if here.protocol == Protocol::Http => UpstreamFraming::chunks(size),
        Framing::Chunks(size) => {
            reply.records = Records {
                size: size.clamp(1, 0xffff),
                ..Records::default()
            };
            UpstreamFraming::Close
        }
        Framing::Close => UpstreamFraming::Close,
    };
    match script.fault {
        None => {}
        Some(Fault::Close(at)) => reply.stop = Some(Point::Body(at)),
        Some(Fault::Reset(at)) => {
            reply.stop = Some(Point::Body(at));
            reply.end = End::Reset;
        }
        Some(Fault::Breach(at)) => reply.breach_after = Some(at),
    }
    if let Some((size, pause)) = script.pauses {
        let pause = Hold::Pause(Duration::from_micros(pause));
        reply.cuts = match script.burst {
            0 => Cuts::Every(size, pause),
            burst => {
                let places = (burst..script.size).step_by(size);
                Cuts::At(places.map(|at| (Point::Body(at), pause)).collect())
            }
        };
    }
    if !script.holds.is_empty() {
        reply.cuts = Cuts::At(holds(case, nth));
    }
    if here.link.is_some() {
        // The header has a record of its own.
        reply.cuts = Cuts::At(vec![(Point::Body(0), Hold::Drained)]);
    }
    if script.stands {
        reply.cuts = Cuts::At(vec![(Point::Body(0), Hold::ClientGone)]);
    }
    if script.stays && which == Which::Ours {
        reply.end = end(case, nth);
    }
    reply.records.bare_end = script.bare_end;
    reply
}

/// Upstream closes the connection when the first client has all.
fn end(case: &Case, nth: usize) -> End {
    let pieces = model::pieces(case, &case.requests[0]);
    let due = model::reached(&pieces, nth, model::raw(case, nth).len());
    due.map_or(End::Fin, |due| End::Received(due, HELD))
}

/// Upstream waits for the first client.
fn holds(case: &Case, nth: usize) -> Vec<(Point, Hold)> {
    let pieces = model::pieces(case, &case.requests[0]);
    let hold = |raw: &usize| {
        let due = model::reached(&pieces, nth, *raw)?;
        Some((Point::Body(*raw), Hold::Received(due, HELD)))
    };
    case.locations[nth]
        .reply
        .holds
        .iter()
        .filter_map(hold)
        .collect()
}

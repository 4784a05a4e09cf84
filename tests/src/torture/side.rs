//! One nginx, the peers that it talks to, and their turns.

use std::collections::HashSet;
use std::fs;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::control::{Control, LOST, SOURCE, VARIABLE};
use super::fault::{Armed, Call};
use super::outcome::Outcome;
use super::reader::{Reader, is_hung_up};
use super::scenario::{Client, Scenario};
use crate::build::shared_library;
use crate::client::{Answer, Request};
use crate::process;
use crate::server::{Conf, Nginx, files_below};
use crate::tail::Tail;
use crate::traffic::kind;
use crate::upstream::End;

/// Everything is done by Unix sockets: what one end does, the other end finds
/// at once.
const UPSTREAM: &str = "upstream.sock";
const FAST: &str = "fast.sock";
const SLOW: &str = "slow.sock";
const TORTURE: &str = "torture.sock";

/// One nginx, in hand. It is no [`Stage`](crate::Stage): its peers listen in its own
/// folder, and what has it in hand ends between the signal to end and nginx's end.
#[derive(Debug)]
pub(super) struct Side {
    nginx: Nginx,
    control: Control,
    upstream: UnixListener,
    errors: Tail,
    access: Tail,
    runs: usize,
}

impl Side {
    /// Call for call as nginx is this pipe only without what it does beyond.
    pub(super) fn ours(binary: &Path, scenario: &Scenario) -> Result<Self> {
        Self::start(binary, scenario, "event_pipe_extensions off;\n")
    }

    /// As it is by default, and with what it does only where it is told to.
    pub(super) fn extended(binary: &Path, scenario: &Scenario) -> Result<Self> {
        Self::start(binary, scenario, "event_pipe_stream on;\n")
    }

    pub(super) fn stock(binary: &Path, scenario: &Scenario) -> Result<Self> {
        Self::start(binary, scenario, "")
    }

    fn start(binary: &Path, scenario: &Scenario, directives: &str) -> Result<Self> {
        let mut listeners: Vec<UnixListener> = Vec::new();
        let library = shared_library(SOURCE)?;
        let nginx = Nginx::start(binary, |conf| {
            let socket = conf.prefix().join(TORTURE);
            for path in [&conf.prefix().join(UPSTREAM), &socket] {
                listeners.push(UnixListener::bind(path).expect("a new folder takes a socket"));
            }
            conf.env.push(("LD_PRELOAD", library.into()));
            conf.env.push((VARIABLE, socket.into()));
            // Memory that was given back must not look as before.
            conf.env.push(("MALLOC_PERTURB_", "165".into()));
            configure(conf, scenario);
            conf.http += directives;
        })?;
        let [upstream, torture] = listeners.try_into().expect("two were bound");
        upstream.set_nonblocking(true)?;
        Ok(Self {
            control: Control::take(&torture, nginx.master())?,
            errors: Tail::of(nginx.error_log_path()),
            access: Tail::of(nginx.prefix().join("access.log")),
            nginx,
            upstream,
            runs: 0,
        })
    }

    /// Runs the scenario with this fault, and then once more with none.
    pub(super) fn run(&mut self, scenario: &Scenario, fault: Option<Armed>) -> Result<Outcome> {
        self.try_run(scenario, fault)
            .map_err(|error| match error.kind() {
                LOST => self.nginx.ended(),
                _ => error,
            })
    }

    fn try_run(&mut self, scenario: &Scenario, fault: Option<Armed>) -> Result<Outcome> {
        self.runs += 1;
        let uri = format!("/{}", self.runs);
        let open = self.open()?;
        let temp_files = self.temp_files()?;
        self.errors.read_on()?;
        self.access.read_on()?;

        let answer = self.talk(scenario, &uri, fault)?;
        let is_late = !self.leaked(&open)?.is_empty();
        if is_late {
            self.control.pass_time()?;
        }
        let report = self.control.settle()?;
        self.control.arm(None)?;
        let again = self.talk(&scenario.in_health(), &uri, None)?;

        let prefix = self.nginx.prefix();
        let log = self.errors.read_text()?;
        Ok(Outcome {
            answer,
            is_late,
            again,
            log: log.lines().map(|line| kind(line, prefix)).collect(),
            access: self.access.read_text()?,
            stored: fs::read(prefix.join("store").join(&uri[1..])).ok(),
            temp_files: self.temp_files()? - temp_files,
            leaked: self.leaked(&open)?,
            fired: report.fired,
            seen: report.seen,
        })
    }

    /// Ends nginx.
    pub(super) fn stop(self) -> Result<()> {
        // The signal may come just before nginx waits for an order; then it is the
        // end of the orders that lets nginx look.
        self.nginx.quit();
        drop(self.control);
        let exit = self.nginx.stop()?.exit;
        match exit.success() {
            true => Ok(()),
            false => Err(Error::other(format!("nginx ended: {exit}"))),
        }
    }

    fn temp_files(&self) -> Result<usize> {
        Ok(files_below(&self.nginx.prefix().join("temp"))?.len())
    }

    /// What nginx has open.
    fn open(&self) -> Result<HashSet<PathBuf>> {
        let open = process::open(self.nginx.master())?;
        Ok(open.into_iter().map(|open| open.target).collect())
    }

    /// What nginx has open but had not `before`.
    fn leaked(&self, before: &HashSet<PathBuf>) -> Result<Vec<PathBuf>> {
        Ok(self.open()?.difference(before).cloned().collect())
    }

    /// One request and its answer. The fault is one of those calls that nginx
    /// makes from the first byte of upstream's answer on.
    fn talk(&mut self, scenario: &Scenario, uri: &str, fault: Option<Armed>) -> Result<Answer> {
        let request = Request {
            method: scenario.method,
            ..Request::get(uri)
        };
        let socket = self.nginx.prefix().join(match scenario.client {
            Client::Fast => FAST,
            Client::Slow(_) | Client::Leaves(_) => SLOW,
        });
        // Nothing is registered any more once the response comes.
        let early = fault.is_some_and(|(fault, _)| fault.call == Call::Register);
        if early {
            self.control.arm(fault)?;
        }
        let mut client = Reader::connect(&socket, &request, scenario.client)?;
        self.control.settle()?;
        if !early {
            self.control.arm(fault)?;
        }

        match self.upstream.accept() {
            Ok((stream, _)) => self.send(stream, scenario, uri, &mut client)?,
            // It comes from the cache.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        self.send_on(&mut client)?;
        if !client.has_ended() {
            self.control.pass_time()?;
            self.send_on(&mut client)?;
        }
        let answer = client.finish();
        self.control.settle()?;
        Ok(answer)
    }

    /// Upstream's part, and what the client does meanwhile.
    fn send(
        &mut self,
        mut upstream: UnixStream,
        scenario: &Scenario,
        uri: &str,
        client: &mut Reader,
    ) -> Result<()> {
        let wire = scenario.protocol.wire(&scenario.reply, uri);
        for (nth, part) in wire.chunks(scenario.step).enumerate() {
            match upstream.write_all(part) {
                Err(error) if is_hung_up(&error) => break,
                written => written?,
            }
            self.control.settle()?;
            match client.manner {
                Client::Fast => self.send_on(client)?,
                Client::Leaves(after) if after == nth + 1 => client.leave()?,
                Client::Slow(_) | Client::Leaves(_) => {}
            }
        }
        if scenario.reply.end != End::Reset {
            // A Unix socket that is closed with something unread is reset.
            upstream.set_nonblocking(true)?;
            while matches!(upstream.read(&mut [0; 4096]), Ok(size) if size > 0) {}
        }
        drop(upstream);
        self.control.settle()?;
        Ok(())
    }

    /// Has the client read, and nginx send on, until there is no more to read.
    fn send_on(&mut self, client: &mut Reader) -> Result<()> {
        while client.read()? {
            self.control.settle()?;
        }
        Ok(())
    }
}

fn configure(conf: &mut Conf, scenario: &Scenario) {
    let prefix = conf.prefix().to_string_lossy().into_owned();
    let module = scenario.protocol.module();
    // One process and one thread beside it: nothing happens but what the test
    // does.
    conf.main += "master_process off;\nthread_pool default threads=1;\n";
    conf.access_log = "access.log torture";
    conf.http += &format!(
        "log_format torture '$status $body_bytes_sent $upstream_status \
         $upstream_cache_status $upstream_bytes_received';\n\
         {module}_next_upstream off;\n\
         proxy_http_version 1.1;\n"
    );
    conf.tell_requests();
    conf.add_caches();
    // For slow clients: what nginx has sent must not be hidden in its socket.
    conf.server +=
        &format!("listen unix:{prefix}/{FAST};\nlisten unix:{prefix}/{SLOW} sndbuf=2k;\n");
    let upstream = format!("unix:{prefix}/{UPSTREAM}");
    let directives = format!("{} {}", scenario.buffers, scenario.conf);
    conf.pass("/", scenario.protocol, upstream, &directives);
}

//! A program that is measured, set up for one kind of traffic.

use std::fs::{self, File};
use std::io::{Error, Result};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use pipe_tests::cycles::Cycles;
use pipe_tests::peers::program::{Process, command, start};
use pipe_tests::server::{Conf, Nginx, files_below, free_address, wait};

use super::busy;
use super::family::{Family, Side, Speech, Way};
use super::machine::pin;
use super::stage::Stage;
use super::worker::Worker;

/// The name of the cache's folder.
const CACHE: &str = "cache";

/// The most clients of HAProxy, unless a family has more.
const CONNECTIONS: u64 = 1000;

/// All clients connect at once: fewer may wait for that, by nginx's own choice.
pub(crate) const BACKLOG: &str = "backlog=4096";

/// The small body.
pub(crate) const SMALL_BODY: &str = "1k";

/// What a program is set up for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) family: &'a Family,
    pub(crate) upstream: SocketAddr,
    /// The upstream of small bodies, if that is another one.
    pub(crate) small: Option<SocketAddr>,
    /// Takes the time of the cycles of nginx's worker, if that is wanted.
    pub(crate) cycles: Option<&'a Cycles>,
}

/// The program, its worker bound to a core; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) worker: Worker,
    cache: Option<PathBuf>,
    _program: Program,
}

/// Held for its end.
#[derive(Debug)]
enum Program {
    Nginx { _nginx: Nginx },
    Haproxy { _haproxy: Process },
}

impl Front {
    pub(crate) fn start(side: Side, stage: &Stage, setup: Setup<'_>) -> Result<Self> {
        let front = match side.is_nginx() {
            true => Self::nginx(side, stage, setup)?,
            false => Self::haproxy(side, stage, setup)?,
        };
        pin(front.worker.0, &stage.cores.worker)?;
        Ok(front)
    }

    /// Removes what a round has stored, which would fill the disk.
    pub(crate) fn empty_cache(&self) -> Result<()> {
        match &self.cache {
            Some(cache) => files_below(cache)?.iter().try_for_each(fs::remove_file),
            None => Ok(()),
        }
    }

    fn nginx(side: Side, stage: &Stage, setup: Setup<'_>) -> Result<Self> {
        let nginx = Nginx::start(stage.nginx(side), |conf| {
            configure_nginx(conf, stage, setup);
            conf.http += own_directives(side);
            count(side, conf);
            conf.env = setup.cycles.map(Cycles::env).unwrap_or_default();
        })?;
        wait(|| !nginx.workers().is_empty());
        let workers = nginx.workers();
        let &worker = workers.first().ok_or_else(|| Error::other("no worker"))?;
        let caches = setup.family.way == Way::Cache;
        Ok(Self {
            address: nginx.address(),
            worker: Worker(worker),
            cache: caches.then(|| nginx.prefix().join(CACHE)),
            _program: Program::Nginx { _nginx: nginx },
        })
    }

    fn haproxy(side: Side, stage: &Stage, setup: Setup<'_>) -> Result<Self> {
        let address = free_address()?;
        let dir = stage.dir();
        let file = dir.join("haproxy.conf");
        fs::write(&file, haproxy_conf(side, address, stage, setup)?)?;
        let said = dir.join("haproxy.log");
        let log = File::create(&said)?;

        let mut command = command("haproxy");
        command.args(["-db", "-f"]).arg(&file);
        command.stdout(log.try_clone()?).stderr(log);
        let child = start(&mut command, Command::spawn)?;
        let worker = Worker(child.id());
        let mut process = Process::new(child);
        let listens = || TcpStream::connect(address).is_ok();
        if !wait(|| process.has_ended() || listens()) || process.has_ended() {
            let said = fs::read_to_string(said)?;
            return Err(Error::other(format!("HAProxy does not start: {said}")));
        }
        Ok(Self {
            address,
            worker,
            cache: None,
            _program: Program::Haproxy { _haproxy: process },
        })
    }
}

fn upstream(name: &str, address: SocketAddr) -> String {
    format!(
        "
        upstream {name} {{
            server {address};
            keepalive 32;
            keepalive_requests 100000000;
            keepalive_timeout 1h;
        }}
        "
    )
}

/// What this project's pipe is told on this side.
fn own_directives(side: Side) -> &'static str {
    match side {
        Side::Unlent => "event_pipe_memory 0;\n",
        Side::Unbounded => "event_pipe_max_chunk 0;\n",
        _ => "",
    }
}

/// Has this side count, if it is one that does; each request is in one of 64 zones.
fn count(side: Side, conf: &mut Conf) {
    if matches!(side, Side::Counted | Side::Zoned) {
        conf.server += "location = /event-pipe-status { event_pipe_status; }\n";
    }
    if side == Side::Zoned {
        let parts: String = (1..64).map(|zone| format!("1.56% z{zone};\n")).collect();
        conf.http +=
            &format!("split_clients $msec$connection_requests $zone {{ {parts} * z0; }}\n");
        conf.http += "event_pipe_zone $zone;\n";
    }
}

fn configure_nginx(conf: &mut Conf, stage: &Stage, setup: Setup<'_>) {
    let family = setup.family;
    // A response that goes to a temporary file is worth a warning to nginx; the
    // log tells which process is the worker, though.
    conf.log_level = "notice";
    // Two for each client; never fewer than nginx's own choice.
    let connections = (4 * family.clients).max(512);
    conf.events = format!("worker_connections {connections};");
    conf.http = "error_log error.log error;\nkeepalive_requests 100000000;\n".to_owned();
    conf.http += &upstream("origin", setup.upstream);
    if family.way == Way::Cache {
        conf.http += &format!("proxy_cache_path {CACHE} keys_zone=bench:64m use_temp_path=off;");
    }
    let mut parameters = match family.speech {
        Speech::Http1 => BACKLOG.to_owned(),
        Speech::Http1Tls => format!("{BACKLOG} ssl"),
        Speech::Http2 => format!("{BACKLOG} http2"),
        Speech::Http2Tls => format!("{BACKLOG} ssl http2"),
    };
    if family.pace.is_some() {
        parameters += &format!(" sndbuf={}", family.sndbuf);
    }
    conf.listen(&parameters);
    if family.speech.is_tls() {
        conf.server += &stage.certificate.directives();
    }
    conf.server += &format!(
        "location / {{\n{}\n{}\n}}\n",
        pass(family.way, "origin"),
        buffers(family) + &noted(family)
    );
    if let Some(small) = setup.small {
        pass_small(conf, small);
    }
}

fn pass_small(conf: &mut Conf, address: SocketAddr) {
    conf.http += &upstream("small", address);
    let pass = pass(Way::Proxy, "small");
    conf.server += &format!("location = /{SMALL_BODY} {{\n{pass}\n}}\n");
}

fn pass(way: Way, upstream: &str) -> String {
    let proxy = format!(
        "proxy_pass http://{upstream};
         proxy_http_version 1.1;
         proxy_set_header Connection '';"
    );
    match way {
        Way::Proxy => proxy,
        // No two requests have the same id, so that each is a miss.
        Way::Cache => {
            proxy
                + "proxy_cache bench;
                   proxy_cache_key $request_id;
                   proxy_cache_valid 200 1h;"
        }
        Way::FastCgi => format!(
            "fastcgi_pass {upstream};
             fastcgi_keep_conn on;
             fastcgi_param REQUEST_METHOD $request_method;
             fastcgi_param REQUEST_URI $request_uri;"
        ),
    }
}

fn buffers(family: &Family) -> String {
    let module = match family.way {
        Way::Proxy | Way::Cache => "proxy",
        Way::FastCgi => "fastcgi",
    };
    let buffers = family.buffers;
    let mut text = format!("{module}_buffers {} {};\n", buffers.number, buffers.size);
    if let Some(busy) = buffers.busy {
        text += &format!("{module}_busy_buffers_size {busy};\n");
    }
    if !family.spills {
        text += &format!("{module}_max_temp_file_size 0;\n");
    }
    text
}

/// Of slow clients, upstream notes how long it is busy.
fn noted(family: &Family) -> String {
    match family.pace {
        Some(_) => format!("proxy_set_header {} 1;", busy::HEADER),
        None => String::new(),
    }
}

fn haproxy_conf(
    side: Side,
    address: SocketAddr,
    stage: &Stage,
    setup: Setup<'_>,
) -> Result<String> {
    let family = setup.family;
    let tune = match family.pace {
        Some(_) => format!("tune.sndbuf.client {}", family.sndbuf),
        None => String::new(),
    };
    let splice = match side {
        Side::Splicing => "option splice-response",
        _ => "",
    };
    let note = match family.pace {
        Some(_) => format!("http-request set-header {} 1", busy::HEADER),
        None => String::new(),
    };
    let certificate = match family.speech.is_tls() {
        true => format!("ssl crt {}", certificate(stage)?.display()),
        false => String::new(),
    };
    let protocol = match (family.speech.is_http2(), family.speech.is_tls()) {
        (false, _) => "",
        (true, false) => "proto h2",
        (true, true) => "alpn h2",
    };
    let small = match setup.small {
        Some(address) => format!("backend small\n    server small {address}\n"),
        None => String::new(),
    };
    let choose = match setup.small {
        Some(_) => format!("use_backend small if {{ path /{SMALL_BODY} }}"),
        None => String::new(),
    };
    Ok(format!(
        "global
    nbthread 1
    maxconn {}
    {tune}
defaults
    mode http
    timeout connect 1m
    timeout client 1m
    timeout server 1m
    http-reuse always
    {splice}
frontend front
    bind {address} {certificate} {protocol}
    {note}
    {choose}
    default_backend back
backend back
    server origin {}
{small}",
        CONNECTIONS.max(family.clients + 1),
        setup.upstream
    ))
}

/// HAProxy wants the certificate and its key in one file.
fn certificate(stage: &Stage) -> Result<PathBuf> {
    let file = stage.dir().join("localhost.pem");
    let certificate = fs::read(&stage.certificate.certificate)?;
    let key = fs::read(&stage.certificate.key)?;
    fs::write(&file, [certificate, key].concat())?;
    Ok(file)
}

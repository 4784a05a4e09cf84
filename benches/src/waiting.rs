//! What clients cost that wait: memory of the worker, and what it has in temporary
//! files, which is memory of the kernel's page cache first and then disk.

use std::fs;
use std::io::{Error, Result};
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use pipe_tests::server::{Nginx, wait};
use socket2::{Domain, Socket, Type};

use super::family::{Cell, K, PLAIN, Side};
use super::front::BACKLOG;
use super::stage::Stage;
use super::worker::Worker;

/// What the rows are called together.
pub(crate) const NAME: &str = "waiting";
pub(crate) const TITLE: &str = "memory and temporary files while clients wait";

/// How many clients wait, at the most.
const MOST: u64 = 10_000;

/// The body that each of them gets, of which its socket holds little.
pub(crate) const BODY: Cell = Cell {
    family: &PLAIN,
    size: 500 * K,
};

/// The size of a socket's buffer, on either side.
const BUFFER: usize = 16 << 10;

/// Descriptors that a worker needs, beside a socket and a file of each client: those of
/// upstreams that are not done.
const OTHER_FILES: u64 = 4000;

/// The connections of a worker, with its clients and with upstream.
pub(crate) const CONNECTIONS: u64 = 2 * MOST + OTHER_FILES;

const SIDES: [Side; 2] = [Side::Stock, Side::Ours];

/// What one side has while all clients wait, in bytes.
#[derive(Clone, Copy, Debug)]
struct Held {
    worker: u64,
    files: u64,
}

/// Measures and prints all rows.
pub(crate) fn measure(stage: &Stage) -> Result<()> {
    println!(
        "
== {NAME}: {TITLE}

Each client asks for {} bytes and reads nothing until upstream is done with all
of them; then it reads, and its body must be whole. Resident memory of the one
worker (VmRSS), what is in temporary files, and both together, in MiB:
",
        BODY.size
    );
    let mut head = format!("{:>8}", "clients");
    for side in SIDES {
        head += &format!("  {:>8} worker    files      all", side.to_string());
    }
    println!("{head}");
    let files = file_limit()?;
    let most = MOST.min(files.saturating_sub(OTHER_FILES) / 2);
    for clients in [0, 1000, most] {
        let mut row = format!("{clients:>8}");
        for side in SIDES {
            let held = held(side, stage, clients)?;
            let [worker, files, all] = [held.worker, held.files, held.worker + held.files].map(mib);
            row += &format!("  {worker:>15.1} {files:>8.1} {all:>8.1}");
        }
        println!("{row}");
    }
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The descriptors that a process may have. Has this process, and the programs that it
/// starts, use as many as the system grants.
fn file_limit() -> Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a local structure.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: a local structure.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
        0 => Ok(limit.rlim_cur),
        _ => Err(Error::last_os_error()),
    }
}

fn held(side: Side, stage: &Stage, clients: u64) -> Result<Held> {
    let upstream = stage.upstream(BODY)?.address();
    let front = Nginx::start(stage.nginx(side), |conf| {
        conf.log_level = "error";
        conf.events = format!("worker_connections {CONNECTIONS};");
        conf.http = "send_timeout 1h;\n".to_owned();
        conf.server = format!("location / {{ proxy_pass http://{upstream}; }}\n");
        conf.listen(&format!("{BACKLOG} sndbuf={BUFFER}"));
    })?;
    wait(|| !front.workers().is_empty());
    let worker = Worker(front.workers()[0]);
    let sockets: Result<Vec<Socket>> = (0..clients).map(|_| ask(&front)).collect();
    let sockets = sockets?;
    settle(worker)?;
    let held = Held {
        worker: worker.resident()?,
        files: temporary(worker)?,
    };
    sockets.into_iter().try_for_each(read_all)?;
    Ok(held)
}

/// Asks for the body.
fn ask(front: &Nginx) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.connect(&front.address().into())?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    let request = format!(
        "GET /{} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n",
        BODY.body()
    );
    match socket.send(request.as_bytes())? {
        sent if sent == request.len() => Ok(socket),
        _ => Err(Error::other("a request is not sent at once")),
    }
}

/// Waits until the worker has had nothing to do for a while.
fn settle(worker: Worker) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(300);
    let mut last = worker.cpu()?;
    while Instant::now() < end {
        thread::sleep(Duration::from_secs(2));
        let now = worker.cpu()?;
        // A worker that has nothing to do but to look at timers.
        if now.saturating_sub(last) < Duration::from_millis(200) {
            return Ok(());
        }
        last = now;
    }
    Err(Error::other("the worker does not come to rest"))
}

/// The bytes on disk of the files without a name that the worker has open.
fn temporary(worker: Worker) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(format!("/proc/{}/fd", worker.0))? {
        let path = entry?.path();
        let name = fs::read_link(&path).unwrap_or_default();
        if name.to_string_lossy().ends_with("(deleted)") {
            bytes += fs::metadata(&path).map_or(0, |file| file.blocks() * 512);
        }
    }
    Ok(bytes)
}

/// Takes the whole response.
fn read_all(socket: Socket) -> Result<()> {
    let mut waste = vec![std::mem::MaybeUninit::uninit(); 1 << 16];
    let mut received = 0;
    loop {
        match socket.recv_with_flags(&mut waste, libc::MSG_TRUNC)? {
            0 => break,
            got => received += got as u64,
        }
    }
    // The header is of some hundred bytes.
    match (BODY.size + 1..BODY.size + K).contains(&received) {
        true => Ok(()),
        false => Err(Error::other(format!("{received} bytes of a response"))),
    }
}

//! Fair turns, `event_pipe_max_chunk`: many downloads of one worker, each of which could
//! go on for ever.

use std::io::{Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use pipe_tests::client::{Leave, Manner};
use pipe_tests::cycles::Cycles;
use pipe_tests::server::wait;
use pipe_tests::upstream::{Protocol, Reply};
use pipe_tests::{Binaries, Stage, binaries};

/// `event_pipe_max_chunk`.
const CHUNK: usize = 64 << 10;

/// What one read brings at the most: what is lent.
const LOAN: usize = 256 << 10;

const DOWNLOADS: usize = 6;
const SIZE: usize = 6 << 20;

/// More than all sockets hold.
const LONG: usize = 24 << 20;

/// After so much of a body, no download is at its first bytes any more.
const FIRST: usize = 1 << 20;

fn path(nth: usize) -> String {
    format!("/{nth}")
}

fn body(nth: usize, size: usize) -> Reply {
    Reply::random(nth as u64 + 1, size)
}

/// Has a worker send all downloads at once, each of which `client` takes.
fn with_downloads(
    stage: &Stage,
    downloads: usize,
    size: usize,
    client: impl Fn(usize) -> Result<()> + Sync,
) -> Result<()> {
    for nth in 0..downloads {
        stage.play(&path(nth), body(nth, size));
    }
    thread::scope(|scope| {
        let client = &client;
        let all: Vec<_> = (0..downloads)
            .map(|nth| scope.spawn(move || client(nth)))
            .collect();
        all.into_iter()
            .try_for_each(|one| one.join().expect("no panic in there"))
    })
}

fn takes_all(stage: &Stage, nth: usize) -> Result<()> {
    let answer = stage.ask(&path(nth), Manner::FAST)?;
    assert!(
        answer.body == body(nth, SIZE).body.bytes(),
        "{nth}: another body"
    );
    Ok(())
}

fn start(binary: &Path, directives: &str) -> Result<Stage> {
    Stage::start(binary, |conf| {
        conf.listen("");
        conf.server += &format!(
            "location / {{ proxy_pass http://peer; {directives} }}
             location /status {{ event_pipe_status prometheus; }}"
        );
    })
}

/// Reads a response; when `FIRST` bytes of it have come, waits for the others.
fn reads(address: SocketAddr, nth: usize, size: usize, meet: &dyn Fn()) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(format!("GET {} HTTP/1.0\r\n\r\n", path(nth)).as_bytes())?;
    let mut all = vec![0; FIRST];
    stream.read_exact(&mut all)?;
    meet();
    stream.read_to_end(&mut all)?;
    let expected = body(nth, size).body.bytes();
    assert!(all.ends_with(&expected), "{nth}: another body");
    Ok(())
}

/// The most bytes that are received in a cycle of events.
fn most_of_a_cycle(binary: &Path, directives: &str) -> Result<u64> {
    let cycles = Cycles::new()?;
    let stage = Stage::start(binary, |conf| {
        conf.listen("");
        conf.env = cycles.env();
        conf.server += &format!(
            "location / {{ proxy_pass http://peer; proxy_max_temp_file_size 0; {directives} }}"
        );
    })?;
    let barrier = Barrier::new(DOWNLOADS);
    let meet = || {
        if barrier.wait().is_leader() {
            let workers = stage.nginx.workers();
            cycles.restart(workers[0]).expect("a file of this test");
        }
        barrier.wait();
    };
    with_downloads(&stage, DOWNLOADS, LONG, |nth| {
        reads(stage.address(), nth, LONG, &meet)
    })?;
    let most = cycles.lengths()?.most;
    stage.stop()?;
    Ok(most)
}

#[test]
fn no_cycle_of_events_moves_more_than_it_may() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    let limit = (CHUNK + LOAN) as u64;
    for other in ["", "proxy_buffers 64 16k;", "event_pipe_memory 0;"] {
        let most = most_of_a_cycle(&ours, &format!("event_pipe_max_chunk {CHUNK}; {other}"))?;
        assert!(
            (1..=limit).contains(&most),
            "{other}: {most} bytes in a cycle"
        );
    }
    Ok(())
}

#[test]
fn all_get_on_and_waits_are_counted() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    for chunk in ["1", "16k", "512k"] {
        let stage = start(&ours, &format!("event_pipe_max_chunk {chunk};"))?;
        with_downloads(&stage, DOWNLOADS, SIZE, |nth| takes_all(&stage, nth))?;
        assert!(stage.total("cut_turns")? > 0, "{chunk}: nobody waits");
        stage.stop()?;
    }
    for off in ["event_pipe_max_chunk 0;", "event_pipe_extensions off;"] {
        let stage = start(&ours, off)?;
        with_downloads(&stage, DOWNLOADS, SIZE, |nth| takes_all(&stage, nth))?;
        assert_eq!(stage.total("cut_turns")?, 0, "{off}");
        stage.stop()?;
    }
    Ok(())
}

/// Of every protocol, with threads, a cache, clients that are slow.
#[test]
fn whatever_carries_them() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    let settings = [
        "",
        "@_max_temp_file_size 0;",
        "aio threads; aio_write on;",
        "@_cache @; @_cache_valid 1m;",
        "@_limit_rate 8m;",
        "limit_rate 8m;",
    ];
    for protocol in Protocol::ALL {
        let module = protocol.module();
        let stage = Stage::start(&ours, |conf| {
            conf.listen("sndbuf=16k");
            conf.add_caches();
            for (nth, settings) in settings.iter().enumerate() {
                conf.server += &format!(
                    "location /{nth} {{ {} event_pipe_max_chunk 16k; {} }}\n",
                    protocol.pass(protocol.peer(), false),
                    settings.replace('@', module)
                );
            }
        })?;
        with_downloads(&stage, DOWNLOADS, SIZE, |nth| takes_all(&stage, nth))?;
        stage.stop()?;
    }
    Ok(())
}

/// Nobody has a timer while all wait for their turn, and a worker that is to exit takes
/// that for the end of its work.
#[test]
fn reload_while_all_wait() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    // The watch over the client would be a timer.
    let directives = "event_pipe_max_chunk 1; proxy_max_temp_file_size 0;
                      event_pipe_separate_timeouts off;";
    for downloads in [1, DOWNLOADS] {
        let stage = start(&ours, directives)?;
        let barrier = Barrier::new(downloads + 1);
        let meet = || {
            barrier.wait();
            barrier.wait();
        };
        thread::scope(|scope| {
            let reloads = scope.spawn(|| {
                barrier.wait();
                let outcome = stage.nginx.begin_reload();
                barrier.wait();
                outcome
            });
            with_downloads(&stage, downloads, LONG, |nth| {
                reads(stage.address(), nth, LONG, &meet)
            })?;
            reloads.join().expect("no panic in there")
        })?;
        stage.stop()?;
    }
    Ok(())
}

/// Clients that leave, and upstreams that do, take nothing from those that stay.
#[test]
fn some_end_while_they_wait() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    let stage = start(&ours, "event_pipe_max_chunk 16k;")?;
    with_downloads(&stage, DOWNLOADS, SIZE, |nth| match nth % 2 {
        0 => takes_all(&stage, nth),
        _ => {
            let leave = Manner::leaving(Leave::After(nth * SIZE / 100));
            stage.ask(&path(nth), leave).map(drop)
        }
    })?;
    // The worker goes on.
    wait(|| {
        stage
            .total("responses")
            .is_ok_and(|responses| responses >= DOWNLOADS as u64)
    });
    takes_all(&stage, 0)?;
    stage.stop()
}

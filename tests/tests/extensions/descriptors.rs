//! Descriptors are scarce: a response has no more of them than it needs.

use std::fs::Metadata;
use std::io::{Read, Result, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use pipe_tests::client::{Connection, Decoder, Ending, Http2, Manner, Request, connect};
use pipe_tests::upstream::{Body, Progress, Reply};
use pipe_tests::{Binaries, Stage, binaries};

use crate::bodies::{expect_same, marked};

/// How many clients there are of either kind.
const SLOW: u8 = 12;
const FAST: u8 = 8;

/// What the body of a slow client has, and what of it may be on disk.
const SIZE: usize = 2 << 20;
const LIMIT: usize = 1 << 20;

/// What a fast client asks for.
const SMALL: usize = 300_000;

/// How long a client waits that is not served.
const PATIENCE: Duration = Duration::from_secs(10);

fn path(id: u8) -> String {
    format!("/{id}")
}

/// Asks for a body; a client that stalls does not read before `gate` opens.
fn ask(stage: &Stage, id: u8, size: usize, manner: Manner, gate: &Progress) -> Result<()> {
    let mut connection = Connection::open(stage.address(), manner.is_slow())?;
    connection.set_patience(PATIENCE)?;
    let answer = connection.ask(&Request::get(path(id)), manner, gate)?;
    expect_same(&answer.body, marked(id, size).as_bytes(), &path(id));
    Ok(())
}

/// With few descriptors, all are served while the slow ones wait.
fn all_are_served(binary: &Path) -> Result<()> {
    let stage = Stage::start(binary, |conf| {
        conf.http += "proxy_http_version 1.1;\n";
        conf.listen("sndbuf=16k");
        conf.main += "worker_rlimit_nofile 100;";
        conf.events += "worker_connections 100;";
        conf.server +=
            &format!("location / {{ proxy_pass http://peer; proxy_max_temp_file_size {LIMIT}; }}");
    })?;
    let size = |id| if id < SLOW { SIZE } else { SMALL };
    let play = |id| {
        stage.play(
            &path(id),
            Reply::new(Body::Text(marked(id, size(id)).into())),
        )
    };
    let upstreams: Vec<_> = (0..SLOW + FAST).map(play).collect();

    let gate = Progress::default();
    thread::scope(|scope| {
        let (stage, gate) = (&stage, &gate);
        let start = |id, manner| scope.spawn(move || ask(stage, id, size(id), manner, gate));
        let slow: Vec<_> = (0..SLOW).map(|id| start(id, Manner::STALLED)).collect();
        for upstream in &upstreams[..usize::from(SLOW)] {
            upstream.wait_for_peer();
        }
        let fast = (SLOW..SLOW + FAST).map(|id| start(id, Manner::FAST));
        let served: Vec<_> = fast
            .collect::<Vec<_>>()
            .into_iter()
            .map(|it| it.join())
            .collect();

        gate.reply_ended();
        let mut all = served
            .into_iter()
            .chain(slow.into_iter().map(|it| it.join()));
        all.try_for_each(|result| result.expect("each has its own"))
    })?;
    stage.stop()
}

#[test]
fn slow_clients_leave_some_for_others() -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    all_are_served(&stock)?;
    all_are_served(&ours)
}

/// The number of temporary files that are open, and bytes in them.
fn disk(stage: &Stage) -> (usize, u64) {
    let files = stage.nginx.temp_files();
    (files.len(), files.iter().map(Metadata::len).sum())
}

/// A client that reads when it is told to.
enum Client {
    Http1(TcpStream, Decoder),
    Http2(Http2, Vec<u8>),
}

/// The number of the one stream of a client that speaks HTTP/2.
const STREAM: u32 = 1;

impl Client {
    fn ask(stage: &Stage, http2: bool) -> Result<Self> {
        if http2 {
            let mut connection = Http2::open(stage.address(), true, 1 << 30)?;
            connection.get(STREAM, "/")?;
            return Ok(Self::Http2(connection, Vec::new()));
        }
        let mut stream = connect(stage.address(), true)?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: pipe\r\nConnection: close\r\n\r\n")?;
        Ok(Self::Http1(stream, Decoder::new("GET")))
    }

    /// Reads some bytes of the response, none at the end.
    fn read(&mut self) -> Result<usize> {
        match self {
            Self::Http1(stream, decoder) => {
                let mut buffer = [0; 4 << 10];
                let size = stream.read(&mut buffer)?;
                decoder.feed(&buffer[..size])?;
                Ok(size)
            }
            Self::Http2(connection, body) => {
                let part = connection.part(STREAM)?;
                let size = part.as_ref().map_or(0, |part| part.len().max(1));
                body.extend(part.unwrap_or_default());
                Ok(size)
            }
        }
    }

    fn body(self) -> Vec<u8> {
        match self {
            Self::Http1(_, decoder) => decoder.finish(Ending::Closed).body,
            Self::Http2(_, body) => body,
        }
    }
}

/// All is on disk, in several files, when the client begins to read.
fn files_are_closed(http2: bool, directives: &str) -> Result<()> {
    const SIZE: usize = 4 << 20;

    let stage = Stage::start(&binaries()?.ours, |conf| {
        conf.http += "proxy_http_version 1.1;\n";
        conf.listen(if http2 {
            "sndbuf=16k http2"
        } else {
            "sndbuf=16k"
        });
        conf.server += &format!(
            "location / {{ proxy_pass http://peer; proxy_max_temp_file_size 8m; event_pipe_memory 0;
             send_timeout 3s; {directives} }}"
        );
    })?;
    let body = marked(0, SIZE);
    let upstream = stage.play("/", Reply::new(Body::Text(body.clone().into())));
    let mut client = Client::ask(&stage, http2)?;
    upstream.wait_for_end();

    let (files, bytes) = disk(&stage);
    assert!(files > 2 && bytes > SIZE as u64 / 2, "{files}, {bytes}");
    let mut taken = 0;
    while taken < SIZE / 4 * 3 {
        taken += client.read()?;
    }
    // Whoever looks after the files has the time to.
    let mut are_closed = false;
    while !are_closed && client.read()? > 0 {
        thread::sleep(Duration::from_millis(20));
        let (now, left) = disk(&stage);
        // With none of them, the response has ended.
        are_closed = (1..=files / 2).contains(&now) && left <= bytes / 2;
    }
    assert!(are_closed, "{files} files are open until the end");

    while client.read()? > 0 {}
    expect_same(&client.body(), body.as_bytes(), "the body");
    stage.stop()
}

/// Upstream has finished, and the client takes what is in one after the other.
#[test]
fn what_the_client_has_is_not_kept() -> Result<()> {
    for directives in [
        "",
        "sendfile on;",
        "aio threads; aio_write on;",
        "sendfile on; aio threads; aio_write on;",
    ] {
        files_are_closed(false, directives)?;
    }
    Ok(())
}

#[test]
fn nor_over_http2() -> Result<()> {
    files_are_closed(true, "")?;
    files_are_closed(true, "sendfile on;")
}

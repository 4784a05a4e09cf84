//! Threads that write and send several files of a response.

use std::io::Result;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pipe_tests::client::Http2;
use pipe_tests::upstream::{Body, Cuts, Hold, Point, Progress, Reply};
use pipe_tests::{Stage, binaries, build};

use crate::bodies::{expect_same, marked};

const CONNECTIONS: u8 = 2;

/// Streams of each connection.
const STREAMS: u8 = 2;

/// Bytes of a body.
const SIZE: usize = 5 << 18;

/// What a response may have on disk, in eight files or so.
const LIMIT: usize = 2 << 20;

/// How much more upstream has sent than the client has: what sockets hold, and
/// two files.
const AHEAD: usize = 3 << 18;

/// What the client reads before it rests and upstream sends as much.
const GULP: usize = 16 << 10;

/// How long it rests: longer than it takes to fill its socket again, and that is
/// what this is for.
const REST: Duration = Duration::from_millis(20);

/// Longer than upstream ever waits for the client.
const PATIENCE: Duration = Duration::from_secs(25);

/// More than comes.
const WINDOW: u32 = 1 << 30;

/// One response of a connection.
struct Stream {
    number: u32,
    id: u8,
    body: Vec<u8>,
    progress: Arc<Progress>,
}

impl Stream {
    /// The one of this number, counted from zero, on a connection likewise.
    fn new(stage: &Stage, connection: u8, nth: u8) -> Self {
        let id = STREAMS * connection + nth;
        Self {
            number: 2 * u32::from(nth) + 1,
            id,
            body: Vec::new(),
            progress: stage.play(&path(id), in_step(id)),
        }
    }
}

fn path(id: u8) -> String {
    format!("/{id}")
}

/// A body whose parts are sent as the client gets on.
fn in_step(id: u8) -> Reply {
    let mut reply = Reply::new(Body::Text(marked(id, SIZE).into()));
    let stop = |size| (Point::Body(size), Hold::Received(size - AHEAD, PATIENCE));
    reply.cuts = Cuts::At((AHEAD..SIZE).step_by(GULP).map(stop).collect());
    reply
}

/// Reads all streams of a connection.
fn read(address: SocketAddr, mut streams: Vec<Stream>) -> Result<()> {
    let mut client = Http2::open(address, true, WINDOW)?;
    for stream in &streams {
        client.get(stream.number, &path(stream.id))?;
    }

    let (mut open, mut taken) = (streams.len(), 0);
    while open > 0 {
        let part = client.any_part()?;
        taken += part.bytes.len();
        open -= usize::from(part.is_last);
        let known = streams.iter_mut().find(|it| it.number == part.stream);
        known.expect("a known stream").body.extend(part.bytes);
        if taken >= GULP {
            taken = 0;
            for Stream { body, progress, .. } in &streams {
                progress.received(body.len());
            }
            thread::sleep(REST);
        }
    }

    for Stream { id, body, .. } in &streams {
        expect_same(body, marked(*id, SIZE).as_bytes(), &path(*id));
    }
    Ok(())
}

/// The main connection's write event starts a thread's sendfile() of a stream,
/// which takes a while; then comes more of that stream from upstream, and has to
/// be written.
fn all_are_whole(binary: &Path) -> Result<()> {
    let library = build::shared_library("tests/extensions/sendfile.c")?;

    let stage = Stage::start(binary, |conf| {
        conf.http += "proxy_http_version 1.1;\n";
        conf.listen("http2 sndbuf=16k");
        conf.env = vec![("LD_PRELOAD", library.into())];
        conf.server += &format!(
            "location / {{ proxy_pass http://peer; proxy_max_temp_file_size {LIMIT};
             sendfile on; aio threads; aio_write on; }}"
        );
    })?;
    let address = stage.address();
    let streams = |connection| {
        let stream = |nth| Stream::new(&stage, connection, nth);
        (0..STREAMS).map(stream).collect()
    };
    let connections: Vec<_> = (0..CONNECTIONS).map(streams).collect();
    thread::scope(|scope| {
        let start = |streams| scope.spawn(move || read(address, streams));
        let clients: Vec<_> = connections.into_iter().map(start).collect();
        let mut results = clients.into_iter().map(|client| client.join());
        results.try_for_each(|result| result.expect("each has its own"))
    })?;
    stage.stop()
}

/// On stock, it is the same file that is written and sent, as a rule with the
/// handler of the writer, which tells the pipe; when it is not, stock cuts as well.
#[test]
fn no_stream_is_cut_whose_files_threads_write_and_send() -> Result<()> {
    all_are_whole(&binaries()?.ours)
}

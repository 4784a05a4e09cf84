//! A download step by step: what the client takes, whether upstream gets on,
//! and what nginx has on disk meanwhile.

use std::fs;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use pipe_tests::Stage;
use pipe_tests::client::{Decoder, Ending, Http2};
use pipe_tests::random::Random;
use pipe_tests::server::{loopback, wait};
use pipe_tests::time::VirtualTime;
use pipe_tests::upstream::{Queues, queues};
use socket2::{Domain, Socket, Type};

/// `proxy_max_temp_file_size`, and the size of the body.
pub const CAP: usize = 4 << 20;
pub const SIZE: usize = 20 << 20;

/// What sockets hold; the less, the sooner each side feels the other.
const SOCKET: usize = 128 << 10;

/// Longer than the kernel itself keeps back what it could send or acknowledge.
const STILL: Duration = Duration::from_millis(300);

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(25);

static BODY: LazyLock<Vec<u8>> = LazyLock::new(|| Random::new(71).bytes(SIZE));

/// The number of the one stream of a client that speaks HTTP/2.
const STREAM: u32 = 1;

/// What a client that asks for a part does not want.
const SKIPPED: usize = 1_000_001;

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    Http1,
    /// It does not want the beginning of the body.
    Http1Range,
    Http2,
}

/// An nginx, and the upstream of its location `/big`, which `/page` includes.
pub struct Side {
    pub time: VirtualTime,
    stage: Stage<Upstream>,
    speech: Speech,
}

impl Side {
    /// With these directives, and the limit.
    pub fn start(binary: &Path, conf: &str) -> Result<Self> {
        Self::for_clients(binary, conf, Speech::Http1)
    }

    /// The same, for clients that speak so.
    pub fn for_clients(binary: &Path, conf: &str, speech: Speech) -> Result<Self> {
        let time = VirtualTime::new()?;
        let stage = Stage::before(Upstream::start()?, binary, |it, upstream| {
            fs::write(it.prefix().join("page"), "<!--#include virtual='/big' -->")
                .expect("the prefix is writable");
            let root = it.prefix().display().to_string();
            it.listen(&match speech {
                Speech::Http1 | Speech::Http1Range => format!("sndbuf={SOCKET}"),
                Speech::Http2 => format!("sndbuf={SOCKET} http2"),
            });
            it.env = time.env();
            it.http += &format!("proxy_max_temp_file_size {CAP};\n");
            it.server += &format!(
                "{conf}\n\
                 location /big {{ proxy_pass http://{}; }}\n\
                 location /page {{ root {root}; ssi on; ssi_types *; }}\n",
                upstream.address
            );
        })?;
        Ok(Self {
            time,
            stage,
            speech,
        })
    }

    /// How often nginx has said that it uses a temporary file.
    pub fn warnings(&self) -> usize {
        self.log("is buffered to a temporary file")
    }

    /// How often the error log has this.
    pub fn log(&self, text: &str) -> usize {
        self.stage.nginx.error_log().matches(text).count()
    }

    /// Nothing can be spilled any more.
    pub fn remove_disk(&self) -> Result<()> {
        let folder = self.stage.nginx.prefix().join("temp/proxy");
        fs::remove_dir(&folder)
    }

    /// Asks for a path, and reads nothing yet.
    pub fn ask(&self, path: &str) -> Result<Client> {
        if self.speech == Speech::Http2 {
            let address = self.stage.address();
            let mut connection = Http2::open(address, false, SOCKET as u32)?;
            connection.get(STREAM, path)?;
            let body = Vec::new();
            return Ok(Client::Http2 { connection, body });
        }
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_recv_buffer_size(SOCKET)?;
        socket.connect(&self.stage.address().into())?;
        let mut client = TcpStream::from(socket);
        client.set_read_timeout(Some(PATIENCE))?;
        let (range, wanted) = match self.speech {
            Speech::Http1Range => {
                let range = format!("Range: bytes={SKIPPED}-\r\n");
                (range, (206, &BODY[SKIPPED..]))
            }
            _ => (String::new(), (200, &BODY[..])),
        };
        write!(
            client,
            "GET {path} HTTP/1.1\r\nHost: pipe\r\nConnection: close\r\n{range}\r\n"
        )?;
        let answer = Decoder::new("GET");
        Ok(Client::Http1 {
            stream: client,
            answer,
            wanted,
        })
    }

    /// How much upstream has sent.
    pub fn sent(&self) -> usize {
        self.stage.upstream.sent.load(Ordering::Relaxed)
    }

    /// Waits until upstream has sent all, or more than `level`, or is held back:
    /// nginx has nothing to do, though something waits for it in upstream's
    /// connection (or it has closed that), and nothing moves in any.
    fn gets_on(&self, client: &Client, level: usize) -> Result<bool> {
        let mut still = (Instant::now(), None);
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.sent() > level || self.sent() >= SIZE {
                return Ok(true);
            }
            self.time.settle()?;
            let now = (self.stage.upstream.queues()?, queues(client.stream())?);
            let is_held_back = now.0.is_none_or(|queues| queues.unread > 0);
            if still.1 != Some(now) || !is_held_back {
                still = (Instant::now(), Some(now));
            } else if still.0.elapsed() > STILL {
                return Ok(false);
            }
        }
        Err(Error::other("upstream neither gets on nor is held back"))
    }

    /// Waits until upstream does not get on.
    pub fn wait_until_stuck(&self, client: &Client) -> Result<()> {
        loop {
            let sent = self.sent();
            if sent >= SIZE || !self.gets_on(client, sent)? {
                return Ok(());
            }
        }
    }

    /// Upstream closes its connections.
    fn give_up(&self) {
        self.stage.upstream.hang_up();
    }

    /// The number of temporary files and the bytes that they have on disk.
    pub fn disk(&self) -> (usize, u64) {
        let files = self.stage.nginx.temp_files();
        let bytes = files.iter().map(|file| file.len().max(512 * file.blocks()));
        (files.len(), bytes.sum())
    }

    /// Ends it, and checks what remains.
    pub fn stop(self) -> Result<()> {
        let are_closed = wait(|| self.disk().0 == 0);
        assert!(are_closed, "temporary files stay open");
        self.stage.stop()
    }
}

/// A client that has asked for something.
pub enum Client {
    Http1 {
        stream: TcpStream,
        answer: Decoder,
        /// The status and the body that are to come.
        wanted: (u16, &'static [u8]),
    },
    Http2 {
        connection: Http2,
        body: Vec<u8>,
    },
}

impl Client {
    /// Reads some more: so many bytes, none at the end.
    fn read(&mut self) -> Result<usize> {
        match self {
            Self::Http1 { stream, answer, .. } => {
                let mut buffer = [0; 64 << 10];
                let size = stream.read(&mut buffer)?;
                answer.feed(&buffer[..size])?;
                Ok(size)
            }
            Self::Http2 { connection, body } => {
                while let Some(part) = connection.part(STREAM)? {
                    if !part.is_empty() {
                        connection.allow(STREAM, part.len() as u32)?;
                        body.extend(&part);
                        return Ok(part.len());
                    }
                }
                Ok(0)
            }
        }
    }

    fn stream(&self) -> &TcpStream {
        match self {
            Self::Http1 { stream, .. } => stream,
            Self::Http2 { connection, .. } => connection.stream(),
        }
    }

    /// What it has got, and whether that is all it was to get.
    fn finish(self, ended_well: bool) -> (Vec<u8>, bool) {
        match self {
            Self::Http1 { answer, wanted, .. } => {
                let answer = answer.finish(Ending::Closed);
                let (status, body) = wanted;
                let is_whole = answer.complete && answer.status == status && answer.body == body;
                (answer.body, is_whole)
            }
            Self::Http2 { body, .. } => {
                let is_whole = ended_well && body == *BODY;
                (body, is_whole)
            }
        }
    }
}

/// What came of a download.
#[derive(Debug)]
pub struct Download {
    /// Bytes of the body that came, and whether that is all of it.
    pub body: usize,
    pub is_whole: bool,
    /// Upstream has given up.
    pub given_up: bool,
    /// The most that was on disk, in bytes and in files.
    pub largest: u64,
    pub files: usize,
}

impl Download {
    /// The client reads nothing until upstream is stuck, and then so much at a
    /// time; each time upstream must get on, by a quarter of that at least: the
    /// kernel packs a full queue closer now and then, and takes a little more
    /// from upstream though nginx reads nothing.
    pub fn run(side: &Side, path: &str, step: usize) -> Result<Self> {
        let mut client = side.ask(path)?;
        let (mut given_up, mut since) = (false, 0);

        side.wait_until_stuck(&client)?;
        let (mut files, mut largest) = side.disk();
        let mut before = side.sent();

        let ended_well = loop {
            let size = match client.read() {
                Ok(0) => break true,
                Ok(size) => size,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break false,
                Err(error) => return Err(error),
            };
            since += size;
            if since >= step && !given_up {
                given_up = !side.gets_on(&client, before + step / 4)?;
                if given_up {
                    side.give_up();
                }
                before = side.sent();
                since = 0;
                let (now, bytes) = side.disk();
                largest = largest.max(bytes);
                files = files.max(now);
            }
        };

        Ok(Self {
            given_up,
            largest,
            files,
            ..Self::of(client, ended_well)
        })
    }

    /// The client reads nothing until upstream is stuck, and then all that comes.
    pub fn trail(side: &Side, path: &str) -> Result<Self> {
        let mut client = side.ask(path)?;
        side.wait_until_stuck(&client)?;
        while client.read()? > 0 {}
        Ok(Self::of(client, true))
    }

    fn of(client: Client, ended_well: bool) -> Self {
        let (body, is_whole) = client.finish(ended_well);
        Self {
            body: body.len(),
            is_whole,
            given_up: false,
            largest: 0,
            files: 0,
        }
    }
}

/// Sends the body to whoever asks.
struct Upstream {
    address: SocketAddr,
    sent: Arc<AtomicUsize>,
    open: Arc<std::sync::Mutex<Vec<TcpStream>>>,
}

impl Upstream {
    fn start() -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_send_buffer_size(SOCKET)?;
        socket.bind(&SocketAddr::from((loopback(), 0)).into())?;
        socket.listen(16)?;
        let listener = TcpListener::from(socket);
        let upstream = Self {
            address: listener.local_addr()?,
            sent: Arc::default(),
            open: Arc::default(),
        };
        let (sent, open) = (Arc::clone(&upstream.sent), Arc::clone(&upstream.open));
        // It ends with the process.
        thread::spawn(move || -> Result<()> {
            for stream in listener.incoming() {
                let stream = stream?;
                let clone = stream.try_clone()?;
                open.lock()
                    .map_err(|_| Error::other("poisoned"))?
                    .push(clone);
                let sent = Arc::clone(&sent);
                thread::spawn(move || answer(&stream, &sent));
            }
            Ok(())
        });
        Ok(upstream)
    }

    /// What waits in nginx's end of the last connection, nothing where there has
    /// been none, and none where nginx has closed it.
    fn queues(&self) -> Result<Option<Queues>> {
        let open = self.open.lock().expect("no panic in there");
        open.last().map_or(Ok(Some(Queues::default())), queues)
    }

    fn hang_up(&self) {
        for stream in self.open.lock().expect("no panic in there").iter() {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn answer(mut stream: &TcpStream, sent: &AtomicUsize) -> Result<()> {
    let mut line = String::new();
    let mut request = BufReader::new(stream);
    while line != "\r\n" {
        line.clear();
        if request.read_line(&mut line)? == 0 {
            return Ok(());
        }
    }
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n")?;
    for part in BODY.chunks(16 << 10) {
        stream.write_all(part)?;
        sent.fetch_add(part.len(), Ordering::Relaxed);
    }
    stream.shutdown(Shutdown::Write)
}

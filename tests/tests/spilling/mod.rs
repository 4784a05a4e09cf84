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

use pipe_tests::client::{Decoder, Ending};
use pipe_tests::random::Random;
use pipe_tests::server::{Nginx, loopback};
use socket2::{Domain, Socket, Type};

/// `proxy_max_temp_file_size`, and the size of the body.
pub const CAP: usize = 4 << 20;
pub const SIZE: usize = 20 << 20;

/// What sockets hold; the less, the sooner each side feels the other.
const SOCKET: usize = 128 << 10;

/// When upstream has not got on for so long, it does not for now.
const STUCK: Duration = Duration::from_millis(400);

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(25);

static BODY: LazyLock<Vec<u8>> = LazyLock::new(|| Random::new(71).bytes(SIZE));

/// An nginx, and the upstream of its location `/big`, which `/page` includes.
pub struct Side {
    nginx: Nginx,
    sent: Arc<AtomicUsize>,
    upstream: Upstream,
}

impl Side {
    /// With these directives, and the limit.
    pub fn start(binary: &Path, conf: &str) -> Result<Self> {
        let upstream = Upstream::start()?;
        let address = upstream.address;
        let nginx = Nginx::start(binary, |it| {
            fs::write(it.prefix().join("page"), "<!--#include virtual='/big' -->")
                .expect("the prefix is writable");
            let root = it.prefix().display().to_string();
            it.listen(&format!("sndbuf={SOCKET}"));
            it.http += &format!("proxy_max_temp_file_size {CAP};\n");
            it.server += &format!(
                "access_log off; {conf}\n\
                 location /big {{ proxy_pass http://{address}; }}\n\
                 location /page {{ root {root}; ssi on; ssi_types *; }}\n"
            );
        })?;
        Ok(Self {
            nginx,
            sent: Arc::clone(&upstream.sent),
            upstream,
        })
    }

    /// How often nginx has said that it uses a temporary file.
    pub fn warnings(&self) -> usize {
        self.log("is buffered to a temporary file")
    }

    /// How often the error log has this.
    pub fn log(&self, text: &str) -> usize {
        self.nginx.error_log().matches(text).count()
    }

    /// Nothing can be spilled any more.
    pub fn remove_disk(&self) -> Result<()> {
        let folder = self.nginx.prefix().join("temp/proxy");
        fs::remove_dir(&folder)
    }

    /// Asks for a path, and reads nothing yet.
    pub fn ask(&self, path: &str) -> Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_recv_buffer_size(SOCKET)?;
        socket.connect(&self.nginx.address().into())?;
        let mut client = TcpStream::from(socket);
        client.set_read_timeout(Some(PATIENCE))?;
        write!(
            client,
            "GET {path} HTTP/1.1\r\nHost: pipe\r\nConnection: close\r\n\r\n"
        )?;
        Ok(client)
    }

    /// How much upstream has sent.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until upstream has sent all, or more than `before`, or is stuck.
    fn gets_on(&self, before: usize) -> bool {
        let start = Instant::now();
        while start.elapsed() < STUCK {
            if self.sent() > before || self.sent() >= SIZE {
                return true;
            }
            thread::sleep(Duration::from_millis(1));
        }
        false
    }

    /// Waits until upstream does not get on.
    pub fn wait_until_stuck(&self) {
        loop {
            let sent = self.sent();
            if sent >= SIZE || !self.gets_on(sent) {
                return;
            }
        }
    }

    /// Upstream closes its connections.
    fn give_up(&self) {
        self.upstream.hang_up();
    }

    /// The number of temporary files and the bytes that they have on disk.
    pub fn disk(&self) -> (usize, u64) {
        let files = self.nginx.workers().into_iter().flat_map(|worker| {
            let folder = fs::read_dir(format!("/proc/{worker}/fd"));
            folder.into_iter().flatten().flatten()
        });
        let is_temporary = |path: &Path| {
            let target = fs::read_link(path).unwrap_or_default();
            target.to_string_lossy().contains("/temp/proxy/")
        };
        files
            .map(|entry| entry.path())
            .filter(|path| is_temporary(path))
            .filter_map(|path| fs::metadata(path).ok())
            .fold((0, 0), |(files, bytes), file| {
                (files + 1, bytes + file.len().max(512 * file.blocks()))
            })
    }

    /// Ends it, and checks what remains.
    pub fn stop(self) -> Result<()> {
        let open = || self.disk().0 > 0;
        let start = Instant::now();
        while open() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(!open(), "temporary files stay open");
        self.nginx.stop()?.check()
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
    /// time; each time upstream must get on.
    pub fn run(side: &Side, path: &str, step: usize) -> Result<Self> {
        let mut client = side.ask(path)?;
        let mut answer = Decoder::new("GET");
        let mut buffer = vec![0; 64 << 10];
        let (mut given_up, mut since) = (false, 0);

        side.wait_until_stuck();
        let (mut files, mut largest) = side.disk();
        let mut before = side.sent();

        loop {
            let size = match client.read(&mut buffer) {
                Ok(0) => break,
                Ok(size) => size,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => return Err(error),
            };
            answer.feed(&buffer[..size])?;
            since += size;
            if since >= step && !given_up {
                given_up = !side.gets_on(before);
                if given_up {
                    side.give_up();
                }
                before = side.sent();
                since = 0;
                let (now, bytes) = side.disk();
                largest = largest.max(bytes);
                files = files.max(now);
            }
        }

        Ok(Self {
            given_up,
            largest,
            files,
            ..Self::of(answer)
        })
    }

    /// The client reads all that comes, with short rests.
    pub fn trail(side: &Side, path: &str) -> Result<Self> {
        let mut client = side.ask(path)?;
        let mut answer = Decoder::new("GET");
        let mut buffer = vec![0; 64 << 10];
        loop {
            let size = client.read(&mut buffer)?;
            if size == 0 {
                break;
            }
            answer.feed(&buffer[..size])?;
            thread::sleep(Duration::from_micros(500));
        }
        Ok(Self::of(answer))
    }

    fn of(answer: Decoder) -> Self {
        let answer = answer.finish(Ending::Closed);
        Self {
            body: answer.body.len(),
            is_whole: answer.status == 200 && answer.complete && answer.body == *BODY,
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

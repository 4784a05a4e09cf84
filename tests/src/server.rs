//! One nginx, started for a test and stopped by it.
//!
//! ```no_run
//! # use pipe_tests::server::Nginx;
//! # fn main() -> std::io::Result<()> {
//! let nginx = Nginx::start("objs/nginx".as_ref(), |conf| {
//!     conf.listen("");
//!     conf.server += "location / { return 204; }";
//! })?;
//! let address = nginx.address();
//! // … talk to it …
//! nginx.stop()?.check()?;
//! # Ok(()) }
//! ```
//!
//! Each test process has a loopback address of its own (127.x.y.z, made of its
//! process id), so that a port once found free stays free for it.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, Metadata};
use std::io::{Error, ErrorKind, Result};
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::checker;
use crate::process::{self, die_with_parent, shuts_down};
use crate::upstream::Protocol;

/// How long nginx may take to start or to end: only keeps a bug from hanging
/// the tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// The modules that keep responses in temporary files.
const TEMP_PATHS: [&str; 5] = ["client_body", "proxy", "fastcgi", "scgi", "uwsgi"];

/// What in an error log means that nginx itself went wrong.
const COMPLAINTS: [&str; 4] = ["[alert]", "[emerg]", "exited on signal", "open socket #"];

/// The loopback address that only this process uses.
pub fn loopback() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high, middle, low)
}

/// A port of [`loopback`] that nothing listens on, another one in each call.
///
/// The kernel's own choice would not do: it may choose a port again that was
/// asked for and is not yet in use.
pub fn free_address() -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);

    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        match TcpListener::bind((loopback(), port)) {
            Ok(listener) => return listener.local_addr(),
            Err(error) if error.kind() == ErrorKind::AddrInUse => continue,
            Err(error) => return Err(error),
        }
    }
}

/// The configuration to be: each text goes into the block of its name, after
/// what every test needs.
#[derive(Debug)]
pub struct Conf {
    prefix: TempDir,
    listen: Vec<SocketAddr>,
    /// How many workers there are.
    pub workers: usize,
    /// The level of the error log.
    pub log_level: &'static str,
    /// The parameters of `access_log` for what says nothing else.
    pub access_log: &'static str,
    /// Goes to the top level.
    pub main: String,
    /// Goes into `events {}`.
    pub events: String,
    /// Goes into `http {}`.
    pub http: String,
    /// Goes into a `server {}`, if there is any; further ones can be put into
    /// `http`.
    pub server: String,
    /// Environment variables that nginx is started with.
    pub env: Vec<(&'static str, OsString)>,
}

impl Conf {
    fn new() -> Result<Self> {
        Ok(Self {
            prefix: TempDir::with_prefix("pipe-nginx-")?,
            listen: Vec::new(),
            workers: 1,
            log_level: "info",
            access_log: "off",
            main: String::new(),
            events: String::new(),
            http: String::new(),
            server: String::new(),
            env: Vec::new(),
        })
    }

    /// The directory all of this nginx's files are in.
    pub fn prefix(&self) -> &Path {
        self.prefix.path()
    }

    /// Has the server listen on one more free port; `parameters` are those of
    /// the directive `listen`.
    pub fn listen(&mut self, parameters: &str) -> SocketAddr {
        let address = free_address().expect("a loopback address has a free port");
        self.server += &format!("listen {address} {parameters};\n");
        self.listen.push(address);
        address
    }

    /// Adds a location whose requests go on to `server`. In `directives`, `@` stands
    /// for the protocol's module, and `PREFIX` for [`Conf::prefix`].
    pub fn pass(
        &mut self,
        location: &str,
        protocol: Protocol,
        server: impl Display,
        directives: &str,
    ) {
        let pass = protocol.pass(server, false);
        let directives = directives
            .replace('@', protocol.module())
            .replace("PREFIX", &self.prefix().to_string_lossy());
        self.server += &format!("location {location} {{\n{pass}\n{directives}\n}}\n");
    }

    /// Has the peers that are told of a request by variables know what scripted ones
    /// need.
    pub fn tell_requests(&mut self) {
        for module in Protocol::ALL.map(Protocol::module) {
            if module != Protocol::Http.module() {
                self.http += &format!(
                    "{module}_param REQUEST_METHOD $request_method;\n\
                     {module}_param REQUEST_URI $uri;\n"
                );
            }
        }
    }

    /// Adds a cache for each protocol, with the name of its module.
    pub fn add_caches(&mut self) {
        for module in Protocol::ALL.map(Protocol::module) {
            self.http += &format!(
                "{module}_cache_path cache-{module} levels=1 keys_zone={module}:4m inactive=1h;\n"
            );
        }
    }

    fn text(&self) -> String {
        // SAFETY: geteuid() has no precondition.
        let user = match unsafe { libc::geteuid() } {
            // The workers write below the prefix, which is the owner's.
            0 => "user root;",
            _ => "",
        };
        let temp_paths: String = TEMP_PATHS
            .iter()
            .map(|module| format!("{module}_temp_path temp/{module};\n"))
            .collect();
        // A server that listens nowhere would listen on port 80.
        let server = match self.server.is_empty() {
            true => String::new(),
            false => format!("server {{\n{}\n}}", self.server),
        };
        let Self {
            workers,
            log_level,
            access_log,
            main,
            events,
            http,
            ..
        } = self;
        format!(
            "daemon off;\n{user}\npid nginx.pid;\nworker_processes {workers};\n\
             worker_shutdown_timeout 20s;\n\
             error_log error.log {log_level};\n{main}\n\
             events {{\n{events}\n}}\n\
             http {{\n{temp_paths}{http}\naccess_log {access_log};\n{server}\n}}\n"
        )
    }
}

/// A running nginx; killed when dropped.
#[derive(Debug)]
pub struct Nginx {
    master: Child,
    prefix: TempDir,
    listen: Vec<SocketAddr>,
}

impl Nginx {
    /// Starts `binary` with what `configure` adds to the configuration.
    ///
    /// It ends with the thread that starts it, so start it where it is used or
    /// in a thread that waits for the users.
    pub fn start(binary: &Path, configure: impl FnOnce(&mut Conf)) -> Result<Self> {
        let mut conf = Conf::new()?;
        configure(&mut conf);

        let prefix = conf.prefix();
        fs::write(prefix.join("nginx.conf"), conf.text())?;
        fs::create_dir(prefix.join("temp"))?;
        let said = fs::File::create(prefix.join("stderr"))?;

        let mut command = checker::command(binary, prefix)?;
        command
            .arg("-p")
            .arg(prefix)
            .args(["-e", "error.log", "-c", "nginx.conf"])
            .envs(mem::take(&mut conf.env))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            // One kill() reaches the workers, too.
            .process_group(0);
        die_with_parent(&mut command, libc::SIGTERM);
        let master = command
            .spawn()
            .map_err(|error| Error::new(error.kind(), format!("{}: {error}", binary.display())))?;

        let mut nginx = Self {
            master,
            prefix: conf.prefix,
            listen: conf.listen,
        };
        nginx.await_start()?;
        Ok(nginx)
    }

    /// The process id file is written after the sockets listen.
    fn await_start(&mut self) -> Result<()> {
        let pid_file = self.prefix().join("nginx.pid");
        let started = wait(|| {
            let written = fs::metadata(&pid_file).is_ok_and(|file| file.len() > 0);
            written || !matches!(self.master.try_wait(), Ok(None))
        });
        if started && matches!(self.master.try_wait(), Ok(None)) {
            return Ok(());
        }
        let said = fs::read_to_string(self.prefix().join("stderr")).unwrap_or_default();
        Err(Error::other(format!("nginx does not start: {said}")))
    }

    /// What `nginx -t` says of the configuration: an error if it refuses it.
    pub fn test(binary: &Path, configure: impl FnOnce(&mut Conf)) -> Result<String> {
        let mut conf = Conf::new()?;
        configure(&mut conf);

        let prefix = conf.prefix();
        fs::write(prefix.join("nginx.conf"), conf.text())?;
        for folder in ["temp", "logs"] {
            fs::create_dir(prefix.join(folder))?;
        }
        let output = checker::command(binary, prefix)?
            .args(["-t", "-c", "nginx.conf", "-e", "error.log", "-p"])
            .arg(prefix)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.success() {
            true => Ok(said),
            false => Err(Error::other(said)),
        }
    }

    /// The directory all of its files are in.
    pub fn prefix(&self) -> &Path {
        self.prefix.path()
    }

    /// Where it listens, in the order of [`Conf::listen`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// The first address it listens on.
    ///
    /// # Panics
    /// If the configuration has none.
    pub fn address(&self) -> SocketAddr {
        self.listen[0]
    }

    /// The error log so far.
    pub fn error_log(&self) -> String {
        read_lossy(&self.error_log_path()).unwrap_or_default()
    }

    /// Where the error log is.
    pub fn error_log_path(&self) -> PathBuf {
        self.prefix().join("error.log")
    }

    /// The process id of the master.
    pub fn master(&self) -> u32 {
        self.master.id()
    }

    /// The error that it is to have ended by itself.
    pub(crate) fn ended(&mut self) -> Error {
        wait(|| !matches!(self.master.try_wait(), Ok(None)));
        match self.master.try_wait() {
            Ok(Some(status)) => Error::other(format!("nginx ended: {status}")),
            Ok(None) => Error::other("nginx does not end"),
            Err(error) => error,
        }
    }

    /// The process ids of the workers.
    pub fn workers(&self) -> Vec<u32> {
        let id = self.master.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        // A worker gives itself a title before it answers, which it cannot under
        // valgrind; the master may log later that it has started one.
        let log = self.error_log();
        let is_worker = |pid: &u32| {
            let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            title.starts_with(b"nginx: worker process")
                || log.contains(&format!("start worker process {pid}\n"))
        };
        children
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .filter(is_worker)
            .collect()
    }

    /// What the descriptors are that the workers have open, but for sockets
    /// between the processes of nginx, which come and go with those.
    pub fn descriptors(&self) -> Vec<PathBuf> {
        let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        let own: HashSet<PathBuf> = table
            .lines()
            .filter_map(|line| line.split_ascii_whitespace().nth(6))
            .map(|inode| PathBuf::from(format!("socket:[{inode}]")))
            .collect();
        let targets = self.open().map(|open| open.target);
        targets.filter(|target| !own.contains(target)).collect()
    }

    /// The temporary files that the workers have open.
    pub fn temp_files(&self) -> Vec<Metadata> {
        self.open()
            .filter(process::Open::is_temp_file)
            .filter_map(|file| fs::metadata(file.link).ok())
            .collect()
    }

    /// All that the workers have open.
    fn open(&self) -> impl Iterator<Item = process::Open> {
        let workers = self.workers().into_iter();
        workers.flat_map(|worker| process::open(worker).unwrap_or_default())
    }

    /// Puts a file in the place of an empty folder below the prefix: nothing can be
    /// written there any more.
    pub fn obstruct(&self, folder: &str) -> Result<()> {
        let folder = self.prefix().join(folder);
        fs::remove_dir(&folder)?;
        fs::write(&folder, "in the way")
    }

    /// Has it read its configuration again (SIGHUP), and waits until new workers
    /// have taken the place of the old ones.
    pub fn reload(&self) -> Result<()> {
        let old = self.workers();
        self.hang_up();
        let replaced = || {
            let now = self.workers();
            now.len() == old.len() && now.iter().all(|pid| !old.contains(pid))
        };
        match wait(replaced) {
            true => Ok(()),
            false => Err(Error::other("nginx does not reload")),
        }
    }

    /// Has it read its configuration again (SIGHUP), and waits until all old workers
    /// shut down, which they do when their requests are over.
    pub fn begin_reload(&self) -> Result<()> {
        let old = self.workers();
        self.hang_up();
        match wait(|| old.iter().all(|&worker| shuts_down(worker))) {
            true => Ok(()),
            false => Err(Error::other("the old workers go on")),
        }
    }

    fn hang_up(&self) {
        // SAFETY: it has not been waited for, so the id is still its own.
        unsafe { libc::kill(self.master.id() as libc::pid_t, libc::SIGHUP) };
    }

    /// Asks it to end gracefully (SIGQUIT).
    pub fn quit(&self) {
        // SAFETY: it has not been waited for, so the id is still its own.
        unsafe { libc::kill(self.master.id() as libc::pid_t, libc::SIGQUIT) };
    }

    /// Asks it to end gracefully, waits for it, and says what remained.
    pub fn stop(mut self) -> Result<Leftovers> {
        self.quit();
        wait(|| !matches!(self.master.try_wait(), Ok(None)));
        let Some(exit) = self.master.try_wait()? else {
            return Err(Error::other("nginx does not end on SIGQUIT"));
        };
        let complaints = self
            .error_log()
            .lines()
            .filter(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)))
            .map(str::to_owned)
            .collect();
        Ok(Leftovers {
            exit,
            complaints,
            temp_files: files_below(&self.prefix().join("temp"))?,
            reports: checker::reports(self.prefix())?,
        })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if matches!(self.master.try_wait(), Ok(None)) {
            // SAFETY: it has not been waited for, so the id is still its own.
            unsafe { libc::kill(-(self.master.id() as libc::pid_t), libc::SIGKILL) };
            // Nothing more can be done where this fails.
            let _ = self.master.wait();
            // Perhaps why the test has failed.
            for report in checker::reports(self.prefix()).unwrap_or_default() {
                eprintln!("{report}");
            }
        }
    }
}

/// What a stopped nginx leaves behind.
#[derive(Debug)]
pub struct Leftovers {
    /// How the master ended.
    pub exit: ExitStatus,
    /// The lines of the error log that tell of a bug in nginx.
    pub complaints: Vec<String>,
    /// Temporary files that nobody removed.
    pub temp_files: Vec<PathBuf>,
    /// What memory checkers say.
    pub reports: Vec<String>,
}

impl Leftovers {
    /// An error where anything of it should not be.
    pub fn check(&self) -> Result<()> {
        let clean = self.exit.success() && self.exit.signal().is_none();
        let silent = self.complaints.is_empty() && self.reports.is_empty();
        if clean && silent && self.temp_files.is_empty() {
            return Ok(());
        }
        Err(Error::other(format!(
            "nginx did not end cleanly: {self:#?}"
        )))
    }
}

/// Whether `done` became true in time.
pub fn wait(mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    let mut pause = Duration::from_micros(100);
    while !done() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
    true
}

/// All files in and below `directory`.
pub fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.append(&mut files_below(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Logs hold whatever a peer sent.
fn read_lossy(path: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

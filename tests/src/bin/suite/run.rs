//! Runs files of the suite, several at a time.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pipe_tests::process::die_with_parent;

use crate::outcome::Outcome;
use crate::variant::Variant;

/// No file takes a tenth of this, unless something hangs.
const FILE_TIMEOUT: Duration = Duration::from_secs(300);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Set by the first interrupt: stop, and leave nothing running.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on an interrupt makes runs fail instead of ending this process,
/// which has groups of processes to end first.
pub(crate) fn catch_interrupts() {
    extern "C" fn interrupted(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, interrupted as *const () as libc::sighandler_t) };
    }
}

/// The nginx under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Stock,
    Ours,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Stock, Self::Ours];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Ours => "ours",
        }
    }
}

/// One variant, ready to run.
pub(crate) struct Runner<'a> {
    pub(crate) variant: &'a Variant,
    /// The suite's folder.
    pub(crate) suite: PathBuf,
    pub(crate) stock: &'a Path,
    pub(crate) ours: &'a Path,
    /// Where the tests make their own temporary folders.
    pub(crate) scratch: &'a Path,
    /// Where their output goes, for who wants to read it.
    pub(crate) logs: PathBuf,
}

impl Runner<'_> {
    /// Runs each file on both sides, `jobs` at a time; the two sides of a file
    /// one after the other, so that both meet the same load.
    pub(crate) fn run_all(&self, files: &[String], jobs: usize) -> io::Result<Vec<[Outcome; 2]>> {
        let queue = Mutex::new(files.iter().enumerate());
        let next = || queue.lock().ok()?.next();
        let worker = || -> io::Result<Vec<(usize, [Outcome; 2])>> {
            let mut done = Vec::new();
            while let Some((index, file)) = next() {
                done.push((index, self.run_both(file, 0)?));
            }
            Ok(done)
        };
        let mut outcomes = thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
            let mut outcomes = Vec::new();
            for worker in workers {
                let done = worker
                    .join()
                    .map_err(|_| io::Error::other("a worker died"))?;
                outcomes.extend(done?);
            }
            io::Result::Ok(outcomes)
        })?;
        outcomes.sort_by_key(|&(index, _)| index);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    /// Runs one file on stock, then on ours; `attempt` names the logs.
    pub(crate) fn run_both(&self, file: &str, attempt: usize) -> io::Result<[Outcome; 2]> {
        let [stock, ours] = Side::BOTH.map(|side| self.run(file, side, attempt));
        Ok([stock?, ours?])
    }

    fn run(&self, file: &str, side: Side, attempt: usize) -> io::Result<Outcome> {
        let log = self.logs.join(format!("{file}.{attempt}.{}", side.name()));
        let output = File::create(&log)?;
        let mut prove = self.prove(file, side);
        prove.stdout(output.try_clone()?).stderr(output);
        let child = prove
            .spawn()
            .map_err(|error| io::Error::other(format!("prove (of perl): {error}")))?;
        let passed = Group(child).wait()?;
        let tap = fs::read(&log)?;
        Ok(Outcome::read(&String::from_utf8_lossy(&tap), passed))
    }

    fn prove(&self, file: &str, side: Side) -> Command {
        let binary = match side {
            Side::Stock => self.stock,
            Side::Ours => self.ours,
        };
        // Workers of a root nginx must be able to read the tests' folders.
        let globals = if is_root() { "user root;" } else { "" };
        let mut prove = Command::new("prove");
        prove
            .args(["--norc", "--verbose", "--nocolor", file])
            .current_dir(&self.suite)
            .env("TMPDIR", self.scratch)
            .env("TEST_NGINX_BINARY", binary)
            .env("TEST_NGINX_GLOBALS", globals)
            .env("TEST_NGINX_GLOBALS_HTTP", self.variant.http_directives())
            .stdin(Stdio::null())
            .process_group(0);
        die_with_parent(&mut prove, libc::SIGTERM);
        prove
    }
}

fn is_root() -> bool {
    // SAFETY: geteuid() has no precondition.
    unsafe { libc::geteuid() == 0 }
}

/// prove and all that it starts; killed when this goes.
struct Group(Child);

impl Group {
    /// Whether it passed; `None` if it does not end in time.
    fn wait(mut self) -> io::Result<Option<bool>> {
        let deadline = Instant::now() + FILE_TIMEOUT;
        while Instant::now() < deadline {
            if INTERRUPTED.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status.success()));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(None)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = self.0.id() as libc::pid_t;
        // SAFETY: kill() takes numbers. The group is the one made for this
        // child; if it is empty by now, nothing happens.
        unsafe { libc::kill(-group, libc::SIGKILL) };
        // Nothing is left to be done where waiting fails.
        let _ = self.0.wait();
    }
}

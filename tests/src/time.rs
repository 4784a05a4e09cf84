//! nginx in virtual time: a test says when time passes, and knows when nginx
//! has done all that there was to do.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use pipe_tests::{server::Nginx, time::VirtualTime};
//! # fn main() -> std::io::Result<()> {
//! let time = VirtualTime::new()?;
//! let nginx = Nginx::start("objs/nginx".as_ref(), |conf| {
//!     conf.env = time.env();
//!     // …
//! })?;
//! // … do something to nginx …
//! time.settle()?;
//! // … look at what has come of it …
//! time.advance(Duration::from_secs(60))?;
//! # Ok(()) }
//! ```
//!
//! Sockets and disks go on in real time: what nginx waits for there comes when
//! it comes, and no virtual time passes meanwhile. So no outcome depends on how
//! fast the machine is. A library in nginx's processes (LD_PRELOAD) keeps their
//! clocks, and lets their timers expire.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::build::shared_library;
use crate::process::{is_running, threads_sleep};
use crate::server::wait;

/// How many processes of nginx there can be, one after the other.
const PROCESSES: usize = 32;

/// What nginx's clock shows first; not zero, as no real one does.
const START: Duration = Duration::from_secs(1000);

/// No test needs so much time: something never ends.
const LONGEST: Duration = Duration::from_secs(3600);

/// One process of nginx, as virtual.c has it.
#[repr(C)]
struct Process {
    id: AtomicU64,
    answer: AtomicU64,
    events: AtomicU64,
    deadline: AtomicU64,
}

/// What the test shares with nginx, as virtual.c has it.
#[repr(C)]
struct Page {
    now: AtomicU64,
    wall: AtomicU64,
    question: AtomicU64,
    processes: AtomicU64,
    process: [Process; PROCESSES],
}

/// The clocks of one nginx, which the test owns.
#[derive(Debug)]
pub struct VirtualTime {
    library: PathBuf,
    folder: TempDir,
    page: NonNull<Page>,
}

// SAFETY: the page has atomic numbers only, and stays until this is dropped.
unsafe impl Send for VirtualTime {}
// SAFETY: as above.
unsafe impl Sync for VirtualTime {}

impl VirtualTime {
    /// A clock for an nginx that has not been started yet.
    pub fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let file = File::create_new(shared(&folder))?;
        file.set_len(size_of::<Page>() as u64)?;
        let file = File::options()
            .read(true)
            .write(true)
            .open(shared(&folder))?;
        let time = Self {
            library: shared_library("src/time/virtual.c")?,
            page: map(&file)?,
            folder,
        };
        time.page().now.store(milliseconds(START), Ordering::SeqCst);
        let today = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        time.set_wall(today.map_err(Error::other)?);
        Ok(time)
    }

    /// What nginx is to be started with.
    pub fn env(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("PIPE_TIME", shared(&self.folder).into()),
        ]
    }

    /// How much time has passed.
    pub fn passed(&self) -> Duration {
        let now = self.page().now.load(Ordering::SeqCst);
        Duration::from_millis(now) - START
    }

    /// The time of the day as nginx sees it, since 1970.
    pub fn wall(&self) -> Duration {
        Duration::from_millis(self.page().wall.load(Ordering::SeqCst))
    }

    /// Sets the time of the day, and no other clock.
    pub fn set_wall(&self, wall: Duration) {
        let wall = milliseconds(wall);
        self.page().wall.store(wall, Ordering::SeqCst);
    }

    /// Waits until nginx has done all that there is to do at this time; of a
    /// process that starts, once it waits for events, and at least of one.
    pub fn settle(&self) -> Result<()> {
        loop {
            // When no process is given anything to do between two answers, and
            // no thread of a pool works at some time between them, none of them
            // has anything to do at that time: what a thread has done before, is
            // an event that the second look would find.
            self.ask()?;
            let before = self.events();
            let threads_sleep = self.threads_sleep();
            self.ask()?;
            if threads_sleep && self.events() == before {
                return Ok(());
            }
        }
    }

    /// Lets time pass, from timer to timer, and nginx do at each time what there
    /// is to do.
    pub fn advance(&self, by: Duration) -> Result<()> {
        self.settle()?;
        if self.passed() > LONGEST {
            return Err(Error::other("what is waited for does not come"));
        }
        let mut left = milliseconds(by);
        while left > 0 {
            let step = self.next_timer().min(left);
            let page = self.page();
            page.wall.fetch_add(step, Ordering::SeqCst);
            page.now.fetch_add(step, Ordering::SeqCst);
            self.settle()?;
            left -= step;
        }
        Ok(())
    }

    /// How long it is until the next timer of nginx, which has come to rest.
    fn next_timer(&self) -> u64 {
        let now = self.page().now.load(Ordering::SeqCst);
        let running = self.processes().iter().filter(|it| is_running(id(it)));
        let deadline = |process: &Process| process.deadline.load(Ordering::SeqCst);
        running.map(deadline).min().map_or(u64::MAX, |it| it - now)
    }

    /// Waits until each process has looked for events and found none.
    fn ask(&self) -> Result<()> {
        let question = self.page().question.fetch_add(1, Ordering::SeqCst) + 1;
        let has_answered = |process: &Process| {
            process.answer.load(Ordering::SeqCst) >= question || !is_running(id(process))
        };
        let processes = || self.processes().iter();
        match wait(|| processes().len() > 0 && processes().all(has_answered)) {
            true => Ok(()),
            false => Err(Error::other("nginx does not come to rest")),
        }
    }

    /// How many times a process was given something to do.
    fn events(&self) -> u64 {
        let processes = self.processes().iter();
        processes
            .map(|process| process.events.load(Ordering::SeqCst))
            .sum()
    }

    /// Whether no thread of a pool works.
    fn threads_sleep(&self) -> bool {
        let mut processes = self.processes().iter().map(id);
        processes.all(|id| threads_sleep(id).unwrap_or(!is_running(id)))
    }

    /// Those that have waited for events by now.
    fn processes(&self) -> &[Process] {
        let page = self.page();
        let count = page.processes.load(Ordering::SeqCst) as usize;
        &page.process[..count.min(PROCESSES)]
    }

    fn page(&self) -> &Page {
        // SAFETY: it is mapped until this is dropped.
        unsafe { self.page.as_ref() }
    }
}

impl Drop for VirtualTime {
    fn drop(&mut self) {
        // SAFETY: nothing refers to the page any more.
        unsafe { libc::munmap(self.page.as_ptr().cast(), size_of::<Page>()) };
    }
}

fn shared(folder: &TempDir) -> PathBuf {
    folder.path().join("time")
}

fn id(process: &Process) -> u32 {
    process.id.load(Ordering::SeqCst) as u32
}

fn milliseconds(time: Duration) -> u64 {
    time.as_millis() as u64
}

fn map(file: &File) -> Result<NonNull<Page>> {
    // SAFETY: a new mapping, of a file that has this size.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size_of::<Page>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    match page == libc::MAP_FAILED {
        true => Err(Error::last_os_error()),
        false => Ok(NonNull::new(page.cast()).expect("a mapping is never at zero")),
    }
}

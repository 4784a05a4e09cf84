//! Child processes that never outlive the test, and what other processes do.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Has the kernel send `signal` to the child when the thread that spawns it
/// ends, however it ends: not even a killed test leaves processes behind.
pub fn die_with_parent(command: &mut Command, signal: libc::c_int) -> &mut Command {
    let parent = std::process::id() as libc::pid_t;
    let hook = move || {
        // SAFETY: prctl(PR_SET_PDEATHSIG) touches no memory of ours.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: getppid() has no precondition.
        if unsafe { libc::getppid() } != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: between fork() and exec() the hook makes two system calls; it
    // neither allocates nor takes a lock.
    unsafe { command.pre_exec(hook) }
}

/// Whether there is a process of this id.
pub fn is_running(process: u32) -> bool {
    // SAFETY: signal 0 only asks.
    unsafe { libc::kill(process as libc::pid_t, 0) == 0 }
}

/// Whether a worker of nginx ends as soon as its requests are over: its title says so.
pub fn shuts_down(worker: u32) -> bool {
    let title = fs::read(format!("/proc/{worker}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&title).contains("shutting down")
}

/// A descriptor of a process.
#[derive(Clone, Debug)]
pub struct Open {
    /// Its link in /proc, by which the file can be asked for its size.
    pub link: PathBuf,
    /// What it stands for: a path, or a name such as `socket:[123]`.
    pub target: PathBuf,
}

impl Open {
    /// Whether it is a temporary file of nginx.
    pub fn is_temp_file(&self) -> bool {
        self.target.to_string_lossy().contains("/temp/")
    }
}

/// All descriptors of a process but those that are closed meanwhile.
pub fn open(process: u32) -> io::Result<Vec<Open>> {
    let mut open = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
        let link = entry?.path();
        match fs::read_link(&link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            target => open.push(Open {
                link,
                target: target?,
            }),
        }
    }
    Ok(open)
}

/// Whether all threads of a process but its first one sleep.
pub fn threads_sleep(process: u32) -> io::Result<bool> {
    sleep(process, |thread| thread != process)
}

/// Whether a process has children, and all threads of them sleep.
pub fn children_sleep(process: u32) -> io::Result<bool> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    let mut children = children.split_whitespace().peekable();
    let has_some = children.peek().is_some();
    let mut ids = children.filter_map(|id| id.parse().ok());
    Ok(has_some && ids.all(|id| sleep(id, |_| true).unwrap_or(false)))
}

/// Whether those threads of a process sleep that `concern`.
fn sleep(process: u32, concern: impl Fn(u32) -> bool) -> io::Result<bool> {
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let thread = thread?;
        let stat = fs::read_to_string(thread.path().join("stat"))?;
        let state = stat.rsplit(") ").next().unwrap_or_default();
        let id = thread.file_name().to_str().and_then(|id| id.parse().ok());
        if id.is_some_and(&concern) && !state.starts_with('S') {
            return Ok(false);
        }
    }
    Ok(true)
}

//! What the worker spends its CPU time on: samples of perf, sorted by what they
//! were taken in.

use std::fmt;
use std::io::{Error, Result};
use std::process::{Command, Stdio};

use pipe_tests::peers::program::{Process, command, run, start};
use pipe_tests::server::wait;
use tempfile::NamedTempFile;

use super::worker::Worker;

/// Samples in a second of CPU time.
const FREQUENCY: &str = "5000";

/// What a sample was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// The body's way from and to the kernel.
    Copying,
    /// A write finds the client asleep, or a read upstream.
    Waking,
    /// The rest of the kernel's TCP and IP.
    Network,
    /// Memory that is touched first, or given back.
    Memory,
    /// Any other part of the kernel.
    Kernel,
    /// libcrypto and libssl.
    Encryption,
    /// This pipe or nginx's, but for what they call.
    Pipe,
    /// nginx but for the pipe, and libc.
    Nginx,
}

impl Work {
    pub(crate) const ALL: [Self; 8] = [
        Self::Copying,
        Self::Waking,
        Self::Network,
        Self::Memory,
        Self::Kernel,
        Self::Encryption,
        Self::Pipe,
        Self::Nginx,
    ];

    /// By the frames of its stack as perf prints them, the innermost first: an
    /// address, a function, and in brackets what that is part of.
    fn of(stack: &[&str]) -> Self {
        let within = |names: &[&str]| {
            let is_named =
                |frame: &&str| names.iter().any(|name| function(frame).starts_with(name));
            stack.iter().any(is_named)
        };
        let innermost = stack.first().copied().unwrap_or_default();
        if within(&["_copy_to_iter", "_copy_from_iter", "__check_object_size"]) {
            Self::Copying
        } else if within(&["sock_def_readable", "sk_stream_write_space"]) {
            Self::Waking
        } else if within(&["tcp_", "inet_"]) {
            Self::Network
        } else if within(&["asm_exc_page_fault", "__x64_sys_brk", "__x64_sys_munmap"]) {
            Self::Memory
        } else if innermost.ends_with("([kernel.kallsyms])") {
            Self::Kernel
        } else if innermost.contains("libcrypto") || innermost.contains("libssl") {
            Self::Encryption
        } else if function(innermost).contains("event_pipe") {
            Self::Pipe
        } else {
            Self::Nginx
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Copying => "copying the body",
            Self::Waking => "waking the other side",
            Self::Network => "else of TCP and IP",
            Self::Memory => "page faults",
            Self::Kernel => "else of the kernel",
            Self::Encryption => "encryption",
            Self::Pipe => "the pipe itself",
            Self::Nginx => "else of nginx",
        })
    }
}

/// The function of a frame.
fn function(frame: &str) -> &str {
    let mut words = frame.split_whitespace();
    words.nth(1).unwrap_or_default()
}

/// The share of each kind of work.
pub(crate) type Profile = Vec<(Work, f64)>;

/// Takes samples of the worker meanwhile; none where that is not possible.
pub(crate) fn profile(
    worker: Worker,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<Option<Profile>> {
    let samples = NamedTempFile::new()?;
    let mut perf = command("perf");
    perf.args(["record", "-q", "-e", "cpu-clock", "-g", "-F", FREQUENCY]);
    perf.args(["-p", &worker.0.to_string(), "-o"])
        .arg(samples.path());
    perf.stdout(Stdio::null()).stderr(Stdio::null());
    let mut perf = Process::new(start(&mut perf, Command::spawn)?);
    let has_begun = || {
        samples
            .as_file()
            .metadata()
            .is_ok_and(|file| file.len() > 0)
    };
    wait(|| has_begun() || perf.has_ended());
    if perf.has_ended() {
        return Ok(None);
    }
    let outcome = meanwhile();
    // It writes when it is asked to end.
    drop(perf);
    outcome?;

    let mut script = command("perf");
    script
        .args(["script", "-F", "ip,sym,dso", "-i"])
        .arg(samples.path());
    let text = String::from_utf8_lossy(&run(&mut script)?.stdout).into_owned();
    match shares(&text) {
        profile if profile.is_empty() => Err(Error::other("perf has taken no sample")),
        profile => Ok(Some(profile)),
    }
}

/// Of stacks that have an empty line between them.
fn shares(text: &str) -> Profile {
    let stacks: Vec<Vec<&str>> = text
        .split("\n\n")
        .map(|stack| {
            stack
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .collect()
        })
        .filter(|stack: &Vec<&str>| !stack.is_empty())
        .collect();
    let works: Vec<Work> = stacks.iter().map(|stack| Work::of(stack)).collect();
    let share = |wanted| {
        let count = works.iter().filter(|&&work| work == wanted).count();
        (wanted, count as f64 / works.len() as f64)
    };
    let all = Work::ALL.into_iter().map(share);
    all.filter(|(_, share)| *share > 0.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "
        ffffffff81 _copy_from_iter ([kernel.kallsyms])
        ffffffff82 tcp_sendmsg_locked ([kernel.kallsyms])
            7f0001 __GI___writev (/usr/lib/libc.so.6)

        ffffffff83 _raw_spin_unlock_irqrestore ([kernel.kallsyms])
        ffffffff84 sock_def_readable ([kernel.kallsyms])
        ffffffff85 tcp_data_queue ([kernel.kallsyms])

            550001 ngx_event_pipe (/usr/sbin/nginx)
            550002 ngx_http_upstream_process_upstream (/usr/sbin/nginx)

            550003 ngx_http_write_filter (/usr/sbin/nginx)
            550001 ngx_event_pipe (/usr/sbin/nginx)
";

    #[test]
    fn sorts_samples_by_what_they_were_taken_in() {
        let quarter = |work| (work, 0.25);
        assert_eq!(
            shares(SCRIPT),
            [Work::Copying, Work::Waking, Work::Pipe, Work::Nginx].map(quarter)
        );
    }

    #[test]
    fn knows_no_work_of_nothing() {
        assert!(shares("\n").is_empty());
    }
}

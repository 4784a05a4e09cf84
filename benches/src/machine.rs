//! The machine that is measured on: which cores there are, and what it is.

use std::fs;
use std::io::{Error, Result};
use std::process::Command;

use pipe_tests::peers::program::{command, run};

/// Who runs where: the worker that is measured has a core for itself.
#[derive(Debug)]
pub(crate) struct Cores {
    /// The core of the worker.
    pub(crate) worker: String,
    /// Those of upstreams and clients, as taskset(1) takes them.
    pub(crate) others: String,
}

impl Cores {
    /// Divides the cores that this process may use.
    pub(crate) fn divide() -> Result<Self> {
        let allowed = line("/proc/self/status", "Cpus_allowed_list:")?;
        let mut cores = parse(&allowed).ok_or_else(|| Error::other("which cores are there?"))?;
        // The first core is more likely to serve the devices' interrupts.
        let worker = cores.pop().ok_or_else(|| Error::other("no core"))?;
        if cores.is_empty() {
            cores.push(worker);
        }
        let others: Vec<String> = cores.iter().map(u32::to_string).collect();
        Ok(Self {
            worker: worker.to_string(),
            others: others.join(","),
        })
    }
}

/// Reads `0-3,7`.
fn parse(list: &str) -> Option<Vec<u32>> {
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(cores)
}

/// Binds a process, all its threads, and what it will start, to these cores.
pub(crate) fn pin(process: u32, cores: &str) -> Result<()> {
    let process = process.to_string();
    run(command("taskset").args(["--all-tasks", "--cpu-list", "--pid", cores, &process])).map(drop)
}

/// Lets this thread run before all others of its core, where that is allowed.
pub(crate) fn hurry() {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: it takes two numbers and a structure that stays meanwhile.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &lowest) };
}

/// What follows `name` in its line of one of the kernel's files.
pub(crate) fn line(file: &str, name: &str) -> Result<String> {
    let text = fs::read_to_string(file)?;
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    let found = found.ok_or_else(|| Error::other(format!("{file} has no {name}")))?;
    Ok(found.trim_matches([' ', '\t', ':']).to_owned())
}

/// The machine in one line.
pub(crate) fn describe() -> String {
    let processor = line("/proc/cpuinfo", "model name").unwrap_or_else(|_| "unknown".into());
    let cores = read("/proc/cpuinfo").matches("\nmodel name").count();
    let release = read("/proc/sys/kernel/osrelease");
    // After the number comes whatever its builder likes.
    let kernel = release.split('-').next().unwrap_or_default().trim();
    format!("{processor}, {cores} cores, Linux {kernel}")
}

/// The load of the last minute.
pub(crate) fn load() -> f64 {
    let averages = read("/proc/loadavg");
    let first = averages.split_whitespace().next();
    first.and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

/// The first line that a program says of itself.
pub(crate) fn version(program: &mut Command) -> Result<String> {
    let output = program.output()?;
    // nginx says it where others put their errors.
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_of_cores() {
        assert_eq!(parse("0-2,7"), Some(vec![0, 1, 2, 7]));
        assert_eq!(parse("5"), Some(vec![5]));
        assert_eq!(parse(""), None);
    }
}

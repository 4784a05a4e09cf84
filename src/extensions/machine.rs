//! How much memory a worker lends with `event_pipe_memory auto`: what is little beside
//! the memory that the machine has, that the worker's control group may have, and that
//! the worker itself may map.
//!
//! A control group is Linux's limit for a container or a service. Its files are those of
//! version 2 or 1 of the control groups:
//!
//! | | version 2 | version 1 |
//! |---|---|---|
//! | the worker's group, a line of `/proc/self/cgroup` | `0::/path` | `4:memory:/path` |
//! | its limits | `/sys/fs/cgroup/path/memory.max`, `memory.high` | `/sys/fs/cgroup/memory/path/memory.limit_in_bytes` |
//!
//! The groups that contain this one have limits, too, so each part of the path is looked
//! at. A container may see the whole path, while its own group is at the top of its
//! files: then only the latter can be read.

#![forbid(unsafe_code)]

use crate::extensions::text::Text;
use crate::nginx::{Log, debug, machine_memory, process_memory, read_file, worker};

/// The most and the least that a worker lends, in bytes.
const MOST: u64 = 256 << 20;
const LEAST: u64 = 1 << 20;

/// All workers together lend at most this part of the memory that there is.
const PART: u64 = 16;

/// How many bytes of a file, and of the name of a file, are looked at.
const FILE_LEN: usize = 8192;
const NAME_LEN: usize = 1024;

/// Reads the file whose name ends with a zero into the memory. `None` if there is no such
/// file.
type ReadFile = for<'m> fn(&[u8], &'m mut [u8]) -> Option<&'m [u8]>;

/// Computes, when a worker starts, how much memory it lends with
/// `event_pipe_memory auto`. There are `workers` workers.
pub(crate) fn init_worker(workers: usize, log: Log<'_>) {
    let limits = [machine_memory(), group_memory(read_file)];
    let size = auto_memory(limits, process_memory(), workers);

    worker().auto_memory.set(size);

    debug!(log, c"event pipe: memory: %uz", size);
}

/// How much memory a worker lends. `limits` are those of all workers together, `own` is
/// that of each of them.
fn auto_memory(limits: [Option<u64>; 2], own: Option<u64>, workers: usize) -> usize {
    let workers = u64::try_from(workers).unwrap_or(u64::MAX).max(1);
    let shares = limits
        .into_iter()
        .flatten()
        .map(|all| all.checked_div(workers).unwrap_or(0));
    let part = shares.chain(own).min().map_or(LEAST, |all| all / PART);

    usize::try_from(part.clamp(LEAST, MOST)).unwrap_or(LEAST as usize)
}

/// The least limit of memory of the worker's control group, and of those that contain this
/// group, in bytes. `None` if there is no limit, or if that is not known.
fn group_memory(read: ReadFile) -> Option<u64> {
    let mut memory = [0; FILE_LEN];
    let groups = read(b"/proc/self/cgroup\0", &mut memory)?;

    groups
        .split(|byte| *byte == b'\n')
        .filter_map(|line| limit_of_line(line, read))
        .min()
}

/// The least limit of the group in this line of `/proc/self/cgroup`.
fn limit_of_line(line: &[u8], read: ReadFile) -> Option<u64> {
    let mut fields = line.splitn(3, |byte| *byte == b':').skip(1);
    let controllers = fields.next()?;
    let path = fields.next()?;

    let limit = |root: &str, file: &str| {
        groups(path)
            .filter_map(|group| number_in([root.as_bytes(), group, file.as_bytes()], read))
            .min()
    };

    if controllers.is_empty() {
        let max = limit("/sys/fs/cgroup", "/memory.max");
        let high = limit("/sys/fs/cgroup", "/memory.high");

        return max.into_iter().chain(high).min();
    }

    controllers
        .split(|byte| *byte == b',')
        .any(|controller| controller == b"memory")
        .then(|| limit("/sys/fs/cgroup/memory", "/memory.limit_in_bytes"))
        .flatten()
}

/// The path of a group, and those of the groups that contain it. That of the group at the
/// top is empty.
fn groups(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let path = path.strip_suffix(b"/").unwrap_or(path);

    core::iter::successors(Some(path), |path| {
        let end = path.iter().rposition(|byte| *byte == b'/')?;
        path.get(..end)
    })
}

/// The number in the file whose name has these parts. `None` if there is no such file, or
/// something else in it.
fn number_in(name: [&[u8]; 3], read: ReadFile) -> Option<u64> {
    let mut memory = [0; NAME_LEN];
    let mut text = Text::new(&mut memory);

    for part in name {
        text.bytes(part);
    }

    let mut number = [0; 32];

    // A name that fills the memory is cut: there is no file with such a name.
    read(&memory, &mut number).and_then(number_of)
}

/// The number that the text is, but for white space at the end.
fn number_of(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii_end();

    if digits.is_empty() {
        return None;
    }

    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| byte.wrapping_sub(b'0'))?;

        number.checked_mul(10)?.checked_add(digit.into())
    })
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use std::ffi::CStr;
    use std::sync::OnceLock;

    use super::{LEAST, MOST, auto_memory, group_memory, number_of};

    const GIB: u64 = 1 << 30;

    fn size(limits: [Option<u64>; 2], own: Option<u64>, workers: usize) -> u64 {
        auto_memory(limits, own, workers) as u64
    }

    #[test]
    fn a_large_machine_lends_the_most() {
        assert_eq!(size([Some(16 * GIB), None], None, 4), MOST);
        assert_eq!(size([Some(64 * GIB), Some(8 * GIB)], None, 2), MOST);
    }

    #[test]
    fn all_workers_together_lend_a_sixteenth_of_the_least_limit() {
        assert_eq!(size([Some(GIB), None], None, 4), GIB / 64);
        assert_eq!(size([Some(16 * GIB), Some(GIB / 4)], None, 1), GIB / 64);
        assert_eq!(size([Some(GIB / 4), Some(u64::MAX)], None, 1), GIB / 64);
    }

    #[test]
    fn a_worker_lends_a_sixteenth_of_what_it_may_map() {
        assert_eq!(size([Some(16 * GIB), None], Some(GIB / 4), 4), GIB / 64);
    }

    #[test]
    fn little_or_unknown_memory_leaves_the_least() {
        assert_eq!(size([None, None], None, 1), LEAST);
        assert_eq!(size([Some(GIB), None], None, 1 << 20), LEAST);
        assert_eq!(size([Some(0), None], None, 0), LEAST);
    }

    /// The limit when these are all files.
    fn limit(read: fn(&str) -> Option<&'static str>) -> Option<u64> {
        thread_local! {
            static READ: std::cell::Cell<fn(&str) -> Option<&'static str>> =
                const { std::cell::Cell::new(|_| None) };
        }

        fn read_file<'m>(name: &[u8], memory: &'m mut [u8]) -> Option<&'m [u8]> {
            let name = CStr::from_bytes_until_nul(name).ok()?;
            let text = READ.get()(name.to_str().unwrap())?.as_bytes();
            let size = text.len().min(memory.len());
            memory[..size].copy_from_slice(&text[..size]);
            memory.get(..size)
        }

        READ.set(read);
        group_memory(read_file)
    }

    #[test]
    fn a_group_of_version_2_has_two_limits() {
        let read = |name: &str| match name {
            "/proc/self/cgroup" => Some("0::/system.slice/nginx.service\n"),
            "/sys/fs/cgroup/system.slice/nginx.service/memory.max" => Some("4096000\n"),
            "/sys/fs/cgroup/system.slice/nginx.service/memory.high" => Some("2048000\n"),
            "/sys/fs/cgroup/system.slice/memory.max" => Some("max\n"),
            _ => None,
        };

        assert_eq!(limit(read), Some(2_048_000));
    }

    #[test]
    fn so_has_each_group_around_it() {
        let read = |name: &str| match name {
            "/proc/self/cgroup" => Some("0::/a/b\n"),
            "/sys/fs/cgroup/a/b/memory.max" => Some("max\n"),
            "/sys/fs/cgroup/a/memory.max" => Some("1000\n"),
            "/sys/fs/cgroup/memory.max" => Some("2000\n"),
            _ => None,
        };

        assert_eq!(limit(read), Some(1000));
    }

    #[test]
    fn a_container_finds_its_own_group_at_the_top() {
        let read = |name: &str| match name {
            "/proc/self/cgroup" => Some("0::/\n"),
            "/sys/fs/cgroup/memory.max" => Some("3000\n"),
            _ => None,
        };
        assert_eq!(limit(read), Some(3000));

        let read = |name: &str| match name {
            "/proc/self/cgroup" => Some("2:cpu,memory:/docker/0123\n1:name=systemd:/docker/0123\n"),
            "/sys/fs/cgroup/memory/memory.limit_in_bytes" => Some("5000\n"),
            _ => None,
        };
        assert_eq!(limit(read), Some(5000));
    }

    #[test]
    fn version_1_may_be_beside_version_2() {
        let read = |name: &str| match name {
            "/proc/self/cgroup" => Some("9:cpu:/x\n4:memory:/a\n0::/\n"),
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes" => Some("7000\n"),
            "/sys/fs/cgroup/memory/memory.limit_in_bytes" => Some("9223372036854771712\n"),
            "/sys/fs/cgroup/memory/x/memory.limit_in_bytes" => Some("1\n"),
            _ => None,
        };

        assert_eq!(limit(read), Some(7000));
    }

    #[test]
    fn no_group_has_no_limit() {
        assert_eq!(limit(|_| None), None);
        assert_eq!(limit(|_| Some("")), None);
        assert_eq!(limit(|_| Some("0::/a\n::\n:\n1:memory\n")), None);
    }

    #[test]
    fn a_name_that_is_too_long_is_no_file() {
        static GROUPS: OnceLock<String> = OnceLock::new();

        let read = |name: &str| match name {
            "/proc/self/cgroup" => {
                let groups = GROUPS.get_or_init(|| format!("0::/{}", "a".repeat(2000)));
                Some(groups.as_str())
            }
            name => Some("1").filter(|_| name.len() > 100),
        };

        assert_eq!(limit(read), None);
    }

    #[test]
    fn a_number_is_all_of_its_text() {
        assert_eq!(number_of(b"18446744073709551615\n"), Some(u64::MAX));
        assert_eq!(number_of(b"18446744073709551616\n"), None);
        assert_eq!(number_of(b"max\n"), None);
        assert_eq!(number_of(b"12x"), None);
        assert_eq!(number_of(b"\n"), None);
        assert_eq!(number_of(b""), None);
    }
}

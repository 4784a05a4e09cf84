//! The descriptors of temporary files that nginx would not have. nginx has at most one
//! temporary file for a response, so those after the first must not use up descriptors
//! that nginx would have for connections and files.

#![forbid(unsafe_code)]

use crate::nginx::{
    Abort, Level, Log, UNLIMITED, Worker, debug, error, file_limits, set_file_limit, update, worker,
};

/// As many files a worker has at a time that nginx would not have, at the most.
const FILES: u64 = 4096;

/// Descriptors for what is open once in a worker: listening sockets, logs and the like.
const OTHERS: u64 = 128;

/// Whether the worker may open one more file than nginx would.
pub(crate) fn is_one_left() -> bool {
    worker().segments_open.get() < worker().segments_max.get()
}

/// Makes sure that the limit is still that which was reckoned with. Else nothing is left
/// for these files from now on.
pub(crate) fn check() -> Result<(), Abort> {
    let is_lowered = file_limits().is_some_and(|(now, _)| now < worker().files_max.get());

    if is_lowered {
        worker().segments_max.set(0);
        return Err(Abort);
    }

    Ok(())
}

/// Notes that a file was opened that nginx would not have.
pub(crate) fn note_opened() {
    update(&worker().segments_open, |files| files.wrapping_add(1));
}

/// Notes that such a file was closed.
pub(crate) fn note_closed() {
    update(&worker().segments_open, |files| files.wrapping_sub(1));
}

/// A worker with so many connections starts: reckons how many files it may have that
/// nginx would not have. The worker asks the system for as many more descriptors. Where
/// it does not get them, there are such files only if the descriptors that it has exceed
/// what all of its connections can need.
pub(crate) fn init_worker(worker: &Worker, connections: u64, log: Log<'_>) {
    worker.segments_max.set(0);

    let Some((now, most)) = file_limits() else {
        error!(log, Level::Alert, 0, c"getrlimit(RLIMIT_NOFILE) failed");
        return;
    };

    let (spare, missing) = files_for(now, most, connections);
    let is_granted = set_file_limit(now.saturating_add(missing), most);
    let most_files = with_granted(spare, missing, is_granted);

    let now = file_limits().map_or(now, |(now, _)| now);

    worker.segments_max.set(most_files);
    worker.files_max.set(now);

    debug!(log, c"event pipe: segments: %ui", most_files as usize);
}

fn with_granted(spare: u64, missing: u64, is_granted: bool) -> u64 {
    if is_granted {
        spare.saturating_add(missing)
    } else {
        spare
    }
}

/// How many of `now` descriptors a worker has to spare, and how many more it is to ask
/// for, up to `most`.
fn files_for(now: u64, most: u64, connections: u64) -> (u64, u64) {
    if now == UNLIMITED {
        return (FILES, 0);
    }

    // The client's, upstream's, and a file.
    let needed = connections.saturating_mul(3).saturating_add(OTHERS);
    let spare = now.saturating_sub(needed).min(FILES);
    let missing = FILES.saturating_sub(spare);

    let available = match most {
        UNLIMITED => missing,
        most => most.saturating_sub(now),
    };

    (spare, missing.min(available))
}

#[cfg(test)]
mod tests {
    use super::{FILES, UNLIMITED, files_for, with_granted};

    #[test]
    fn files_take_descriptors_that_connections_cannot_need() {
        assert_eq!(files_for(100_000, 100_000, 1024), (FILES, 0));
        assert_eq!(files_for(UNLIMITED, UNLIMITED, 1 << 20), (FILES, 0));
        assert_eq!(files_for(3 * 1024 + 128 + 7, 0, 1024), (7, 0));
    }

    #[test]
    fn what_is_not_granted_does_not_count() {
        assert_eq!(with_granted(7, 500, true), 507);
        assert_eq!(with_granted(7, 500, false), 7);
    }

    #[test]
    fn what_is_missing_is_asked_for_up_to_the_hard_limit() {
        assert_eq!(files_for(1024, UNLIMITED, 1024), (0, FILES));
        assert_eq!(files_for(1024, 1524, 1024), (0, 500));
        assert_eq!(files_for(3207, 1 << 20, 1024), (7, FILES - 7));
    }
}

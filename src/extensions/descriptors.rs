//! The descriptors of segments that nginx would not have. nginx has at most one
//! temporary file for a response, so those after the first must not use up descriptors
//! that nginx would have for connections and files.

#![forbid(unsafe_code)]

use crate::nginx::{
    Abort, Level, Log, UNLIMITED, debug, error, file_limits, set_file_limit, update, worker,
};

/// The most segments, beside the first of each response, that a worker has at a time.
const FILES: u64 = 4096;

/// How many descriptors are set aside for what is open once in a worker: listening
/// sockets, logs and the like.
const OTHERS: u64 = 128;

/// Whether the worker may open one more segment that nginx would not have.
pub(crate) fn is_one_left() -> bool {
    worker().segments_open.get() < worker().segments_max.get()
}

/// Checks that the limit of descriptors has not been lowered since the worker started.
/// If it has, the worker opens no segment any more that nginx would not have.
pub(crate) fn check() -> Result<(), Abort> {
    let is_lowered = file_limits().is_some_and(|(now, _)| now < worker().files_max.get());

    if is_lowered {
        worker().segments_max.set(0);
        return Err(Abort);
    }

    Ok(())
}

/// Notes that a segment was opened that nginx would not have.
pub(crate) fn note_opened() {
    update(&worker().segments_open, |files| files.wrapping_add(1));
}

/// Notes that a segment was closed that nginx would not have.
pub(crate) fn note_closed() {
    update(&worker().segments_open, |files| files.wrapping_sub(1));
}

/// Computes, when a worker starts, how many segments it may have that nginx would not
/// have. The worker asks the system for as many more descriptors. If the system
/// refuses, the worker has such segments only if it has more descriptors than all of
/// its `connections` can need.
pub(crate) fn init_worker(connections: u64, log: Log<'_>) {
    let worker = worker();

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

/// How many of its `now` descriptors a worker can spare, and how many more the worker
/// is to ask for, up to `most` in all.
fn files_for(now: u64, most: u64, connections: u64) -> (u64, u64) {
    if now == UNLIMITED {
        return (FILES, 0);
    }

    // Each connection may need three: the client's socket, upstream's socket, and a
    // file.
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

//! An output that waits for the disk does not use up the client's time.

use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::path::Path;

use pipe_tests::build::shared_library;
use pipe_tests::upstream::Reply;
use pipe_tests::{Binaries, binaries};
use tempfile::TempDir;

use crate::pace::{PATH, Setup, Speech, Stage, TOO_LONG};

const SIZE: usize = 120_000;

/// More than the client's side holds without the temporary file.
const BEFORE: usize = 100_000;

/// Sockets that hold little.
const TIGHT: usize = 8 << 10;

const DIRECTIVES: &str = "aio threads; sendfile off; @_read_timeout 1h; @_buffers 8 4k;\
                          @_busy_buffers_size 8k; @_temp_file_write_size 16k;";

/// A disk that nothing can be read from while the test says so.
struct Disk {
    folder: TempDir,
    lock: File,
}

impl Disk {
    fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let lock = File::create_new(folder.path().join("lock"))?;
        Ok(Self { folder, lock })
    }

    fn stand_still(&self, still: bool) -> Result<()> {
        let what = if still { libc::LOCK_EX } else { libc::LOCK_UN };
        // SAFETY: two numbers, the first of which is an open file's.
        match unsafe { libc::flock(self.lock.as_raw_fd(), what) } {
            0 => Ok(()),
            _ => Err(Error::last_os_error()),
        }
    }
}

/// The client takes all at once, as soon as some of it is on disk, and a thread
/// reads from a disk that is slower than the client's timeout. Returns whether
/// the client gets all of it.
fn is_whole(binary: &Path) -> Result<bool> {
    let disk = Disk::new()?;
    let mut setup = Setup::new(Speech::Http1, DIRECTIVES);
    setup.socket = TIGHT;
    setup.preload = vec![shared_library("tests/time/disk.c")?];
    setup.env = vec![("PIPE_DISK", disk.folder.path().join("lock").into())];
    let stage = Stage::start(binary, &setup)?;
    let reply = Reply::random(1, SIZE);
    let mut client = stage.client(PATH)?;
    let mut upstream = stage.upstream_sends(&reply, BEFORE)?;

    disk.stand_still(true)?;
    for _ in 0..11 {
        client.read(usize::MAX)?;
        stage.time.advance(TOO_LONG / 11)?;
    }
    disk.stand_still(false)?;

    upstream.send(usize::MAX)?;
    while client.is_open() {
        client.read(usize::MAX)?;
        stage.time.settle()?;
    }
    let timed_out = stage.has_client_timed_out();
    drop(upstream);
    let body = client.finish();
    stage.stop()?;
    assert_eq!(body != reply.body.bytes(), timed_out);
    Ok(!timed_out)
}

/// Stock leaves the timer as it was when its output holds on to what it has, and
/// gives up a client that waits for it.
#[test]
fn a_slow_disk_does_not_time_out_the_client() -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    assert!(!is_whole(&stock)?, "stock waits for its disk");
    assert!(is_whole(&ours)?);
    Ok(())
}

//! The temporary file: nginx's own code writes it, to a disk in memory.

use super::{Fallible, World, world};
use crate::config::WriteFailure;
use crate::nginx as n;
use crate::trace::Event;

/// The first descriptor; each file has another one.
const FIRST_FD: i32 = 7;

/// The disk, and the thread that writes to it.
#[derive(Default)]
pub(super) struct Disk {
    /// nginx's code is at work, which opens its file when it first writes to it.
    is_writing: bool,
    files: Vec<File>,
    /// What the thread pool has to do.
    #[cfg(c_has_threads)]
    task: Option<*mut n::ngx_thread_task_t>,
}

/// A file, perhaps closed.
#[derive(Default)]
struct File {
    data: Vec<u8>,
    open: bool,
    /// Bytes that nginx's code has reported as written.
    written: i64,
}

impl Disk {
    fn open(&mut self) -> i32 {
        self.files.push(File {
            open: true,
            ..File::default()
        });
        FIRST_FD + self.files.len() as i32 - 1
    }

    fn file(&mut self, fd: i32) -> Option<&mut File> {
        let file = self.files.get_mut(usize::try_from(fd - FIRST_FD).ok()?)?;
        file.open.then_some(file)
    }

    /// A byte of an open file.
    pub(super) fn byte(&mut self, fd: i32, at: i64) -> Option<u8> {
        self.file(fd)?.data.get(at as usize).copied()
    }

    /// What was written first: of a response that is kept, all.
    pub(super) fn first(&self) -> &[u8] {
        self.files.first().map_or(&[], |file| &file.data)
    }

    /// What was reported as written to a file.
    pub(super) fn written(&mut self, fd: i32) -> i64 {
        self.file(fd).map_or(0, |file| file.written)
    }

    /// The same of all files.
    pub(super) fn all_written(&self) -> i64 {
        self.files.iter().map(|file| file.written).sum()
    }

    /// Bytes of a file; none before it is there.
    pub(super) fn size(&mut self, fd: i32) -> i64 {
        self.file(fd).map_or(0, |file| file.data.len() as i64)
    }

    /// Bytes of all files that are open.
    pub(super) fn used(&self) -> i64 {
        let open = self.files.iter().filter(|file| file.open);
        open.map(|file| file.data.len() as i64).sum()
    }

    pub(super) fn is_open(&self) -> bool {
        self.files.iter().any(|file| file.open)
    }
}

impl File {
    fn write(&mut self, offset: i64, data: &[u8]) {
        let end = offset as usize + data.len();
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        self.data[offset as usize..end].copy_from_slice(data);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_write_chain_to_temp_file(
    file: *mut n::ngx_temp_file_t,
    chain: *mut n::ngx_chain_t,
) -> isize {
    let w = world();
    w.check_may_write();
    if !chain.is_null() {
        // SAFETY: as the pipe has called.
        w.check_segment(unsafe { (*file).file.fd });
    }
    let described = w.describe_chain(chain);
    let state = w.file_state();
    w.disk.is_writing = true;
    // SAFETY: as the pipe has called.
    let result = unsafe { n::real_ngx_write_chain_to_temp_file(file, chain) };

    let w = world();
    w.disk.is_writing = false;
    if result == n::NGX_ERROR as isize {
        w.note_write_failed();
    }
    // SAFETY: as the pipe has called.
    if let Some(file) = w.disk.file(unsafe { (*file).file.fd }) {
        file.written += result.max(0) as i64;
    }
    w.trace.push(Event::WriteChain {
        chain: described,
        file: state,
        result,
    });
    result
}

#[unsafe(no_mangle)]
extern "C" fn harness_open_file() -> i32 {
    let w = world();
    if w.extra.open_failed && !w.disk.is_writing {
        w.wrong("a file that could not be opened is tried again");
    }
    let failed = w.fails(Fallible::Open);
    w.trace.push(Event::Open { failed });
    if failed {
        // Without another file, the last one is written to.
        match w.disk.is_writing {
            true => w.note_write_failed(),
            false => w.extra.open_failed = true,
        }
        return -libc::EMFILE;
    }
    w.disk.open()
}

#[unsafe(no_mangle)]
extern "C" fn harness_close_file(fd: i32) -> i32 {
    let w = world();
    if !w.extra.is_ending && !w.extra.may_close(&w.config) {
        w.wrong("a file is closed to which a filter may refer");
    }
    match w.disk.file(fd) {
        Some(file) => file.open = false,
        None => w.wrong("a file is closed that is not open"),
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn harness_write_file(
    fd: i32,
    iov: *const libc::iovec,
    count: i32,
    offset: i64,
) -> isize {
    let w = world();
    if w.disk.file(fd).is_none() {
        w.wrong("a file is written that is not open");
    }
    let mut data = Vec::new();
    for i in 0..count as usize {
        // SAFETY: the vectors that nginx has made of live buffers.
        unsafe {
            let part = &*iov.add(i);
            data.extend_from_slice(std::slice::from_raw_parts(
                part.iov_base.cast::<u8>(),
                part.iov_len,
            ));
        }
    }

    let failure = w.fails(Fallible::Write).then_some(w.config.write_failure);
    let result = match failure {
        Some(WriteFailure::NoSpace) => -(libc::ENOSPC as isize),
        Some(WriteFailure::Io) => -(libc::EIO as isize),
        Some(WriteFailure::Interrupted) => -(libc::EINTR as isize),
        Some(WriteFailure::Short) => data.len().div_ceil(2) as isize,
        None => data.len() as isize,
    };
    if let Some(file) = w.disk.file(fd) {
        file.write(offset, &data[..result.max(0) as usize]);
    }
    w.trace.push(Event::Write {
        offset,
        data,
        result,
    });
    result
}

#[cfg(c_has_threads)]
pub(super) unsafe extern "C" fn thread_handler(
    task: *mut n::ngx_thread_task_t,
    _: *mut n::ngx_file_t,
) -> n::ngx_int_t {
    let w = world();
    if w.aio {
        w.wrong("a thread is given work while another works for the request");
    }
    let failed = w.fails(Fallible::ThreadPool);
    if !failed {
        w.disk.task = Some(task);
        w.aio = true;
        w.pipe.set_aio(1);
    }
    super::ok_unless(failed)
}

impl World {
    /// A thread has done what it had to; false if there was nothing.
    pub fn finish_thread(&mut self) -> bool {
        if !self.aio {
            return false;
        }
        self.aio = false;
        self.pipe.set_aio(0);

        #[cfg(c_has_threads)]
        if let Some(task) = self.disk.task.take() {
            self.enter(|me| {
                // SAFETY: what nginx has given to the thread pool.
                unsafe {
                    if let Some(handler) = (*task).handler {
                        handler((*task).ctx, &raw mut (*me).log);
                    }
                    (*task).event.set_complete(1);
                }
            });
        }
        true
    }

    /// Reading for the client uses the same fields of the file.
    #[cfg(c_has_threads)]
    pub(super) fn read_file_by_thread(&mut self) {
        // SAFETY: a file in the pool, or that of the world.
        let file = unsafe { &mut (*self.pipe.temp_file).file };
        file.thread_task = std::ptr::null_mut();
        file.thread_handler = None;
        file.thread_ctx = std::ptr::null_mut();
    }

    /// Between two turns, the output reads from one of several files by a thread,
    /// of which the handler of another file does not tell the pipe.
    pub fn read_between_turns(&mut self) {
        if self.config.threads && self.extra.segments > 1 && self.pipe.writing.is_null() {
            self.aio = true;
        }
    }

    /// Whether a thread works for the request.
    pub fn aio(&self) -> bool {
        self.aio
    }
}

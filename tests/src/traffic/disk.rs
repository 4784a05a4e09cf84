//! A file system that is soon full.

use std::ffi::CString;
use std::io::{Error, Result};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tempfile::TempDir;

/// A file system of 64 KiB, in a mount namespace that only this process and its
/// children see: nothing of it can outlive them.
#[derive(Debug)]
pub struct TinyDisk(TempDir);

impl TinyDisk {
    /// Mounts it, which takes a privileged user, in the calling thread's new
    /// namespace: threads and processes that it starts from now on have it, too.
    pub fn mount() -> Result<Self> {
        let dir = TempDir::with_prefix("pipe-disk-")?;
        // SAFETY: touches no memory.
        checked(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
        mount(c"none", c"/", None, libc::MS_REC | libc::MS_PRIVATE)?;
        let path = CString::new(dir.path().as_os_str().as_bytes())?;
        mount(c"tmpfs", &path, Some((c"tmpfs", c"size=64k")), 0)?;
        Ok(Self(dir))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let Ok(path) = CString::new(self.path().as_os_str().as_bytes()) else {
            return;
        };
        // SAFETY: `path` is a string that ends with a zero. Where this fails,
        // the end of the namespace unmounts it.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

/// mount(2); `kind` is the type of the file system and its options.
fn mount(
    source: &std::ffi::CStr,
    target: &std::ffi::CStr,
    kind: Option<(&std::ffi::CStr, &std::ffi::CStr)>,
    flags: libc::c_ulong,
) -> Result<()> {
    let none = std::ptr::null();
    let (kind, options) = kind.map_or((none, none), |(kind, options)| {
        (kind.as_ptr(), options.as_ptr())
    });
    // SAFETY: each pointer is null or to a string that ends with a zero.
    checked(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind,
            flags,
            options.cast(),
        )
    })
}

fn checked(result: libc::c_int) -> Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

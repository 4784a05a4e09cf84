//! What the system says about the machine and the limits of the process.

/// The bytes of memory that the machine has. `None` if that is not known.
#[allow(clippy::unnecessary_cast)] // of `c_long`, which is no `i64` everywhere
pub(crate) fn machine_memory() -> Option<u64> {
    // SAFETY: no precondition.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    // SAFETY: no precondition.
    let page_size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };

    let pages = u64::try_from(pages as i64).ok()?;
    let page_size = u64::try_from(page_size as i64).ok()?;

    pages.checked_mul(page_size)
}

/// The bytes of memory that the process may map. `None` if there is no limit.
#[allow(clippy::unnecessary_cast)] // of `rlim_t`, which is no `u64` everywhere
pub(crate) fn process_memory() -> Option<u64> {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };

    // SAFETY: `limits` is a local structure.
    let rc = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limits) };

    (rc == 0 && limits.rlim_cur != libc::RLIM_INFINITY).then_some(limits.rlim_cur as u64)
}

/// The bytes of the file with this name, which ends with a zero; as many as the memory has
/// room for. `None` if there is no such file.
pub(crate) fn read_file<'m>(name: &[u8], memory: &'m mut [u8]) -> Option<&'m [u8]> {
    if !name.contains(&0) {
        return None;
    }

    // SAFETY: a string that ends with a zero, as was checked above.
    let fd = unsafe { libc::open(name.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC) };

    if fd < 0 {
        return None;
    }

    let mut used = 0;

    while let Some(room) = memory.get_mut(used..).filter(|room| !room.is_empty()) {
        // SAFETY: the rest of the caller's memory.
        let size = unsafe { libc::read(fd, room.as_mut_ptr().cast(), room.len()) };

        match usize::try_from(size) {
            Ok(size) if size > 0 => used = used.saturating_add(size),
            _ => break,
        }
    }

    // SAFETY: the descriptor of the file above, which nobody else has.
    unsafe { libc::close(fd) };

    memory.get(..used)
}

#[cfg(test)]
mod tests {
    use super::{machine_memory, read_file};

    #[test]
    fn a_machine_has_memory() {
        assert!(machine_memory().unwrap() > 1 << 20);
    }

    #[test]
    fn a_file_is_read_as_far_as_there_is_room() {
        let mut memory = [0; 64];
        let whole = read_file(b"/proc/self/comm\0", &mut memory)
            .unwrap()
            .to_vec();
        assert!(whole.ends_with(b"\n"));

        let mut memory = [0; 3];
        assert_eq!(read_file(b"/proc/self/comm\0", &mut memory), whole.get(..3));
        assert_eq!(read_file(b"/proc/self/none\0", &mut memory), None);
        assert_eq!(read_file(b"/proc/self/comm", &mut memory), None);
    }
}

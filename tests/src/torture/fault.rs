//! What can fail, and how.

use std::fmt;

/// A kind of calls; `interpose.c` has the same in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Reading from a socket.
    Receive,
    /// Writing to a socket, sendfile() too.
    Send,
    /// Reading from a file.
    ReadFile,
    /// Writing to a file.
    WriteFile,
    /// Opening or creating a file.
    Open,
    /// Whatever else is done to files: renamed, deleted, looked at.
    Manage,
    /// Telling epoll what to wait for.
    Register,
    /// Memory.
    Allocate,
}

impl Call {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Receive,
        Self::Send,
        Self::ReadFile,
        Self::WriteFile,
        Self::Open,
        Self::Manage,
        Self::Register,
        Self::Allocate,
    ];

    /// The ways in which the system may let such a call fail.
    pub(super) fn faults(self) -> Vec<Fault> {
        let fault = |first, later| Fault {
            call: self,
            first,
            later,
        };
        let once = |errno| fault(How::Fails(errno), None);
        let lasting = |errno| fault(How::Fails(errno), Some(errno));
        let cut = |later| fault(How::IsCut, later);
        match self {
            Self::Receive => vec![once(libc::ECONNRESET), once(libc::EINTR)],
            Self::Send => vec![
                fault(How::Fails(libc::ECONNRESET), Some(libc::EPIPE)),
                once(libc::EIO),
                once(libc::EINTR),
                cut(None),
            ],
            Self::ReadFile => vec![once(libc::EIO)],
            Self::WriteFile => vec![
                once(libc::EIO),
                once(libc::EINTR),
                lasting(libc::ENOSPC),
                cut(Some(libc::ENOSPC)),
            ],
            Self::Open => vec![once(libc::EMFILE), lasting(libc::EMFILE)],
            Self::Manage => vec![once(libc::EIO)],
            Self::Register => vec![once(libc::ENOMEM)],
            Self::Allocate => vec![once(libc::ENOMEM), lasting(libc::ENOMEM)],
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Receive => "receive",
            Self::Send => "send",
            Self::ReadFile => "read-file",
            Self::WriteFile => "write-file",
            Self::Open => "open",
            Self::Manage => "manage",
            Self::Register => "register",
            Self::Allocate => "allocate",
        })
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// It does nothing but set errno.
    Fails(i32),
    /// It does half of what it should.
    IsCut,
}

/// How calls of a kind fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) call: Call,
    /// What becomes of the one call.
    pub(super) first: How,
    /// What all that follow set errno to, if they are to fail too.
    pub(super) later: Option<i32>,
}

/// A fault of the nth call of its kind, from 1 on.
pub(super) type Armed = (Fault, u32);

impl Fault {
    /// Whether a program that does right goes on as if nothing had happened.
    pub(super) fn is_harmless(&self) -> bool {
        self.later.is_none() && matches!(self.first, How::IsCut | How::Fails(libc::EINTR))
    }

    /// What the log says of it, as the kind of a line.
    pub(super) fn logged(&self) -> Vec<String> {
        let first = match self.first {
            How::Fails(errno) => Some(errno),
            How::IsCut => None,
        };
        let errnos = first.into_iter().chain(self.later);
        errnos
            .map(|errno| format!("(N: {})", name(errno)))
            .collect()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first {
            How::Fails(errno) => write!(f, "{}", name(errno))?,
            How::IsCut => f.write_str("half of it")?,
        }
        match self.later {
            Some(errno) => write!(f, ", then always {}", name(errno)),
            None => Ok(()),
        }
    }
}

fn name(errno: i32) -> String {
    let error = std::io::Error::from_raw_os_error(errno).to_string();
    error
        .split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

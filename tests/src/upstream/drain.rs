//! Whether the other end of a connection has read all that was sent.
//!
//! An acknowledgement just means that the kernel got the bytes, not that the
//! process read them. What waits in a socket that belongs to somebody else, the
//! kernel tells by netlink (sock_diag(7)), or, where that is not to be had, by
//! /proc/net/tcp, which takes tens of milliseconds to write.

use std::fs;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

use socket2::{Domain, Protocol, Socket, Type};

use crate::server::loopback;

/// What waits in a socket: bytes that the process has not read, and bytes that
/// the other end's kernel has not acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    pub unread: usize,
    pub unsent: usize,
}

/// How many bytes of what was sent the process at the other end has not read, be
/// they in its receive buffer or still here; none where that socket is closed.
pub(super) fn unread(stream: &TcpStream) -> Result<Option<usize>> {
    // In this order: what leaves here meanwhile is found there.
    let here = not_sent(stream)?;
    Ok(queues(stream)?.map(|queues| here + queues.unread))
}

/// How many bytes have not left this end yet. (Those that have, and are not
/// acknowledged, may have been read.)
fn not_sent(stream: &TcpStream) -> Result<usize> {
    const SIOCOUTQNSD: libc::Ioctl = 0x894b;

    let mut bytes: libc::c_int = 0;
    // SAFETY: an open socket, and a number that the call writes.
    match unsafe { libc::ioctl(stream.as_raw_fd(), SIOCOUTQNSD, &raw mut bytes) } {
        -1 => Err(Error::last_os_error()),
        _ => Ok(bytes as usize),
    }
}

/// What waits in the socket at the other end of `stream`; none where that
/// socket is gone.
pub fn queues(stream: &TcpStream) -> Result<Option<Queues>> {
    let (near, far) = match ends(stream) {
        Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(None),
        ends => ends?,
    };
    match has_netlink()? {
        true => ask_netlink(far, near),
        false => Ok(find(&fs::read_to_string("/proc/net/tcp")?, far, near)),
    }
}

fn ends(stream: &TcpStream) -> Result<(SocketAddrV4, SocketAddrV4)> {
    match (stream.local_addr()?, stream.peer_addr()?) {
        (SocketAddr::V4(near), SocketAddr::V4(far)) => Ok((near, far)),
        _ => Err(Error::other("scripted peers are reached by IPv4")),
    }
}

/// Whether netlink knows of a connection that there is.
fn has_netlink() -> Result<bool> {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    let listener = TcpListener::bind((loopback(), 0))?;
    let (near, far) = ends(&TcpStream::connect(listener.local_addr()?)?)?;
    let found = matches!(ask_netlink(far, near), Ok(Some(_)));
    Ok(*KNOWN.get_or_init(|| found))
}

mod netlink {
    //! What of <linux/netlink.h> and <linux/inet_diag.h> is needed.
    pub(super) const SOCK_DIAG: i32 = 4;
    pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;
    pub(super) const REQUEST: u16 = 1;
    pub(super) const REQUEST_SIZE: u32 = 72;
    /// Where the type of a message is.
    pub(super) const TYPE: std::ops::Range<usize> = 4..6;
    /// Where the answer has the sizes of the queues.
    pub(super) const UNREAD: std::ops::Range<usize> = 72..76;
    pub(super) const UNSENT: std::ops::Range<usize> = 76..80;
}

fn ask_netlink(local: SocketAddrV4, remote: SocketAddrV4) -> Result<Option<Queues>> {
    let family = Domain::from(libc::AF_NETLINK);
    let protocol = Protocol::from(netlink::SOCK_DIAG);
    let mut socket = Socket::new(family, Type::DGRAM, Some(protocol))?;
    socket.write_all(&request(local, remote))?;

    let mut answer = [0; 512];
    let size = socket.read(&mut answer)?;
    let kind = u16::from_ne_bytes([answer[netlink::TYPE.start], answer[netlink::TYPE.start + 1]]);
    if kind != netlink::SOCK_DIAG_BY_FAMILY || size < netlink::UNSENT.end {
        return Ok(None);
    }
    let number = |at| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&answer[at]);
        u32::from_ne_bytes(bytes) as usize
    };
    Ok(Some(Queues {
        unread: number(netlink::UNREAD),
        unsent: number(netlink::UNSENT),
    }))
}

/// A struct nlmsghdr and a struct inet_diag_req_v2.
fn request(local: SocketAddrV4, remote: SocketAddrV4) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(netlink::REQUEST_SIZE.to_ne_bytes());
    bytes.extend(netlink::SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(netlink::REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    // No extensions, a connection in any state.
    bytes.extend([libc::AF_INET as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    for ip in [local.ip(), remote.ip()] {
        bytes.extend(ip.octets());
        bytes.extend([0; 12]);
    }
    // Any interface, no cookie.
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    bytes
}

/// Looks the socket up in a table as /proc/net/tcp is one.
fn find(table: &str, local: SocketAddrV4, remote: SocketAddrV4) -> Option<Queues> {
    let (local, remote) = (hexadecimal(local), hexadecimal(remote));
    table.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let ends = words.next() == Some(&local) && words.next() == Some(&remote);
        let (unsent, unread) = words.nth(1).filter(|_| ends)?.split_once(':')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        Some(Queues {
            unread: number(unread)?,
            unsent: number(unsent)?,
        })
    })
}

/// The kernel writes the address as a number in the machine's byte order.
fn hexadecimal(address: SocketAddrV4) -> String {
    let ip = u32::from_ne_bytes(address.ip().octets());
    format!("{ip:08X}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_size_it_tells() {
        let end = SocketAddrV4::new(loopback(), 1);
        assert_eq!(request(end, end).len(), netlink::REQUEST_SIZE as usize);
    }

    #[test]
    fn both_tables_tell_what_the_other_end_has_not_read() -> Result<()> {
        let listener = TcpListener::bind((loopback(), 0))?;
        let mut near_end = TcpStream::connect(listener.local_addr()?)?;
        let (mut far_end, _) = listener.accept()?;
        let (near, far) = ends(&near_end)?;
        near_end.write_all(b"12345")?;
        for (read, left) in [(2, 3), (3, 0)] {
            far_end.read_exact(&mut vec![0; read])?;
            let table = fs::read_to_string("/proc/net/tcp")?;
            let left = Queues {
                unread: left,
                unsent: 0,
            };
            assert_eq!(find(&table, far, near), Some(left));
            if has_netlink()? {
                assert_eq!(ask_netlink(far, near)?, Some(left));
            }
        }
        drop(far_end);
        assert_eq!(unread(&near_end)?.unwrap_or_default(), 0);
        Ok(())
    }
}

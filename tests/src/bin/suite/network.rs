//! A network of the suite's own.

use std::fmt;
use std::io;
use std::process::Command;

/// Some files connect to addresses that must not answer; packets for them go
/// into one end of a cable whose other end nobody reads. Without ARP the
/// kernel does not even ask who is there, so that connecting times out.
const COMMANDS: &[&str] = &[
    "link set lo up",
    "link add out type veth peer name void",
    "address add 192.0.2.1/24 dev out",
    "link set out arp off up",
    "link set void up",
    "route add default dev out",
];

/// Moves this process, and all that it starts from now on, into a network
/// namespace: no port is taken there, and the outside is out of reach. An
/// error leaves it where it was.
pub(crate) fn enter_own() -> io::Result<()> {
    // Better not to go where nothing can be set up.
    ip("-Version")?;
    // SAFETY: unshare() takes flags only.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes of a new namespace what the suite needs.
pub(crate) fn set_up() -> io::Result<()> {
    COMMANDS.iter().try_for_each(|command| ip(command))
}

fn ip(arguments: &str) -> io::Result<()> {
    let failed = |reason: &dyn fmt::Display| io::Error::other(format!("ip {arguments}: {reason}"));
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .map_err(|error| failed(&error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(&String::from_utf8_lossy(&output.stderr).trim()))
}

//! Debian packages, installed when they are missing. Quiet unless one is.

use std::env;
use std::io::{self, IsTerminal};

use xshell::{Cmd, Shell, cmd};

use crate::Result;

/// A line for each list, as `name: package package ...`.
const LISTS: &str = include_str!("../packages.txt");

/// Makes sure that what all commands need is there, and what these lists name.
pub(crate) fn need(shell: &Shell, lists: &[&str]) -> Result {
    let mut wanted = list("all");
    wanted.extend(lists.iter().flat_map(|name| list(name)));
    if !is_command("dpkg") || !is_command("apt-get") {
        return check_commands(&wanted);
    }
    let mut missing = Vec::new();
    for package in wanted {
        if !missing.contains(&package) && !is_installed(shell, package)? {
            missing.push(package);
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => install(shell, &missing),
    }
}

/// The packages of one list.
fn list(name: &str) -> Vec<&'static str> {
    let mut lines = LISTS.lines().filter_map(|line| line.split_once(": "));
    let list = lines.find(|(list, _)| *list == name);
    list.map_or_else(Vec::new, |(_, packages)| packages.split(' ').collect())
}

fn is_installed(shell: &Shell, package: &str) -> Result<bool> {
    let format = "${Status}";
    let status = cmd!(shell, "dpkg-query --show --showformat={format} {package}");
    let status = status.quiet().ignore_status().ignore_stderr().read()?;
    Ok(status.ends_with(" installed"))
}

/// Installs as root or through sudo, or tells the line to run.
fn install(shell: &Shell, missing: &[&str]) -> Result {
    let words = missing.join(" ");
    let Some(sudo) = sudo(shell)? else {
        let line = format!("  sudo apt-get update && sudo apt-get install -y {words}");
        let hint = "packages are missing; run this line, then this command again:";
        return Err(format!("{hint}\n{line}").into());
    };

    eprintln!("installing {words}");
    // An update that fails for one repository need not matter to the install.
    captured(cmd!(shell, "env {sudo...} apt-get update"))?;
    let apt = cmd!(
        shell,
        "env {sudo...} env DEBIAN_FRONTEND=noninteractive apt-get"
    );
    let apt = apt.args(["install", "-y", "--no-install-recommends"]);
    let (installed, said) = captured(apt.args(missing))?;
    if installed {
        return Ok(());
    }
    eprint!("{said}");
    Err(format!("could not install {words} (apt-get's output is above)").into())
}

/// What runs a command as root, if there is a way: nothing as root.
fn sudo(shell: &Shell) -> Result<Option<&'static [&'static str]>> {
    if cmd!(shell, "id -u").quiet().read()? == "0" {
        return Ok(Some(&[]));
    }
    if !is_command("sudo") {
        return Ok(None);
    }
    let without_password = captured(cmd!(shell, "sudo -n true"))?.0;
    let may_ask = io::stdin().is_terminal();
    Ok((without_password || may_ask).then_some(&["sudo"]))
}

/// Whether a command succeeds, and all that it says.
fn captured(command: Cmd<'_>) -> Result<(bool, String)> {
    let output = command.quiet().ignore_status().output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

/// Without Debian's tools, packages can only be named, and their commands looked
/// for; what a missing library means, nginx's own configure tells.
fn check_commands(wanted: &[&str]) -> Result {
    let packages = wanted.join(" ");
    let commands = wanted.iter().filter_map(|package| command_of(package));
    let missing: Vec<_> = commands.filter(|command| !is_command(command)).collect();
    if missing.is_empty() {
        eprintln!("not a Debian system; taken for installed, under whatever name: {packages}");
        return Ok(());
    }
    let missing = missing.join(" ");
    let hint = "install them, and what your system calls these Debian packages:";
    Err(format!("these commands are missing: {missing}\n{hint} {packages}").into())
}

/// The command of a package by which one sees that it is there.
fn command_of(package: &str) -> Option<&str> {
    match package {
        "iproute2" => Some("ip"),
        "linux-perf" => Some("perf"),
        "llvm" => Some("llvm-symbolizer"),
        "llvm-22" => Some("llvm-cov-22"),
        "musl-tools" => Some("musl-gcc"),
        "nghttp2-client" => Some("h2load"),
        "uwsgi-core" => Some("uwsgi"),
        "util-linux" => Some("unshare"),
        _ if package.starts_with("lib") || package.contains("-plugin-") => None,
        _ if package.ends_with("-dev") => None,
        _ => Some(package),
    }
}

/// Whether there is a command of this name.
pub(crate) fn is_command(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_packages() {
        assert!(list("all").starts_with(&["gcc", "libc6-dev"]));
        assert_eq!(list("valgrind"), ["valgrind"]);
        assert_eq!(list("no such list"), [""; 0]);
    }

    #[test]
    fn some_packages_have_a_command() {
        assert_eq!(command_of("gcc"), Some("gcc"));
        assert_eq!(command_of("nghttp2-client"), Some("h2load"));
        assert_eq!(command_of("zlib1g-dev"), None);
        assert_eq!(command_of("uwsgi-plugin-python3"), None);
        assert_eq!(command_of("libio-socket-ssl-perl"), None);
    }
}

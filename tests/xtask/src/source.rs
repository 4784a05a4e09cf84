//! nginx's source as Debian or Ubuntu package it, without the patches of the
//! distribution: to test other versions with.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use xshell::{Shell, cmd};

use crate::Result;
use crate::project::target;

/// Fetches nginx's source as a distribution packages it, and prints the folder
///
/// Fetches nginx's source as Debian or Ubuntu package it, without the patches of
/// the distribution, and prints the folder, for NGINX_SOURCE. Needs no root; the
/// machine's own apt configuration stays as it is.
#[derive(Args)]
pub(crate) struct Options {
    /// A release of the same distribution, such as bookworm or trixie (default:
    /// the one that this machine runs)
    suite: Option<String>,
}

pub(crate) fn run(shell: &Shell, options: &Options) -> Result {
    let suite = match &options.suite {
        Some(suite) => suite.clone(),
        None => own_suite()?,
    };
    println!("{}", fetch(shell, &suite)?.display());
    Ok(())
}

/// The release that this machine runs.
fn own_suite() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release")?;
    let mut lines = release.lines();
    let name = lines.find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name
        .ok_or("/etc/os-release names no release")?
        .trim_matches('"')
        .to_owned())
}

/// Fetches the source of one release, and returns the folder.
pub(crate) fn fetch(shell: &Shell, suite: &str) -> Result<PathBuf> {
    let folder = target().join("distribution-source").join(suite);
    for needed in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(needed))?;
    }
    let archive = archive(shell)?;
    let sources = folder.join("sources.list");
    fs::write(&sources, format!("deb-src {archive} {suite} main\n"))?;

    let options = [
        format!("Dir::Etc::sourcelist={}", sources.display()),
        "Dir::Etc::sourceparts=-".to_owned(),
        format!("Dir::State::lists={}", folder.join("lists").display()),
        format!("Dir::Cache={}", folder.join("cache").display()),
        "APT::Sandbox::User=".to_owned(),
    ];
    let options = &options.map(|option| format!("--option={option}"));
    let update = cmd!(shell, "apt-get -qq {options...} update");
    update.quiet().run()?;

    // Only nginx's own tarball is wanted, which apt checks against the signed
    // index. What else there is, a signature and the distribution's patches, may
    // be gone from a mirror without harm.
    let download = ["source", "--tar-only", "--download-only", "nginx"];
    let guard = shell.push_dir(&folder);
    let download = cmd!(shell, "apt-get -qq {options...} {download...}");
    let said = download.quiet().ignore_status().read()?;
    drop(guard);
    eprint!("{said}");
    unpacked(shell, &folder, suite)
}

/// Where the machine's packages come from: the archive of one that every system
/// has.
pub(crate) fn archive(shell: &Shell) -> Result<String> {
    let format = "$(SITE) $(REPO_URI)";
    let targets = cmd!(shell, "apt-get indextargets --format {format} {CREATED_BY}");
    let archive = archive_of(&targets.quiet().read()?).map(str::to_owned);
    let hint = "apt knows no archive of Debian or Ubuntu: run apt-get update first";
    archive.ok_or_else(|| hint.into())
}

const CREATED_BY: &str = "Created-By: Packages";

/// The address in the first line that begins with a site of Debian or Ubuntu.
fn archive_of(targets: &str) -> Option<&str> {
    let mut lines = targets.lines().filter_map(|line| line.split_once(' '));
    let is_own = |site: &str| site.contains("debian") || site.contains("ubuntu");
    let (_, archive) = lines.find(|(site, _)| is_own(site) && !site.contains("security"))?;
    Some(archive)
}

/// When a file was written; of none, never.
fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}

/// Unpacks the newest tarball in a folder.
fn unpacked(shell: &Shell, folder: &Path, suite: &str) -> Result<PathBuf> {
    let mut tarballs = shell.read_dir(folder)?;
    tarballs.retain(|path| path.to_string_lossy().ends_with(".orig.tar.gz"));
    let newest = tarballs.iter().max_by_key(|path| modified(path));
    let failure = || format!("the source of nginx in {suite} cannot be fetched");
    let tarball = newest.ok_or_else(failure)?;
    cmd!(shell, "tar -xzf {tarball} -C {folder}")
        .quiet()
        .run()?;

    let name = tarball.file_name().unwrap_or_default().to_string_lossy();
    let version = name
        .trim_start_matches("nginx_")
        .trim_end_matches(".orig.tar.gz");
    Ok(folder.join(format!("nginx-{version}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_not_that_of_security() {
        let targets = "\
http://security.debian.org/debian-security http://security.debian.org/debian-security/
https://example.org/other https://example.org/other/
http://deb.debian.org/debian http://deb.debian.org/debian/
";
        assert_eq!(archive_of(targets), Some("http://deb.debian.org/debian/"));
        assert_eq!(archive_of(""), None);
    }
}

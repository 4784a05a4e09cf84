//! A fresh Debian in a folder, to see what a user of it sees.

use std::fs;
use std::path::{Path, PathBuf};

use xshell::{Cmd, Shell, cmd};

use super::empty;
use crate::Result;
use crate::project::target;
use crate::source;

/// What a chroot needs of the machine, in a mount namespace that ends with the
/// command.
const ENTER: &str = "
    root=$1; shift
    mount -t proc proc $root/proc
    mount --rbind /dev $root/dev
    exec chroot $root env -i PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin \\
        HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \"$@\"";

/// A Debian in a folder.
pub(crate) struct Chroot {
    pub(crate) root: PathBuf,
}

impl Chroot {
    /// A release with nothing but what must be there; made once.
    pub(crate) fn base(shell: &Shell, suite: &str) -> Result<Self> {
        if cmd!(shell, "id -u").quiet().read()? != "0" {
            return Err("a chroot is made and entered as root: run this as root".into());
        }
        let root = folder(&format!("{suite}-base"));
        let done = root.join("var/lib/ngx-event-pipe");
        if !done.exists() {
            eprintln!("making a fresh {suite}");
            empty(&root)?;
            let archive = source::archive(shell)?;
            let log = root.with_extension("log");
            let words = ["--variant=minbase", suite];
            let output = cmd!(shell, "debootstrap {words...} {root} {archive}");
            let output = output.quiet().ignore_status().output()?;
            fs::write(&log, &output.stdout)?;
            if !output.status.success() {
                return Err(format!("debootstrap {suite} fails: see {}", log.display()).into());
            }
            // Nothing is started by an installation.
            let policy = root.join("usr/sbin/policy-rc.d");
            fs::write(&policy, "#!/bin/sh\nexit 101\n")?;
            cmd!(shell, "chmod +x {policy}").quiet().run()?;
            fs::create_dir_all(done)?;
        }
        Ok(Self { root })
    }

    /// A copy, which takes the place of one of the same name.
    pub(crate) fn copy(&self, shell: &Shell, name: &str) -> Result<Self> {
        let root = folder(name);
        shell.remove_path(&root)?;
        let from = &self.root;
        cmd!(shell, "cp -a {from} {root}").quiet().run()?;
        // The machine's way to the archive is the chroot's.
        for file in ["etc/hosts", "etc/resolv.conf"] {
            let _ = fs::copy(Path::new("/").join(file), root.join(file));
        }
        Ok(Self { root })
    }

    /// A copy with these packages, made once; later runs use it as it is.
    pub(crate) fn with(&self, shell: &Shell, name: &str, script: &str) -> Result<Self> {
        let root = folder(name);
        let done = root.join("var/lib/ngx-event-pipe/done");
        if fs::read_to_string(&done).is_ok_and(|made| made == script) {
            return Ok(Self { root });
        }
        eprintln!("preparing {name}");
        let copy = self.copy(shell, name)?;
        copy.quietly(shell, script)?;
        fs::write(done, script)?;
        Ok(copy)
    }

    /// The words of a command that runs in it.
    pub(crate) fn command(&self, words: &[&str]) -> Vec<String> {
        let root = self.root.display().to_string();
        let enter = ["unshare", "--mount", "sh", "-ec", ENTER, "sh", &root];
        let words = enter.iter().chain(words);
        words.map(|word| (*word).to_owned()).collect()
    }

    /// A script that runs in it.
    pub(crate) fn script<'a>(&self, shell: &'a Shell, script: &str) -> Cmd<'a> {
        let command = self.command(&["sh", "-ec", script]);
        cmd!(shell, "env {command...}").quiet()
    }

    /// Runs a script, and says what it said only if it fails.
    pub(crate) fn quietly(&self, shell: &Shell, script: &str) -> Result {
        let (succeeded, said) = self.outcome(shell, script)?;
        match succeeded {
            true => Ok(()),
            false => Err(format!("in {}: {script}\n{said}", self.root.display()).into()),
        }
    }

    /// The same without a network.
    pub(crate) fn offline(&self, shell: &Shell, script: &str) -> Result {
        let command = self.command(&["sh", "-ec", script]);
        let run = cmd!(shell, "unshare --net {command...}").quiet();
        let output = run.ignore_status().output()?;
        match output.status.success() {
            true => Ok(()),
            false => {
                let said = [output.stdout, output.stderr].concat();
                Err(String::from_utf8_lossy(&said).into_owned().into())
            }
        }
    }

    /// Whether a script succeeds, and what it says.
    pub(crate) fn outcome(&self, shell: &Shell, script: &str) -> Result<(bool, String)> {
        let output = self.script(shell, script).ignore_status().output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        ))
    }
}

fn folder(name: &str) -> PathBuf {
    target().join("chroots").join(name)
}

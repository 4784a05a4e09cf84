//! The Dockerfiles of `packaging/docker`, whose steps are done in chroots: what
//! stands in them works, though no image comes of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use xshell::{Shell, cmd};

use super::chroot::Chroot;
use super::smoke;
use super::{empty, release};
use crate::Result;
use crate::packages;
use crate::project::{root, say, target};
use crate::source;

/// Does what Debian's Dockerfile says, in chroots
///
/// Does each step of packaging/docker/debian/Dockerfile in chroots, one for each
/// stage, and sees the nginx of the last one carry traffic. What would be downloaded
/// is the tarball that Debian has, if its checksum is right. As root. Alpine's
/// Dockerfile needs Alpine's packages and is not run; `cargo xtask architectures musl`
/// builds for its library.
#[derive(Args)]
pub(crate) struct Options {}

pub(crate) fn run(shell: &Shell, _: &Options) -> Result {
    packages::need(shell, &["release", "packages"])?;
    let archive = release::make(shell)?;
    let context = empty(&target().join("container-context"))?;
    cmd!(
        shell,
        "tar -xzf {archive} -C {context} --strip-components=1"
    )
    .quiet()
    .run()?;

    let text = fs::read_to_string(root().join("packaging/docker/debian/Dockerfile"))?;
    let mut machine = Machine {
        shell,
        context,
        stages: BTreeMap::new(),
        stage: None,
    };
    for (instruction, words) in instructions(&text) {
        say(&format!(
            "{instruction} {}",
            words.split("&&").next().unwrap_or_default()
        ));
        machine.step(&instruction, &words)?;
    }
    let last = machine.stage.ok_or("no stage")?.chroot;
    smoke::run_in(shell, &last)
}

/// The instructions of a Dockerfile, each in one line.
fn instructions(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let text: Vec<_> = lines.collect();
    let text = text.join("\n").replace("\\\n", " ");
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(instruction, words)| (instruction.to_owned(), words.trim().to_owned()))
        .collect()
}

/// A stage, and what holds for its next step.
struct Stage {
    chroot: Chroot,
    user: String,
    folder: String,
    variables: String,
}

struct Machine<'a> {
    shell: &'a Shell,
    context: PathBuf,
    /// The roots of the stages that have a name.
    stages: BTreeMap<String, PathBuf>,
    stage: Option<Stage>,
}

impl Machine<'_> {
    fn step(&mut self, instruction: &str, words: &str) -> Result {
        let options: Vec<_> = words.split_whitespace().collect();
        if instruction == "FROM" {
            return self.begin(&options);
        }
        let stage = self.stage.as_mut().ok_or("no FROM")?;
        match (instruction, options.as_slice()) {
            ("ARG", _) => stage.variables += &format!("export {words}\n"),
            ("USER", _) => words.clone_into(&mut stage.user),
            ("WORKDIR", _) => words.clone_into(&mut stage.folder),
            ("RUN", _) => stage.run(self.shell, words)?,
            ("COPY", [from, what, to]) if from.starts_with("--from=") => {
                let from = from.trim_start_matches("--from=");
                let from = self.stages.get(from).ok_or("no such stage")?;
                let from = from.join(what.trim_start_matches('/')).join(".");
                let to = stage.chroot.root.join(to.trim_start_matches('/'));
                let shell = self.shell;
                cmd!(shell, "cp -a {from} {to}").quiet().run()?;
            }
            ("COPY", [_, ".", to]) => stage.put(self.shell, &self.context, to)?,
            ("ADD", [_, sum, _, to]) => {
                let sum = sum.trim_start_matches("--checksum=sha256:");
                let tarball = tarball(self.shell)?;
                stage.put(self.shell, &tarball, to)?;
                let check = format!("echo \"{sum}  {to}\" | sha256sum --check --quiet");
                stage.run(self.shell, &check)?;
            }
            ("EXPOSE" | "STOPSIGNAL" | "CMD", _) => (),
            _ => return Err(format!("{instruction} {words}: not known here").into()),
        }
        Ok(())
    }

    fn begin(&mut self, words: &[&str]) -> Result {
        let image = words.first().ok_or("no image")?;
        let suite = image
            .strip_prefix("debian:")
            .and_then(|tag| tag.strip_suffix("-slim"));
        let base = Chroot::base(self.shell, suite.ok_or("not Debian's image")?)?;
        let name = words.get(2).copied().unwrap_or("last");
        let chroot = base.copy(self.shell, &format!("container-{name}"))?;
        self.stages.insert(name.to_owned(), chroot.root.clone());
        self.stage = Some(Stage {
            chroot,
            user: "root".to_owned(),
            folder: "/".to_owned(),
            variables: String::new(),
        });
        Ok(())
    }
}

impl Stage {
    fn run(&self, shell: &Shell, script: &str) -> Result {
        let Self {
            user,
            folder,
            variables,
            ..
        } = self;
        let script = format!("{variables}cd {folder}\n{script}");
        let command = self
            .chroot
            .command(&["runuser", "-u", user, "--", "sh", "-ec", &script]);
        let output = cmd!(shell, "env {command...}")
            .quiet()
            .ignore_status()
            .output()?;
        match output.status.success() {
            true => Ok(()),
            false => {
                let said = [output.stdout, output.stderr].concat();
                Err(format!("{script}\n{}", String::from_utf8_lossy(&said)).into())
            }
        }
    }

    /// Puts a file or folder where a step of the user will find it.
    fn put(&self, shell: &Shell, what: &Path, to: &str) -> Result {
        let path = Path::new(&self.folder).join(to);
        let outside = self.chroot.root.join(path.strip_prefix("/")?);
        cmd!(shell, "cp -r {what} {outside}").quiet().run()?;
        let command = self.chroot.command(&["chown", "-R", &self.user]);
        cmd!(shell, "env {command...} {path}").quiet().run()?;
        Ok(())
    }
}

/// nginx's tarball, as Debian has it.
fn tarball(shell: &Shell) -> Result<PathBuf> {
    let tree = source::fetch(shell, "trixie")?;
    let folder = tree.parent().ok_or("no folder")?;
    let mut files = shell.read_dir(folder)?;
    files.retain(|path| path.to_string_lossy().ends_with(".orig.tar.gz"));
    Ok(files.pop().ok_or("no tarball")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_may_have_several_lines() {
        let text = "# words\nFROM a AS b\n\nRUN c \\\n    && d\n";
        let expected = [("FROM", "a AS b"), ("RUN", "c      && d")];
        let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(instructions(text), expected);
    }
}

//! The release archive: all that building nginx with the pipe takes but Rust,
//! libclang and nginx itself.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use xshell::{Shell, cmd};

use super::{empty, smoke};
use crate::Result;
use crate::packages::{self, is_command};
use crate::project::{root, say, target};

/// What of the project is in the archive.
const CONTENTS: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "build.rs",
    "docs",
    "include",
    "nginx-module",
    "packaging",
    "src",
];

/// The most crates that a builder should have to look through.
const CRATES: usize = 25;

/// Makes the release archive, to be built without a network
///
/// Makes the release archive of the last commit in target/release-archive: the
/// sources of the library and of the crates that its build takes, their licences,
/// a list of contents (CycloneDX), and checksums. The same commit gives the same
/// archive.
#[derive(Args)]
pub(crate) struct Options {
    /// Build nginx from the archive, without a network and without a crate but
    /// those in it, and see it carry traffic
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(shell: &Shell, options: &Options) -> Result {
    packages::need(shell, &["release"])?;
    let archive = make(shell)?;
    if options.check {
        check(shell, &archive)?;
    }
    println!("{}", archive.display());
    Ok(())
}

/// Makes the archive, and returns its path.
pub(crate) fn make(shell: &Shell) -> Result<PathBuf> {
    let folder = empty(&target().join("release-archive"))?;
    let name = format!("ngx-event-pipe-{}", version()?);
    let tree = folder.join(&name);
    let time = cmd!(shell, "git log -1 --format=%ct").quiet().read()?;

    say(&format!("{name}: the last commit, and the crates it takes"));
    let tar = folder.join("source.tar");
    cmd!(
        shell,
        "git archive --prefix={name}/ --output={tar} HEAD {CONTENTS...}"
    )
    .quiet()
    .run()?;
    cmd!(shell, "tar -xf {tar} -C {folder}").quiet().run()?;
    fs::remove_file(tar)?;
    vendor(shell, &tree)?;
    fs::write(tree.join("LICENSES.md"), licences(shell)?)?;

    let contents = list_of_contents(shell, &tree, &time)?;
    let archive = folder.join(format!("{name}.tar.gz"));
    pack(shell, &tree, &archive, &time)?;

    let guard = shell.push_dir(&folder);
    let files = [&archive, &contents].map(|path| path.file_name().unwrap_or_default());
    let sums = cmd!(shell, "sha256sum {files...}").quiet().read()?;
    drop(guard);
    fs::write(folder.join("SHA256SUMS"), sums + "\n")?;
    Ok(archive)
}

/// The library's version.
pub(crate) fn version() -> Result<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml"))?;
    let mut lines = manifest.lines();
    let version = lines.find_map(|line| line.strip_prefix("version = "));
    Ok(version
        .ok_or("Cargo.toml has no version")?
        .trim_matches('"')
        .to_owned())
}

/// Puts the crates' sources beside the project's, and tells cargo so.
fn vendor(shell: &Shell, tree: &Path) -> Result {
    let guard = shell.push_dir(tree);
    let advice = cmd!(shell, "cargo vendor --locked --versioned-dirs vendor");
    let advice = advice.quiet().ignore_stderr().read()?;
    drop(guard);
    fs::create_dir_all(tree.join(".cargo"))?;
    fs::write(tree.join(".cargo/config.toml"), advice + "\n")?;

    let crates = fs::read_dir(tree.join("vendor"))?.count();
    println!("{crates} crates");
    match crates <= CRATES {
        true => Ok(()),
        false => Err(format!("the build takes {crates} crates, more than {CRATES}").into()),
    }
}

/// A table of the crates, their licences, and what each is for.
fn licences(shell: &Shell) -> Result<String> {
    let format = "{p} | {l}";
    let tree = |edges: &str| -> Result<Vec<String>> {
        let edges = format!("--edges={edges}");
        let words = ["--locked", "--prefix=none", "--target=all", "--no-dedupe"];
        let tree = cmd!(shell, "cargo tree {edges} {words...} --format {format}");
        let mut lines: Vec<_> = tree.quiet().read()?.lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("ngx-event-pipe "));
        lines.sort();
        lines.dedup();
        Ok(lines)
    };
    let compiled_in = tree("normal")?;
    let mut text = String::from(LICENCES);
    for line in &compiled_in {
        text += &format!("| {line} | compiled in |\n");
    }
    for line in tree("normal,build")? {
        if !compiled_in.contains(&line) {
            text += &format!("| {line} | runs in the build only |\n");
        }
    }
    Ok(text)
}

const LICENCES: &str = "\
# Licences

ngx-event-pipe is under the BSD-2-Clause license (LICENSE). What else is compiled into the
library, and what only runs when it is built; the text of each licence is in the crate's folder
in `vendor`. The compiler adds `core` and `compiler_builtins` of its own Rust distribution (MIT
OR Apache-2.0; compiler_builtins also Apache-2.0 WITH LLVM-exception).

| crate | licence | |
|---|---|---|
";

/// Writes the list of contents beside the tree, and returns its path.
fn list_of_contents(shell: &Shell, tree: &Path, time: &str) -> Result<PathBuf> {
    if !is_command("cargo-cyclonedx") {
        cmd!(shell, "cargo install --locked --quiet cargo-cyclonedx")
            .quiet()
            .run()?;
    }
    let name = "contents";
    let guard = shell.push_dir(tree);
    let words = ["--format=json", "--spec-version=1.5", "--target=all"];
    cmd!(
        shell,
        "cargo cyclonedx --quiet {words...} --override-filename {name}"
    )
    .env("SOURCE_DATE_EPOCH", time)
    .quiet()
    .run()?;
    drop(guard);
    let listed = tree.with_extension(format!(
        "{}.cdx.json",
        tree.extension().unwrap_or_default().to_string_lossy()
    ));
    fs::rename(tree.join(format!("{name}.json")), &listed)?;
    // Where it was made is nobody's business, and differs.
    let text = fs::read_to_string(&listed)?;
    let place = tree.display().to_string();
    fs::write(&listed, text.replace(&place, "/ngx-event-pipe"))?;
    Ok(listed)
}

fn pack(shell: &Shell, tree: &Path, archive: &Path, time: &str) -> Result {
    let (folder, name) = (tree.parent(), tree.file_name());
    let folder = folder.ok_or("no folder")?;
    let name = name.ok_or("no name")?;
    let tar = archive.with_extension("");
    let owner = [
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=u+rw,go=rX",
    ];
    let order = ["--sort=name", "--format=ustar"];
    let mtime = format!("--mtime=@{time}");
    cmd!(
        shell,
        "tar {order...} {mtime} {owner...} -cf {tar} -C {folder} {name}"
    )
    .quiet()
    .run()?;
    cmd!(shell, "gzip --no-name --best --force {tar}")
        .quiet()
        .run()?;
    Ok(())
}

/// Builds nginx from the archive where there is no network and no other crate.
fn check(shell: &Shell, archive: &Path) -> Result {
    say("building nginx from the archive, without a network");
    let place = empty(&target().join("release-check"))?;
    cmd!(shell, "tar -xzf {archive} -C {place}").quiet().run()?;
    let module = place
        .join(format!("ngx-event-pipe-{}", version()?))
        .join("nginx-module");

    // The source of the tests' nginx, without what was made of it.
    let nginx = crate::nginx::build(shell, &[])?;
    let built = nginx.ancestors().nth(2).ok_or("no tree")?;
    let tree = place.join("nginx");
    cmd!(shell, "cp -r {built} {tree}").quiet().run()?;
    shell.remove_path(tree.join("objs"))?;
    shell.remove_path(tree.join("Makefile"))?;

    let script = "
        configure=./configure; [ -x $configure ] || configure=auto/configure
        $configure --prefix=\"$1\" --add-module=\"$2\" > configure.log \\
            || { tail configure.log; exit 1; }
        make -j2 > make.log 2>&1 || { tail -20 make.log; exit 1; }";
    let (prefix, home) = (&place, place.join("cargo-home"));
    let guard = shell.push_dir(&tree);
    cmd!(
        shell,
        "unshare --map-root-user --net sh -ec {script} sh {prefix} {module}"
    )
    .env("CARGO_HOME", home)
    .env_remove("CARGO_TARGET_DIR")
    .quiet()
    .run()?;
    drop(guard);
    smoke::carries_traffic(shell, &tree.join("objs/nginx"), &place)
}

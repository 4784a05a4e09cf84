//! What another version of nginx means for this library: which file it replaces
//! there, and what has changed in what the library calls and is called by.

mod declarations;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use xshell::{Shell, cmd};

use crate::Result;
use crate::nginx::{self, COMPILER};
use crate::project::{root, say, target};
use crate::{packages, project};
use declarations::declarations;

/// Says what has changed in another nginx that matters to the pipe
///
/// Compares another nginx with the one of the tests (or of NGINX_SOURCE): whether
/// the file that the library replaces is one that it is equivalent to, and what has
/// changed, function by function, in that file, in the structures and functions that
/// the library uses, and in what calls the pipe. Then compares the layout of the
/// structures with that of the C compiler, and runs schedules.
#[derive(Args)]
pub(crate) struct Options {
    /// The tree, or an archive of one
    path: PathBuf,
    /// Only compare: build nothing of it
    #[arg(long)]
    compare: bool,
}

const PIPE: &str = "src/event/ngx_event_pipe.c";

/// What the library has the layout of, or calls; each declaration counts.
const USED: &[&str] = &[
    "src/event/ngx_event_pipe.h",
    "src/core/ngx_buf.h",
    "src/core/ngx_buf.c",
    "src/core/ngx_file.h",
    "src/event/ngx_event.h",
    "src/core/ngx_connection.h",
    "src/core/ngx_palloc.h",
];

/// Of these only what has to do with the pipe or with the functions it calls.
const CALLERS: &[&str] = &[
    "src/core/ngx_file.c",
    "src/event/ngx_event.c",
    "src/http/ngx_http_upstream.c",
    "src/http/ngx_http_upstream.h",
    "src/http/modules/ngx_http_fastcgi_module.c",
    "src/http/modules/ngx_http_proxy_module.c",
    "src/http/modules/ngx_http_proxy_v2_module.c",
    "src/http/modules/ngx_http_scgi_module.c",
    "src/http/modules/ngx_http_uwsgi_module.c",
    "src/http/ngx_http_file_cache.c",
];

/// What a declaration of a caller says if it has to do with the pipe.
const SIGNS: &[&str] = &[
    "pipe",
    "ngx_create_temp_file",
    "ngx_write_chain_to_temp_file",
    "ngx_handle_read_event",
    "ngx_handle_write_event",
];

pub(crate) fn run(shell: &Shell, options: &Options, here: &Path) -> Result {
    packages::need(shell, &[])?;
    let tree = unpacked(shell, &here.join(&options.path))?;
    let known = nginx::build(shell, &[])?;
    let known = known.ancestors().nth(2).ok_or("no tree")?;
    println!("{}, compared with {}", version(&tree)?, version(known)?);

    let same = file(shell, &tree)?;
    let mut changes = compare(known, &tree, &[PIPE], |_| true)?;
    changes += compare(known, &tree, USED, |_| true)?;
    let of_the_pipe = |text: &str| SIGNS.iter().any(|sign| text.contains(sign));
    changes += compare(known, &tree, CALLERS, of_the_pipe)?;
    println!("{changes} declarations have changed");

    if !options.compare {
        checked(shell, known, &tree)?;
    }
    say("what is left to do");
    let place = tree.display();
    println!("NGINX_SOURCE={place} NGINX_TESTS=... cargo xtask suite --variant base");
    match same {
        true => Ok(()),
        false => Err(format!("{PIPE} is none that this library is equivalent to").into()),
    }
}

/// The tree itself, or the one in an archive.
fn unpacked(shell: &Shell, path: &Path) -> Result<PathBuf> {
    if path.is_dir() {
        return Ok(path.canonicalize()?);
    }
    let folder = target().join("upstream/unpacked");
    shell.remove_path(&folder)?;
    fs::create_dir_all(&folder)?;
    cmd!(shell, "tar -xf {path} -C {folder} --strip-components=1")
        .quiet()
        .run()?;
    Ok(folder)
}

fn version(tree: &Path) -> Result<String> {
    let header = fs::read_to_string(tree.join("src/core/nginx.h"))
        .map_err(|error| format!("{}: no nginx: {error}", tree.display()))?;
    let mut lines = header.lines();
    let line = lines.find(|line| line.starts_with("#define NGINX_VERSION"));
    let version = line.and_then(|line| line.split('"').nth(1));
    Ok(format!("nginx {}", version.unwrap_or("of no version")))
}

/// Whether the file is one that configure accepts, and which.
fn file(shell: &Shell, tree: &Path) -> Result<bool> {
    let text = fs::read(tree.join(PIPE))?;
    let sum = cmd!(shell, "cksum").stdin(text).quiet().read()?;
    let config = fs::read_to_string(root().join("nginx-module/config"))?;
    let which = accepted(&config).iter().position(|known| *known == sum);
    let sentence = match which {
        Some(0) => "the first: that of 1.20 to 1.25.3",
        Some(1) => "the second: that of 1.25.4 to 1.31.4",
        Some(2) => "the third, with nginx's fix of the drain, which keeps `busy`",
        _ => "none that this library is equivalent to",
    };
    println!("{PIPE}: {sentence}");
    Ok(which.is_some())
}

/// The sums in the one line of configure's script that has them.
fn accepted(config: &str) -> Vec<&str> {
    let mut lines = config.lines().map(str::trim);
    let line = lines.find(|line| line.starts_with('"') && line.ends_with(')'));
    let words = line.unwrap_or_default().split('"');
    words.skip(1).step_by(2).collect()
}

/// Names what has changed in these files, and returns how much has.
fn compare(known: &Path, tree: &Path, files: &[&str], matters: fn(&str) -> bool) -> Result<usize> {
    let mut changes = 0;
    for file in files {
        let read = |tree: &Path| fs::read_to_string(tree.join(file)).unwrap_or_default();
        let (old, new) = (read(known), read(tree));
        for change in changed(&old, &new, matters) {
            println!("  {file}: {change}");
            changes += 1;
        }
    }
    Ok(changes)
}

/// The declarations that are not the same in both texts.
fn changed(old: &str, new: &str, matters: fn(&str) -> bool) -> Vec<String> {
    let (old, new) = (declarations(old), declarations(new));
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let mut changes = Vec::new();
    for name in names {
        let what = match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old != new && (matters(old) || matters(new)) => "changed",
            (Some(old), None) if matters(old) => "gone",
            (None, Some(new)) if matters(new) => "new",
            _ => continue,
        };
        changes.push(format!("{name} is {what}"));
    }
    changes
}

/// Compares the layout, and runs schedules, with the headers of the new tree. If
/// configure does not accept it, a copy is made acceptable for this.
fn checked(shell: &Shell, known: &Path, tree: &Path) -> Result {
    let copy = target().join("upstream/tree");
    shell.remove_path(&copy)?;
    fs::create_dir_all(target().join("upstream"))?;
    cmd!(shell, "cp -r {tree} {copy}").quiet().run()?;
    shell.remove_path(copy.join("objs"))?;
    if !file(shell, &copy)? {
        fs::copy(known.join(PIPE), copy.join(PIPE))?;
    }
    let header = copy.join("src/core/nginx.h");
    let text = fs::read_to_string(&header)?;
    fs::write(&header, with_known_number(&text))?;

    let shell = shell.clone();
    shell.set_var("NGINX_SOURCE", &copy);
    let nginx = nginx::build(&shell, &[])?;
    shell.set_var(COMPILER, nginx::compiler(&nginx));
    say("the layout of the structures");
    cmd!(shell, "cargo test --quiet --package ngx-event-pipe")
        .quiet()
        .run()?;
    say("schedules");
    let harness = ["--quiet", "--package", "pipe-differential"];
    let run = project::in_tests(&shell, "run").args(harness);
    run.args(["--profile", "quick", "--", "--count", "100000"])
        .run()?;
    Ok(())
}

/// A number that configure accepts in the place of one that is too high.
fn with_known_number(header: &str) -> String {
    let mut text = String::new();
    for line in header.lines() {
        let number = line.strip_prefix("#define nginx_version");
        let number = number.and_then(|number| number.trim().parse::<u32>().ok());
        match number {
            Some(number) if number >= 1_032_000 => text += "#define nginx_version 1031999",
            _ => text += line,
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_has_changed() {
        let old = "static int a(void)\n{\n    return 1;\n}\nint b(void) { }\nint gone(void) { }\n";
        let new = "static int a(void)\n{\n    return 2;\n}\n/* only words */\nint b(void) { }\nint c(int d) { }\n";
        let all = ["a is changed", "c is new", "gone is gone"];
        assert_eq!(changed(old, new, |_| true), all);
        assert_eq!(changed(old, new, |text| text.contains('2')), all[..1]);
    }

    #[test]
    fn configure_has_three_files() {
        let config = fs::read_to_string(root().join("nginx-module/config")).unwrap_or_default();
        assert_eq!(accepted(&config).len(), 3);
    }

    #[test]
    fn a_number_that_is_too_high_is_lowered() {
        let high = "#define nginx_version      1032000\n#define X\n";
        assert!(with_known_number(high).starts_with("#define nginx_version 1031999\n"));
        let known = "#define nginx_version      1031004\n";
        assert_eq!(with_known_number(known), known);
    }
}

//! Other architectures than the machine's: cross-compiled in a Debian, and run
//! there by the kernel (32 bits) or by qemu.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use xshell::{Shell, cmd};

use super::chroot::Chroot;
use super::site::Site;
use super::{large, smoke};
use crate::Result;
use crate::packages;
use crate::project::{root, say};

/// Builds and tests for other architectures: i386, arm64, and for musl
///
/// Cross-compiles nginx with the pipe in a chroot of Debian 13, whose own Rust and
/// cross compilers it uses, and finds Rust's target from the C compiler. Then compares
/// the layout of the structures, runs the harness, and sends bodies; on i386, one of
/// 5 GiB too. Programs of other processors are run by qemu. With musl, which has no
/// headers of the kernel, all but the harness. As root.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these (default: all)
    names: Vec<String>,
    /// Schedules of the harness
    #[arg(long, default_value_t = 100_000)]
    count: u32,
    /// Take the nginx of an earlier run, if there is one
    #[arg(long)]
    built: bool,
}

struct Architecture {
    /// Debian's name for it.
    name: &'static str,
    /// The prefix of its compiler, and Rust's target.
    gnu: &'static str,
    rust: &'static str,
    /// Options of configure.
    configure: &'static str,
    /// Whether the harness can be linked.
    harness: bool,
    /// Whether what has 32 bits is to be seen to count further.
    large: bool,
}

const ALL: &[Architecture] = &[
    Architecture {
        name: "i386",
        gnu: "i686-linux-gnu",
        rust: "i686-unknown-linux-gnu",
        configure: "",
        harness: true,
        large: true,
    },
    Architecture {
        name: "arm64",
        gnu: "aarch64-linux-gnu",
        rust: "aarch64-unknown-linux-gnu",
        configure: "",
        harness: true,
        large: false,
    },
    // The library needs nothing of Rust's standard one, so that of glibc serves.
    Architecture {
        name: "musl",
        gnu: "musl",
        rust: "x86_64-unknown-linux-gnu",
        configure: "--with-cc-opt=-isystem/usr/include/x86_64-linux-musl \
            --with-ld-opt=-static --without-http_rewrite_module --without-http_gzip_module",
        harness: false,
        large: false,
    },
];

/// Each architecture's libraries beside the machine's own compilers.
const PREPARE: &str = "
    for name in i386 arm64; do dpkg --add-architecture $name; done
    apt-get -q update
    apt-get -qy install --no-install-recommends build-essential cargo rustc libclang-dev musl-tools \\
        gcc-i686-linux-gnu gcc-aarch64-linux-gnu
    for name in i386 arm64; do
        apt-get -qy install --no-install-recommends libc6-dev:$name \\
            libstd-rust-dev:$name libpcre2-dev:$name zlib1g-dev:$name
    done";

/// Builds nginx in the folder of the architecture; $1 is the compiler's prefix.
const BUILD: &str = "
    cd /build/$name/nginx
    script=./configure; [ -x $script ] || script=auto/configure
    $script --with-cc=$gnu-gcc --with-debug --with-threads $configure \\
        --add-module=/build/project/nginx-module > configure.log 2>&1 \\
        || { tail configure.log; exit 1; }
    make -j2 > make.log 2>&1 || { tail -n 30 make.log; exit 1; }";

/// The environment of cargo for an architecture.
const CARGO: &str = "
    cd /build/project
    export NGX_EVENT_PIPE_COMPILER=/build/$name/nginx/objs/ngx_event_pipe_rust/compiler.txt
    export CARGO_TARGET_DIR=/build/target
    [ $gnu = musl ] || export CARGO_TARGET_$(echo $rust | tr a-z- A-Z_)_LINKER=$gnu-gcc";

pub(crate) fn run(shell: &Shell, options: &Options) -> Result {
    packages::need(shell, &["release", "packages", "architectures"])?;
    let base = Chroot::base(shell, "trixie")?;
    let chroot = base.with(shell, "trixie-architectures", PREPARE)?;
    stage(shell, &chroot)?;
    for name in &options.names {
        if !ALL.iter().any(|known| known.name == name) {
            return Err(format!("{name} is none of i386, arm64, musl").into());
        }
    }
    let chosen = |known: &&Architecture| {
        options.names.is_empty() || options.names.iter().any(|name| name == known.name)
    };
    for architecture in ALL.iter().filter(chosen) {
        architecture.check(shell, &chroot, options)?;
    }
    Ok(())
}

/// Puts the project, its crates and nginx's source into the chroot.
fn stage(shell: &Shell, chroot: &Chroot) -> Result {
    let work = chroot.root.join("build");
    let project = work.join("project");
    shell.remove_path(&project)?;
    fs::create_dir_all(&project)?;
    let root = root();
    let copy = "git ls-files -z | tar --null --files-from=- -cf - | tar -xf - -C \"$1\"";
    cmd!(shell, "sh -ec {copy} sh {project}").quiet().run()?;

    let vendor = work.join("vendor");
    let manifest = root.join("tests/Cargo.toml");
    let words = ["--locked", "--versioned-dirs"];
    cmd!(shell, "cargo vendor {words...} --sync {manifest} {vendor}")
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()?;
    let config = project.join(".cargo/config.toml");
    let old = fs::read_to_string(&config)?;
    fs::write(config, old + VENDORED)?;
    Ok(())
}

const VENDORED: &str = "
[source.crates-io]
replace-with = \"vendored-sources\"

[source.vendored-sources]
directory = \"/build/vendor\"
";

impl Architecture {
    fn check(&self, shell: &Shell, chroot: &Chroot, options: &Options) -> Result {
        let folder = chroot.root.join("build").join(self.name);
        if !options.built || !folder.join("nginx/objs/nginx").exists() {
            self.build(shell, chroot, &folder)?;
        }
        self.carries_bodies(shell, chroot, &folder)?;

        let Self { name, .. } = self;
        say(&format!("{name}: the layout of the structures"));
        let test = "cargo test --quiet --target $rust --package ngx-event-pipe";
        self.script(shell, chroot, &format!("{CARGO}\n{test}"))?;
        if !self.harness {
            return Ok(());
        }
        let count = options.count;
        say(&format!("{name}: {count} schedules"));
        let run = "cargo run --quiet --manifest-path tests/Cargo.toml --target $rust \
            --profile quick --package pipe-differential -- --count";
        self.script(shell, chroot, &format!("{CARGO}\n{run} {count}"))
    }

    fn build(&self, shell: &Shell, chroot: &Chroot, folder: &Path) -> Result {
        say(&format!("{}: nginx", self.name));
        let tree = source(shell)?;
        shell.remove_path(folder)?;
        fs::create_dir_all(folder)?;
        let nginx = folder.join("nginx");
        cmd!(shell, "cp -r {tree} {nginx}").quiet().run()?;
        shell.remove_path(nginx.join("objs"))?;
        shell.remove_path(nginx.join("Makefile"))?;
        self.script(shell, chroot, BUILD)?;
        let log = fs::read_to_string(nginx.join("configure.log"))?;
        let target = log.lines().find(|line| line.contains("Rust's target"));
        println!("{}", target.unwrap_or_default());
        Ok(())
    }

    fn carries_bodies(&self, shell: &Shell, chroot: &Chroot, folder: &Path) -> Result {
        let Self { name, .. } = self;
        say(&format!("{name}: bodies"));
        let command = chroot.command(&[&format!("/build/{name}/nginx/objs/nginx")]);
        let inside = PathBuf::from("/build").join(name);
        let site = Site {
            command,
            outside: folder,
            inside: &inside,
        };
        smoke::run(shell, &site)?;
        match self.large {
            true => large::run(shell, &site),
            false => Ok(()),
        }
    }

    fn script(&self, shell: &Shell, chroot: &Chroot, script: &str) -> Result {
        let Self {
            name,
            gnu,
            rust,
            configure,
            ..
        } = self;
        let variables = format!("name={name} gnu={gnu} rust={rust} configure='{configure}'\n");
        Ok(chroot.script(shell, &(variables + script)).run()?)
    }
}

/// The source of the tests' nginx.
fn source(shell: &Shell) -> Result<PathBuf> {
    let nginx = crate::nginx::build(shell, &[])?;
    Ok(nginx
        .ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .ok_or("no tree")?)
}

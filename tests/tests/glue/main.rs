//! `nginx-module/`: what nginx's own configure and make do with it, in the
//! ways in which nginx is built, and what it refuses.

mod fixture;
mod library;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use pipe_tests::build::{self, Pipe, Recipe, Source};
use pipe_tests::process::die_with_parent;
use pipe_tests::project::Project;
use tempfile::TempDir;

use fixture::{OtherLibrary, Tree};

/// The functions that the C file defines for others.
const PIPE: [&str; 3] = [
    "ngx_event_pipe",
    "ngx_event_pipe_copy_input_filter",
    "ngx_event_pipe_add_free_buf",
];

/// A static function of the C file, and the one symbol that only the library
/// has: they tell the two pipes apart in a binary.
const ONLY_IN_C: &str = "ngx_event_pipe_write_chain_to_temp_file";
const ONLY_IN_RUST: &str = "ngx_event_pipe_rust_version";

/// The library in nginx's folder of objects.
const ARCHIVE: &str = "ngx_event_pipe_rust/libngx_event_pipe.a";

/// What a reachable panic would bring into the binary.
const PANICS: [&str; 4] = [
    "core::panicking",
    "rust_begin_unwind",
    "rust_panic",
    "panic_fmt",
];

const PATIENCE: Duration = Duration::from_secs(30);

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

// Ways of building.

#[test]
fn in_the_tree_with_gcc_debug_and_a_relative_path() -> Result {
    let mut recipe = recipe(&["--with-debug"])?;
    // The tree is not there yet, but it is known how deep it will be.
    let tree = build::target().canonicalize()?.join("nginx/KEY/tree");
    let up = "../".repeat(tree.components().count());
    let module = recipe.module.strip_prefix("/")?.to_owned();
    recipe.module = Path::new(&up).join(module);
    expect_good(&recipe)
}

#[test]
fn in_a_builddir_with_clang_threads_aio_and_compat() -> Result {
    let mut recipe = recipe(&["--with-threads", "--with-file-aio", "--with-compat"])?;
    recipe.cc = "clang".into();
    let name = format!("nginx/{}-builddir", recipe.source.version());
    recipe.builddir = Some(build::target().join(name));
    expect_good(&recipe)
}

#[test]
fn hardened_as_distributions_do() -> Result {
    expect_good(&recipe(&[
        "--with-compat",
        "--with-threads",
        "--with-cc-opt=-g -O2 -fPIE -fstack-protector-strong -D_FORTIFY_SOURCE=2 \
         -ffunction-sections -fdata-sections",
        "--with-ld-opt=-pie -Wl,-z,relro -Wl,-z,now -Wl,--as-needed -Wl,--gc-sections",
    ])?)
}

#[test]
fn without_http_where_nothing_calls_it() -> Result {
    let mut recipe = recipe(&["--without-http", "--with-debug"])?;
    recipe.cc = "clang".into();
    expect_good(&recipe)
}

#[test]
fn with_another_rust_library_that_panics_inside() -> Result {
    let other = OtherLibrary::build()?;
    for ours_first in [true, false] {
        let mut tree = Tree::new()?;
        if ours_first {
            tree.recipe.configure.push(add_module(&tree.recipe.module));
            tree.recipe.pipe = Pipe::Stock;
        }
        tree.recipe.configure.push(add_module(other.module()));
        tree.build()?;
        expect_our_pipe(&tree.built.binary)?;
        assert!(
            !panics(&tree.built.binary)?.is_empty(),
            "std is there, but the search for panics does not see it"
        );
        let log = start_and_stop(&tree.built.binary)?;
        expect_contains(&log, "other library: panics caught: 1")?;
        expect_contains(&log, &notice()?)?;
    }
    Ok(())
}

// What make does again.

#[test]
fn rebuilds_what_has_changed_and_nothing_else() -> Result {
    let project = Project::copy()?;
    let mut tree = Tree::new()?;
    tree.recipe.module = project.path("nginx-module");
    tree.configure()?;
    let archive = tree.built.objs.join(ARCHIVE);
    let made = || -> Result<(Vec<u8>, SystemTime)> {
        tree.make()?;
        Ok((fs::read(&archive)?, modified(&tree.built.binary)?))
    };

    let first = made()?;
    assert!(
        first == made()?,
        "nothing has changed, but nginx is linked again"
    );

    project.append(
        "src/lib.rs",
        "/// New.\n#[unsafe(no_mangle)]\npub static NGX_EVENT_PIPE_NEW: u8 = 1;\n",
    )?;
    let with_source = made()?;
    assert!(
        with_source.0 != first.0,
        "the library lacks a changed source"
    );
    assert!(with_source.1 > first.1, "a changed library is not linked");

    // All fields of the structure move.
    tree.edit("src/event/ngx_event_pipe.h", |header| {
        let start = "struct ngx_event_pipe_s {";
        header.replace(start, &format!("{start}\n    void *moves_all;"))
    })?;
    let with_header = made()?;
    assert!(
        with_header.0 != with_source.0,
        "the library lacks a changed header"
    );
    assert!(
        with_header.1 > with_source.1,
        "a changed library is not linked"
    );
    Ok(())
}

// Refusals.

#[test]
fn refuses_to_be_a_dynamic_module() -> Result {
    let mut tree = Tree::new()?;
    let module = tree.recipe.module.display();
    tree.recipe
        .configure
        .push(format!("--add-dynamic-module={module}"));
    tree.recipe.pipe = Pipe::Stock;
    expect_refusal(
        tree.configure(),
        "cannot be a dynamic module: use --add-module=",
    )
}

#[test]
fn refuses_to_be_added_twice() -> Result {
    let mut tree = Tree::new()?;
    tree.recipe.configure.push(add_module(&tree.recipe.module));
    expect_refusal(tree.configure(), "is this module added twice?")
}

#[test]
fn refuses_without_cargo() -> Result {
    let mut tree = Tree::new()?;
    tree.set("NGX_CARGO", Path::new("/nowhere/cargo"));
    expect_refusal(
        tree.configure(),
        "/nowhere/cargo does not run: install Rust 1.85 or later",
    )
}

#[test]
fn tells_why_cargo_does_not_run() -> Result {
    for reason in [
        "error: no default toolchain is configured",
        "error: Cargo couldn't find your home directory",
    ] {
        let mut tree = Tree::new()?;
        tree.set_cargo(&format!("echo \"{reason}\" >&2; exit 1\n"))?;
        expect_refusal(tree.configure(), &format!("it said:\n{reason}"))?;
    }
    Ok(())
}

#[test]
fn tells_why_cargo_does_not_run_for_make() -> Result {
    let mut tree = Tree::new()?;
    let mark = tree.path("mark");
    tree.set_cargo(&format!(
        "[ ! -e {} ] || {{ echo 'error: no home' >&2; exit 1; }}\nexec cargo \"$@\"\n",
        mark.display()
    ))?;
    tree.configure()?;
    fs::write(mark, "")?;
    expect_refusal(
        tree.make_library(),
        "another-cargo does not run; it said:\nerror: no home",
    )
}

/// As through sudo: neither the PATH nor the HOME of who ran configure.
#[test]
fn makes_with_the_cargo_that_configure_has_found() -> Result {
    let mut tree = Tree::configured(false)?;
    let home = tree.path("home");
    fs::create_dir(&home)?;
    tree.set("PATH", Path::new("/usr/bin:/bin"));
    tree.set("HOME", &home);
    tree.set("CARGO_HOME", &cargo_home()?);
    let nothing = Path::new("");
    tree.set("RUSTUP_HOME", nothing);
    tree.set("RUSTUP_TOOLCHAIN", nothing);
    Ok(tree.make_library()?)
}

/// Where the crates are: the test is not to fetch them again.
fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    Ok(Path::new(&env::var_os("HOME").ok_or("no HOME")?).join(".cargo"))
}

/// musl has no headers of the kernel; the pipe only asks one of them for what it
/// can do without.
#[test]
fn compiles_without_headers_of_the_kernel() -> Result {
    let mut recipe = Recipe::new(&Source::from_env()?, Pipe::Rust);
    recipe.cc = "musl-gcc".into();
    recipe.configure = [
        "--without-http_rewrite_module",
        "--without-http_gzip_module",
    ]
    .map(str::to_owned)
    .to_vec();
    let dir = TempDir::new()?;
    let built = recipe.unpack(dir.path())?;
    recipe.configure(&built)?;
    let header = "#include <linux/sock_diag.h>\nint main(void) { return 0; }\n";
    fs::write(built.tree.join("has.c"), header)?;
    let has = Command::new("musl-gcc")
        .args(["-c", "has.c"])
        .current_dir(&built.tree)
        .output()?;
    assert!(!has.status.success(), "musl-gcc sees the kernel's headers");

    let object = "objs/addon/nginx-module/ngx_event_pipe_http_request.o";
    let mut make = Command::new("make");
    make.args(["-f", "objs/Makefile", object])
        .current_dir(&built.tree);
    let made = make.output()?;
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    Ok(())
}

#[test]
fn refuses_an_old_cargo() -> Result {
    let mut tree = Tree::new()?;
    for version in ["1.63.0", "1.84.1"] {
        tree.set_cargo(&format!("echo 'cargo {version} (0123abcde 2025-01-07)'\n"))?;
        expect_refusal(
            tree.configure(),
            &format!("cargo {version} is too old: install Rust 1.85 or later"),
        )?;
    }
    Ok(())
}

#[test]
fn refuses_without_libclang() -> Result {
    for (library, reason) in [
        (None, "couldn't find any valid shared libraries"),
        (Some("libclang.so"), "libclang.so: invalid ELF class"),
    ] {
        let folder = TempDir::new()?;
        if let Some(library) = library {
            fs::write(folder.path().join(library), "\x7fELF but no library")?;
        }
        let mut tree = Tree::new()?;
        tree.set("LIBCLANG_PATH", folder.path());
        let result = tree.build();
        expect_refusal(result, reason)?;
        assert!(
            !tree.built.binary.exists(),
            "an nginx is linked all the same"
        );
    }
    Ok(())
}

#[test]
fn refuses_versions_it_does_not_know() -> Result {
    for (number, sentence) in [
        ("1020002", "this nginx is too old: use 1.22.1 or later"),
        ("1032000", "this nginx is newer than 1.31"),
    ] {
        let tree = Tree::new()?;
        tree.edit("src/core/nginx.h", |header| {
            let (before, after) = header
                .split_once("#define nginx_version")
                .unwrap_or_default();
            let (_, after) = after.split_once('\n').unwrap_or_default();
            format!("{before}#define nginx_version {number}\n{after}")
        })?;
        expect_refusal(tree.configure(), sentence)?;
    }
    Ok(())
}

#[test]
fn refuses_a_pipe_it_does_not_know() -> Result {
    let tree = Tree::new()?;
    tree.edit("src/event/ngx_event_pipe.c", |c| c + "/* patched */\n")?;
    expect_refusal(
        tree.configure(),
        "src/event/ngx_event_pipe.c of this tree is not one that this version replaces",
    )
}

#[test]
fn refuses_what_is_no_nginx_tree() -> Result {
    let tree = Tree::new()?;
    tree.edit("src/core/nginx.h", |_| "#define ANOTHER_SERVER\n".into())?;
    expect_refusal(tree.configure(), "this is not an nginx source tree")
}

#[test]
fn refuses_to_link_beside_the_c_pipe() -> Result {
    // Another module might bring it back, or an nginx with other scripts.
    let module = TempDir::new()?;
    let config = "ngx_addon_name=again\nCORE_SRCS=\"$CORE_SRCS src/event/ngx_event_pipe.c\"\n";
    fs::write(module.path().join("config"), config)?;

    let mut tree = Tree::new()?;
    tree.recipe.configure.push(add_module(&tree.recipe.module));
    tree.recipe.configure.push(add_module(module.path()));
    tree.recipe.pipe = Pipe::Stock;
    expect_refusal(tree.build(), "multiple definition of `ngx_event_pipe'")?;
    let c_pipe = tree.built.objs.join("src/event/ngx_event_pipe.o");
    expect_contains(&nm(&c_pipe)?, ONLY_IN_C)?;
    assert!(
        !tree.built.binary.exists(),
        "an nginx is linked all the same"
    );
    Ok(())
}

fn expect_refusal(step: build::Result<()>, sentence: &str) -> Result {
    match step {
        Ok(()) => Err(format!("not refused: {sentence}").into()),
        Err(error) => expect_contains(&error.reason, sentence),
    }
}

/// A build of the Rust pipe with these arguments for configure.
fn recipe(configure: &[&str]) -> Result<Recipe> {
    let source = Source::from_env()?;
    let mut recipe = Recipe::new(&source, Pipe::Rust);
    recipe.configure = source.known_options(configure)?;
    assert_eq!(recipe.configure, configure, "configure knows them all");
    Ok(recipe)
}

fn add_module(module: &Path) -> String {
    format!("--add-module={}", module.display())
}

/// Builds it, and expects of it whatever must be true of every build.
fn expect_good(recipe: &Recipe) -> Result {
    let built = recipe.build()?;
    let makefile = fs::read_to_string(built.objs.join("Makefile"))?;
    expect_contains(&makefile, "-Werror")?;
    assert!(!makefile.contains("src/event/ngx_event_pipe.c"));
    assert!(!built.objs.join("src/event/ngx_event_pipe.o").exists());

    expect_our_pipe(&built.binary)?;
    let panics = panics(&built.binary)?;
    assert!(panics.is_empty(), "reachable: {panics:#?}");
    expect_contains(&start_and_stop(&built.binary)?, &notice()?)?;

    let archive = built.objs.join(ARCHIVE);
    let made = || -> Result<_> { Ok((modified(&archive)?, modified(&built.binary)?)) };
    let first = made()?;
    recipe.make(&built)?;
    assert_eq!(first, made()?, "the second make builds again");
    Ok(())
}

/// Each function of the pipe is there once, and it is Rust's.
fn expect_our_pipe(binary: &Path) -> Result {
    let symbols = nm(binary)?;
    let count = |name: &str| {
        let names = symbols.lines().filter_map(|line| line.split(' ').nth(2));
        names.filter(|&symbol| symbol == name).count()
    };
    for function in PIPE {
        assert_eq!(count(function), 1, "{function} in {}", binary.display());
    }
    assert_eq!(count(ONLY_IN_RUST), 1);
    assert_eq!(count(ONLY_IN_C), 0);
    Ok(())
}

/// The symbols of the panic machinery.
fn panics(binary: &Path) -> Result<Vec<String>> {
    let symbols = nm(binary)?;
    let panics = symbols
        .lines()
        .filter(|line| PANICS.iter().any(|panic| line.contains(panic)));
    Ok(panics.map(str::to_owned).collect())
}

/// The symbols of a program or object, demangled.
fn nm(binary: &Path) -> Result<String> {
    let output = Command::new("nm").arg("-C").arg(binary).output()?;
    assert!(
        output.status.success(),
        "nm {}: {}",
        binary.display(),
        output.status
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// What nginx says at its start when the Rust pipe is in it.
fn notice() -> Result<String> {
    let manifest = fs::read_to_string(build::project().join("Cargo.toml"))?;
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .ok_or("no version in Cargo.toml")?;
    Ok(format!("event pipe: ngx-event-pipe/{version} (Rust)"))
}

/// Has nginx test a configuration, start with it, and end; its error log.
fn start_and_stop(binary: &Path) -> Result<String> {
    let prefix = TempDir::new()?;
    let conf = "daemon off; pid nginx.pid; error_log error.log notice; events { }\n";
    fs::write(prefix.path().join("nginx.conf"), conf)?;
    let nginx = || {
        let mut nginx = Command::new(binary);
        nginx.arg("-p").arg(prefix.path());
        nginx.args(["-c", "nginx.conf", "-e", "error.log"]);
        nginx.stdin(Stdio::null()).stdout(Stdio::null());
        nginx
    };
    let log = prefix.path().join("error.log");

    let tested = nginx().arg("-t").stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&tested.stderr).into_owned();
    assert!(tested.status.success(), "nginx -t: {said}");

    let mut command = nginx();
    command.stderr(Stdio::null());
    let mut master = Master(die_with_parent(&mut command, libc::SIGKILL).spawn()?);
    // From here on the master waits for signals.
    wait_for("nginx to start", || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        Ok(log.contains("start worker process ").then_some(()))
    })?;
    master.signal(libc::SIGQUIT);
    let status = wait_for("nginx to end", || master.0.try_wait())?;
    assert!(status.success(), "nginx ends with {status}");
    Ok(fs::read_to_string(log)?)
}

/// A running nginx; killed when the test ends early.
struct Master(Child);

impl Master {
    fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill() takes numbers; the child is not waited for yet.
        unsafe { libc::kill(self.0.id() as libc::pid_t, signal) };
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // Its worker ends when it sees the channel to it closed.
            self.signal(libc::SIGTERM);
            let _ = self.0.wait();
        }
    }
}

fn wait_for<T>(what: &str, mut ready: impl FnMut() -> io::Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(format!("waited too long for {what}").into())
}

fn modified(path: &Path) -> Result<SystemTime> {
    Ok(fs::metadata(path)?.modified()?)
}

fn expect_contains(text: &str, part: &str) -> Result {
    assert!(text.contains(part), "no {part:?} in: {text}");
    Ok(())
}

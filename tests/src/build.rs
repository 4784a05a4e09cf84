//! Builds nginx: stock, or with this project's pipe, from any source tree.
//!
//! A build lives below cargo's target directory under a name made of the
//! recipe and of the source, so that the same recipe is built only once. The
//! source tree itself is never touched: it is copied first.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::env;
use std::error;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, IsTerminal};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::die_with_parent;
use crate::project::Project;
use crate::upstream::lock;

/// How much of a failed step's log goes into the error.
const LOG_TAIL_LINES: usize = 25;

/// What the tests' nginx is configured with, where the version has it.
const FULL_MODULES: &[&str] = &[
    "--with-debug",
    "--with-threads",
    "--with-file-aio",
    "--with-poll_module",
    "--with-select_module",
    "--with-http_ssl_module",
    "--with-http_v2_module",
    "--with-http_v3_module",
    "--with-http_slice_module",
    "--with-http_sub_module",
    "--with-http_gunzip_module",
    "--with-http_addition_module",
    "--with-http_realip_module",
    "--with-http_auth_request_module",
];

/// Shorthand for everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// The step of a build that failed, and what it said.
#[derive(Debug)]
pub struct Error {
    /// What was being done.
    pub step: String,
    /// Why it failed: the end of the step's log, or the system's error.
    pub reason: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.step, self.reason)
    }
}

impl error::Error for Error {}

impl Error {
    fn new(step: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            step: step.into(),
            reason: reason.into(),
        }
    }
}

/// Names the step that an I/O error belongs to.
trait InStep<T> {
    fn in_step(self, step: impl FnOnce() -> String) -> Result<T>;
}

impl<T> InStep<T> for io::Result<T> {
    fn in_step(self, step: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::new(step(), error.to_string()))
    }
}

/// The project's folder.
pub fn project() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// Cargo's target directory, where everything generated goes.
pub fn target() -> PathBuf {
    let project = project();
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => project.join(dir),
        None => project.join("target"),
    }
}

/// A library that stands between nginx and the system (`LD_PRELOAD`), of a C
/// source in the tests' folder; built once by each process.
pub fn shared_library(source: &str) -> io::Result<PathBuf> {
    static BUILT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

    let folder = target().join("preload");
    let name = Path::new(source).with_extension("").display().to_string();
    let library = folder.join(name.replace('/', "-") + ".so");
    let mut built = lock(&BUILT);
    if !built.contains(&library) {
        fs::create_dir_all(&folder)?;
        // Another process may be doing the same.
        let new = library.with_extension(std::process::id().to_string());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        compile(&source, &new)?;
        fs::rename(new, &library)?;
        built.insert(library.clone());
    }
    Ok(library)
}

fn compile(source: &Path, library: &Path) -> io::Result<()> {
    let compiled = Command::new("gcc")
        .args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"])
        .arg(source)
        .arg("-o")
        .arg(library)
        .output()?;
    if compiled.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&compiled.stderr);
    Err(io::Error::other(said.into_owned()))
}

/// An nginx source tree.
#[derive(Clone, Debug)]
pub struct Source {
    tree: PathBuf,
    version: String,
}

impl Source {
    /// The tree that `NGINX_SOURCE` names, else the one in the nginx-src crate.
    pub fn from_env() -> Result<Self> {
        match env::var_os("NGINX_SOURCE") {
            Some(tree) => Self::at(tree),
            None => Self::from_crate(),
        }
    }

    /// The tree at this path, as released or as in nginx's repository.
    pub fn at(tree: impl AsRef<Path>) -> Result<Self> {
        let step = || format!("reading the nginx source at {}", tree.as_ref().display());
        let tree = tree.as_ref().canonicalize().in_step(step)?;
        let header = fs::read_to_string(tree.join("src/core/nginx.h")).in_step(step)?;
        let version = header
            .lines()
            .find_map(|line| line.strip_prefix("#define NGINX_VERSION"))
            .and_then(|rest| rest.split('"').nth(1))
            .ok_or_else(|| Error::new(step(), "src/core/nginx.h defines no NGINX_VERSION"))?;
        Ok(Self {
            tree,
            version: version.to_owned(),
        })
    }

    /// The tree that the nginx-src crate brings, wherever cargo unpacked it.
    fn from_crate() -> Result<Self> {
        let step = || "finding the nginx-src crate (`cargo metadata`)".to_owned();
        let manifest = project().join("tests/nginx-source/Cargo.toml");
        let output = Command::new(cargo())
            .args(["metadata", "--format-version=1", "--manifest-path"])
            .arg(manifest)
            .args(["--filter-platform", &host()?])
            .stdin(Stdio::null())
            .output()
            .in_step(step)?;
        if !output.status.success() {
            return Err(Error::new(step(), String::from_utf8_lossy(&output.stderr)));
        }
        let metadata: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| Error::new(step(), error.to_string()))?;
        let mut packages = metadata["packages"].as_array().into_iter().flatten();
        let folder = packages
            .find(|package| package["name"] == "nginx-src")
            .and_then(|package| Path::new(package["manifest_path"].as_str()?).parent())
            .ok_or_else(|| Error::new(step(), "no such package"))?;
        Self::at(folder.join("nginx"))
    }

    /// The version as nginx writes it, such as `1.28.3`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The folder of the tree.
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// Those of `options` that this version's configure has.
    pub fn known_options(&self, options: &[&str]) -> Result<Vec<String>> {
        let known = fs::read_to_string(self.tree.join("auto/options"))
            .in_step(|| format!("reading the options of nginx {}", self.version))?;
        let mut options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        options.retain(|option| {
            let name = option.split('=').next().unwrap_or(option);
            known.contains(&format!("{name})")) || known.contains(&format!("{name}="))
        });
        Ok(options)
    }

    /// `configure` in a release, `auto/configure` in the repository.
    fn configure_script(&self) -> &'static str {
        if self.tree.join("configure").exists() {
            "./configure"
        } else {
            "auto/configure"
        }
    }

    /// Copies the tree to a folder that is not there yet.
    fn copy_to(&self, folder: &Path) -> Result<()> {
        let step = || format!("copying nginx {} to {}", self.version, folder.display());
        fs::create_dir_all(folder).in_step(step)?;
        for entry in self.entries()? {
            copy(&entry, &folder.join(file_name(&entry))).in_step(step)?;
        }
        Ok(())
    }

    /// What in the tree belongs to nginx: not the products of an earlier
    /// build in place, nor the repository.
    fn entries(&self) -> Result<Vec<PathBuf>> {
        let mut entries = list(&self.tree)?;
        entries.retain(|path| {
            let name = file_name(path);
            name != "objs" && name != "Makefile" && !name.starts_with('.')
        });
        Ok(entries)
    }
}

/// The arguments of nginx's configure that the tests are written for, as far
/// as this version has them.
pub fn full_configure_args(source: &Source) -> Result<Vec<String>> {
    source.known_options(FULL_MODULES)
}

/// Whose event pipe goes into the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pipe {
    /// nginx's own, in C.
    Stock,
    /// This project's.
    Rust,
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stock => "stock",
            Self::Rust => "Rust pipe",
        })
    }
}

/// Everything that decides what is built.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// What to build; copied before it is touched.
    pub source: Source,
    /// Whose pipe.
    pub pipe: Pipe,
    /// The C compiler, as `--with-cc` takes it.
    pub cc: String,
    /// More arguments for configure.
    pub configure: Vec<String>,
    /// Builds here instead of in `objs` within the copied tree.
    pub builddir: Option<PathBuf>,
    /// What `--add-module` is given for [`Pipe::Rust`]; when relative, as seen
    /// from the copied tree.
    pub module: PathBuf,
    /// Environment variables set for configure and make.
    pub env: Vec<(String, String)>,
}

impl Recipe {
    /// gcc and configure's defaults.
    pub fn new(source: &Source, pipe: Pipe) -> Self {
        Self {
            source: source.clone(),
            pipe,
            cc: "gcc".into(),
            configure: Vec::new(),
            builddir: None,
            module: project().join("nginx-module"),
            env: Vec::new(),
        }
    }

    /// The set of modules that the tests are written for.
    pub fn full(source: &Source, pipe: Pipe) -> Result<Self> {
        let mut recipe = Self::new(source, pipe);
        recipe.configure = full_configure_args(source)?;
        Ok(recipe)
    }

    /// Builds what is not built yet. With the Rust pipe make always runs, and
    /// rebuilds what the project's sources ask for.
    pub fn build(&self) -> Result<Built> {
        let dir = self.dir()?;
        let _lock = Lock::take(&dir.with_extension("lock"))?;
        let built = self.built(&dir);
        if self.pipe == Pipe::Stock && built.binary.exists() {
            return Ok(built);
        }
        let what = format!("building nginx {} ({})", self.source.version, self.pipe);
        with_progress(&what, || {
            self.prepare(&dir)?;
            self.make(&built)
        })?;
        Ok(built)
    }

    /// Unpacks and configures, unless that was done with the same glue:
    /// configure is where nginx reads it.
    fn prepare(&self, dir: &Path) -> Result<()> {
        let stamp = dir.join("configured");
        let glue = self.glue_hash()?;
        if fs::read_to_string(&stamp).is_ok_and(|configured| configured == glue) {
            return Ok(());
        }
        remove_dir(dir).in_step(|| format!("removing {}", dir.display()))?;
        let built = self.unpack(dir)?;
        self.configure(&built)?;
        fs::write(&stamp, glue).in_step(|| format!("writing {}", stamp.display()))
    }

    /// Copies the tree into a folder, for [`Recipe::configure`] and
    /// [`Recipe::make`]: a build by hand that the cache knows nothing of.
    pub fn unpack(&self, dir: &Path) -> Result<Built> {
        let built = self.built(dir);
        self.source.copy_to(&built.tree)?;
        Ok(built)
    }

    /// Runs nginx's configure.
    pub fn configure(&self, built: &Built) -> Result<()> {
        let mut configure = Command::new(self.source.configure_script());
        configure
            .arg(format!("--with-cc={}", self.cc))
            .args(&self.configure)
            .current_dir(&built.tree);
        if let Some(builddir) = &self.builddir {
            configure.arg(format!("--builddir={}", builddir.display()));
        }
        if self.pipe == Pipe::Rust {
            configure.arg(format!("--add-module={}", self.module.display()));
        }
        self.run("configure", &mut configure, built)
    }

    /// Runs nginx's make.
    pub fn make(&self, built: &Built) -> Result<()> {
        let jobs = thread::available_parallelism().map_or(2, usize::from);
        let mut make = make_in(built);
        make.arg(format!("-j{jobs}"));
        let _lock = match self.pipe {
            Pipe::Stock => None,
            Pipe::Rust => Some(share_cargo_target(&mut make)?),
        };
        self.run("make", &mut make, built)
    }

    /// Has nginx's make build the library alone.
    fn make_library(&self, built: &Built) -> Result<()> {
        let mut make = make_in(built);
        make.args([
            "-f",
            "objs/Makefile",
            "objs/ngx_event_pipe_rust/libngx_event_pipe.a",
        ])
        .env("CARGO_TARGET_DIR", cargo_target());
        self.run("make", &mut make, built)
    }

    /// Copies what was built to `dir`, and links nginx there with the library
    /// of another copy of this project.
    pub fn relink(&self, built: &Built, dir: &Path, project: &Project) -> Result<Built> {
        let copy = self.built(dir);
        let mut cp = Command::new("cp");
        // With the times, or else make would compile everything.
        cp.arg("-a").arg(&built.tree).arg(&copy.tree);
        self.run("cp", &mut cp, &copy)?;

        let library = copy.objs.join("ngx_event_pipe_rust");
        let compiler = library.join("compiler.txt");
        let words =
            fs::read_to_string(&compiler).in_step(|| format!("reading {}", compiler.display()))?;
        let mut build = Command::new("sh");
        build
            .arg(project.path("nginx-module/build.sh"))
            .arg(library.join("libngx_event_pipe.a"))
            .args(words.lines().skip(1))
            .current_dir(&copy.tree);
        let lock = share_cargo_target(&mut build)?;
        self.run("build.sh", &mut build, &copy)?;
        drop(lock);

        self.make(&copy)?;
        Ok(copy)
    }

    /// Runs one step of the build with its output in a log beside the tree.
    fn run(&self, name: &str, command: &mut Command, built: &Built) -> Result<()> {
        let step = || format!("{name} of nginx {} ({})", self.source.version, self.pipe);
        let log = built.tree.with_file_name(format!("{name}.log"));
        let output = File::create(&log).in_step(step)?;
        command
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone().in_step(step)?)
            .stderr(output);
        let status = die_with_parent(command, libc::SIGTERM)
            .status()
            .in_step(step)?;
        if status.success() {
            return Ok(());
        }
        let reason = format!("{status}; the end of {}:\n{}", log.display(), tail(&log));
        Err(Error::new(step(), reason))
    }

    fn built(&self, dir: &Path) -> Built {
        let tree = dir.join("tree");
        let objs = self.builddir.clone().unwrap_or_else(|| tree.join("objs"));
        Built {
            binary: objs.join("nginx"),
            tree,
            objs,
        }
    }

    /// Where this recipe is built.
    fn dir(&self) -> Result<PathBuf> {
        let mut hasher = DefaultHasher::new();
        (
            self.pipe,
            &self.cc,
            &self.configure,
            &self.builddir,
            &self.module,
            &self.env,
        )
            .hash(&mut hasher);
        for entry in self.source.entries()? {
            hash(&entry, &mut hasher)?;
        }
        let pipe = match self.pipe {
            Pipe::Stock => "stock",
            Pipe::Rust => "rust",
        };
        let name = format!("{}-{pipe}-{:016x}", self.source.version, hasher.finish());
        Ok(target().join("nginx").join(name))
    }

    /// Tells one state of what configure reads of the project from another:
    /// the glue, and which sources there are for make to watch.
    fn glue_hash(&self) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        if self.pipe == Pipe::Rust {
            hash(&project().join("nginx-module"), &mut hasher)?;
            files(&project().join("src"))?.hash(&mut hasher);
        }
        Ok(format!("{:016x}", hasher.finish()))
    }
}

/// A finished build.
#[derive(Clone, Debug)]
pub struct Built {
    /// The nginx program.
    pub binary: PathBuf,
    /// The copy of the source tree that was configured.
    pub tree: PathBuf,
    /// Where its objects are.
    pub objs: PathBuf,
}

/// Does `work` while standard error says that it is being done: on a terminal
/// with the seconds counting, in a log with one line.
pub fn with_progress<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let seconds = || start.elapsed().as_secs();
    if !io::stderr().is_terminal() {
        eprint!("{what} ... ");
        let done = work();
        eprintln!("{} s", seconds());
        return done;
    }
    thread::scope(|scope| {
        let (finished, wait) = mpsc::channel::<()>();
        scope.spawn(move || {
            while wait.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                eprint!("\r{what} ... {} s", seconds());
            }
            eprintln!("\r{what} ... {} s", seconds());
        });
        let done = work();
        drop(finished);
        done
    })
}

/// Makes the libraries of configured trees, all at the same time.
pub fn make_libraries(builds: &[(&Recipe, &Built)]) -> Result<Vec<Result<()>>> {
    let _lock = lock_cargo_target()?;
    Ok(thread::scope(|scope| {
        let makes: Vec<_> = builds
            .iter()
            .map(|(recipe, built)| scope.spawn(|| recipe.make_library(built)))
            .collect();
        let made = makes.into_iter().map(|make| make.join());
        made.map(|made| made.expect("make does not panic"))
            .collect()
    }))
}

/// nginx's make, without arguments.
fn make_in(built: &Built) -> Command {
    let mut make = Command::new("make");
    make.current_dir(&built.tree)
        // Of a make around the tests, nothing is meant for this one.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL");
    make
}

/// A lock between processes and threads, held while this lives.
struct Lock {
    _file: File,
}

impl Lock {
    fn take(path: &Path) -> Result<Self> {
        let step = || format!("locking {}", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).in_step(step)?;
        }
        let file = File::create(path).in_step(step)?;
        // SAFETY: the descriptor is open, and flock() touches no memory.
        match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } {
            0 => Ok(Self { _file: file }),
            _ => Err(io::Error::last_os_error()).in_step(step),
        }
    }
}

/// Has `command` use one target directory for all trees, so that what does not
/// depend on nginx is compiled once; hence one at a time.
fn share_cargo_target(command: &mut Command) -> Result<Lock> {
    command.env("CARGO_TARGET_DIR", cargo_target());
    lock_cargo_target()
}

fn lock_cargo_target() -> Result<Lock> {
    Lock::take(&cargo_target().with_extension("lock"))
}

/// The one target directory of all trees.
fn cargo_target() -> PathBuf {
    target().join("nginx-cargo")
}

/// The cargo that runs the tests, else the one on PATH.
fn cargo() -> std::ffi::OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The target triple of this machine.
pub fn host() -> Result<String> {
    let step = || "asking cargo for its version".to_owned();
    let output = Command::new(cargo()).arg("-vV").output().in_step(step)?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| Error::new(step(), "it names no host"))
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default()
}

/// The entries of a folder, in a fixed order.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries: io::Result<Vec<_>> =
        fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut entries = entries.in_step(|| format!("listing {}", folder.display()))?;
    entries.sort();
    Ok(entries)
}

/// All files in a folder and in those below it; of a file, itself.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let below: Result<Vec<_>> = list(path)?.iter().map(|entry| files(entry)).collect();
    Ok(below?.concat())
}

/// Hashes the names and contents of a file or of a folder.
fn hash(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    for file in files(path)? {
        let content = fs::read(&file).in_step(|| format!("reading {}", file.display()))?;
        (file.strip_prefix(path).ok(), content).hash(hasher);
    }
    file_name(path).hash(hasher);
    Ok(())
}

/// Copies a file, with its mode, or a folder.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Removes a folder that need not be there.
fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

//! Compiles nginx's own pipe with its symbols renamed, and the parts of nginx
//! that both pipes run on, with the words of nginx's own compiler command.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use bindgen::callbacks::{IntKind, ParseCallbacks};

const COMPILER: &str = "NGX_EVENT_PIPE_COMPILER";

/// Another compiler than nginx's: what instruments code may be another's.
const CC: &str = "PIPE_DIFFERENTIAL_CC";

/// More words for the compiler, such as a sanitizer's.
const EXTRA: &str = "PIPE_DIFFERENTIAL_CFLAGS";

/// What the pipe exports, and nginx's under a name of its own.
const RENAMED: &[&str] = &[
    "ngx_event_pipe",
    "ngx_event_pipe_copy_input_filter",
    "ngx_event_pipe_add_free_buf",
];

/// Functions of nginx that the harness wants to see called: each becomes
/// `real_...`, and the harness has one of its name.
const WATCHED: &[(&str, &[&str])] = &[
    (
        "core/ngx_palloc.c",
        &[
            "ngx_palloc",
            "ngx_pcalloc",
            "ngx_pnalloc",
            "ngx_pfree",
            "ngx_pool_cleanup_add",
        ],
    ),
    ("core/ngx_buf.c", &["ngx_chain_update_chains"]),
    ("core/ngx_file.c", &["ngx_write_chain_to_temp_file"]),
];

/// The same of the project's glue.
const GLUE: &[&str] = &[
    "ngx_event_pipe_glue_add_timer",
    "ngx_event_pipe_glue_flush_buf",
    "ngx_event_pipe_glue_forbid",
    "ngx_event_pipe_glue_idle",
    "ngx_event_pipe_glue_permit",
    "ngx_event_pipe_glue_end_cycle",
    "ngx_event_pipe_glue_nanoseconds",
    "ngx_event_pipe_glue_tls_received",
    "ngx_event_pipe_glue_waiting",
];

/// Sources of nginx that run as they are.
const REAL: &[&str] = &[
    "core/ngx_rbtree.c",
    "core/ngx_string.c",
    "os/unix/ngx_alloc.c",
    "os/unix/ngx_files.c",
];

/// What nginx's pipe of the tree at hand does, told from its text.
const TRAITS: &[(&str, &str)] = &[
    // Since 1.25.4: the request may let go of upstream.
    ("c_lets_upstream_go", "p->upstream == NULL"),
    // Since 1.30.6: buffers stay the output's after an error.
    ("c_keeps_busy", "p->downstream->error"),
];

/// nginx's build conditions, and what they are here.
const CONDITIONS: &[(&str, &str)] = &[
    // Temporary files may be written by threads.
    ("NGX_THREADS", "c_has_threads"),
    // Events tell what kqueue knows. Nothing of this needs a BSD: what would
    // call kqueue is not compiled.
    ("NGX_HAVE_KQUEUE", "c_has_kqueue"),
    // Temporary files that are closed are not used again.
    ("NGX_DEBUG", "c_has_debug"),
    // Connections may have TLS, of which the code for kqueue wants to know.
    ("NGX_SSL", "c_has_ssl"),
];

fn main() {
    println!("cargo::rerun-if-env-changed={COMPILER}");
    println!("cargo::rerun-if-env-changed={CC}");
    println!("cargo::rerun-if-env-changed={EXTRA}");
    for file in [
        "environment.c",
        "environment.h",
        "interposed.h",
        "threads.c",
        "../../nginx-module/ngx_event_pipe_glue.h",
        "../../nginx-module/ngx_event_pipe_rust_module.c",
        "../../include/ngx_event_pipe_rust.h",
    ] {
        println!("cargo::rerun-if-changed={file}");
    }

    let nginx = Nginx::from_env();
    nginx.tell_traits();
    nginx.compile();
    nginx.bind();
}

/// The configured tree.
struct Nginx {
    root: PathBuf,
    compiler: String,
    flags: Vec<String>,
}

impl Nginx {
    fn from_env() -> Self {
        let file = env::var(COMPILER).unwrap_or_else(|_| panic!("{COMPILER} is not set"));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        println!("cargo::rerun-if-changed={file}");

        let mut words = text.lines();
        let root = PathBuf::from(words.next().expect("the tree's root"));
        let own = words.next().expect("a compiler").to_string();
        let compiler = env::var(CC).unwrap_or(own);
        let flags = absolute_includes(&root, words);

        Self {
            root,
            compiler,
            flags,
        }
    }

    fn source(&self, path: &str) -> PathBuf {
        self.root.join("src").join(path)
    }

    fn tell_traits(&self) {
        let pipe = self.source("event/ngx_event_pipe.c");
        let text = fs::read_to_string(pipe).expect("nginx's pipe");
        for (name, sign) in TRAITS {
            println!("cargo::rustc-check-cfg=cfg({name})");
            if text.contains(sign) {
                println!("cargo::rustc-cfg={name}");
            }
        }
    }

    fn compile(&self) {
        let sources = |paths: &[&str]| -> Vec<PathBuf> {
            paths.iter().map(|path| self.source(path)).collect()
        };

        self.compilation()
            .renaming(RENAMED, "stock_")
            .files(sources(&["event/ngx_event_pipe.c"]))
            .compile("stock_pipe");

        for (nth, (source, functions)) in WATCHED.iter().enumerate() {
            self.compilation()
                .interposed()
                .renaming(functions, "real_")
                .file(self.source(source))
                .compile(&format!("watched{nth}"));
        }

        self.compilation()
            .interposed()
            .files(sources(REAL))
            .file("threads.c")
            .compile("real");

        self.compilation()
            .renaming(GLUE, "real_")
            .define("NGX_EVENT_PIPE_HTTP", "1")
            .file("environment.c")
            .file("../../nginx-module/ngx_event_pipe_rust_module.c")
            .compile("environment");

        // Of nginx's sources only a few functions are reached.
        println!("cargo::rustc-link-arg=-Wl,--gc-sections");
    }

    fn compilation(&self) -> cc::Build {
        let mut build = cc::Build::new();
        build.compiler(&self.compiler).no_default_flags(true);
        for flag in &self.flags {
            build.flag(flag);
        }
        build
            .include(".")
            .include("../../nginx-module")
            .include("../../include")
            .flag("-fPIC")
            .flag("-O2")
            .flag("-ffunction-sections")
            .flag("-fdata-sections");
        for flag in env::var(EXTRA).unwrap_or_default().split_whitespace() {
            build.flag(flag);
        }
        build
    }

    fn bind(&self) {
        let out = PathBuf::from(env::var("OUT_DIR").expect("by cargo"));

        for (_, cfg) in CONDITIONS {
            println!("cargo::rustc-check-cfg=cfg({cfg})");
        }

        bindgen::builder()
            .header("environment.h")
            .parse_callbacks(Box::new(Conditions))
            .clang_args(self.flags.iter().filter(is_for_headers))
            .clang_args(["-I.", "-I../../nginx-module", "-I../../include"])
            .allowlist_type("ngx_event_pipe_t|ngx_temp_file_t|ngx_thread_task_t|ngx_path_t")
            .allowlist_function("(stock_)?ngx_event_pipe(_copy_input_filter|_add_free_buf)?")
            .allowlist_type("ngx_event_pipe_(settings|state)_t|ngx_event_pipe_progress_t")
            .allowlist_function("ngx_event_pipe_rust_.*")
            .allowlist_var("NGX_EVENT_PIPE_(RUST|SEGMENTS|STREAM)_.*")
            .allowlist_function("harness_(init|set_clock|first_file_name)|real_ngx_.*")
            .allowlist_function("ngx_(create|destroy)_pool|ngx_create_temp_buf")
            .allowlist_function("ngx_chain_get_free_buf|ngx_event_pipe_glue_(add|del)_timer")
            .allowlist_function("ngx_handle_(read|write)_event")
            .allowlist_var("NGX_(OK|ERROR|AGAIN|BUSY|DONE|DECLINED|ABORT|CLOSE_EVENT)")
            .allowlist_var("NGX_LOG_(WARN|DEBUG|DEBUG_EVENT)|ngx_current_msec")
            .derive_default(true)
            .prepend_enum_name(false)
            .layout_tests(false)
            .generate()
            .expect("nginx's headers")
            .write_to_file(out.join("nginx.rs"))
            .expect("OUT_DIR is writable");
    }
}

/// What the compilations of nginx's sources differ in.
trait Compilation {
    /// Every function of this list gets a prefix.
    fn renaming(&mut self, functions: &[&str], prefix: &str) -> &mut Self;
    /// System calls go to the harness.
    fn interposed(&mut self) -> &mut Self;
}

impl Compilation for cc::Build {
    fn renaming(&mut self, functions: &[&str], prefix: &str) -> &mut Self {
        for name in functions {
            self.define(name, format!("{prefix}{name}").as_str());
        }
        self
    }

    fn interposed(&mut self) -> &mut Self {
        self.flag("-include").flag("interposed.h")
    }
}

/// Turns nginx's build conditions into cfgs as bindgen comes across them.
#[derive(Debug)]
struct Conditions;

impl ParseCallbacks for Conditions {
    fn int_macro(&self, name: &str, value: i64) -> Option<IntKind> {
        for (_, cfg) in CONDITIONS
            .iter()
            .filter(|(condition, _)| *condition == name && value != 0)
        {
            println!("cargo::rustc-cfg={cfg}");
        }
        None
    }
}

fn absolute_includes<'a>(root: &Path, mut words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut flags = Vec::new();

    while let Some(word) = words.next() {
        let path = match word {
            "-I" | "-include" => Some((word, words.next().unwrap_or_default())),
            _ => word.strip_prefix("-I").map(|path| ("-I", path)),
        };
        flags.push(match path {
            Some((flag, path)) => format!("{flag}{}", root.join(path).display()),
            None => word.to_string(),
        });
    }

    flags
}

/// libclang does not know every flag of gcc.
fn is_for_headers(flag: &&String) -> bool {
    ["-I", "-D", "-U", "-include"]
        .iter()
        .any(|prefix| flag.starts_with(prefix))
}

//! Reads nginx's declarations from the configured tree, with the words that
//! nginx's own make gives to the C compiler (see `nginx-module/build.sh`), so
//! that structures have here the layout that they have there.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use bindgen::callbacks::{IntKind, ParseCallbacks};

/// The file with nginx's compiler command; `build.sh` sets it.
const COMPILER: &str = "NGX_EVENT_PIPE_COMPILER";

/// What `build.sh` knows its library by, as a part of a symbol's name.
const STAMP: &str = "NGX_EVENT_PIPE_STAMP";

/// What the library uses, and no more: the rest of nginx is only sizes.
const TYPES: &[&str] = &[
    "ngx_event_pipe_page_t",
    "ngx_event_pipe_progress_t",
    "ngx_event_pipe_settings_t",
    "ngx_event_pipe_state_t",
    "ngx_event_pipe_t",
    "ngx_temp_file_t",
];

const FUNCTIONS: &[&str] = &[
    "ngx_alloc",
    "ngx_alloc_chain_link",
    "ngx_chain_get_free_buf",
    "ngx_chain_update_chains",
    "ngx_create_pool",
    "ngx_create_temp_buf",
    "ngx_create_temp_file",
    "ngx_destroy_pool",
    "ngx_event_pipe_glue_.*",
    "ngx_handle_read_event",
    "ngx_handle_write_event",
    "ngx_log_error_core",
    "ngx_pcalloc",
    "ngx_pfree",
    "ngx_pool_run_cleanup_file",
    "ngx_write_chain_to_temp_file",
];

const CONSTANTS: &[&str] = &[
    "NGX_ABORT",
    "NGX_AGAIN",
    "NGX_ERROR",
    "NGX_EVENT_PIPE_GLUE_CLOSE_EVENT",
    "NGX_EVENT_PIPE_MEMORY_AUTO",
    "NGX_EVENT_PIPE_SEGMENTS_ON",
    "NGX_EVENT_PIPE_STREAM_ON",
    "NGX_LOG_ALERT",
    "NGX_LOG_DEBUG",
    "NGX_LOG_DEBUG_EVENT",
    "NGX_LOG_ERR",
    "NGX_LOG_WARN",
    "NGX_OK",
    "ngx_current_msec",
];

/// nginx's build conditions that matter to the pipe, and what they are here; and what
/// a fork is known by.
const CONDITIONS: &[(&str, &str)] = &[
    ("NGX_COMPAT", "ngx_compat"),
    ("NGX_DEBUG", "ngx_debug"),
    ("NGX_HAVE_KQUEUE", "ngx_have_kqueue"),
    ("NGX_SSL", "ngx_ssl"),
    ("NGX_THREADS", "ngx_threads"),
    ("angie_version", "angie"),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=nginx-module/bindings.h");
    println!("cargo::rerun-if-env-changed={COMPILER}");
    println!("cargo::rerun-if-env-changed={STAMP}");

    // Who runs cargo by hand has none.
    let stamp = env::var(STAMP).unwrap_or_else(|_| "none".into());
    println!("cargo::rustc-env={STAMP}={stamp}");

    for (_, cfg) in CONDITIONS {
        println!("cargo::rustc-check-cfg=cfg({cfg})");
    }

    if let Err(message) = generate() {
        println!("cargo::error={message}");
    }
}

fn generate() -> Result<(), String> {
    let flags = flags()?;

    clang_sys::load().map_err(|reason| {
        // Its lines would be taken for several messages.
        let reason = reason.replace('\n', " ");
        format!(
            "libclang cannot be loaded: install it (on Debian and Ubuntu: apt-get install \
             libclang-dev) or set LIBCLANG_PATH to the folder it is in; the search says: {reason}"
        )
    })?;

    let mut builder = bindgen::builder()
        .header("nginx-module/bindings.h")
        .clang_args(flags)
        .use_core()
        .derive_copy(false)
        .derive_debug(false)
        .prepend_enum_name(false)
        .wrap_unsafe_ops(true)
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
        .parse_callbacks(Box::new(Conditions));

    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in CONSTANTS {
        builder = builder.allowlist_var(name);
    }

    let bindings = builder.generate().map_err(|error| {
        format!(
            "nginx's headers cannot be read with the flags of its make: {}",
            error.to_string().lines().next().unwrap_or_default()
        )
    })?;

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo has set no OUT_DIR")?);

    bindings
        .write_to_file(out.join("bindings.rs"))
        .map_err(|error| format!("bindings.rs cannot be written: {error}"))
}

/// Those words of nginx's compiler command that decide what the headers mean.
fn flags() -> Result<Vec<String>, String> {
    let file = env::var(COMPILER).map_err(|_| {
        format!(
            "{COMPILER} is not set: this library is built by nginx's make \
             (./configure --add-module=.../nginx-module && make), which leaves \
             objs/ngx_event_pipe_rust/compiler.txt to set it to"
        )
    })?;

    println!("cargo::rerun-if-changed={file}");

    let text = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    let mut words = text.lines();
    let root = Path::new(words.next().ok_or_else(|| format!("{file} is empty"))?);

    let mut flags = Vec::new();

    while let Some(word) = words.next() {
        if let Some((flag, path)) = path_flag(word) {
            let path = match path {
                "" => words.next().unwrap_or_default(),
                path => path,
            };
            flags.push(flag.to_string());
            flags.push(root.join(path).display().to_string());
        } else if matches!(word, "-D" | "-U") {
            flags.push(format!("{word}{}", words.next().unwrap_or_default()));
        } else if decides_meaning(word) {
            flags.push(word.to_string());
        }
    }

    Ok(flags)
}

/// Splits a flag that names a folder or a file, which may be relative to the
/// tree's root; the path is empty if it is the next word.
fn path_flag(word: &str) -> Option<(&str, &str)> {
    ["-isystem", "-iquote", "-idirafter", "-include", "-I"]
        .into_iter()
        .find_map(|flag| word.strip_prefix(flag).map(|path| (flag, path)))
}

/// Macros, and what changes the size or the signedness of types. All else is
/// about code and warnings, and libclang does not know every flag of gcc.
fn decides_meaning(word: &str) -> bool {
    const PREFIXES: &[&str] = &["-D", "-U", "-std=", "--sysroot=", "--target=", "-mabi="];
    const WORDS: &[&str] = &[
        "-m32",
        "-m64",
        "-mx32",
        "-fpack-struct",
        "-fshort-enums",
        "-fsigned-char",
        "-funsigned-char",
    ];

    PREFIXES.iter().any(|prefix| word.starts_with(prefix)) || WORDS.contains(&word)
}

/// Turns nginx's build conditions into cfgs as bindgen comes across them.
#[derive(Debug)]
struct Conditions;

impl ParseCallbacks for Conditions {
    fn int_macro(&self, name: &str, value: i64) -> Option<IntKind> {
        if let Some((_, cfg)) = CONDITIONS
            .iter()
            .find(|(macro_name, _)| *macro_name == name)
        {
            if value != 0 {
                println!("cargo::rustc-cfg={cfg}");
            }
        }

        None
    }
}

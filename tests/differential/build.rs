//! Compiles nginx's own pipe with its symbols renamed, and the parts of nginx
//! that both pipes run on, with the words of nginx's own compiler command.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

const COMPILER: &str = "NGX_EVENT_PIPE_COMPILER";

/// What the pipe exports, and nginx's under a name of its own.
const RENAMED: &[&str] = &[
    "ngx_event_pipe",
    "ngx_event_pipe_copy_input_filter",
    "ngx_event_pipe_add_free_buf",
];

fn main() {
    println!("cargo::rerun-if-env-changed={COMPILER}");
    println!("cargo::rerun-if-changed=environment.c");
    println!("cargo::rerun-if-changed=environment.h");

    let file = env::var(COMPILER).unwrap_or_else(|_| panic!("{COMPILER} is not set"));
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    println!("cargo::rerun-if-changed={file}");

    let mut words = text.lines();
    let root = Path::new(words.next().expect("the tree's root"));
    let compiler = words.next().expect("a compiler");
    let flags: Vec<String> = absolute_includes(root, words);

    // The library as nginx links it.
    let archive = Path::new(&file).with_file_name("libngx_event_pipe.a");
    println!("cargo::rerun-if-changed={}", archive.display());

    let nginx = |path: &str| root.join("src").join(path);
    let build = |name: &str, sources: &[PathBuf], defines: &[(String, String)]| {
        let mut build = cc::Build::new();
        build.compiler(compiler).no_default_flags(true);
        for flag in &flags {
            build.flag(flag);
        }
        build
            .include(".")
            .include("../../nginx-module")
            .flag("-fPIC")
            .flag("-O2");
        for (from, to) in defines {
            build.define(from, to.as_str());
        }
        build.files(sources).compile(name);
    };

    let stock: Vec<_> = RENAMED
        .iter()
        .map(|name| ((*name).to_string(), format!("stock_{name}")))
        .collect();
    build("stock_pipe", &[nginx("event/ngx_event_pipe.c")], &stock);

    let real: Vec<_> = ["ngx_palloc", "ngx_pcalloc", "ngx_pfree"]
        .map(|name| (name.to_string(), format!("real_{name}")))
        .to_vec();
    build("real_pool", &[nginx("core/ngx_palloc.c")], &real);

    build(
        "environment",
        &[
            PathBuf::from("environment.c"),
            PathBuf::from("../../nginx-module/ngx_event_pipe_rust_module.c"),
            nginx("core/ngx_buf.c"),
            nginx("core/ngx_rbtree.c"),
            nginx("core/ngx_string.c"),
            nginx("os/unix/ngx_alloc.c"),
        ],
        &[],
    );

    for library in ["stock_pipe", "real_pool", "environment"] {
        println!("cargo::rustc-link-lib=static={library}");
    }
    println!("cargo::rustc-link-arg={}", archive.display());
    // The pipe and its environment need each other.
    println!("cargo::rustc-link-arg=-Wl,--gc-sections");

    bindgen::builder()
        .header("environment.h")
        .clang_args(flags.iter().filter(is_for_headers))
        .clang_args(["-I.", "-I../../nginx-module"])
        .allowlist_type("ngx_event_pipe_t|ngx_temp_file_t|ngx_thread_task_t")
        .allowlist_function("(stock_)?ngx_event_pipe(_copy_input_filter|_add_free_buf)?")
        .allowlist_function("harness_init|harness_set_clock")
        .allowlist_function("ngx_(create|destroy)_pool|ngx_create_temp_buf|ngx_chain_get_free_buf|ngx_alloc_chain_link")
        .allowlist_function("ngx_event_pipe_glue_del_timer")
        .allowlist_var("NGX_(OK|ERROR|AGAIN|ABORT|LOG_WARN|LOG_DEBUG_EVENT|CLOSE_EVENT)")
        .derive_default(true)
        .prepend_enum_name(false)
        .layout_tests(false)
        .generate()
        .expect("nginx's headers")
        .write_to_file(PathBuf::from(env::var("OUT_DIR").expect("by cargo")).join("nginx.rs"))
        .expect("OUT_DIR is writable");
}

fn absolute_includes<'a>(root: &Path, mut words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut flags = Vec::new();

    while let Some(word) = words.next() {
        match word.strip_prefix("-I") {
            Some("") => flags.push(include(root, words.next().unwrap_or_default())),
            Some(path) => flags.push(include(root, path)),
            None => flags.push(word.to_string()),
        }
    }

    flags
}

fn include(root: &Path, path: &str) -> String {
    format!("-I{}", root.join(path).display())
}

/// libclang does not know every flag of gcc.
fn is_for_headers(flag: &&String) -> bool {
    ["-I", "-D", "-U"]
        .iter()
        .any(|prefix| flag.starts_with(prefix))
}

//! `include/ngx_event_pipe_rust.h` is what cbindgen writes from
//! `src/exports.rs`, and a C file may include it together with nginx's own
//! header (which `nginx-module/ngx_event_pipe_rust_module.c` does in every
//! build).
//!
//! `PIPE_UPDATE_HEADER=1 cargo xtask test header` writes it anew.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use cbindgen::{Builder, Config, DocumentationStyle, Language, Style};

#[test]
fn the_header_is_what_cbindgen_writes() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let header = root.join("include/ngx_event_pipe_rust.h");
    let written = generate(&root);

    if env::var_os("PIPE_UPDATE_HEADER").is_some() {
        fs::write(&header, &written).expect("the header is written");
    }

    let committed = fs::read_to_string(&header).expect("the header is there");

    assert_eq!(
        committed, written,
        "the header is out of date: PIPE_UPDATE_HEADER=1 cargo xtask test header"
    );
}

fn generate(root: &Path) -> String {
    let config = Config {
        language: Language::C,
        style: Style::Type,
        no_includes: true,
        after_includes: None,
        sys_includes: [
            "ngx_config.h",
            "ngx_core.h",
            "ngx_event.h",
            "ngx_event_pipe.h",
        ]
        .map(String::from)
        .to_vec(),
        includes: vec!["ngx_event_pipe_glue.h".into()],
        usize_is_size_t: true,
        include_guard: Some("_NGX_EVENT_PIPE_RUST_H_INCLUDED_".into()),
        autogen_warning: Some(
            "/* What the Rust event pipe exports; written by cbindgen from src/exports.rs. */"
                .into(),
        ),
        documentation_style: DocumentationStyle::C,
        ..Config::default()
    };

    let bindings = Builder::new()
        .with_src(root.join("src/exports.rs"))
        .with_config(config)
        .generate()
        .expect("cbindgen reads src/exports.rs");

    let mut text = Vec::new();
    bindings.write(&mut text);
    String::from_utf8(text).expect("plain text")
}

//! The layout test compares what Rust believes of nginx's structures with what the C
//! compiler makes of them, with nginx's own flags, field by field and bit by bit.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::buf::{Buf, Link};
use super::connection::{Connection, Event};
use super::file::TempFile;
use super::log::Log;
use super::pipe::Pipe;
use super::pool::Pool;
use super::state::Settings;

/// A structure whose fields can be compared.
pub(super) trait Layout {
    type Raw: 'static;

    fn fields() -> &'static [Field<Self::Raw>];
}

/// A field of a structure, as Rust sees it.
pub(super) enum Field<Raw> {
    Bytes {
        name: &'static str,
        offset: usize,
        size: usize,
    },
    Bit {
        name: &'static str,
        get: fn(*const Raw) -> bool,
        set: fn(*mut Raw),
    },
}

/// A report on structures, once as Rust writes it, and once as the lines of a C program
/// that will print it.
#[derive(Default)]
struct Report {
    rust: String,
    c: String,
}

impl Report {
    fn add<T: Layout>(&mut self, c_type: &str) {
        let size = size_of::<T::Raw>();
        let align = align_of::<T::Raw>();

        writeln!(self.rust, "{c_type} size {size} align {align}").unwrap();
        writeln!(self.c, "TYPE({c_type})").unwrap();

        for field in T::fields() {
            match field {
                Field::Bytes { name, offset, size } => {
                    let name = c_name(name);
                    writeln!(self.rust, "{c_type} {name} at {offset} size {size}").unwrap();
                    writeln!(self.c, "BYTES({c_type}, {name})").unwrap();
                }
                Field::Bit { name, get, set } => {
                    let bytes = with_bit::<T::Raw>(*get, *set);
                    writeln!(self.rust, "{c_type} {name} bit {bytes}").unwrap();
                    writeln!(self.c, "BIT({c_type}, {name})").unwrap();
                }
            }
        }
    }
}

/// The name of a field in C: bindgen appends an underscore to names that are keywords
/// in Rust.
fn c_name(name: &str) -> &str {
    name.strip_suffix('_').unwrap_or(name)
}

/// The bytes of a structure in which nothing but this bit is set.
fn with_bit<Raw>(get: fn(*const Raw) -> bool, set: fn(*mut Raw)) -> String {
    let mut memory = std::mem::MaybeUninit::<Raw>::zeroed();
    let raw = memory.as_mut_ptr();

    assert!(!get(raw));
    set(raw);
    assert!(get(raw));

    // SAFETY: as many bytes as the structure has, all of them initialized.
    let bytes = unsafe { std::slice::from_raw_parts(raw.cast::<u8>(), size_of::<Raw>()) };

    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const PROBE: &str = r#"
#include "bindings.h"
#include <stddef.h>
#include <stdio.h>

#define TYPE(type)                                                            \
    printf(#type " size %zu align %zu\n", sizeof(type), __alignof__(type));

#define BYTES(type, field)                                                    \
    printf(#type " " #field " at %zu size %zu\n", offsetof(type, field),      \
           sizeof(((type *) 0)->field));

#define BIT(type, field)                                                      \
    {                                                                         \
        type    t;                                                            \
        size_t  i;                                                            \
                                                                              \
        memset(&t, 0, sizeof(type));                                          \
        t.field = 1;                                                          \
        printf(#type " " #field " bit ");                                     \
        for (i = 0; i < sizeof(type); i++) {                                  \
            printf("%02x", ((unsigned char *) &t)[i]);                        \
        }                                                                     \
        printf("\n");                                                         \
    }

int
main(void)
{
@report@
    return 0;
}
"#;

/// Compiles a C program with these lines as nginx's make compiles nginx, runs the
/// program, and returns what it prints.
fn run_probe(name: &str, lines: &str) -> String {
    let compiler = env::var("NGX_EVENT_PIPE_COMPILER").expect("the build script has read it");
    let compiler = fs::read_to_string(compiler).expect("the build script has read it");
    let mut words = compiler.lines();
    let root = words.next().expect("the tree's root");

    let probe = Path::new(env!("OUT_DIR")).join(name);
    let source = probe.with_extension("c");
    fs::write(&source, PROBE.replace("@report@", lines)).expect("a C file");

    let compiled = Command::new(words.next().expect("a compiler"))
        .args(words)
        .arg(&source)
        .arg("-o")
        .arg(&probe)
        .current_dir(root)
        .status()
        .expect("nginx's compiler runs");
    assert!(compiled.success(), "{} does not compile", source.display());

    let output = Command::new(&probe).output().expect("the probe runs");
    assert!(output.status.success());

    String::from_utf8(output.stdout).expect("plain text")
}

#[test]
fn rust_and_c_agree_on_every_field_and_bit() {
    let mut report = Report::default();

    report.add::<Pipe<'_>>("ngx_event_pipe_t");
    report.add::<Buf<'_>>("ngx_buf_t");
    report.add::<Link<'_>>("ngx_chain_t");
    report.add::<Connection<'_>>("ngx_connection_t");
    report.add::<Event<'_>>("ngx_event_t");
    report.add::<TempFile<'_>>("ngx_temp_file_t");
    report.add::<Log<'_>>("ngx_log_t");
    report.add::<Pool<'_>>("ngx_pool_t");
    report.add::<Settings<'_>>("ngx_event_pipe_settings_t");

    let c = run_probe("layout", &report.c);

    // The lines are compared one by one first, so that a failure shows which line
    // differs.
    for (rust, c) in report.rust.lines().zip(c.lines()) {
        assert_eq!(rust, c);
    }

    assert_eq!(report.rust, c);
}

#[test]
fn a_field_at_another_place_is_noticed() {
    let mut report = Report::default();

    report.add::<Buf<'_>>("ngx_buf_t");

    let moved = report
        .c
        .replacen("BYTES(ngx_buf_t, pos)", "BYTES(ngx_buf_t, last)", 1);
    assert_ne!(report.rust, run_probe("layout_moved", &moved));

    let swapped = report
        .c
        .replacen("BIT(ngx_buf_t, recycled)", "BIT(ngx_buf_t, sync)", 1);
    assert_ne!(report.rust, run_probe("layout_swapped", &swapped));
}

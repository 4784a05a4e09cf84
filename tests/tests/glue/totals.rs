//! The totals of the status count beyond 4 GiB on systems of 32 bits, too.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::Result;
use crate::fixture::Tree;

/// Two responses of 3 GiB each, with times and peaks of more than a long has.
const PROGRAM: &str = r#"
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_pipe.h>
#include "ngx_event_pipe_counts.h"

volatile ngx_msec_t  ngx_current_msec;

int
main(void)
{
    off_t                           size = 3LL << 30;
    ngx_uint_t                      i;
    static ngx_event_pipe_t         p;
    static ngx_event_pipe_state_t   state;
    static ngx_event_pipe_totals_t  totals;

    state.pipe = &p;
    p.read_length = size;
    state.counts.passed = size;
    state.counts.spilled = size;
    state.counts.lent = size;
    state.counts.peak = size;
    state.counts.reads = 3U << 30;
    state.counts.blocked_time = 3U << 30;

    for (i = 0; i < 2; i++) {
        ngx_event_pipe_add_to_totals(&totals, &state);
    }

    printf("%d: %llu %llu %llu %llu %llu %llu %llu\n", (int) sizeof(long) * 8,
           (unsigned long long) totals.received,
           (unsigned long long) totals.passed,
           (unsigned long long) totals.spilled,
           (unsigned long long) totals.lent,
           (unsigned long long) totals.peak,
           (unsigned long long) totals.reads,
           (unsigned long long) totals.blocked_time);

    return 0;
}
"#;

#[test]
fn do_not_wrap() -> Result {
    let dir = TempDir::new()?;
    let mut sizes = vec![64];
    if can_compile_for_32_bits(dir.path())? {
        sizes.push(32);
    } else {
        eprintln!("skipped for 32 bits: gcc -m32 does not work here");
    }

    let tree = Tree::configured(false)?;
    let main = dir.path().join("main.c");
    fs::write(&main, PROGRAM)?;
    let module = &tree.recipe.module;
    for bits in sizes {
        let program = dir.path().join(format!("totals{bits}"));
        let mut gcc = gcc(bits, &program);
        for folder in ["src/core", "src/event", "src/event/modules", "src/os/unix"] {
            gcc.arg("-I").arg(tree.built.tree.join(folder));
        }
        gcc.arg("-I").arg(&tree.built.objs).arg("-I").arg(module);
        gcc.arg(&main).arg(module.join("ngx_event_pipe_counts.c"));
        expect_success(gcc.output()?);
        let output = Command::new(&program).output()?;
        let sums = vec![(6_u64 << 30).to_string(); 7].join(" ");
        let said = String::from_utf8(output.stdout)?;
        assert_eq!(said, format!("{bits}: {sums}\n"));
    }
    Ok(())
}

fn can_compile_for_32_bits(dir: &Path) -> Result<bool> {
    let main = dir.join("probe.c");
    fs::write(&main, "#include <stdio.h>\nint main(void) { return 0; }\n")?;
    let probe = dir.join("probe");
    let compiled = gcc(32, &probe).arg(&main).output()?;
    Ok(compiled.status.success() && Command::new(&probe).status().is_ok_and(|s| s.success()))
}

/// As nginx would be configured for so many bits, whatever this machine has.
fn gcc(bits: u32, program: &Path) -> Command {
    let mut gcc = Command::new("gcc");
    gcc.arg(format!("-m{bits}")).arg("-o").arg(program);
    gcc
}

fn expect_success(output: Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

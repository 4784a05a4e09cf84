//! Trees and modules that a test may spoil.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use pipe_tests::build::{self, Built, Pipe, Recipe, Source};
use tempfile::TempDir;

use crate::Result;

/// nginx without http is built in a third of the time, and has the pipe.
const SMALL: &str = "--without-http";

/// A source tree and its build, of which nothing is left after the test.
pub(crate) struct Tree {
    dir: TempDir,
    pub(crate) recipe: Recipe,
    pub(crate) built: Built,
}

impl Tree {
    pub(crate) fn new() -> Result<Self> {
        let mut recipe = Recipe::new(&Source::from_env()?, Pipe::Rust);
        recipe.configure.push(SMALL.into());
        let dir = TempDir::new()?;
        let built = recipe.unpack(dir.path())?;
        Ok(Self { dir, recipe, built })
    }

    /// A configured tree; the libraries of two with and without debug differ.
    pub(crate) fn configured(debug: bool) -> Result<Self> {
        let mut tree = Self::new()?;
        if debug {
            tree.recipe.configure.push("--with-debug".into());
            tree.recipe.configure.push("--with-threads".into());
        }
        tree.configure()?;
        Ok(tree)
    }

    /// A place beside the tree.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Sets an environment variable for configure and make.
    pub(crate) fn set(&mut self, variable: &str, value: &Path) {
        let value = value.display().to_string();
        self.recipe.env.push((variable.into(), value));
    }

    /// Has configure and make use another cargo: a script around the real one.
    pub(crate) fn set_cargo(&mut self, script: &str) -> Result {
        let cargo = self.path("another-cargo");
        fs::write(&cargo, format!("#!/bin/sh\n{script}"))?;
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755))?;
        self.set("NGX_CARGO", &cargo);
        Ok(())
    }

    /// Changes a file of the tree.
    pub(crate) fn edit(&self, file: &str, change: impl FnOnce(String) -> String) -> Result {
        let path = self.built.tree.join(file);
        let old = fs::read_to_string(&path)?;
        let new = change(old.clone());
        assert_ne!(old, new, "{file} is not what the test thinks");
        Ok(fs::write(path, new)?)
    }

    pub(crate) fn configure(&self) -> build::Result<()> {
        self.recipe.configure(&self.built)
    }

    pub(crate) fn make(&self) -> build::Result<()> {
        self.recipe.make(&self.built)
    }

    /// Makes the library alone.
    pub(crate) fn make_library(&self) -> build::Result<()> {
        build::make_libraries(&[(&self.recipe, &self.built)])?.remove(0)
    }

    pub(crate) fn build(&self) -> build::Result<()> {
        self.configure()?;
        self.make()
    }
}

/// A module around another Rust library: an ordinary one, with std, whose
/// panics unwind and are caught.
pub(crate) struct OtherLibrary(TempDir);

impl OtherLibrary {
    pub(crate) fn build() -> Result<Self> {
        let dir = TempDir::new()?;
        for (name, text) in [
            ("other.rs", LIBRARY),
            ("ngx_other_module.c", MODULE),
            ("config", CONFIG),
        ] {
            fs::write(dir.path().join(name), text)?;
        }
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition=2021", "--crate-type=staticlib", "-O", "other.rs"]);
        let output = rustc.current_dir(&dir).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "rustc: {said}");
        Ok(Self(dir))
    }

    pub(crate) fn module(&self) -> &Path {
        self.0.path()
    }
}

const LIBRARY: &str = r#"
#[no_mangle]
pub extern "C" fn other_panics_caught() -> i32 {
    std::panic::catch_unwind(|| panic!("meant")).is_err().into()
}
"#;

const MODULE: &str = r#"
#include <ngx_config.h>
#include <ngx_core.h>

int other_panics_caught(void);

static ngx_int_t
ngx_other_init(ngx_cycle_t *cycle)
{
    ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                  "other library: panics caught: %d", other_panics_caught());
    return NGX_OK;
}

static ngx_core_module_t  ngx_other_module_ctx = {
    ngx_string("other"), NULL, NULL
};

ngx_module_t  ngx_other_module = {
    NGX_MODULE_V1, &ngx_other_module_ctx, NULL, NGX_CORE_MODULE,
    NULL, ngx_other_init, NULL, NULL, NULL, NULL, NULL,
    NGX_MODULE_V1_PADDING
};
"#;

const CONFIG: &str = r#"
ngx_addon_name=ngx_other_module
ngx_module_type=CORE
ngx_module_name=ngx_other_module
ngx_module_incs=
ngx_module_deps=
ngx_module_srcs=$ngx_addon_dir/ngx_other_module.c
ngx_module_libs="$ngx_addon_dir/libother.a -lgcc_s -lpthread -ldl -lm"
ngx_module_order=
. auto/module
"#;

//! The library that is linked is the tree's own, whatever cargo is told, and
//! whoever else uses its target folder.

use std::fs::{self, File};
use std::path::Path;

use pipe_tests::build;
use pipe_tests::project::Project;

use crate::fixture::Tree;
use crate::{ARCHIVE, Result, expect_refusal, nm};

/// What the name of a stamp begins with.
const STAMP: &str = "ngx_event_pipe_stamp_";

/// What only a library for an nginx with debug says.
const DEBUG: &[u8] = b"pipe write downstream";

impl Tree {
    fn library(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.built.objs.join(ARCHIVE))?)
    }

    /// Whether its library is one for an nginx with debug.
    fn has_debug_library(&self) -> Result<bool> {
        let library = self.library()?;
        Ok(library.windows(DEBUG.len()).any(|text| text == DEBUG))
    }

    /// What `build.sh` knows its library by.
    fn stamp(&self) -> Result<String> {
        let symbols = nm(&self.built.objs.join(ARCHIVE))?;
        let mut words = symbols.split_whitespace();
        let stamp = words.find(|word| word.starts_with(STAMP) && !word.ends_with("none"));
        Ok(stamp.ok_or("no stamp")?.to_owned())
    }

    fn expect_own_library(&self, debug: bool) -> Result {
        assert_eq!(self.has_debug_library()?, debug, "another tree's library");
        Ok(())
    }
}

/// A tree, after another one of another layout has left its library.
fn second_tree() -> Result<Tree> {
    let first = Tree::configured(true)?;
    first.make_library()?;
    first.expect_own_library(true)?;
    Tree::configured(false)
}

/// Settings of cargo's that would move the library, or make it another one.
const SETTINGS: &[(&str, &str)] = &[
    ("CARGO_BUILD_TARGET_DIR", "elsewhere"),
    ("CARGO_INCREMENTAL", "1"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    ("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true"),
    ("CARGO_PROFILE_RELEASE_PANIC", "unwind"),
    ("CARGO_PROFILE_RELEASE_STRIP", "true"),
];

#[test]
fn the_environment_changes_nothing() -> Result {
    let mut tree = second_tree()?;
    tree.make_library()?;
    let library = tree.library()?;

    let host = build::host()?;
    tree.set("CARGO_BUILD_TARGET", Path::new(&host));
    for (variable, value) in SETTINGS {
        tree.set(variable, Path::new(value));
    }
    fs::remove_file(tree.built.objs.join(ARCHIVE))?;
    tree.make_library()?;
    tree.expect_own_library(false)?;
    assert!(library == tree.library()?, "another library");
    Ok(())
}

#[test]
fn refuses_flags_that_unwind() -> Result {
    for flags in ["-Cpanic=unwind", "-g -C panic=unwind"] {
        let mut tree = Tree::configured(false)?;
        tree.set("RUSTFLAGS", Path::new(flags));
        expect_refusal(tree.make_library(), "RUSTFLAGS asks for panic=unwind")?;
    }
    Ok(())
}

#[test]
fn cargos_configuration_moves_nothing() -> Result {
    let tree = second_tree()?;
    let host = build::host()?;
    let folder = tree.path(".cargo");
    fs::create_dir(&folder)?;
    fs::write(
        folder.join("config.toml"),
        format!(
            "[build]\ntarget = \"{host}\"\ntarget-dir = \"elsewhere\"\nincremental = true\n\
             rustflags = [\"-Cforce-frame-pointers\"]\n\
             [profile.release]\npanic = \"unwind\"\nlto = \"off\"\nopt-level = 0\n\
             overflow-checks = true\ndebug-assertions = true\n"
        ),
    )?;
    tree.make_library()?;
    tree.expect_own_library(false)
}

#[test]
fn trees_share_a_folder() -> Result {
    let trees = [Tree::configured(true)?, Tree::configured(false)?];
    let builds = trees.each_ref().map(|tree| (&tree.recipe, &tree.built));
    for made in build::make_libraries(&builds)? {
        made?;
    }
    for (tree, debug) in trees.iter().zip([true, false]) {
        tree.expect_own_library(debug)?;
        // Make would not build again.
        fs::remove_file(tree.built.objs.join(ARCHIVE))?;
        tree.make_library()?;
        tree.expect_own_library(debug)?;
    }
    Ok(())
}

/// What another tree leaves in the place of the library, between its build and
/// its being taken away: once if `turns` says so, or each time.
fn with_another_build_between(turns: &str) -> Result<Tree> {
    let first = Tree::configured(true)?;
    first.make_library()?;
    let mut tree = Tree::new()?;
    let foreign = tree.path("foreign.a");
    fs::copy(first.built.objs.join(ARCHIVE), &foreign)?;
    let mark = tree.path("mark");
    fs::write(&mark, "")?;
    tree.set_cargo(&format!(
        r#"cargo "$@" || exit
           [ "$1" = rustc -a -e {mark} ] || exit 0
           [ {turns} != once ] || rm {mark}
           for library in $(find "$CARGO_TARGET_DIR" -path '*release/libngx_event_pipe.a')
           do
               rm "$library"
               cp {foreign} "$library"
           done
           "#,
        mark = mark.display(),
        foreign = foreign.display(),
    ))?;
    tree.configure()?;
    Ok(tree)
}

#[test]
fn another_trees_library_is_not_taken() -> Result {
    let tree = with_another_build_between("once")?;
    tree.make_library()?;
    tree.expect_own_library(false)
}

#[test]
fn refuses_another_trees_library() -> Result {
    let tree = with_another_build_between("always")?;
    expect_refusal(
        tree.make_library(),
        "is not made from this tree: build trees",
    )?;
    let left = fs::read_dir(tree.built.objs.join("ngx_event_pipe_rust"))?;
    let left: Vec<_> = left
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect();
    assert!(
        left.iter().flatten().all(|name| name == "compiler.txt"),
        "left: {left:?}"
    );

    // Nothing is left of it.
    fs::remove_file(tree.path("mark"))?;
    tree.make_library()?;
    tree.expect_own_library(false)
}

/// Neither nginx's tree, nor the project, nor the folder of what is made is
/// where it was, and none is as deep.
#[test]
fn the_same_project_gives_the_same_library_elsewhere() -> Result {
    let mut libraries = Vec::new();
    for depth in ["one", "one/two"] {
        let project = Project::copy()?;
        let mut tree = Tree::new()?;
        let elsewhere = tree.path(depth).join("project");
        fs::create_dir_all(tree.path(depth))?;
        build::copy(&project.path("."), &elsewhere)?;
        tree.recipe.module = elsewhere.join("nginx-module");
        tree.set("CARGO_TARGET_DIR", &tree.path(depth).join("target"));
        tree.configure()?;
        tree.make_library()?;
        libraries.push(tree.library()?);
    }
    assert!(libraries[0] == libraries[1], "the libraries differ");
    Ok(())
}

/// The stamp depends on what is built, not on where.
#[test]
fn the_same_tree_gives_the_same_library_elsewhere() -> Result {
    let trees = [true, true, false].map(Tree::configured);
    let mut libraries = Vec::new();
    let mut stamps = Vec::new();
    for tree in trees {
        let tree = tree?;
        tree.make_library()?;
        libraries.push(tree.library()?);
        stamps.push(tree.stamp()?);
    }
    assert!(libraries[0] == libraries[1], "the libraries differ");
    assert_eq!(stamps[0], stamps[1]);
    assert_ne!(stamps[0], stamps[2]);
    Ok(())
}

/// A header that has changed, and kept its time.
#[test]
fn a_header_decides_by_what_it_says() -> Result {
    let tree = Tree::configured(false)?;
    tree.make_library()?;
    let first = tree.stamp()?;

    let header = tree.built.tree.join("src/event/ngx_event_pipe.h");
    let time = fs::metadata(&header)?.modified()?;
    tree.edit("src/event/ngx_event_pipe.h", |text| {
        let start = "struct ngx_event_pipe_s {";
        text.replace(start, &format!("{start}\n    void *moves_all;"))
    })?;
    File::options()
        .append(true)
        .open(&header)?
        .set_modified(time)?;
    fs::remove_file(tree.built.objs.join(ARCHIVE))?;
    tree.make_library()?;
    assert_ne!(tree.stamp()?, first);
    Ok(())
}

//! The ways in which the suite is run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What one variant changes about every file's configuration.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    /// Directives for every `http {}`; `@` stands for each module that has
    /// the pipe.
    http: &'static str,
    /// `use METHOD;` for every `events {}`.
    method: Option<&'static str>,
}

/// In the order in which they are run. On stock nginx every file of the list
/// passes in each of them, or is skipped.
pub(crate) const VARIANTS: &[Variant] = &[
    http("base", ""),
    http("aio", "aio threads; aio_write on;"),
    http(
        "aiosf",
        "aio threads; aio_write on; sendfile on; sendfile_max_chunk 4k; tcp_nopush on;",
    ),
    http("tiny", "@_buffers 9 1k;"),
    http("notmp", "@_buffers 9 1k; @_max_temp_file_size 0;"),
    http(
        "sendfile",
        "sendfile on; tcp_nopush on; sendfile_max_chunk 1k;",
    ),
    http("http10", "proxy_http_version 1.0;"),
    events("poll"),
    events("select"),
];

const fn http(name: &'static str, http: &'static str) -> Variant {
    let method = None;
    Variant { name, http, method }
}

const fn events(name: &'static str) -> Variant {
    let (http, method) = ("", Some(name));
    Variant { name, http, method }
}

impl Variant {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        VARIANTS.iter().find(|variant| variant.name == name)
    }

    /// The value of `TEST_NGINX_GLOBALS_HTTP`.
    pub(crate) fn http_directives(&self) -> String {
        let for_each = |directive: &str| -> String {
            ["proxy", "fastcgi", "scgi", "uwsgi"]
                .map(|module| directive.replace('@', module))
                .concat()
        };
        self.http
            .split_inclusive(';')
            .map(|directive| match directive.contains('@') {
                true => for_each(directive),
                false => directive.to_owned(),
            })
            .collect()
    }

    /// The suite to run this variant in: the checkout itself, or a copy in
    /// `scratch` whose files name the event method.
    pub(crate) fn suite(&self, checkout: &Path, scratch: &Path) -> io::Result<PathBuf> {
        let Some(method) = self.method else {
            return Ok(checkout.to_owned());
        };
        let copy = scratch.join(self.name);
        copy_suite(checkout, &copy, &format!("events {{\n    use {method};\n"))?;
        Ok(copy)
    }
}

/// Copies the suite with another beginning for every `events` block.
fn copy_suite(from: &Path, to: &Path, events: &str) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if name == ".git" {
            continue;
        }
        let copy = to.join(&name);
        if path.is_dir() {
            copy_suite(&path, &copy, events)?;
        } else if path.extension().is_some_and(|extension| extension == "t") {
            let text = fs::read_to_string(path)?;
            fs::write(copy, text.replace("\nevents {\n", &format!("\n{events}")))?;
        } else {
            fs::copy(path, copy)?;
        }
    }
    Ok(())
}

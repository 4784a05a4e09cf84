//! What the clients do, and what must come of it.

use std::fs;
use std::io::{Error, Result};

use pipe_tests::peers::curl::Response;
use pipe_tests::server::files_below;

use super::bodies::{self, LARGE, MEDIUM, PAGE, PARTS, SIZES, TEXT};
use super::edge::{Edge, Speech, eventually};
use super::upstream::Upstream;

/// One thing that clients do, on each upstream that it makes sense for.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The argument of configure without which nginx can't.
    pub(crate) needs: Option<&'static str>,
    pub(crate) makes_sense: fn(Upstream) -> bool,
    /// What the location says beside where to pass to; `@` stands for proxy,
    /// fastcgi, scgi or uwsgi.
    pub(crate) location: &'static str,
    /// What this project's pipe is told besides.
    pub(crate) own: &'static str,
    pub(crate) run: fn(&Edge) -> Result<()>,
}

impl Scenario {
    const fn new(name: &'static str, run: fn(&Edge) -> Result<()>) -> Self {
        Self {
            name,
            needs: None,
            makes_sense: |_| true,
            location: "",
            own: "",
            run,
        }
    }

    /// Whether it needs a cache, which is called `peers`.
    pub(crate) fn caches(&self) -> bool {
        self.location.contains("_cache peers;")
    }

    const fn location(mut self, location: &'static str) -> Self {
        self.location = location;
        self
    }

    const fn own(mut self, own: &'static str) -> Self {
        self.own = own;
        self
    }

    const fn only(mut self, makes_sense: fn(Upstream) -> bool) -> Self {
        self.makes_sense = makes_sense;
        self
    }

    const fn needs(mut self, argument: &'static str) -> Self {
        self.needs = Some(argument);
        self
    }
}

/// Not enough for a response, so that the disk is used as well.
const LITTLE_MEMORY: &str = "event_pipe_memory 3m;";

pub(crate) const SCENARIOS: [Scenario; 19] = [
    Scenario::new("sizes", sizes),
    Scenario::new("sizes, few small buffers", sizes)
        .location("@_buffer_size 1k; @_buffers 4 1k; @_busy_buffers_size 2k;"),
    Scenario::new("sizes, no temporary file", sizes).location("@_max_temp_file_size 0;"),
    Scenario::new("protocols", protocols),
    Scenario::new("HEAD and ranges", head_and_ranges).location("@_force_ranges on;"),
    Scenario::new("slow clients", slow_clients).own(LITTLE_MEMORY),
    Scenario::new("slow clients, threads", slow_clients)
        .location("aio threads; aio_write on;")
        .own(LITTLE_MEMORY)
        .needs("--with-threads"),
    Scenario::new("slow clients, threads and sendfile", slow_clients)
        .location("aio threads; aio_write on; sendfile on;")
        .own(LITTLE_MEMORY)
        .needs("--with-threads"),
    Scenario::new("many streams", many_streams),
    Scenario::new("many streams, threads", many_streams)
        .location("aio threads; aio_write on;")
        .needs("--with-threads"),
    Scenario::new("cache", cache).location(
        "@_cache peers; @_cache_key $uri; @_cache_valid 200 1h; @_cache_lock on;
         @_force_ranges on;
         add_header X-Cache-Status $upstream_cache_status;",
    ),
    Scenario::new("cache, threads", cache)
        .location(
            "@_cache peers; @_cache_key $uri; @_cache_valid 200 1h; @_cache_lock on;
             @_force_ranges on;
             add_header X-Cache-Status $upstream_cache_status;
             aio threads; aio_write on;",
        )
        .needs("--with-threads"),
    Scenario::new("cache, slices", slices)
        .location(
            "slice 100k; proxy_set_header Range $slice_range;
             proxy_cache peers; proxy_cache_key $uri$slice_range; proxy_cache_valid 206 1h;
             add_header X-Cache-Status $upstream_cache_status;",
        )
        .only(Upstream::is_nginx),
    Scenario::new("cache, clients that abort", abort_while_caching).location(
        "@_cache peers; @_cache_key $uri; @_cache_valid 200 1h;
         add_header X-Cache-Status $upstream_cache_status;",
    ),
    Scenario::new("store", store).location("@_store on;"),
    Scenario::new("gzip", gzip).location("gzip on; gzip_types *; gzip_min_length 0;"),
    Scenario::new("gunzip", gunzip)
        .location("gunzip on; proxy_set_header Accept-Encoding gzip;")
        .only(Upstream::is_nginx),
    Scenario::new("SSI", ssi).location("ssi on; ssi_types *;"),
    Scenario::new("clients that abort", abort),
];

/// curl fetches bodies of all sizes, with the length told beforehand and not.
fn sizes(edge: &Edge) -> Result<()> {
    for size in SIZES {
        let name = bodies::name(size);
        let body = edge.upstream_body(&name)?;
        edge.expect(Speech::Http11, &format!("/{name}"), &[], 200, &body)?;
        edge.expect(Speech::Http11, &format!("/unsized/{name}"), &[], 200, &body)?;
    }
    Ok(())
}

/// Every protocol that clients speak.
fn protocols(edge: &Edge) -> Result<()> {
    let name = bodies::name(LARGE);
    let body = edge.upstream_body(&name)?;
    for path in [format!("/{name}"), format!("/unsized/{name}")] {
        for speech in Speech::ALL {
            let response = edge.expect(speech, &path, &[], 200, &body)?;
            let version = if speech.is_http2() { "2" } else { "1.1" };
            ensure(response.version == version, || {
                format!("{speech:?}: HTTP/{}", response.version)
            })?;
        }
        edge.expect(Speech::Http11, &path, &["--http1.0"], 200, &body)?;
        edge.expect_s_client(&path, &body)?;
    }
    Ok(())
}

/// Parts of a body, and none of it.
fn head_and_ranges(edge: &Edge) -> Result<()> {
    let name = bodies::name(LARGE);
    let path = format!("/{name}");
    let body = edge.upstream_body(&name)?;
    for speech in [Speech::Http11, Speech::Http2] {
        let response = edge.expect(speech, &path, &["--head"], 200, &[])?;
        ensure(
            response.header("content-length") == Some(&LARGE.to_string()),
            || format!("HEAD: {response:?}"),
        )?;
        for (first, last) in RANGES {
            let range = format!("{first}-{last}");
            let part = &body[first..=last];
            edge.expect(speech, &path, &["--range", &range], 206, part)?;
        }
        edge.expect(speech, &path, &["--range", "-1"], 206, &body[LARGE - 1..])?;
        let response = edge
            .curl(speech, &path)
            .args(&["--range", "9000000-"])
            .fetch()?;
        ensure(response.status == 416, || {
            format!("range behind the end: {}", response.status)
        })?;
    }
    Ok(())
}

/// Around buffers, and the largest possible.
const RANGES: [(usize, usize); 4] = [(0, 0), (4095, 4096), (32000, 40000), (1, LARGE - 1)];

/// Clients slower than the upstream: what they don't take goes to the disk.
fn slow_clients(edge: &Edge) -> Result<()> {
    let name = bodies::name(LARGE);
    let body = edge.upstream_body(&name)?;
    let slowly = ["--limit-rate", "8M"];
    edge.expect(Speech::Http11, &format!("/{name}"), &slowly, 200, &body)?;
    edge.expect_spilled()?;
    edge.expect(
        Speech::Http2,
        &format!("/unsized/{name}"),
        &slowly,
        200,
        &body,
    )?;
    Ok(())
}

/// More streams than fit, through windows of all kinds.
fn many_streams(edge: &Edge) -> Result<()> {
    let name = bodies::name(MEDIUM);
    let body = edge.upstream_body(&name)?;
    let options: [(Speech, &[&str]); 4] = [
        (Speech::Http2PriorKnowledge, &["-c2", "-m10", "-w10"]),
        (
            Speech::Http2PriorKnowledge,
            &["-c1", "-m40", "-w20", "-W16"],
        ),
        (Speech::Http2, &["-c2", "-m10", "-w14"]),
        (Speech::Tls13, &["-c10", "-m1", "--h1"]),
    ];
    for (speech, options) in options {
        edge.expect_many(speech, &format!("/{name}"), options, 40, &body)?;
        edge.expect_many(speech, &format!("/unsized/{name}"), options, 40, &body)?;
    }
    Ok(())
}

/// A cache, filled and used over HTTP/2; many clients at once for a new entry.
fn cache(edge: &Edge) -> Result<()> {
    let name = bodies::name(LARGE);
    let body = edge.upstream_body(&name)?;
    for path in [format!("/{name}"), format!("/unsized/{name}")] {
        for wanted in ["MISS", "HIT"] {
            let response = edge.expect(Speech::Http2, &path, &[], 200, &body)?;
            expect_cache_status(&response, wanted)?;
        }
    }
    // nginx cuts ranges out of what it knows the length of.
    let part = &body[4000..=90000];
    let range = ["--range", "4000-90000"];
    let response = edge.expect(Speech::Http11, &format!("/{name}"), &range, 206, part)?;
    expect_cache_status(&response, "HIT")?;

    let name = bodies::name(MEDIUM);
    let body = edge.upstream_body(&name)?;
    let options = ["-c2", "-m10", "-w14"];
    edge.expect_many(Speech::Http2, &format!("/{name}"), &options, 40, &body)?;

    let files = files_below(&edge.prefix().join("cache"))?.len();
    ensure(files == 3, || format!("{files} files in the cache"))
}

/// A body in slices, each of them cached.
fn slices(edge: &Edge) -> Result<()> {
    let name = bodies::name(LARGE);
    let path = format!("/{name}");
    let body = edge.upstream_body(&name)?;
    let part = &body[150_000..=460_000];
    let range = ["--range", "150000-460000"];
    edge.expect(Speech::Http2, &path, &range, 206, part)?;
    edge.expect(Speech::Http2, &path, &[], 200, &body)?;
    let response = edge.expect(Speech::Http11, &path, &range, 206, part)?;
    expect_cache_status(&response, "HIT")?;
    edge.expect(Speech::Http11, &path, &[], 200, &body)?;
    Ok(())
}

/// The cache is filled even if the client goes.
fn abort_while_caching(edge: &Edge) -> Result<()> {
    let name = bodies::name(LARGE);
    let path = format!("/{name}");
    let body = edge.upstream_body(&name)?;
    edge.curl(Speech::Http2, &path).kill_after(100_000)?;
    eventually("the cache is filled", || {
        Ok(!files_below(&edge.prefix().join("cache"))?.is_empty())
    })?;
    let response = edge.expect(Speech::Http2, &path, &[], 200, &body)?;
    expect_cache_status(&response, "HIT")
}

/// A copy on the disk of what the client got.
fn store(edge: &Edge) -> Result<()> {
    for size in [4096, LARGE] {
        let name = bodies::name(size);
        let body = edge.upstream_body(&name)?;
        edge.expect(Speech::Http2, &format!("/{name}"), &[], 200, &body)?;
        // The client may have it all before nginx has stored it.
        let stored = edge.prefix().join("store").join(name);
        eventually("the body is stored", || Ok(stored.exists()))?;
        ensure(fs::read(&stored)? == body, || {
            format!("{} differs", stored.display())
        })?;
    }
    Ok(())
}

fn gzip(edge: &Edge) -> Result<()> {
    for name in [TEXT.to_owned(), bodies::name(LARGE)] {
        let body = edge.upstream_body(&name)?;
        for speech in [Speech::Http11, Speech::Http2] {
            for path in [format!("/{name}"), format!("/unsized/{name}")] {
                let response = edge.expect(speech, &path, &["--compressed"], 200, &body)?;
                let encoding = response.header("content-encoding");
                ensure(encoding == Some("gzip"), || {
                    format!("encoding: {encoding:?}")
                })?;
            }
        }
    }
    Ok(())
}

fn gunzip(edge: &Edge) -> Result<()> {
    for name in [TEXT.to_owned(), bodies::name(LARGE)] {
        let body = edge.upstream_body(&name)?;
        for speech in [Speech::Http11, Speech::Http2] {
            edge.expect(speech, &format!("/gzipped/{name}"), &[], 200, &body)?;
        }
    }
    Ok(())
}

/// A page whose parts are subrequests, all of them through the pipe.
fn ssi(edge: &Edge) -> Result<()> {
    let mut page = Vec::new();
    for size in PARTS {
        page.extend(edge.upstream_body(&bodies::name(size))?);
    }
    for speech in [Speech::Http11, Speech::Http2] {
        edge.expect(speech, &format!("/{PAGE}"), &[], 200, &page)?;
    }
    let options = ["-c2", "-m5", "-w14"];
    edge.expect_many(Speech::Http2, &format!("/{PAGE}"), &options, 20, &page)
}

/// Clients that go in the middle of it leave nothing behind.
fn abort(edge: &Edge) -> Result<()> {
    let name = bodies::name(LARGE);
    let path = format!("/{name}");
    let body = edge.upstream_body(&name)?;
    for speech in [Speech::Http11, Speech::Http2PriorKnowledge, Speech::Http2] {
        edge.curl(speech, &path).kill_after(100_000)?;
    }
    let report = edge
        .h2load(Speech::Http2, &path)
        .args(&["--duration=1", "-c2", "-m20", "-w16", "-W16"])
        .run()?;
    ensure(report.data > 0, || format!("h2load: {report:?}"))?;
    edge.expect(Speech::Http2, &path, &[], 200, &body)?;
    Ok(())
}

fn expect_cache_status(response: &Response, wanted: &str) -> Result<()> {
    let status = response.header("x-cache-status");
    ensure(status == Some(wanted), || {
        format!("cache status {status:?} instead of {wanted}")
    })
}

fn ensure(right: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    match right {
        true => Ok(()),
        false => Err(Error::other(otherwise())),
    }
}

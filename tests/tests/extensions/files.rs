//! A temporary file stays what it is for as long as anybody sends from it.

use std::io::Result;
use std::path::Path;
use std::thread;

use pipe_tests::client::{Connection, Http2, Manner, Pace, Request};
use pipe_tests::peers::openssl::{Certificate, s_client};
use pipe_tests::upstream::{Body, Progress, Reply};
use pipe_tests::{Binaries, Stage, binaries};
use tempfile::TempDir;

use crate::bodies::{expect_same, marked};

/// Bytes of a page, and what of it may be on disk.
const SIZE: usize = 6 << 20;
const LIMIT: &str = "proxy_max_temp_file_size 1m;";

/// What comes before each page.
const PART: &str = "<part of the page>";
const INCLUDE: &str = "<!--#include virtual=\"/part\" -->";

/// More than comes.
const WINDOW: u32 = 1 << 30;

/// How a client reads that does not speak HTTP/2.
const SLOW: Manner = Manner::at(Pace::Trickle(32 << 10));

/// The number of a client's one stream.
const STREAM: u32 = 1;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Http1,
    Http2,
    Tls,
}

/// Directives by which a page comes to its part, and whether they find that in
/// the page.
struct Page {
    directives: &'static str,
    has_include: bool,
}

const SSI: Page = Page {
    directives: "ssi on; ssi_types *;",
    has_include: true,
};

const ADDITION: Page = Page {
    directives: "add_before_body /part; addition_types *;
                 sub_filter_types *; sub_filter nothing else;",
    has_include: false,
};

/// Two clients at a time, slower than upstream, each with a page of its own. The
/// part of a page changes what holds for the connection: `sendfile` is a word
/// for the page and one for the part. With `around`, another page includes it.
struct Scene<'a> {
    page: &'a Page,
    sendfile: [&'static str; 2],
    around: bool,
    speech: Speech,
}

impl Scene<'_> {
    fn locations(&self) -> String {
        let [page, part] = self.sendfile;
        let directives = self.page.directives;
        format!(
            "location /page {{ sendfile {page}; {directives} proxy_pass http://peer; }}
             location /part {{ sendfile {part}; proxy_pass http://peer; }}
             location /around {{ sendfile {part}; {directives} proxy_pass http://peer; }}"
        )
    }

    fn play(&self, binary: &Path, certificate: &Certificate) -> Result<()> {
        let stage = Stage::start(binary, |conf| {
            conf.http += "proxy_http_version 1.1;\n";
            conf.listen(match self.speech {
                Speech::Http1 => "sndbuf=64k",
                Speech::Http2 => "sndbuf=64k http2",
                Speech::Tls => "sndbuf=64k ssl",
            });
            conf.server += &certificate.directives();
            conf.server += &format!("{LIMIT}\n{}", self.locations());
        })?;
        let play = |path: &str, body: String| stage.play(path, Reply::new(Body::Text(body.into())));
        play("/part", PART.to_owned());
        for id in 1..=2 {
            let include = if self.page.has_include { INCLUDE } else { "" };
            play(
                &format!("/page/{id}"),
                format!("{include}{}", marked(id, SIZE)),
            );
            let page = format!("<!--#include virtual=\"/page/{id}\" -->");
            play(&format!("/around/{id}"), page);
        }

        thread::scope(|scope| {
            let check = |id| self.check(&stage, id, certificate);
            let other = scope.spawn(move || check(2));
            self.check(&stage, 1, certificate)?;
            other.join().expect("the other is right, too")
        })?;
        stage.stop()
    }

    /// Asks for a page.
    fn check(&self, stage: &Stage, id: u8, certificate: &Certificate) -> Result<()> {
        let path = match self.around {
            true => format!("/around/{id}"),
            false => format!("/page/{id}"),
        };
        let body = match self.speech {
            Speech::Http1 => {
                let mut connection = Connection::open(stage.address(), true)?;
                let request = Request::get(path.as_str());
                let answer = connection.ask(&request, SLOW, &Progress::default())?;
                answer.body
            }
            Speech::Http2 => {
                let mut client = Http2::open(stage.address(), true, WINDOW)?;
                client.get(STREAM, &path)?;
                client.body(STREAM)?
            }
            Speech::Tls => {
                let request = format!("GET {path} HTTP/1.0\r\n\r\n");
                let answer = s_client(stage.address(), &certificate.certificate, &request)?;
                let header = answer.windows(4).position(|end| end == b"\r\n\r\n");
                answer[header.map_or(0, |at| at + 4)..].to_vec()
            }
        };
        let wanted = format!("{PART}{}", marked(id, SIZE));
        expect_same(&body, wanted.as_bytes(), &path);
        Ok(())
    }
}

/// Clients get what is theirs, and all of it, as on stock.
fn is_right(page: &Page, sendfile: [&'static str; 2], around: bool, speech: Speech) -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    let folder = TempDir::new()?;
    let certificate = Certificate::create(folder.path())?;
    let scene = Scene {
        page,
        sendfile,
        around,
        speech,
    };
    scene.play(&stock, &certificate)?;
    scene.play(&ours, &certificate)
}

#[test]
fn a_page_is_sent_from_its_files_whatever_its_include_does() -> Result<()> {
    is_right(&SSI, ["on", "off"], false, Speech::Http1)
}

#[test]
fn whatever_comes_before_it() -> Result<()> {
    is_right(&ADDITION, ["on", "off"], false, Speech::Http1)
}

#[test]
fn within_another_page() -> Result<()> {
    is_right(&SSI, ["on", "off"], true, Speech::Http1)
}

#[test]
fn over_http2() -> Result<()> {
    is_right(&SSI, ["on", "off"], false, Speech::Http2)?;
    is_right(&ADDITION, ["on", "off"], false, Speech::Http2)
}

#[test]
fn over_tls() -> Result<()> {
    is_right(&SSI, ["on", "off"], false, Speech::Tls)
}

#[test]
fn and_the_other_way_round() -> Result<()> {
    for speech in [Speech::Http1, Speech::Http2, Speech::Tls] {
        for page in [&SSI, &ADDITION] {
            is_right(page, ["off", "on"], false, speech)?;
        }
    }
    Ok(())
}

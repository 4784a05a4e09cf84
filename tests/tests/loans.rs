//! What a worker lends to its pipes: nobody keeps it longer than it is needed,
//! and the limit of a rate that counts is the one that is in force.

use std::io::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pipe_tests::binaries;
use pipe_tests::client::{Answer, Connection, Manner, Request};
use pipe_tests::server::{Nginx, wait};
use pipe_tests::time::VirtualTime;
use pipe_tests::upstream::{Body, Cuts, Hold, Point, Progress, Protocol, Reply, Script, Upstreams};

/// How much there is of a response that is worth a loan, and of its end, which
/// nginx finds in one piece.
const PART: usize = 600_000;
const PIECE: usize = 60_000;

/// How many responses have all that a worker lends, each a loan of 256k.
const LOANS: usize = 4;

/// More than any time after which something is looked at.
const LONG: Duration = Duration::from_secs(10);

/// Longer than the client needs.
const PATIENCE: Duration = Duration::from_secs(25);

/// No rate that anybody would notice.
const LIMIT: &str = "limit_rate 1000m;";

/// An nginx before an upstream that is as fast as can be.
struct Stage {
    time: VirtualTime,
    nginx: Nginx,
    upstreams: Upstreams,
}

impl Stage {
    fn start(binary: &Path) -> Result<Self> {
        let time = VirtualTime::new()?;
        let upstreams = Upstreams::start()?;
        let address = upstreams.address(Protocol::Http);
        let nginx = Nginx::start(binary, |conf| {
            conf.env = time.env();
            conf.listen("sndbuf=2m");
            conf.http += &format!("upstream peer {{ server {address}; }}\n");
            conf.server += &format!(
                "location / {{ proxy_pass http://peer; }}\n\
                 location /page {{ proxy_pass http://peer; ssi on; ssi_types *; }}\n\
                 location /page/limited {{ proxy_pass http://peer; ssi on; ssi_types *; {LIMIT} }}\n\
                 location /limited {{ proxy_pass http://peer; {LIMIT} }}\n\
                 location /status {{ event_pipe_status prometheus; }}\n"
            );
        })?;
        Ok(Self {
            time,
            nginx,
            upstreams,
        })
    }

    fn play(&self, path: &str, reply: Reply) -> (Arc<Script>, Arc<Progress>) {
        let progress = Arc::new(Progress::across(self.nginx.master()));
        let script = Arc::new(Script::new(vec![reply], Arc::clone(&progress)));
        self.upstreams.play(path, Arc::clone(&script));
        (script, progress)
    }

    /// Has a path answered by as much as is worth a loan.
    fn play_part(&self, path: &str) {
        let mut reply = Reply::random(6, PART);
        reply.cuts = Cuts::At(vec![(Point::End(PIECE), Hold::Drained)]);
        self.play(path, reply);
    }

    /// Has a path answered by a page that includes others one after the other.
    fn play_page(&self, path: &str, parts: &[&str]) {
        let include = |part: &&str| format!("<!--#include virtual=\"{part}\" wait=\"yes\" -->");
        let text: String = parts.iter().map(include).collect();
        self.play(path, Reply::new(Body::Text(text.into())));
    }

    fn ask(&self, path: &str, progress: &Progress) -> Result<Answer> {
        let mut connection = Connection::open(self.nginx.address(), false)?;
        connection.ask(&Request::get(path), Manner::FAST, progress)
    }

    /// How many loans there were for the responses that are over.
    fn loans(&self) -> Result<usize> {
        self.time.settle()?;
        let status = self.ask("/status", &Progress::default())?;
        let text = String::from_utf8(status.body).map_err(Error::other)?;
        let value = |line: &str| {
            let value = line.strip_prefix("nginx_event_pipe_loans_total ")?;
            value.parse().ok()
        };
        let value = text.lines().find_map(value);
        value.ok_or_else(|| Error::other(format!("no loans in {text}")))
    }

    /// How many loans there were for one more response, with all that it includes.
    fn loans_for(&self, path: &str, parts: usize) -> Result<usize> {
        let before = self.loans()?;
        let answer = self.ask(path, &Progress::default())?;
        assert_eq!(answer.body.len(), parts * PART, "{path}");
        Ok(self.loans()? - before)
    }
}

/// A page that includes as many responses as there are loans, and then one that
/// takes its time, does not keep any from others.
#[test]
fn a_page_keeps_no_loan_that_it_does_not_need() -> Result<()> {
    let stage = Stage::start(&binaries()?.ours)?;
    stage.play_part("/part");
    let mut parts = ["/part"; LOANS + 1];
    parts[LOANS] = "/slow";
    stage.play_page("/page", &parts);
    let mut slow = Reply::random(7, 1);
    slow.cuts = Cuts::At(vec![(Point::Start(0), Hold::ClientGone)]);
    let (script, release) = stage.play("/slow", slow);

    let client = Progress::default();
    thread::scope(|scope| {
        let page = scope.spawn(|| stage.ask("/page", &client));
        let is_slow = wait(|| !script.seen().is_empty());
        client.wait_for_receipt(LOANS * PART, PATIENCE);
        let loans = stage
            .time
            .advance(LONG)
            .and_then(|()| stage.loans_for("/part", 1));
        release.client_gone();
        let page = page.join().expect("no panic in there")?;
        assert!(is_slow && client.missed().is_empty());
        assert_eq!(page.body.len(), LOANS * PART + 1);
        assert!(loans? > 0, "all are kept");
        Ok::<_, Error>(())
    })?;
    // Those of the page are counted by now: it had some to keep.
    stage.time.settle()?;
    assert!(stage.loans()? > LOANS);
    stage.nginx.stop()?.check()
}

/// The rate is that of the main request: a limit of what is included is none.
#[test]
fn the_limit_that_is_in_force_decides() -> Result<()> {
    let stage = Stage::start(&binaries()?.ours)?;
    for part in ["/part", "/limited"] {
        stage.play_part(part);
    }
    let mut loans = Vec::new();
    for (page, part) in [
        ("/page", "/part"),
        ("/page", "/limited"),
        ("/page/limited", "/part"),
        ("/page/limited", "/limited"),
    ] {
        stage.play_page(page, &[part]);
        loans.push((page, part, stage.loans_for(page, 1)? > 0));
    }
    assert_eq!(
        loans,
        [
            ("/page", "/part", true),
            ("/page", "/limited", true),
            ("/page/limited", "/part", false),
            ("/page/limited", "/limited", false),
        ]
    );
    assert!(stage.loans_for("/part", 1)? > 0);
    assert_eq!(stage.loans_for("/limited", 1)?, 0);
    stage.nginx.stop()?.check()
}

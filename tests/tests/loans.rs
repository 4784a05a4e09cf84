//! What a worker lends to its pipes: nobody keeps it longer than it is needed,
//! and the limit of a rate that counts is the one that is in force.

use std::io::{Error, Result};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pipe_tests::client::Manner;
use pipe_tests::server::wait;
use pipe_tests::time::VirtualTime;
use pipe_tests::upstream::{Body, Cuts, Hold, Point, Progress, Reply};
use pipe_tests::{Stage, binaries};

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

/// This project's nginx before an upstream that is as fast as can be.
struct Lender {
    time: VirtualTime,
    stage: Stage,
}

impl Lender {
    fn start() -> Result<Self> {
        let time = VirtualTime::new()?;
        let stage = Stage::start(&binaries()?.ours, |conf| {
            conf.env = time.env();
            conf.listen("sndbuf=2m");
            conf.server += &format!(
                "event_pipe_memory 1m;\n\
                 location / {{ proxy_pass http://peer; }}\n\
                 location /page {{ proxy_pass http://peer; ssi on; ssi_types *; }}\n\
                 location /page/limited {{ proxy_pass http://peer; ssi on; ssi_types *; {LIMIT} }}\n\
                 location /limited {{ proxy_pass http://peer; {LIMIT} }}\n\
                 location /status {{ event_pipe_status prometheus; }}\n"
            );
        })?;
        Ok(Self { time, stage })
    }

    /// Has a path answered by as much as is worth a loan.
    fn play_part(&self, path: &str) {
        let mut reply = Reply::random(6, PART);
        reply.cuts = Cuts::At(vec![(Point::End(PIECE), Hold::Drained)]);
        self.stage.play(path, reply);
    }

    /// Has a path answered by a page that includes others one after the other.
    fn play_page(&self, path: &str, parts: &[&str]) -> Arc<Progress> {
        let include = |part: &&str| format!("<!--#include virtual=\"{part}\" wait=\"yes\" -->");
        let text: String = parts.iter().map(include).collect();
        self.stage.play(path, Reply::new(Body::Text(text.into())))
    }

    /// How many loans there were for the responses that are over.
    fn loans(&self) -> Result<usize> {
        self.time.settle()?;
        Ok(self.stage.total("loans")? as usize)
    }

    /// How many loans there were for one more response, with all that it includes.
    fn loans_for(&self, path: &str, parts: usize) -> Result<usize> {
        let before = self.loans()?;
        let answer = self.stage.ask(path, Manner::FAST)?;
        assert_eq!(answer.body.len(), parts * PART, "{path}");
        Ok(self.loans()? - before)
    }
}

/// A page that includes as many responses as there are loans, and then one that
/// takes its time, does not keep any from others.
#[test]
fn a_page_keeps_no_loan_that_it_does_not_need() -> Result<()> {
    let lender = Lender::start()?;
    let stage = &lender.stage;
    lender.play_part("/part");
    let mut parts = ["/part"; LOANS + 1];
    parts[LOANS] = "/slow";
    let client = lender.play_page("/page", &parts);
    let mut slow = Reply::random(7, 1);
    slow.cuts = Cuts::At(vec![(Point::Start(0), Hold::ClientGone)]);
    let release = stage.play("/slow", slow);

    thread::scope(|scope| {
        let page = scope.spawn(|| stage.ask("/page", Manner::FAST));
        let is_slow = wait(|| !stage.upstream.seen("/slow").is_empty());
        client.wait_for_receipt(LOANS * PART, PATIENCE);
        let loans = lender
            .time
            .advance(LONG)
            .and_then(|()| lender.loans_for("/part", 1));
        release.client_gone();
        let page = page.join().expect("no panic in there")?;
        assert!(is_slow && client.missed().is_empty());
        assert_eq!(page.body.len(), LOANS * PART + 1);
        assert!(loans? > 0, "all are kept");
        Ok::<_, Error>(())
    })?;
    // Those of the page are counted by now: it had some to keep.
    lender.time.settle()?;
    assert!(lender.loans()? > LOANS);
    lender.stage.stop()
}

/// The rate is that of the main request: a limit of what is included is none.
#[test]
fn the_limit_that_is_in_force_decides() -> Result<()> {
    let lender = Lender::start()?;
    for part in ["/part", "/limited"] {
        lender.play_part(part);
    }
    let mut loans = Vec::new();
    for (page, part) in [
        ("/page", "/part"),
        ("/page", "/limited"),
        ("/page/limited", "/part"),
        ("/page/limited", "/limited"),
    ] {
        lender.play_page(page, &[part]);
        loans.push((page, part, lender.loans_for(page, 1)? > 0));
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
    assert!(lender.loans_for("/part", 1)? > 0);
    assert_eq!(lender.loans_for("/limited", 1)?, 0);
    lender.stage.stop()
}

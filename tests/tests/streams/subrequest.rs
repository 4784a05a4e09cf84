//! Subrequests: what of a stream came while one was at work, and what comes
//! afterwards, reaches the client and needs nothing that follows.

use std::io::Result;
use std::path::Path;

use pipe_tests::upstream::{Body, Framing, Protocol, Reply};
use pipe_tests::{Binaries, binaries};

use crate::pace::{Client, PATH, Peer, STREAM, Setup, Speech, Stage};

/// The other response, and what it is.
const SLOW: &str = "/slow";
const BEFORE: &str = "what comes before";

/// How many events there are, and how many of them come while the subrequest is
/// at work, besides the first one.
const EVENTS: usize = 5;
const MEANWHILE: usize = 2;

/// How a stream may be told, by its type and the directives.
const STREAMS: [(&str, &str); 2] = [
    ("text/event-stream", ""),
    ("text/plain", "event_pipe_stream on;"),
];

/// What has the stream wait for a subrequest, which is asked for first or last.
#[derive(Clone, Copy, Debug)]
enum Company {
    /// The stream begins with another response.
    Added,
    /// Its first event includes one.
    Includes,
    /// A page includes another response, and then the stream.
    Included,
}

impl Company {
    const ALL: [Self; 3] = [Self::Added, Self::Includes, Self::Included];

    fn path(self) -> &'static str {
        match self {
            Self::Included => "/both",
            _ => PATH,
        }
    }

    fn setup(self, speech: Speech, directives: &str) -> Setup {
        let filter = match self {
            Self::Added => format!("add_before_body {SLOW}; addition_types *;"),
            Self::Includes => "ssi on; ssi_types *;".to_owned(),
            Self::Included => String::new(),
        };
        let include = |path| format!("<!--#include virtual=\"{path}\" -->");
        Setup {
            locations: format!(
                "location {SLOW} {{ proxy_pass http://peer; }}\n\
                 location /both {{ ssi on; ssi_types *; return 200 '{}{}'; }}",
                include(SLOW),
                include(PATH)
            ),
            ..Setup::new(speech, &format!("{directives} {filter}"))
        }
    }

    /// What upstream sends as an event, and what comes of it besides the other
    /// response.
    fn event(self, nth: usize) -> (String, String) {
        let text = format!("data: {nth}\n\n");
        match (self, nth) {
            (Self::Includes, 0) => (format!("<!--#include virtual=\"{SLOW}\" -->{text}"), text),
            _ => (text.clone(), text),
        }
    }
}

/// What of the stream comes by itself: its header, or that with an event.
#[derive(Clone, Copy, Debug)]
enum Start {
    Header,
    Event,
}

/// A response without an end in sight.
fn stream(kind: &str, body: Body) -> Reply {
    let mut reply = Reply::new(body);
    reply.headers.push(format!("Content-Type: {kind}"));
    reply.framing = Framing::Close;
    reply
}

/// The last of those that came in the meantime, and the later ones, as far as the
/// client does not have them once nginx has come to rest: upstream sends the next
/// one only then.
fn missed(
    binary: &Path,
    company: Company,
    start: Start,
    setup: &Setup,
    kind: &str,
) -> Result<Vec<usize>> {
    let events: Vec<_> = (0..EVENTS).map(|nth| company.event(nth)).collect();
    let body: String = events.iter().map(|(sent, _)| &**sent).collect();
    let reply = stream(kind, Body::Text(body.into()));

    let stage = Stage::start(binary, setup)?;
    let mut client = stage.client(company.path())?;
    let send = |upstream: &mut Peer, nth: usize| {
        upstream.send(events[nth].0.len())?;
        stage.time.settle()
    };
    let stream = || -> Result<Peer> {
        let mut upstream = stage.upstream()?;
        let wire = Protocol::Http.wire(&reply, PATH);
        let header = wire.len() - reply.body.size();
        upstream.put(&wire)?;
        match start {
            Start::Header => {
                upstream.send(header)?;
                stage.time.settle()?;
                send(&mut upstream, 0)?;
            }
            Start::Event => {
                upstream.send(header + events[0].0.len())?;
                stage.time.settle()?;
            }
        }
        Ok(upstream)
    };
    let (mut upstream, slow) = match company {
        Company::Included => {
            let slow = stage.upstream()?;
            (stream()?, slow)
        }
        _ => (stream()?, stage.upstream()?),
    };
    (1..=MEANWHILE).try_for_each(|nth| send(&mut upstream, nth))?;
    finish(&stage, slow)?;

    let mut missed = Vec::new();
    let mut wanted = BEFORE.len();
    for (nth, (_, event)) in events.iter().enumerate() {
        if nth > MEANWHILE {
            send(&mut upstream, nth)?;
        }
        wanted += event.len();
        if nth >= MEANWHILE && received(&mut client)? < wanted {
            missed.push(nth);
        }
    }
    drop(upstream);
    stage.time.settle()?;
    received(&mut client)?;
    let whole: String = events.iter().map(|(_, event)| &**event).collect();
    let body = String::from_utf8_lossy(&client.finish()).into_owned();
    assert_eq!(body, BEFORE.to_owned() + &whole, "{company:?}");
    stage.stop()?;
    Ok(missed)
}

/// The other response comes as a whole.
fn finish(stage: &Stage, mut slow: Peer) -> Result<()> {
    let reply = stream("text/plain", Body::Text(BEFORE.into()));
    slow.put(&Protocol::Http.wire(&reply, SLOW))?;
    slow.send(usize::MAX)?;
    drop(slow);
    stage.time.settle()
}

/// How much of the body a client has that takes all there is.
fn received(client: &mut Client) -> Result<usize> {
    client.read(usize::MAX)?;
    Ok(client.received(STREAM).unwrap_or(0))
}

#[test]
fn a_stream_goes_on_after_a_subrequest() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    let mut late = Vec::new();
    for company in Company::ALL {
        for start in [Start::Header, Start::Event] {
            for speech in [Speech::Http1, Speech::Http2] {
                for (kind, directives) in STREAMS {
                    let setup = company.setup(speech, directives);
                    let missed = missed(&ours, company, start, &setup, kind)?;
                    late.push((company, start, speech, kind, missed));
                }
            }
        }
    }
    late.retain(|(.., missed)| !missed.is_empty());
    assert!(late.is_empty(), "{late:#?}");
    Ok(())
}

/// So it is on stock without a pipe, and with ours.
#[test]
fn without_buffering_a_stream_goes_on_after_a_subrequest() -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    for binary in [stock, ours] {
        for company in Company::ALL {
            let setup = company.setup(Speech::Http1, "proxy_buffering off;");
            let missed = missed(&binary, company, Start::Event, &setup, "text/event-stream")?;
            assert_eq!(missed, [] as [usize; 0], "{company:?}");
        }
    }
    Ok(())
}

//! What the event pipe shows of itself: variables of the access log, and the
//! status of all workers. Values are known exactly, or by bound and cause.

use std::collections::HashMap;
use std::fs;
use std::io::{Error, Result};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use pipe_tests::Stage;
use pipe_tests::build::{Pipe, Recipe, Source, project};
use pipe_tests::client::{Connection, Leave, Manner, Request};
use pipe_tests::server::{Conf, Nginx, wait};
use pipe_tests::time::VirtualTime;
use pipe_tests::upstream::{Body, End, Framing, Point, Progress, Protocol, Reply};
use serde_json::Value;

/// All variables, each as `name=value`.
const VARIABLES: [&str; 10] = [
    "spilled",
    "peak",
    "buffers",
    "buffers_max",
    "blocked_count",
    "blocked_time",
    "client_time",
    "reads",
    "writes",
    "end",
];

/// Much more than the sockets hold.
const LARGE: usize = 3_000_000;

/// What a slow client's connection holds, at the most.
const SOCKETS: usize = 200_000;

/// A peak of all that sockets do not hold, to the eighth that it is kept to.
const NEARLY_LARGE: RangeInclusive<usize> = (LARGE - SOCKETS) / 8 * 7..=LARGE;

/// More than any timeout here.
const TOO_LONG: Duration = Duration::from_secs(11);

/// Few buffers, and a client's socket that takes little.
const SMALL: &str =
    "event_pipe_memory 0; proxy_buffer_size 4k; proxy_buffers 4 4k; proxy_busy_buffers_size 8k;";

fn log_format() -> String {
    let values: String = VARIABLES
        .iter()
        .map(|name| format!(" {name}=$event_pipe_{name}"))
        .collect();
    format!("log_format pipe '$uri msec=$request_time{values}';\n")
}

/// This project's nginx, which logs the variables.
fn start(conf: impl FnOnce(&mut Conf)) -> Result<Stage> {
    start_with(&pipe_tests::binaries()?.ours, conf)
}

fn start_with(binary: &Path, conf: impl FnOnce(&mut Conf)) -> Result<Stage> {
    Stage::start(binary, |c| {
        c.listen("sndbuf=16k");
        c.http += &log_format();
        c.access_log = "access.log pipe";
        conf(c);
    })
}

/// With one location, for all paths.
fn with_location(directives: &str) -> Result<Stage> {
    start(|conf| conf.pass("/", Protocol::Http, "peer", directives))
}

/// What nginx shows of itself.
trait Shows {
    /// Plays a reply for a client, and returns what is logged of it.
    fn run(&self, reply: Reply, manner: Manner) -> Result<Line>;
    /// The line of the access log that is about `path`.
    fn line(&self, path: &str) -> Result<Line>;
    /// The access log so far.
    fn lines(&self) -> Vec<Line>;
    /// The status as JSON, flattened: `ends.complete` and so on.
    fn status(&self) -> Result<HashMap<String, f64>>;
}

impl Shows for Stage {
    fn run(&self, reply: Reply, manner: Manner) -> Result<Line> {
        let body = reply.body.bytes();
        let whole = reply.stop.is_none() && reply.end == End::Fin;
        self.play("/", reply);
        let answer = self.ask("/", manner)?;
        if manner.leave.is_none() && whole {
            assert!(answer.body == body, "another body");
        }
        self.line("/")
    }

    fn line(&self, path: &str) -> Result<Line> {
        let mut found = None;
        wait(|| {
            found = self.lines().into_iter().find(|line| line.uri == path);
            found.is_some()
        });
        found.ok_or_else(|| Error::other(format!("nothing is logged of {path}")))
    }

    fn lines(&self) -> Vec<Line> {
        let log = fs::read_to_string(self.nginx.prefix().join("access.log"));
        let log = log.unwrap_or_default();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().map(Line::parse).collect()
    }

    fn status(&self) -> Result<HashMap<String, f64>> {
        let answer = self.ask("/status", Manner::FAST)?;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let text = String::from_utf8(answer.body).map_err(Error::other)?;
        flatten(&text)
    }
}

/// A line of the access log.
#[derive(Clone, Debug)]
struct Line {
    uri: String,
    values: HashMap<String, String>,
}

impl Line {
    fn parse(line: &str) -> Self {
        let mut words = line.split(' ');
        Self {
            uri: words.next().unwrap_or_default().to_owned(),
            values: words
                .filter_map(|word| word.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }

    fn text(&self, name: &str) -> &str {
        &self.values[name]
    }

    fn number(&self, name: &str) -> usize {
        let text = self.text(name);
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}: {self:?}"))
    }

    /// In milliseconds.
    fn time(&self, name: &str) -> usize {
        let text = self.text(name);
        let (seconds, milliseconds) = text.split_once('.').expect("seconds.milliseconds");
        assert_eq!(milliseconds.len(), 3, "{text}");
        seconds.parse::<usize>().unwrap() * 1000 + milliseconds.parse::<usize>().unwrap()
    }

    /// That nobody had to wait for anybody.
    fn expect_unhindered(&self) {
        for name in ["spilled", "peak", "blocked_count"] {
            assert_eq!(self.number(name), 0, "{name}: {self:?}");
        }
        assert_eq!(self.time("blocked_time"), 0, "{self:?}");
        assert_eq!(self.time("client_time"), 0, "{self:?}");
    }
}

/// All numbers of an object by their paths.
fn flatten(text: &str) -> Result<HashMap<String, f64>> {
    fn walk(path: &str, value: &Value, numbers: &mut HashMap<String, f64>) {
        if let Some(number) = value.as_f64() {
            numbers.insert(path.to_owned(), number);
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            let path = match path {
                "" => name.clone(),
                _ => format!("{path}.{name}"),
            };
            walk(&path, value, numbers);
        }
    }

    let mut numbers = HashMap::new();
    walk("", &serde_json::from_str(text)?, &mut numbers);
    Ok(numbers)
}

// The variables.

/// nginx itself shows nothing of this.
#[test]
fn stock_knows_neither_the_variables_nor_the_status() -> Result<()> {
    let stock = pipe_tests::binaries()?.stock;
    let refused = Nginx::test(&stock, |conf| conf.http += &log_format()).unwrap_err();
    let line = "unknown \"event_pipe_spilled\" variable";
    assert!(refused.to_string().contains(line), "{refused}");

    let refused = Nginx::test(&stock, |conf| {
        conf.server += "location / { event_pipe_status; }";
    });
    let line = "unknown directive \"event_pipe_status\"";
    assert!(refused.unwrap_err().to_string().contains(line));
    Ok(())
}

#[test]
fn a_fast_client_waits_for_nobody() -> Result<()> {
    let stage = with_location(SMALL)?;
    let line = stage.run(Reply::random(1, 10_000), Manner::FAST)?;

    line.expect_unhindered();
    assert_eq!(line.text("end"), "complete");
    assert_eq!(line.number("buffers_max"), 4);
    assert!((1..=4).contains(&line.number("buffers")), "{line:?}");
    assert!(line.number("reads") > 0 && line.number("writes") > 0);
    stage.stop()
}

/// The header and all of the body come in one buffer: nothing is left to read.
#[test]
fn a_body_that_comes_with_its_header() -> Result<()> {
    let stage = with_location(SMALL)?;
    let line = stage.run(Reply::random(2, 100), Manner::FAST)?;

    line.expect_unhindered();
    assert_eq!(line.number("buffers"), 0);
    // Perhaps it looks for the end of the connection.
    assert!(line.number("reads") <= 1, "{line:?}");
    assert_eq!(line.number("writes"), 1);
    stage.stop()
}

#[test]
fn what_is_spilled_is_what_is_in_the_file() -> Result<()> {
    let stage = start(|conf| {
        conf.log_level = "debug";
        conf.server += &format!("location / {{ proxy_pass http://peer; {SMALL} }}");
    })?;
    for framing in [Framing::Length, Framing::chunks(1000)] {
        let mut reply = Reply::random(3, LARGE);
        reply.framing = framing;
        let path = format!("/{}", reply.framing == Framing::Length);
        stage.play(&path, reply);
        stage.ask(&path, Manner::STALLED)?;
        let line = stage.line(&path)?;

        // nginx's own word for it.
        let log = stage.nginx.error_log();
        let offset = log.rsplit("pipe temp offset: ").next();
        let offset = offset.and_then(|rest| rest.lines().next()?.trim().parse().ok());
        let spilled = line.number("spilled");
        assert_eq!(Some(spilled), offset);

        // Nothing was read by the client before all was there.
        let peak = line.number("peak");
        assert!((LARGE - SOCKETS..=LARGE).contains(&spilled), "{line:?}");
        assert!(NEARLY_LARGE.contains(&peak), "{line:?}");
        assert_eq!(line.number("buffers"), 4);
        assert_eq!(line.text("end"), "complete");
        assert_eq!(line.number("blocked_count"), 0);
        let client = line.time("client_time");
        assert!(client > 0 && client <= line.time("msec"), "{line:?}");
    }
    stage.stop()
}

#[test]
fn upstream_is_held_back_without_a_temporary_file() -> Result<()> {
    let stage = with_location(&format!("{SMALL} proxy_max_temp_file_size 0;"))?;
    let line = stage.run(Reply::random(4, LARGE), Manner::STALLED)?;

    assert_eq!(line.number("spilled"), 0);
    assert!(line.number("blocked_count") > 0);
    // The peer takes so long to see that it is held back.
    let (blocked, client) = (line.time("blocked_time"), line.time("client_time"));
    assert!(blocked >= 150 && blocked <= line.time("msec"), "{line:?}");
    assert!(client >= 150 && client <= line.time("msec"), "{line:?}");
    // All buffers are full, and no more than that.
    let peak = line.number("peak");
    assert!((4 * 4096..=5 * 4096).contains(&peak), "{line:?}");
    assert_eq!(line.number("buffers"), 4);
    assert_eq!(line.text("end"), "complete");
    stage.stop()
}

/// Until the client has been behind for so long, and that is never.
#[test]
fn upstream_is_held_back_before_anything_is_spilled() -> Result<()> {
    let stage = with_location(&format!("{SMALL} event_pipe_spill_delay 1h;"))?;
    let line = stage.run(Reply::random(14, LARGE), Manner::STALLED)?;

    assert_eq!(line.number("spilled"), 0);
    assert!(line.number("blocked_count") > 0, "{line:?}");
    let blocked = line.time("blocked_time");
    assert!(blocked > 0 && blocked <= line.time("msec"), "{line:?}");
    assert_eq!(line.text("end"), "complete");
    stage.stop()
}

/// Without a word of the directives: what has no end is better held back.
#[test]
fn a_camera_is_held_back() -> Result<()> {
    let stage = with_location(SMALL)?;
    let mut reply = Reply::random(15, LARGE);
    let kind = "Content-Type: multipart/x-mixed-replace;boundary=picture";
    reply.headers.push(kind.to_owned());
    let line = stage.run(reply, Manner::STALLED)?;

    assert_eq!(line.number("spilled"), 0);
    assert!(line.number("blocked_count") > 0, "{line:?}");
    assert_eq!(line.text("end"), "complete");
    stage.stop()
}

#[test]
fn what_is_for_a_cache_is_not_spilled() -> Result<()> {
    let stage = start(|conf| {
        conf.http += "proxy_cache_path cache keys_zone=keys:1m;\n";
        conf.server += &format!(
            "location / {{ proxy_pass http://peer; {SMALL}
             proxy_cache keys; proxy_cache_valid any 1h; }}"
        );
    })?;
    let line = stage.run(Reply::random(5, LARGE), Manner::STALLED)?;
    assert_eq!(line.number("spilled"), 0);
    assert!(NEARLY_LARGE.contains(&line.number("peak")));
    assert_eq!(line.text("end"), "complete");

    // From the cache, no pipe is needed.
    stage.play("/again", Reply::random(5, 10));
    stage.ask("/", Manner::FAST)?;
    wait(|| stage.lines().len() == 2);
    assert!(
        VARIABLES
            .iter()
            .all(|name| stage.lines()[1].text(name) == "-")
    );
    stage.stop()
}

#[test]
fn why_it_ended() -> Result<()> {
    let time = VirtualTime::new()?;
    let stage = start(|conf| {
        conf.env = time.env();
        conf.server += &format!(
            "location / {{ proxy_pass http://peer; {SMALL} proxy_max_temp_file_size 0;
             proxy_read_timeout 10s; send_timeout 10s; }}"
        );
    })?;
    let stopping = |seed, size, stop, end| {
        let mut reply = Reply::random(seed, size);
        reply.stop = Some(Point::Body(stop));
        reply.end = end;
        reply
    };
    let large = || Reply::random(6, LARGE);
    let cases = [
        ("/timeout", stopping(7, 9000, 5000, End::Hang), None),
        ("/closed", stopping(8, 9000, 5000, End::Fin), None),
        ("/reset", stopping(9, 9000, 5000, End::Reset), None),
        ("/leaves", large(), Some(Leave::After(5000))),
    ];
    let ends = [
        ["upstream_timeout"; 2],
        ["upstream_closed"; 2],
        ["upstream_error"; 2],
        // Whether nginx reads the end first, or writes.
        ["aborted", "client_error"],
    ];
    for ((path, reply, leave), ends) in cases.into_iter().zip(ends) {
        let progress = stage.play(path, reply);
        let manner = leave.map_or(Manner::FAST, Manner::leaving);
        thread::scope(|scope| {
            let hung = scope.spawn(|| -> Result<()> {
                progress.wait_for_end();
                time.advance(if path == "/timeout" {
                    TOO_LONG
                } else {
                    Duration::ZERO
                })
            });
            stage.ask(path, manner)?;
            hung.join().expect("no panic in there")
        })?;
        let line = stage.line(path)?;
        assert!(ends.contains(&line.text("end")), "{line:?}");
    }

    // The client stays, but does not read.
    let progress = stage.play("/deaf", large());
    let mut connection = Connection::open(stage.address(), true)?;
    let deaf = Manner::leaving(Leave::Deaf);
    connection.ask(&Request::get("/deaf"), deaf, &progress)?;
    progress.wait_for_peer();
    // The kernel passes the last bytes on when it likes, and each time the client's time
    // begins anew.
    let is_logged = || stage.lines().iter().any(|line| line.uri == "/deaf");
    while !is_logged() && time.passed() < 10 * TOO_LONG {
        time.advance(TOO_LONG / 11)?;
    }
    let line = stage.line("/deaf")?;
    progress.client_gone();
    assert_eq!(line.text("end"), "client_timeout");
    // Timers may end a little earlier, so as not to be set anew each time.
    assert!(line.time("client_time") >= 9_700, "{line:?}");
    stage.stop()
}

/// Where the temporary file would be, there is no folder.
#[test]
fn a_disk_that_fails_is_an_internal_error() -> Result<()> {
    let stage = with_location(&format!(
        "{SMALL} proxy_temp_path broken; event_pipe_spill_fallback off;"
    ))?;
    stage.nginx.obstruct("broken")?;
    stage.play("/", Reply::random(13, LARGE));
    stage.ask("/", Manner::STALLED)?;
    let line = stage.line("/")?;
    assert_eq!(line.text("end"), "internal_error");
    assert_eq!(line.number("spilled"), 0);
    stage.nginx.stop().map(drop)
}

#[test]
fn subrequests_have_values_of_their_own() -> Result<()> {
    let stage = start(|conf| {
        conf.http += "log_subrequest on; ssi on; ssi_types *; event_pipe_memory 0;\n";
        conf.server += "location / { proxy_pass http://peer; proxy_buffers 3 8k; }\n\
                        location /part { proxy_pass http://peer; proxy_buffers 5 4k; }\n";
    })?;
    let page = "before <!--# include virtual=\"/part\" --> after";
    stage.play("/", Reply::new(Body::Text(page.into())));
    stage.play("/part", Reply::random(10, 30_000));
    let answer = stage.ask("/", Manner::FAST)?;
    assert_eq!(answer.body.len(), 30_000 + "before  after".len());

    let (page, part) = (stage.line("/")?, stage.line("/part")?);
    assert_eq!(page.number("buffers_max"), 3);
    assert_eq!(part.number("buffers_max"), 5);
    assert_eq!(page.number("buffers"), 0);
    assert!(part.number("buffers") > 0);
    stage.stop()
}

/// Where no pipe was, nothing is shown; where the context of the request was
/// lost since, all is.
#[test]
fn without_a_pipe_and_after_a_redirect() -> Result<()> {
    let stage = start(|conf| {
        conf.server += "location / { proxy_pass http://peer; proxy_buffers 3 8k;\n\
                                     post_action @after; }\n\
                        location @after { return 204; }\n\
                        location /unbuffered { proxy_pass http://peer; proxy_buffering off; }\n\
                        location /off { proxy_pass http://peer; event_pipe_extensions off; }\n\
                        location /none { return 204; }\n";
    })?;
    stage.play("/unbuffered", Reply::random(11, 100));
    stage.play("/off", Reply::random(11, 100));
    for path in ["/unbuffered", "/off", "/none"] {
        stage.ask(path, Manner::FAST)?;
        let line = stage.line(path)?;
        assert!(VARIABLES.iter().all(|name| line.text(name) == "-"));
    }
    let line = stage.run(Reply::random(12, 100), Manner::FAST)?;
    assert_eq!(line.number("buffers_max"), 3);
    assert_eq!(line.text("end"), "complete");
    stage.stop()
}

// The status.

/// Two workers that count together, and that take a connection each.
fn status_stage() -> Result<Stage> {
    start(|conf| {
        conf.workers = 2;
        conf.events += "accept_mutex off;";
        conf.server += &format!(
            "location / {{ proxy_pass http://peer; {SMALL} }}
             location /held/ {{ proxy_pass http://peer; {SMALL} proxy_max_temp_file_size 0; }}
             location = /status {{ event_pipe_status; access_log off; }}
             location = /prometheus {{ event_pipe_status prometheus; access_log off; }}"
        );
    })
}

fn count(status: &HashMap<String, f64>, name: &str) -> usize {
    let value = status.get(name).copied();
    value.unwrap_or_else(|| panic!("no {name} in {status:?}")) as usize
}

fn sum_of(status: &HashMap<String, f64>, prefix: &str) -> f64 {
    let of = |(name, value): (&String, &f64)| name.starts_with(prefix).then_some(*value);
    status.iter().filter_map(of).sum()
}

/// That the totals are the sums of what is logged.
fn expect_totals(stage: &Stage, received: usize) -> Result<HashMap<String, f64>> {
    let lines = stage.lines();
    let responses = lines.len();
    let mut status = stage.status()?;
    // A response counts shortly after the client has it.
    wait(|| {
        status = stage.status().unwrap_or_default();
        status.get("responses") == Some(&(responses as f64))
    });
    assert_eq!(count(&status, "responses"), responses);
    assert_eq!(count(&status, "received_bytes"), received);
    assert_eq!(count(&status, "passed_bytes"), received);

    let numbers = |name: &str| -> Vec<usize> { lines.iter().map(|l| l.number(name)).collect() };
    let sum = |name: &str| numbers(name).iter().sum::<usize>();
    let some = |name: &str| numbers(name).iter().filter(|n| **n > 0).count();
    assert_eq!(count(&status, "spilled_bytes"), sum("spilled"));
    assert_eq!(count(&status, "spilled_responses"), some("spilled"));
    assert_eq!(count(&status, "blocked_count"), sum("blocked_count"));
    assert_eq!(count(&status, "blocked_responses"), some("blocked_count"));
    assert_eq!(count(&status, "reads"), sum("reads"));
    assert_eq!(count(&status, "writes"), sum("writes"));
    assert_eq!(count(&status, "peak_bytes.sum"), sum("peak"));
    for (total, name) in [
        ("blocked_seconds", "blocked_time"),
        ("client_seconds", "client_time"),
    ] {
        let logged: usize = lines.iter().map(|line| line.time(name)).sum();
        let shown = (status[total] * 1000.0).round() as usize;
        // Logged, and then counted, perhaps a millisecond later.
        assert!((logged..=logged + responses).contains(&shown), "{total}");
    }

    // Each response is in one bucket of each histogram, and has ended once.
    for part in ["peak_bytes.responses.", "buffers_used.responses.", "ends."] {
        assert_eq!(sum_of(&status, part), responses as f64, "{part}");
    }
    let ended = |end: &str| lines.iter().filter(|line| line.text("end") == end).count();
    assert_eq!(count(&status, "ends.complete"), ended("complete"));
    let none = numbers("peak").iter().filter(|n| **n == 0).count();
    assert_eq!(count(&status, "peak_bytes.responses.0"), none);
    Ok(status)
}

#[test]
fn the_status_sums_up_all_workers_and_survives_a_reload() -> Result<()> {
    let stage = status_stage()?;
    let status = stage.status()?;
    assert!(status.values().all(|value| *value == 0.0), "{status:?}");

    let mut received = 0;
    let mut ask = |path: &str, size: usize, manner| -> Result<()> {
        received += size;
        stage.play(path, Reply::random(20, size));
        stage.ask(path, manner)?;
        stage.line(path).map(drop)
    };
    for nth in 0..20 {
        ask(&format!("/fast{nth}"), 10_000 + nth, Manner::FAST)?;
    }
    ask("/spilled", LARGE, Manner::STALLED)?;
    ask("/held/back", LARGE, Manner::STALLED)?;
    let before = expect_totals(&stage, received)?;
    assert_eq!(count(&before, "spilled_responses"), 1);
    assert_eq!(count(&before, "blocked_responses"), 1);

    stage.nginx.reload()?;
    let mut after = stage.status()?;
    // The loans are those of workers, and the workers are new.
    for name in ["loan_memory_bytes", "loan_limit_bytes"] {
        after.insert(name.to_owned(), before[name]);
    }
    assert_eq!(after, before);
    let mut ask = |path: &str, size: usize| -> Result<()> {
        received += size;
        stage.play(path, Reply::random(21, size));
        stage.ask(path, Manner::FAST)?;
        stage.line(path).map(drop)
    };
    for nth in 0..5 {
        ask(&format!("/later{nth}"), 5000)?;
    }
    expect_totals(&stage, received)?;
    stage.stop()
}

#[test]
fn the_status_speaks_prometheus() -> Result<()> {
    let stage = status_stage()?;
    stage.run(Reply::random(22, LARGE), Manner::STALLED)?;
    expect_totals(&stage, LARGE)?;

    let by_argument = stage.ask("/status?format=prometheus", Manner::FAST)?;
    let answer = stage.ask("/prometheus", Manner::FAST)?;
    assert_eq!(by_argument.body, answer.body);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(kind));

    let text = String::from_utf8(answer.body).map_err(Error::other)?;
    let samples = parse_prometheus(&text);
    assert_eq!(samples["nginx_event_pipe_responses_total"], 1.0);
    assert_eq!(
        samples["nginx_event_pipe_received_bytes_total"],
        LARGE as f64
    );
    assert_eq!(
        samples["nginx_event_pipe_ends_total{reason=\"complete\"}"],
        1.0
    );
    assert_eq!(
        samples["nginx_event_pipe_peak_bytes_bucket{le=\"1048576\"}"],
        0.0
    );
    assert_eq!(
        samples["nginx_event_pipe_peak_bytes_bucket{le=\"4194304\"}"],
        1.0
    );
    assert_eq!(samples["nginx_event_pipe_buffers_used_sum"], 1.0);

    let json = stage.ask("/prometheus?format=json", Manner::FAST)?;
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert_eq!(stage.ask("/status?format=xml", Manner::FAST)?.status, 400);
    let post = Request {
        method: "POST",
        ..Request::get("/status")
    };
    let mut connection = Connection::open(stage.address(), false)?;
    let answer = connection.ask(&post, Manner::FAST, &Progress::default())?;
    assert_eq!(answer.status, 405);
    stage.stop()
}

/// Blocks within a location are a part of it, and other locations are not.
#[test]
fn the_format_is_that_of_the_location() -> Result<()> {
    let stage = start(|conf| {
        conf.server += "location /if { event_pipe_status prometheus;
                            if ($arg_set) { set $variable 1; }
                            location /if/nested { } }
                        location /method { event_pipe_status prometheus;
                            limit_except POST { allow all; } }
                        location /json { event_pipe_status json;
                            if ($arg_set) { set $variable 1; } }\n";
    })?;
    for (path, kind) in [
        ("/if", "text/plain; version=0.0.4; charset=utf-8"),
        ("/if?set=1", "text/plain; version=0.0.4; charset=utf-8"),
        ("/if?set=1&format=json", "application/json"),
        ("/method", "text/plain; version=0.0.4; charset=utf-8"),
        ("/json?set=1", "application/json"),
    ] {
        let answer = stage.ask(path, Manner::FAST)?;
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
    }
    assert_eq!(stage.ask("/if/nested", Manner::FAST)?.status, 404);
    stage.stop()
}

/// An nginx with a filter that gives up, at the first of the body, all that is
/// below `/finalized`: then the request has lost the context of every module.
fn with_finalizing_filter() -> Result<PathBuf> {
    let build = || {
        let mut recipe = Recipe::new(&Source::from_env()?, Pipe::Rust);
        let module = project().join("tests/tests/finalizing");
        let module = format!("--add-module={}", module.display());
        recipe.configure.push(module);
        recipe.build()
    };
    Ok(build().map_err(Error::other)?.binary)
}

#[test]
fn a_request_whose_filters_give_up_counts_once() -> Result<()> {
    let stage = start_with(&with_finalizing_filter()?, |conf| {
        conf.server += &format!(
            "location / {{ proxy_pass http://peer; {SMALL} }}
             location = /status {{ event_pipe_status; access_log off; }}"
        );
    })?;
    let mut status = HashMap::new();
    for (nth, (path, size)) in [(1, ("/finalized", 100)), (2, ("/finalized/large", LARGE))] {
        stage.play(path, Reply::random(23, size));
        assert_eq!(stage.ask(path, Manner::FAST)?.status, 415);
        stage.line(path)?;
        // Whatever counts for a request does so at one moment.
        wait(|| {
            status = stage.status().unwrap_or_default();
            count(&status, "responses") >= nth
        });
        assert_eq!(count(&status, "responses"), nth);
        assert_eq!(sum_of(&status, "ends."), nth as f64);
    }

    let lines = stage.lines();
    for name in ["reads", "writes"] {
        let logged: usize = lines.iter().map(|line| line.number(name)).sum();
        assert_eq!(count(&status, name), logged, "{name}");
    }
    assert!(count(&status, "writes") >= 2);
    stage.stop()
}

/// The samples of a page whose every line is as the format asks, under metrics
/// that were declared before.
fn parse_prometheus(text: &str) -> HashMap<String, f64> {
    assert!(text.ends_with('\n'));
    let mut samples = HashMap::new();
    let mut metric = ("", "");
    let mut last = 0.0;
    let is_name = |name: &str| {
        name.starts_with("nginx_event_pipe_")
            && name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_')
    };
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a name and a text");
            assert!(is_name(name) && help.ends_with('.'), "{line}");
            metric = (name, "");
            last = 0.0;
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a type");
            assert_eq!(name, metric.0);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            metric = (name, kind);
            continue;
        }
        let (series, value) = line.split_once(' ').expect("a series and a value");
        let value: f64 = value.parse().expect("a number");
        let (name, label) = match series.split_once('{') {
            Some((name, label)) => (name, label.strip_suffix("\"}").expect("a label")),
            None => (series, ""),
        };
        let suffix = name.strip_prefix(metric.0).expect("its metric");
        match (metric.1, suffix) {
            ("counter" | "gauge", "") if label.is_empty() => {}
            ("counter", "") => assert!(label.starts_with("reason=\""), "{line}"),
            ("histogram", "_bucket") => {
                assert!(label.starts_with("le=\"") && value >= last, "{line}");
                last = value;
            }
            ("histogram", "_count") => assert_eq!(value, last, "{line}"),
            ("histogram", "_sum") => {}
            _ => panic!("{line}"),
        }
        assert!(samples.insert(series.to_owned(), value).is_none(), "{line}");
    }
    samples
}

#[test]
fn wrong_configurations_are_refused() -> Result<()> {
    let binary = pipe_tests::binaries()?.ours;
    let wrong = [
        (
            "location / { event_pipe_status xml; }",
            "invalid value \"xml\" in \"event_pipe_status\" directive, it must be \"json\", \
             \"prometheus\", \"openmetrics\" or \"html\"",
        ),
        (
            "location / { event_pipe_status json json; }",
            "invalid number of arguments in \"event_pipe_status\" directive",
        ),
        (
            "location / { event_pipe_status; event_pipe_status json; }",
            "\"event_pipe_status\" directive is duplicate",
        ),
        (
            "event_pipe_status;",
            "\"event_pipe_status\" directive is not allowed here",
        ),
        (
            "location / { set $event_pipe_peak 1; }",
            "the duplicate \"event_pipe_peak\" variable",
        ),
    ];
    for (directives, message) in wrong {
        let refused = Nginx::test(&binary, |conf| conf.server += directives);
        let said = refused.expect_err(directives).to_string();
        assert!(said.contains(message), "{said}");
    }
    Nginx::test(&binary, |conf| {
        conf.server += "location / { event_pipe_status prometheus; }\n\
                        location /json { event_pipe_status json; }";
    })?;
    Ok(())
}

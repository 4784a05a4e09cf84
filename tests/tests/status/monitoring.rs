//! What Prometheus and Grafana make of the status, and the examples for them.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pipe_tests::build::project;
use pipe_tests::client::{Connection, Manner, Request};
use pipe_tests::peers::program;
use pipe_tests::server::{free_address, loopback};
use pipe_tests::upstream::Progress;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::{Client, Shows, location, site};

fn examples() -> PathBuf {
    project().join("examples")
}

/// Runs promtool; `None` where it is not installed, but on CI it must be.
fn promtool(arguments: &[&str], input: &str) -> Result<Option<Output>> {
    if !program::missing(&["promtool"]).is_empty() {
        assert!(env::var_os("CI").is_none(), "promtool is not installed");
        eprintln!("skipped: promtool is not installed");
        return Ok(None);
    }
    let mut command = program::command("promtool");
    command.args(arguments).current_dir(examples());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = program::start(&mut command, Command::spawn)?;
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input.as_bytes())?;
    child.wait_with_output().map(Some)
}

fn expect_silence(arguments: &[&str], input: &str) -> Result<()> {
    if let Some(output) = promtool(arguments, input)? {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(
            output.status.success() && !said.contains("FAILED"),
            "{said}"
        );
        if arguments.contains(&"metrics") {
            assert_eq!(said, "");
        }
    }
    Ok(())
}

#[test]
fn names_and_units_are_those_that_prometheus_wants() -> Result<()> {
    let site = site(|conf| conf.server += &location("/api/", "event_pipe_zone api;"))?;
    site.load(&["/api/500".to_owned()], Client::Fast)?;
    site.settled()?;
    let text = site.get("/prometheus")?;
    expect_silence(&["check", "metrics"], &text)?;

    // It would say so.
    let wrong = text.replace("blocked_seconds", "blocked_milliseconds");
    if let Some(output) = promtool(&["check", "metrics"], &wrong)? {
        assert!(!output.status.success());
    }
    site.stop()
}

#[test]
fn the_rules_are_right_and_fire() -> Result<()> {
    expect_silence(&["check", "rules", "prometheus/rules.yml"], "")?;
    expect_silence(&["test", "rules", "prometheus/rules.test.yml"], "")
}

/// The names of metrics in a text, without the suffixes of histograms.
fn metrics(text: &str) -> BTreeSet<String> {
    let names = text.match_indices("nginx_event_pipe_").map(|(start, _)| {
        let rest = &text[start..];
        let is_other = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        rest[..rest.find(is_other).unwrap_or(rest.len())].to_owned()
    });
    names.collect()
}

/// What a dashboard needs to be one for Grafana, of the parts that this one has.
fn expect_dashboard(dashboard: &Value) {
    assert!(dashboard["schemaVersion"].as_u64() >= Some(36));
    for member in ["title", "uid"] {
        assert!(dashboard[member].is_string(), "{member}");
    }
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
        let place = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        assert!(place("x") + place("w") <= 24, "{panel}");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{} overlaps", panel["title"]);
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        let kinds = ["timeseries", "stat", "heatmap", "table", "bargauge"];
        assert!(kinds.iter().any(|kind| panel["type"] == *kind), "{panel}");
        assert!(panel["datasource"]["uid"] == "${datasource}", "{panel}");
        for target in panel["targets"].as_array().expect("targets") {
            assert!(target["expr"].is_string() && target["refId"].is_string());
        }
    }
}

/// Each metric that the dashboard and the rules name is on the page.
#[test]
fn dashboard_and_rules_name_what_there_is() -> Result<()> {
    let site = site(|conf| conf.server += &location("/api/", "event_pipe_zone api;"))?;
    site.load(&["/api/500".to_owned()], Client::Fast)?;
    site.settled()?;
    let known = metrics(&site.get("/prometheus")?);

    let text = fs::read_to_string(examples().join("grafana/event-pipe.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    expect_dashboard(&dashboard);
    let rules = fs::read_to_string(examples().join("prometheus/rules.yml"))?;
    for file in [text, rules] {
        let named = metrics(&file);
        assert!(named.len() > 3);
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
    site.stop()
}

/// Every query of the dashboard is one that Prometheus understands.
#[test]
fn the_queries_of_the_dashboard_are_right() -> Result<()> {
    let text = fs::read_to_string(examples().join("grafana/event-pipe.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    for target in panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten()) {
        let query = target["expr"].as_str().expect("a query");
        let query = query
            .replace("$__rate_interval", "1m")
            .replace("$zone", ".*");
        let query = query.replace("$instance", ".*").replace('\'', "''");
        rules += &format!("  - record: query\n    expr: '{query}'\n");
    }
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), rules)?;
    let path = file.path().to_string_lossy();
    if let Some(output) = promtool(&["check", "rules", &path], "")? {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // The same name many times is what is meant here.
        assert!(
            !said.contains("could not parse") && !said.contains("parse error"),
            "{said}"
        );
    }
    Ok(())
}

/// The example, with other addresses in the place of its own: it is accepted, it counts
/// what it carries, and the status is on no address that others can reach.
#[test]
fn the_example_shows_the_status_to_this_machine_only() -> Result<()> {
    let text = fs::read_to_string(examples().join("nginx.conf"))?;
    let (public, private, upstream) = (free_address()?, free_address()?, free_address()?);
    let text = text
        .replace("listen 80;", &format!("listen {public};"))
        .replace("listen 127.0.0.1:8080;", &format!("listen {private};"))
        .replace("server 127.0.0.1:3000;", &format!("server {upstream};"));
    for address in [public, private, upstream] {
        assert!(
            text.contains(&address.to_string()),
            "the example has changed"
        );
    }
    let site = site(|conf| {
        let (_, http) = text.split_once("http {").expect("its http block");
        let (http, _) = http.rsplit_once('}').expect("the end of it");
        let http: String = http
            .lines()
            .filter(|line| !line.trim_start().starts_with("access_log"))
            .map(|line| format!("{line}\n"))
            .collect();
        conf.http += &http;
        conf.http += &format!("server {{ listen {upstream}; return 200 'a page'; }}\n");
    })?;
    let ask = |address, path: &str| {
        let mut connection = Connection::open(address, false)?;
        connection.ask(&Request::get(path), Manner::FAST, &Progress::default())
    };
    for path in ["/", "/api/", "/event-pipe", "/metrics"] {
        assert_eq!(ask(public, path)?.body, b"a page", "{path}");
    }
    let page = ask(private, "/event-pipe")?;
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let counted = || {
        let metrics = ask(private, "/metrics")
            .map(|answer| answer.body)
            .unwrap_or_default();
        let metrics = String::from_utf8(metrics).expect("a text");
        metrics.contains("nginx_event_pipe_responses_total{zone=\"api\"} 1\n")
    };
    assert!(pipe_tests::server::wait(counted));

    // Who comes from another address is not let in.
    let stranger = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    stranger.bind(&SocketAddr::from((loopback(), 0)).into())?;
    stranger.connect(&private.into())?;
    let mut stranger = TcpStream::from(stranger);
    stranger.write_all(b"GET /event-pipe HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stranger.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");

    expect_loopback(&fs::read_to_string(examples().join("nginx.conf"))?);
    site.stop()
}

/// Each server that shows the status listens on a loopback address only.
fn expect_loopback(text: &str) {
    for server in text.split("server {").skip(1) {
        if server.contains("event_pipe_status") {
            let listens = server
                .lines()
                .filter_map(|line| line.trim().strip_prefix("listen "));
            for listen in listens {
                assert!(listen.starts_with("127.0.0.1:"), "{listen}");
            }
        }
    }
}

#[test]
fn the_examples_are_named_in_the_docs() {
    let docs = fs::read_to_string(project().join("docs/metrics.md")).expect("docs");
    for file in [
        "nginx.conf",
        "prometheus/rules.yml",
        "grafana/event-pipe.json",
    ] {
        assert!(Path::new(&examples().join(file)).exists(), "{file}");
        assert!(docs.contains(&format!("../examples/{file}")), "{file}");
    }
}

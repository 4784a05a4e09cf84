//! The zones: what is counted where, what survives a reload and a killed worker, and what
//! `nginx -t` says of bad ones.

use std::collections::BTreeMap;
use std::io::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pipe_tests::client::{Manner, Request};
use pipe_tests::server::{Conf, Nginx, wait};
use serde_json::Value;

use super::{Client, SIZES, SMALL, Shows, location, logged, site, sum};

/// Totals, and what of the access log they sum up.
const SUMS: [(&str, &str); 6] = [
    ("received_bytes", "received"),
    ("passed_bytes", "passed"),
    ("spilled_bytes", "spilled"),
    ("blocked_count", "blocked"),
    ("reads", "reads"),
    ("writes", "writes"),
];

fn zoned(conf: &mut Conf) {
    conf.http += "event_pipe_zone all;\n";
    conf.server += &location("/api/", "event_pipe_zone api;");
    conf.server += &location(
        "/slow/",
        &format!("event_pipe_zone slow; event_pipe_memory 1m; {SMALL}"),
    );
    conf.server += &location("/by/", "event_pipe_zone by:$arg_zone;");
    conf.server += &location("/none/", "event_pipe_zone off;");
    conf.server += &location("/rest/", "");
}

/// The zone of a line of the access log.
fn zone_of(line: &str) -> String {
    let (path, rest) = line.split_once(' ').expect("a path");
    let name = rest
        .split(' ')
        .next()
        .and_then(|word| word.strip_prefix("zone="));
    match path.split('/').nth(1) {
        Some("by") => format!("by:{}", name.unwrap_or_default()),
        Some("none") => "(none)".to_owned(),
        Some("rest") => "all".to_owned(),
        name => name.unwrap_or_default().to_owned(),
    }
}

fn expect_sums(zone: &Value, lines: &[&String]) {
    assert_eq!(zone["responses"], lines.len(), "{zone}");
    for (total, name) in SUMS {
        let of_log: u64 = lines.iter().map(|line| logged(line, name)).sum();
        assert_eq!(zone[total].as_u64(), Some(of_log), "{total}: {lines:#?}");
    }
    let of_log: u64 = lines.iter().map(|line| logged(line, "peak")).sum();
    assert_eq!(zone["peak_bytes"]["sum"].as_u64(), Some(of_log));
    expect_whole(zone);
}

/// Each response is in one bucket of each histogram, and has ended once.
fn expect_whole(zone: &Value) {
    let responses = zone["responses"].as_u64().expect("a number");
    for histogram in ["peak_bytes", "need_bytes", "buffers_used"] {
        assert_eq!(sum(&zone[histogram]["responses"]), responses, "{histogram}");
    }
    let spilled = sum(&zone["spill_client_seconds"]["responses"]);
    assert_eq!(zone["spilled_responses"].as_u64(), Some(spilled));
    assert_eq!(sum(&zone["ends"]), responses);
}

#[test]
fn zones_sum_up_what_is_logged() -> Result<()> {
    let site = site(zoned)?;
    let mut paths = Vec::new();
    for size in SIZES {
        for path in ["/api", "/by", "/none", "/rest"] {
            paths.push(format!("{path}/{size}?zone=a"));
            paths.push(format!("{path}/{size}?zone=%22b\\%20(c)"));
        }
    }
    site.load(&paths, Client::Fast)?;
    site.load(&vec!["/slow/3000000".to_owned(); 8], Client::Late)?;

    let status = site.settled()?;
    let lines = site.lines();
    assert_eq!(lines.len(), paths.len() + 8);
    expect_sums(&status, &lines.iter().collect::<Vec<_>>());

    let mut zones: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for line in &lines {
        zones.entry(zone_of(line)).or_default().push(line);
    }
    // What no name may have is replaced.
    let odd = zones
        .keys()
        .find(|name| name.starts_with("by:%22"))
        .cloned();
    let odd = zones.remove(&odd.expect("an odd name")).expect("its lines");
    zones.insert("by:%22b_%20_c_".to_owned(), odd);

    let shown = status["zones"].as_object().expect("zones");
    assert_eq!(shown.keys().collect::<Vec<_>>().len(), zones.len());
    for (name, lines) in &zones {
        expect_sums(&shown[name], lines);
    }
    assert!(shown["slow"]["spilled_bytes"].as_u64() > Some(0));
    site.stop()
}

/// Those that are too many are counted together, and logged once.
#[test]
fn names_that_are_too_many_overflow() -> Result<()> {
    let site = site(|conf| {
        conf.http += "event_pipe_zones 3;\n";
        conf.server += &location("/by/", "event_pipe_zone $arg_zone;");
        conf.server += &location("/api/", "event_pipe_zone api;");
    })?;
    let paths: Vec<String> = (0..20).map(|n| format!("/by/500?zone=z{n}")).collect();
    site.load(&paths, Client::Fast)?;
    site.get("/api/500")?;
    site.get("/by/500")?;

    let status = site.settled()?;
    let zones = status["zones"].as_object().expect("zones");
    assert_eq!(zones.len(), 5, "{zones:?}");
    assert_eq!(zones["(overflow)"]["responses"], 18);
    assert_eq!(
        (&zones["api"]["responses"], &zones["(none)"]["responses"]),
        (&1.into(), &1.into())
    );
    let log = site.nginx.error_log();
    let said = "event pipe: there are 3 zones already, so \"z";
    assert_eq!(log.matches(said).count(), 1, "{log}");
    site.stop()
}

#[test]
fn a_reload_that_changes_zones_keeps_the_counts_of_others() -> Result<()> {
    let site = site(zoned)?;
    let paths: Vec<String> = ["api", "slow", "rest"]
        .iter()
        .flat_map(|zone| (0..5).map(move |_| format!("/{zone}/30000")))
        .collect();
    site.load(&paths, Client::Fast)?;
    let before = site.settled()?["zones"].clone();

    let file = site.nginx.prefix().join("nginx.conf");
    let text = std::fs::read_to_string(&file)?;
    let text = text
        .replace("event_pipe_zone api;", "event_pipe_zone renamed;")
        .replace("event_pipe_zone slow;", "event_pipe_zone off;");
    std::fs::write(&file, text)?;
    site.nginx.reload()?;

    let after = site.json()?["zones"].clone();
    for zone in ["api", "slow", "all"] {
        assert_eq!(
            after[zone]["responses"], before[zone]["responses"],
            "{zone}"
        );
        assert_eq!(
            after[zone]["received_bytes"],
            before[zone]["received_bytes"]
        );
    }
    site.load(&paths, Client::Fast)?;
    let after = site.settled()?["zones"].clone();
    let responses = |zone: &str| after[zone]["responses"].as_u64();
    let counted = ["api", "renamed", "slow", "(none)", "all"].map(responses);
    assert_eq!(counted, [5, 5, 5, 5, 10].map(Some));
    site.stop()
}

/// Workers are killed at any moment and replaced, and the configuration is read again:
/// each response is counted as a whole or, if its worker was killed after it had logged
/// it and before it had counted it, not at all.
#[test]
fn no_response_is_counted_in_part_when_workers_are_killed() -> Result<()> {
    const KILLS: usize = 24;
    const SIZE: u64 = 30_000;

    let site = site(zoned)?;
    let is_over = AtomicBool::new(false);
    let mut killed = 0;
    thread::scope(|scope| -> Result<()> {
        for zone in ["api", "by", "rest"] {
            let (site, is_over) = (&site, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let uri = format!("/{zone}/{SIZE}?zone=z");
                    // The worker may be killed.
                    let _ = site.get_with(&Request::get(uri), Manner::FAST);
                }
            });
        }
        for nth in 0..KILLS {
            thread::sleep(Duration::from_millis(40 + 7 * nth as u64 % 30));
            if let Some(worker) = site.nginx.workers().first() {
                // SAFETY: a worker of this test's nginx.
                unsafe { libc::kill(*worker as libc::pid_t, libc::SIGKILL) };
                killed += 1;
            }
            if nth % 6 == 5 {
                wait(|| site.nginx.workers().len() == 2);
                site.nginx.reload()?;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        Ok(())
    })?;

    let mut status = Value::Null;
    wait(|| {
        status = site.json().unwrap_or_default();
        status["active_responses"] == 0
    });
    let lines = site.lines().len() as u64;
    let responses = status["responses"].as_u64().expect("a number");
    assert!(responses > 100, "{responses}");
    assert!(
        (lines - killed..=lines).contains(&responses),
        "{responses} of {lines}"
    );
    for zone in status["zones"].as_object().expect("zones").values() {
        let responses = zone["responses"].as_u64().expect("a number");
        expect_whole(zone);
        assert_eq!(zone["ends"]["complete"].as_u64(), Some(responses));
        assert_eq!(zone["received_bytes"].as_u64(), Some(responses * SIZE));
        assert_eq!(zone["passed_bytes"].as_u64(), Some(responses * SIZE));
        assert_eq!(zone["disk_bytes"], 0);
    }
    // That workers were killed is in the log.
    let left = site.end()?;
    assert!(left.exit.success() && left.reports.is_empty(), "{left:?}");
    Ok(())
}

#[test]
fn wrong_zones_are_refused() -> Result<()> {
    let binary = pipe_tests::binaries()?.ours;
    let named = "invalid zone name \"";
    let long = format!("event_pipe_zone {};", "x".repeat(64));
    let many: String = (0..10_000)
        .map(|n| format!("location /{n} {{ event_pipe_zone zone{n}; }}\n"))
        .collect();
    let wrong = [
        ("", "event_pipe_zone 'a b';", named),
        ("", "event_pipe_zone \"a\\\"b\";", named),
        ("", "event_pipe_zone (none);", named),
        ("", "event_pipe_zone '';", named),
        ("", &long, named),
        (
            "",
            "event_pipe_zone a; event_pipe_zone b;",
            "\"event_pipe_zone\" directive is duplicate",
        ),
        (
            "",
            "event_pipe_zone;",
            "invalid number of arguments in \"event_pipe_zone\" directive",
        ),
        (
            "",
            "event_pipe_zone $no_such_variable;",
            "unknown \"no_such_variable\" variable",
        ),
        (
            "",
            "event_pipe_zones 9;",
            "\"event_pipe_zones\" directive is not allowed here",
        ),
        ("event_pipe_zones 0;", "", "value must be between 1 and 256"),
        (
            "event_pipe_zones 10000;",
            "",
            "value must be between 1 and 256",
        ),
        ("event_pipe_zones many;", "", "invalid number"),
        (
            "event_pipe_zones 5; event_pipe_zones 6;",
            "",
            "\"event_pipe_zones\" directive is duplicate",
        ),
        (
            "event_pipe_zones 1;",
            "event_pipe_zone a; location / { event_pipe_zone b; }",
            "the zone \"b\" is one more than the 1 that \"event_pipe_zones\" allows in ",
        ),
        (
            "",
            &many,
            "the zone \"zone64\" is one more than the 64 that \"event_pipe_zones\" allows in ",
        ),
    ];
    for (http, server, message) in wrong {
        let refused = Nginx::test(&binary, |conf| {
            conf.http += http;
            conf.server += server;
        });
        let said = refused.expect_err(message).to_string();
        assert!(
            said.contains(message),
            "{message}: {}",
            &said[..said.len().min(500)]
        );
        // nginx itself says nothing more of an unknown variable.
        let has_line = said.contains("nginx.conf:") || said.contains("variable");
        assert!(has_line, "no line: {said}");
    }
    Nginx::test(&binary, |conf| {
        conf.http += "event_pipe_zone a; event_pipe_zones 1;";
        conf.server += "event_pipe_zone off; location / { event_pipe_zone a; }\n\
            location /b { event_pipe_zone $host; }";
    })?;
    Ok(())
}

//! The advice: with the directives that it gives, the same traffic reaches the share that
//! it promises.

use std::fs;
use std::io::Result;

use serde_json::Value;

use super::{Client, SMALL, Shows, Site, location, site};

/// Responses of several sizes for clients that do not read before all has come: those of
/// 500 bytes need nothing, those of 200,000 fit into some buffers, those of 3,000,000 into
/// none.
fn replay(site: &Site) -> Result<()> {
    let paths: Vec<String> = [(500, 60), (200_000, 36), (3_000_000, 4)]
        .into_iter()
        .flat_map(|(size, times)| (0..times).map(move |_| format!("/mixed/{size}")))
        .collect();
    site.load(&paths, Client::Late)
}

fn advice(status: &Value, zone: &str) -> Value {
    status["zones"][zone]["advice"].clone()
}

fn unhindered(status: &Value, zone: &str) -> f64 {
    let zone = &status["zones"][zone];
    let number = |name: &str| zone[name].as_f64().expect("a number");
    1.0 - number("hindered_responses") / number("responses")
}

/// How often traffic is replayed: on a busy machine it may be other traffic than before.
const ATTEMPTS: usize = 3;

fn expect_promise_kept(keeps: impl Fn() -> Result<bool>) -> Result<()> {
    for _ in 0..ATTEMPTS {
        if keeps()? {
            return Ok(());
        }
    }
    panic!("a promise is not kept in {ATTEMPTS} attempts");
}

/// Whether the promised share is about what was reached.
fn is_kept(promised: f64, reached: f64) -> bool {
    let is_kept = (promised - reached).abs() <= 0.05;
    if !is_kept {
        println!("promised {promised}, reached {reached}");
    }
    is_kept
}

fn keeps_promise_of_buffers(directives: &str) -> Result<bool> {
    let mixed = |zone: &str, directives: &str| {
        location(
            "/mixed/",
            &format!("event_pipe_zone {zone}; event_pipe_memory 0; {directives}"),
        )
    };
    let site = site(|conf| conf.server += &mixed("before", directives))?;
    replay(&site)?;
    let advised = advice(&site.settled()?, "before");
    assert_eq!(advised["verdict"], "change", "{advised}");
    let suggestion = &advised["suggestions"][0];
    let promised = suggestion["unhindered_share"].as_f64().expect("a share");
    let line = suggestion["directives"][0].as_str().expect("a line");
    assert!(line.starts_with("proxy_buffers "), "{line}");

    let file = site.nginx.prefix().join("nginx.conf");
    let text = fs::read_to_string(&file)?;
    let changed = directives.replace("proxy_buffers 8 4k;", line);
    fs::write(
        &file,
        text.replace(&mixed("before", directives), &mixed("after", &changed)),
    )?;
    site.nginx.reload()?;
    replay(&site)?;

    let status = site.settled()?;
    let reached = unhindered(&status, "after");
    let is_better = reached > unhindered(&status, "before") + 0.2;
    let is_enough = advice(&status, "after")["verdict"] != "change";
    site.stop()?;
    Ok(is_kept(promised, reached) && is_better && is_enough)
}

/// The same with the delay that is advised: its promise is about the disk alone.
#[test]
fn a_delay_spares_the_disk_as_promised() -> Result<()> {
    expect_promise_kept(keeps_promise_of_a_delay)
}

fn keeps_promise_of_a_delay() -> Result<bool> {
    let mixed = |zone: &str, directives: &str| {
        location(
            "/mixed/",
            &format!("event_pipe_zone {zone}; event_pipe_memory 0; {SMALL} {directives}"),
        )
    };
    let site = site(|conf| conf.server += &mixed("before", ""))?;
    replay(&site)?;
    let advised = advice(&site.settled()?, "before");
    let suggestions = advised["suggestions"].as_array().expect("suggestions");
    let delay = suggestions
        .iter()
        .find(|one| one["off_disk_share"].is_number());
    let delay = delay.unwrap_or_else(|| panic!("no delay: {advised}"));
    let promised = delay["off_disk_share"].as_f64().expect("a share");

    let file = site.nginx.prefix().join("nginx.conf");
    let text = fs::read_to_string(&file)?;
    let line = delay["directives"][0].as_str().expect("a line");
    fs::write(
        &file,
        text.replace(&mixed("before", ""), &mixed("after", line)),
    )?;
    site.nginx.reload()?;
    replay(&site)?;

    let zone = site.settled()?["zones"]["after"].clone();
    let number = |name: &str| zone[name].as_f64().expect("a number");
    let reached = 1.0 - number("spilled_responses") / number("responses");
    site.stop()?;
    Ok(is_kept(promised, reached))
}

#[test]
fn buffers_spare_the_disk_as_promised() -> Result<()> {
    expect_promise_kept(|| keeps_promise_of_buffers(SMALL))
}

#[test]
fn buffers_spare_upstream_as_promised() -> Result<()> {
    let directives = format!("{SMALL} proxy_max_temp_file_size 0;");
    expect_promise_kept(|| keeps_promise_of_buffers(&directives))
}

#[test]
fn where_nobody_waits_there_is_nothing_to_change() -> Result<()> {
    let site = site(|conf| conf.server += &location("/api/", "event_pipe_zone api;"))?;
    site.load(&vec!["/api/30000".to_owned(); 120], Client::Fast)?;
    let advised = advice(&site.settled()?, "api");
    assert_eq!(advised["verdict"], "nothing_to_change", "{advised}");
    site.get("/api/30000")?;
    assert_eq!(
        advice(&site.json()?, "(none)")["verdict"],
        "too_few_responses"
    );
    site.stop()
}

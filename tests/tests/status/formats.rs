//! The formats of the status: each says the same, and a request chooses one.

use std::collections::HashMap;
use std::io::Result;

use openssl::base64::encode_block;
use openssl::sha::sha256;
use pipe_tests::client::{Manner, Request};
use serde_json::Value;

use super::{Client, Shows, Site, location, site};

fn zoned() -> Result<Site> {
    let site = site(|conf| {
        conf.server += &location("/api/", "event_pipe_zone api;");
        conf.server += &location("/rest/", "");
    })?;
    let paths: Vec<String> = ["api/500", "api/200000", "rest/30000"]
        .iter()
        .map(|path| format!("/{path}"))
        .collect();
    site.load(&paths, Client::Fast)?;
    site.settled()?;
    Ok(site)
}

/// The samples of a text for Prometheus.
fn samples(text: &str) -> HashMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| line.rsplit_once(' ').expect("a sample"));
    samples
        .map(|(series, value)| (series, value.parse().expect("a number")))
        .collect()
}

fn expect_same(zone: &Value, label: &str, samples: &HashMap<&str, f64>) {
    let series = |name: &str, suffix: &str, labels: &[&str]| {
        let labels: Vec<&str> = labels
            .iter()
            .copied()
            .filter(|label| !label.is_empty())
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let series = format!("nginx_event_pipe_{name}{suffix}{labels}");
        *samples
            .get(series.as_str())
            .unwrap_or_else(|| panic!("no {series}"))
    };
    for (name, value) in zone.as_object().expect("a zone") {
        let is_gauge =
            ["active_responses", "disk_bytes", "lent_now_bytes"].contains(&name.as_str());
        if let Some(number) = value.as_f64() {
            let suffix = if is_gauge { "" } else { "_total" };
            assert_eq!(series(name, suffix, &[label]), number, "{name}");
        } else if let Some(sum) = value["sum"].as_f64() {
            assert_eq!(series(name, "_sum", &[label]), sum, "{name}");
            assert_eq!(
                series(name, "_count", &[label]),
                super::sum(&value["responses"]) as f64
            );
        } else if name == "ends" {
            for (end, count) in value.as_object().expect("ends") {
                let reason = format!("reason=\"{end}\"");
                let count = count.as_f64().expect("a number");
                assert_eq!(series(name, "_total", &[label, &reason]), count);
            }
        }
    }
}

#[test]
fn all_formats_say_the_same() -> Result<()> {
    let site = zoned()?;
    let status = site.json()?;
    for format in ["prometheus", "openmetrics"] {
        let text = site.get(&format!("/prometheus?format={format}"))?;
        let samples = samples(&text);
        expect_same(&status["zones"]["api"], "zone=\"api\"", &samples);
        expect_same(&status["zones"]["(none)"], "", &samples);
        let all: f64 = samples
            .iter()
            .filter(|(series, _)| series.starts_with("nginx_event_pipe_received_bytes_total"))
            .map(|(_, value)| value)
            .sum();
        assert_eq!(status["received_bytes"].as_f64(), Some(all));
    }
    site.stop()
}

#[test]
fn a_request_chooses_the_format() -> Result<()> {
    let site = zoned()?;
    let plain = "text/plain; version=0.0.4; charset=utf-8";
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let scraper = "Accept: application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.3";
    for (uri, accept, kind) in [
        ("/status", "", "application/json"),
        ("/status", scraper, "application/json"),
        ("/prometheus", "", plain),
        ("/prometheus", "Accept: text/plain", plain),
        ("/prometheus", scraper, open),
        ("/prometheus?format=openmetrics", "", open),
        ("/prometheus?format=html", "", "text/html; charset=utf-8"),
        ("/page", "", "text/html; charset=utf-8"),
        ("/page?format=json", "", "application/json"),
    ] {
        for method in ["GET", "HEAD"] {
            let mut request = Request::get(uri);
            request.method = method;
            if !accept.is_empty() {
                request.headers.push(accept.to_owned());
            }
            let answer = site.get_with(&request, Manner::FAST)?;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-type"), Some(kind), "{uri} {accept}");
            let is_open = answer.body.ends_with(b"# EOF\n");
            assert_eq!(is_open, kind == open && method == "GET", "{uri} {accept}");
            assert_eq!(answer.body.is_empty(), method == "HEAD");
        }
    }
    for (method, uri, status) in [
        ("POST", "/page", 405),
        ("PUT", "/prometheus", 405),
        ("GET", "/page?format=xml", 400),
        ("GET", "/page?format=", 400),
    ] {
        let request = Request {
            method,
            ..Request::get(uri)
        };
        assert_eq!(
            site.get_with(&request, Manner::FAST)?.status,
            status,
            "{method} {uri}"
        );
    }
    site.stop()
}

/// The page's own script and style may run, and nothing else.
#[test]
fn the_page_runs_nothing_but_its_own() -> Result<()> {
    let site = zoned()?;
    let answer = site.get_with(&Request::get("/page"), Manner::FAST)?;
    let policy = answer
        .header("content-security-policy")
        .expect("a policy")
        .to_owned();
    let page = String::from_utf8(answer.body).expect("a text");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    for (element, directive) in [("script", "script-src"), ("style", "style-src")] {
        let (_, rest) = page.split_once(&format!("<{element}>")).expect("one");
        let (text, rest) = rest.split_once(&format!("</{element}>")).expect("its end");
        assert!(!rest.contains(&format!("<{element}")), "only one");
        let sum = encode_block(&sha256(text.as_bytes()));
        let allowed = format!("{directive} 'sha256-{sum}';");
        assert!(policy.contains(&allowed), "{allowed} is not in {policy}");
    }
    for outside in ["http://", "https://", " src=", "@import", "url("] {
        let found = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!found.contains(outside), "{outside}");
    }
    assert!(site.json()?.is_object());
    site.stop()
}

//! The page in a real browser, before a real nginx under load.
//!
//! `PIPE_SCREENSHOTS=1 cargo xtask test status` writes the pictures in `docs/` anew.

use std::env;
use std::fs;
use std::io::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pipe_tests::build::project;
use pipe_tests::peers::program;
use serde_json::Value;

use super::browser::Browser;
use super::{Client, SMALL, Shows, Site, location, site};

/// All figures of the page, as they are exact, by what they are.
const FIGURES: &str = r#"(() => {
    const figures = {};
    const number = (node) => Number(node.textContent.replaceAll(",", ""));
    for (const node of document.querySelectorAll("[data-total]")) figures[node.dataset.total] = number(node);
    for (const node of document.querySelectorAll("[data-end]")) figures["ends." + node.dataset.end] = number(node);
    for (const node of document.querySelectorAll("[data-bucket]")) figures[node.dataset.bucket] = number(node);
    for (const node of document.querySelectorAll("[data-zone]")) figures["zone." + node.dataset.zone] = number(node);
    return figures;
})()"#;

fn shop() -> Result<Site> {
    site(|conf| {
        conf.server += &location("/api/", "event_pipe_zone api;");
        conf.server += &location("/images/", &format!("event_pipe_zone images; {SMALL}"));
        conf.server += &location(
            "/downloads/",
            &format!("event_pipe_zone downloads; {SMALL}"),
        );
        conf.server += &location("/rest/", "");
    })
}

/// Asks until it is over, with clients that are fast and others that are slow.
fn load(site: &Site, is_over: &AtomicBool) {
    let some = |path: &str, times: usize| vec![path.to_owned(); times];
    while !is_over.load(Ordering::Relaxed) {
        let fast = [
            some("/api/500", 20),
            some("/api/30000", 12),
            some("/rest/30000", 4),
        ]
        .concat();
        let slow = [some("/images/200000", 3), some("/downloads/3000000", 1)].concat();
        // A reload of nginx may break some off.
        let _ = site.load(&fast, Client::Fast);
        let _ = site.load(&slow, Client::Late);
    }
}

/// Has nginx under load while `then` runs.
fn under_load(site: &Site, then: impl FnOnce() -> Result<()>) -> Result<()> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| load(site, &is_over));
        let result = then();
        is_over.store(true, Ordering::Relaxed);
        result
    })
}

/// That the page shows what the JSON says.
fn expect_figures(browser: &mut Browser, site: &Site) -> Result<()> {
    let status = site.settled()?;
    let responses = status["responses"].to_string();
    let shown = format!("({FIGURES}).responses === {responses}");
    browser.wait(&shown)?;
    let figures = browser.value(FIGURES)?;
    let figures = figures.as_object().expect("figures");
    let mut compared = 0;
    let mut expect = |name: &str, value: &Value| {
        if let Some(number) = value.as_f64() {
            let shown = figures.get(name).and_then(Value::as_f64);
            assert_eq!(shown, Some(number), "{name}");
            compared += 1;
        }
    };
    for (name, value) in status.as_object().expect("an object") {
        expect(name, value);
        for (bucket, count) in value["responses"].as_object().into_iter().flatten() {
            expect(&format!("{name}.{bucket}"), count);
        }
    }
    for (end, count) in status["ends"].as_object().expect("ends") {
        expect(&format!("ends.{end}"), count);
    }
    for (name, zone) in status["zones"].as_object().expect("zones") {
        expect(&format!("zone.{name}"), &zone["responses"]);
    }
    assert_eq!(compared, figures.len());
    Ok(())
}

#[test]
fn the_page_in_a_browser() -> Result<()> {
    if !program::missing(&["chromium"]).is_empty() {
        assert!(env::var_os("CI").is_none(), "chromium is not installed");
        eprintln!("skipped: chromium is not installed");
        return Ok(());
    }
    let site = shop()?;
    let mut browser = Browser::start()?;
    browser.show(1600, 1200, "light")?;
    browser.open(&format!("http://{}/page", site.address()))?;
    browser.wait("document.getElementById('state')?.textContent === 'live'")?;
    let responses =
        "Number(document.querySelector('[data-total=responses]').textContent.replaceAll(',', ''))";

    let pictures = env::var_os("PIPE_SCREENSHOTS").is_some();
    under_load(&site, || {
        let before = browser.value(responses)?;
        browser.wait(&format!("{responses} > {before} + 100"))?;
        browser.wait("document.querySelectorAll('#plots path').length >= 12")?;

        // It survives a reload.
        site.nginx.reload()?;
        let before = browser.value(responses)?;
        browser.wait(&format!("{responses} > {before} + 100"))?;
        if pictures {
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(90) {
                thread::sleep(Duration::from_secs(1));
            }
            write_pictures(&mut browser)?;
        }
        Ok(())
    })?;

    expect_figures(&mut browser, &site)?;
    expect_layout(&mut browser)?;
    expect_keyboard(&mut browser)?;
    assert_eq!(browser.errors, [""; 0]);

    // One zone alone.
    let choose = "document.getElementById('zone').value = 'api'; \
                  document.getElementById('zone').dispatchEvent(new Event('change')); true";
    browser.value(choose)?;
    let api = site.json()?["zones"]["api"]["responses"].to_string();
    browser.wait(&format!("{responses} === {api}"))?;

    site.stop()?;
    browser.wait("!document.getElementById('alert').hidden")?;
    let said = browser.value("document.getElementById('alert').textContent")?;
    let said = said.as_str().expect("a text");
    assert!(
        said.starts_with("nginx does not answer; the figures are those of "),
        "{said}"
    );
    // But for the answer that did not come.
    assert!(
        browser
            .errors
            .iter()
            .all(|error| error.contains("ERR_CONNECTION")),
        "{:?}",
        browser.errors
    );
    Ok(())
}

/// Nothing is wider than the window, but what scrolls by itself.
fn expect_layout(browser: &mut Browser) -> Result<()> {
    for (width, scheme) in [
        (360, "light"),
        (360, "dark"),
        (1600, "dark"),
        (1600, "light"),
    ] {
        browser.show(width, 900, scheme)?;
        let wider = browser.value("document.documentElement.scrollWidth - innerWidth")?;
        assert_eq!(wider, 0, "at {width} pixels");
        let small = "[...document.querySelectorAll('.card dd')].filter((node) => \
                     node.scrollWidth > node.clientWidth + 1).map((node) => node.textContent)";
        assert_eq!(
            browser.value(small)?,
            serde_json::json!([]),
            "at {width} pixels"
        );
        let back = browser.value("getComputedStyle(document.body).backgroundColor")?;
        let expected = if scheme == "dark" {
            "rgb(18, 22, 28)"
        } else {
            "rgb(246, 247, 249)"
        };
        assert_eq!(back, expected);
    }
    Ok(())
}

/// What can be used can be reached by the keyboard and has a name; so has each picture.
fn expect_keyboard(browser: &mut Browser) -> Result<()> {
    let mut reached = Vec::new();
    for _ in 0..12 {
        browser.press("Tab", 9)?;
        let focused =
            browser.value("document.activeElement.id || document.activeElement.tagName")?;
        reached.push(focused.as_str().unwrap_or_default().to_owned());
    }
    for id in ["zone", "pause", "SUMMARY"] {
        assert!(reached.iter().any(|name| name == id), "{id}: {reached:?}");
    }
    browser.value("document.getElementById('pause').focus()")?;
    browser.press(" ", 32)?;
    browser.wait("document.getElementById('pause').getAttribute('aria-pressed') === 'true'")?;
    browser.value("document.getElementById('pause').click()")?;
    browser.wait("document.getElementById('state').textContent === 'live'")?;
    let nameless = "[...document.querySelectorAll('svg:not([aria-hidden])')]\
                    .filter((node) => !node.getAttribute('aria-label')).length";
    assert_eq!(browser.value(nameless)?, 0);
    Ok(())
}

fn write_pictures(browser: &mut Browser) -> Result<()> {
    for (name, width, height, scheme) in [
        ("status-light", 1200, 1100, "light"),
        ("status-dark", 1200, 1100, "dark"),
        ("status-narrow", 360, 900, "light"),
    ] {
        browser.show(width, height, scheme)?;
        thread::sleep(Duration::from_millis(300));
        fs::write(
            project().join(format!("docs/{name}.png")),
            browser.picture()?,
        )?;
    }
    browser.show(1600, 1200, "light")
}

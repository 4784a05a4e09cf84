//! What is spilled to disk: stock cuts a download that comes to its limit, ours
//! goes on; and ours spills for those only who need it.

mod spilling;

use std::io::Result;
use std::path::Path;
use std::time::Duration;

use pipe_tests::server::wait;
use spilling::{CAP, Download, SIZE, Side, Speech};

/// Nothing is kept for slow clients.
const NO_MEMORY: &str = "event_pipe_memory 1m;";

/// The client reads half of the limit, time and again, and upstream gives up
/// when that does not let it send anything.
fn is_whole_only_with_ours(path: &str, conf: &str) -> Result<()> {
    is_whole_for(Speech::Http1, path, conf)
}

fn is_whole_for(speech: Speech, path: &str, conf: &str) -> Result<()> {
    let binaries = pipe_tests::binaries()?;

    let side = Side::for_clients(&binaries.stock, conf, speech)?;
    let stock = Download::run(&side, path, CAP / 2)?;
    assert!(stock.given_up && stock.body < SIZE, "{stock:?}");

    let side = Side::for_clients(&binaries.ours, &format!("{NO_MEMORY} {conf}"), speech)?;
    let ours = Download::run(&side, path, CAP / 2)?;
    assert!(ours.is_whole, "{ours:?}");
    assert!(ours.largest <= CAP as u64, "{ours:?}");
    // The disk was used, by several files.
    assert!(ours.largest > CAP as u64 / 2, "{ours:?}");
    assert!((2..=10).contains(&ours.files), "{ours:?}");
    assert_eq!(side.warnings(), 1);
    side.stop()
}

#[test]
fn a_slow_download_is_not_cut() -> Result<()> {
    is_whole_only_with_ours("/big", "")
}

#[test]
fn nor_with_sendfile() -> Result<()> {
    is_whole_only_with_ours("/big", "sendfile on;")
}

#[test]
fn nor_with_threads() -> Result<()> {
    is_whole_only_with_ours("/big", "aio threads; aio_write on;")
}

#[test]
fn nor_with_sendfile_and_threads() -> Result<()> {
    is_whole_only_with_ours("/big", "sendfile on; aio threads; aio_write on;")
}

#[test]
fn nor_with_directio() -> Result<()> {
    is_whole_only_with_ours(
        "/big",
        "sendfile on; aio threads; aio_write on; directio 4k;",
    )
}

const TINY: &str = "proxy_buffer_size 1k; proxy_buffers 4 1k; proxy_busy_buffers_size 2k; \
                    proxy_temp_file_write_size 2k;";

#[test]
fn nor_with_tiny_buffers() -> Result<()> {
    is_whole_only_with_ours("/big", TINY)
}

#[test]
fn nor_when_a_part_is_asked_for() -> Result<()> {
    for conf in ["", "sendfile on;"] {
        let conf = format!("proxy_force_ranges on; {conf}");
        is_whole_for(Speech::Http1Range, "/big", &conf)?;
    }
    Ok(())
}

#[test]
fn nor_over_http2() -> Result<()> {
    for conf in ["", "sendfile on;", "aio threads; aio_write on;", TINY] {
        is_whole_for(Speech::Http2, "/big", conf)?;
    }
    Ok(())
}

#[test]
fn nor_when_a_page_includes_it() -> Result<()> {
    for conf in ["", "sendfile on;", "aio threads; aio_write on;"] {
        is_whole_only_with_ours("/page", conf)?;
    }
    Ok(())
}

/// With sendfile, what a filter has seen in memory is still sent from the file.
#[test]
fn a_file_stays_open_where_filters_refer_to_it() -> Result<()> {
    let conf = "sendfile on; sub_filter_types *; sub_filter_once off; sub_filter nothing else;";
    let binaries = pipe_tests::binaries()?;
    let side = Side::start(&binaries.ours, conf)?;
    // Upstream gets on when the client has read the whole file, as on stock.
    let ours = Download::run(&side, "/big", 2 * CAP)?;
    assert!(ours.is_whole && ours.files == 1, "{ours:?}");
    side.stop()
}

/// The directory for temporary files is not there any more.
#[test]
fn a_missing_disk_is_noticed_once() -> Result<()> {
    let binaries = pipe_tests::binaries()?;
    for speech in [Speech::Http1, Speech::Http2] {
        for conf in ["", "sendfile on;", "aio threads; aio_write on;", TINY] {
            let stock = Side::for_clients(&binaries.stock, conf, speech)?;
            stock.remove_disk()?;
            let stock = Download::run(&stock, "/big", CAP / 2)?;
            assert!(!stock.is_whole && stock.body < SIZE, "{stock:?}");

            let ours = Side::for_clients(&binaries.ours, conf, speech)?;
            ours.remove_disk()?;
            let download = Download::run(&ours, "/big", CAP / 2)?;
            assert!(download.is_whole, "{download:?}");
            assert_eq!(ours.log("[crit]"), 1);
            ours.stop()?;
        }
    }
    Ok(())
}

/// A client that takes whatever there is, but not at once.
fn somewhat_slower(binary: &Path, conf: &str, speech: Speech) -> Result<(Side, Download)> {
    let side = Side::for_clients(binary, conf, speech)?;
    let download = Download::trail(&side, "/big")?;
    assert!(download.is_whole, "{download:?}");
    Ok((side, download))
}

#[test]
fn a_client_that_is_somewhat_slower_needs_no_disk() -> Result<()> {
    let binaries = pipe_tests::binaries()?;

    for (speech, conf) in [
        (Speech::Http1, ""),
        (Speech::Http1, TINY),
        (Speech::Http2, ""),
    ] {
        let (stock, _) = somewhat_slower(&binaries.stock, conf, speech)?;
        assert_eq!(stock.warnings(), 1);

        let conf = format!("event_pipe_spill_delay 60s; {conf}");
        let (ours, _) = somewhat_slower(&binaries.ours, &conf, speech)?;
        assert_eq!(ours.warnings(), 0);
        ours.stop()?;
    }
    Ok(())
}

#[test]
fn a_client_that_stalls_does() -> Result<()> {
    let binaries = pipe_tests::binaries()?;
    for conf in ["", "aio threads; aio_write on;", "proxy_limit_rate 100m;"] {
        let delay = Duration::from_secs(2);
        let conf = format!("event_pipe_spill_delay {}s; {conf}", delay.as_secs());
        let side = Side::start(&binaries.ours, &conf)?;
        let client = side.ask("/big")?;
        // Neither side has an event when the delay is over.
        side.wait_until_stuck(&client)?;
        while side.warnings() == 0 {
            assert!(side.time.passed() < 2 * delay, "{conf}");
            side.time.advance(delay / 20)?;
        }
        assert!(side.time.passed() >= delay, "{:?}", side.time.passed());
        // The limit has its own timers.
        let goes_on = || side.time.advance(delay / 20).is_ok() && side.sent() > CAP / 2;
        assert!(wait(goes_on), "{conf}");
        drop(client);
        side.stop()?;
    }
    Ok(())
}

#[test]
fn the_directive_turns_it_off() -> Result<()> {
    let binaries = pipe_tests::binaries()?;
    let side = Side::start(&binaries.ours, "event_pipe_spill_segments off;")?;
    let ours = Download::run(&side, "/big", CAP / 2)?;
    assert!(ours.given_up && ours.files == 1, "{ours:?}");
    Ok(())
}

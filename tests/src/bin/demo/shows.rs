//! What is shown: each way a body takes through the pipe.

use std::error::Error;

use super::client::{self, Response};
use super::stage::{BODY, Front, LARGE_BODY};

/// How nginx tells that a client was slower than the upstream.
const SPILLED: &str = "an upstream response is buffered to a temporary file";

/// What a body's way is called, the body, and how to get it: the response, and
/// what else is worth telling.
type Show = (&'static str, &'static str, fn(&Front) -> Fetched);

type Fetched = Result<(Response, String), Box<dyn Error>>;

const SHOWS: [Show; 5] = [
    ("plain", BODY, |front| {
        let response = at_once(front, &format!("/plain/{BODY}"))?;
        Ok((response, String::new()))
    }),
    ("into the cache", BODY, |front| cached(front, "MISS")),
    ("from the cache", BODY, |front| cached(front, "HIT")),
    ("slow client", LARGE_BODY, |front| {
        let path = format!("/plain/{LARGE_BODY}");
        let response = client::get(front.address, &path, || front.wait_for_log(SPILLED))?;
        Ok((response, format!("error log: \"{SPILLED}\"")))
    }),
    ("FastCGI", BODY, |front| {
        let response = at_once(front, &format!("/fastcgi/{BODY}"))?;
        Ok((response, "from uWSGI".to_owned()))
    }),
];

/// What nginx logs when it starts with the Rust pipe.
const RUST_PIPE: &str = "event pipe: ngx-event-pipe/";

/// Runs them all; an error if any body is not what the upstream has.
pub(crate) fn run(front: &Front) -> Result<(), Box<dyn Error>> {
    let line = front.log_line(RUST_PIPE)?;
    let line = line.ok_or("nginx does not log that it runs the Rust pipe")?;
    println!("\nnginx listens on {}; its error log says:", front.address);
    println!("  {line}\n\nBodies through the pipe, compared with those of the upstreams:");

    let mut differing = 0;
    for (name, body, fetch) in SHOWS {
        let (response, note) = fetch(front).map_err(|error| format!("{name}: {error}"))?;
        let same = response.body == front.upstream_body(body)?;
        let verdict = if same { "same" } else { "DIFFERS" };
        let bytes = response.body.len();
        let row = format!("  {name:<15} {bytes:>9} bytes  {verdict}  {note}");
        println!("{}", row.trim_end());
        differing += usize::from(!same);
    }
    println!();

    if differing > 0 {
        return Err(format!("{differing} of {} bodies differ", SHOWS.len()).into());
    }
    println!("All {} bodies arrived byte for byte.", SHOWS.len());
    Ok(())
}

fn at_once(front: &Front, path: &str) -> std::io::Result<Response> {
    client::get(front.address, path, || Ok(()))
}

/// A body from the location with a cache, which must have been used as `wanted`.
fn cached(front: &Front, wanted: &str) -> Fetched {
    let response = at_once(front, &format!("/cached/{BODY}"))?;
    let status = response.header("X-Cache-Status").unwrap_or("none");
    if status != wanted {
        return Err(format!("the cache status is {status}, not {wanted}").into());
    }
    let note = format!("X-Cache-Status: {status}");
    Ok((response, note))
}

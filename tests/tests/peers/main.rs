//! Real programs on both sides of nginx: uWSGI and nginx as upstreams, curl,
//! h2load and openssl as clients. Each test runs on stock nginx and on ours:
//! both must deliver every body exactly and answer alike.

mod bodies;
mod edge;
mod scenarios;
mod stage;
mod upstream;

use std::io::{Error, Result};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use pipe_tests::build::Pipe;

use edge::Edge;
use scenarios::{SCENARIOS, Scenario};
use stage::Stage;
use upstream::Upstream;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // Started here and not by a test, as the upstreams end with their thread.
    let stage = match Stage::set_up() {
        Ok(stage) => Arc::new(stage),
        Err(error) => {
            eprintln!("peers: {error}");
            return ExitCode::FAILURE;
        }
    };
    libtest_mimic::run(&arguments, trials(&stage)).exit_code()
}

/// Every scenario on every upstream that it makes sense for.
fn trials(stage: &Arc<Stage>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for upstream in Upstream::ALL {
        let sensible = SCENARIOS
            .iter()
            .filter(|scenario| (scenario.makes_sense)(upstream));
        for scenario in sensible {
            let stage = Arc::clone(stage);
            let name = format!("peers::{}::{}", upstream.name(), scenario.name);
            trials.push(Trial::ignorable_test(name, move || {
                test(&stage, upstream, scenario)
            }));
        }
    }
    trials
}

fn test(
    stage: &Stage,
    upstream: Upstream,
    scenario: &Scenario,
) -> std::result::Result<Completion, Failed> {
    if let Some(reason) = obstacle(stage, upstream, scenario) {
        return Ok(Completion::ignored_with(reason));
    }
    let [stock, ours] = [Pipe::Stock, Pipe::Rust].map(|pipe| {
        run(stage, pipe, upstream, scenario)
            .map_err(|error| Error::new(error.kind(), format!("{pipe}: {error}")))
    });
    let (stock, ours) = (stock?, ours?);
    if stock != ours {
        return Err(format!("stock: {stock:#?}\nours: {ours:#?}").into());
    }
    Ok(Completion::Completed)
}

/// Why the test cannot be done with the programs at hand, if it can't.
fn obstacle(stage: &Stage, upstream: Upstream, scenario: &Scenario) -> Option<String> {
    let program = stage.program(Pipe::Rust);
    if upstream.is_http2() && !program.speaks_http2_to_upstreams() {
        return Some("proxy_http_version 2 is new in nginx 1.29.4".to_owned());
    }
    let needed = scenario.needs?;
    (!program.has(needed)).then(|| format!("nginx is built without {needed}"))
}

/// Returns what clients have seen of one of the two.
fn run(stage: &Stage, pipe: Pipe, upstream: Upstream, scenario: &Scenario) -> Result<Vec<String>> {
    let edge = Edge::start(stage, pipe, upstream, scenario)?;
    (scenario.run)(&edge)?;
    edge.finish()
}

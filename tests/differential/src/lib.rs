//! nginx's pipe and ours in one process, under the same schedules.
//!
//! A *schedule* is a sequence of decisions ([`choices`]): first what a response
//! is about ([`config`]), then what happens to it, step by step ([`schedule`]),
//! and within the steps what its surroundings do ([`world`]). Both pipes live
//! through it, each in a world of its own, and everything that they do there
//! ([`trace`]) must be the same. What is meant to differ has a name
//! ([`deviation`], [`feature`]). Besides, both must leave every invariant intact
//! (`world/invariants.rs`), whatever nginx's pipe does. Many of this project's pipes in
//! one worker take turns ([`crowd`]).

pub mod choices;
pub mod config;
pub mod crowd;
pub mod deviation;
pub mod feature;
mod nginx;
pub mod schedule;
pub mod shrink;
pub mod trace;
pub mod world;

// The pipe under test; its functions are called as C calls them.
use ngx_event_pipe as _;

use std::sync::Once;

use choices::Choices;
use feature::Feature;
use schedule::Difference;

/// Whether nginx's pipe of the tree at hand leaves buffers to the output after
/// an error, as it does since 1.30.6.
pub const C_KEEPS_BUSY: bool = cfg!(c_keeps_busy);

/// Prepares nginx's globals. To be called before anything else of the harness,
/// in the one thread that runs schedules.
pub fn init() {
    static DONE: Once = Once::new();
    // SAFETY: once, before anything else of nginx.
    DONE.call_once(|| unsafe { nginx::harness_init() });
}

/// Runs the schedule that a fuzzer's bytes make, without this pipe's features and
/// with all of them.
///
/// # Panics
///
/// If the pipes part without a reason, or if either is wrong.
pub fn fuzz(bytes: &[u8]) {
    init();
    let choices = Choices::from_bytes(bytes).recorded();
    if let Err(difference) = schedule::compare(choices.clone()) {
        panic!("{}", report(&shrunk(*difference)));
    }
    if let Err(difference) = schedule::with_feature(choices, Feature::Together) {
        panic!("{}", report(&difference));
    }
}

/// The smallest schedule that can be made of this one.
pub fn shrunk(difference: Difference) -> Difference {
    let run = |list: &[u32]| schedule::compare(Choices::from_list(list).recorded());
    let list = shrink::shrink(difference.choices.clone(), |list| run(list).is_err());
    match run(&list) {
        Err(smaller) => *smaller,
        Ok(_) => difference,
    }
}

/// How many events before the difference are worth reading.
const CONTEXT: usize = 12;

/// What happened, for who has to find out why.
pub fn report(d: &Difference) -> String {
    use std::fmt::Write as _;

    let mut text = format!("the pipes part at event {}: {:#?}\n", d.at, d.config);
    for at in d.at.saturating_sub(CONTEXT)..d.at {
        match (d.stock.get(at), d.ours.get(at)) {
            (Some(stock), Some(ours)) if stock == ours => {
                let _ = writeln!(text, "  both  {ours:?}");
            }
            // A feature has made the two part earlier.
            (_, ours) => {
                let _ = writeln!(text, "  ours  {ours:?}");
            }
        }
    }
    let _ = writeln!(text, "  stock {:?}", d.stock.get(d.at));
    let _ = writeln!(text, "  ours  {:?}", d.ours.get(d.at));
    let list: Vec<String> = d.choices.iter().map(u32::to_string).collect();
    let _ = write!(text, "replay with --choices {}", list.join(","));
    text
}

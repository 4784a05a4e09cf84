//! Torture: each call of nginx's that can fail does so in turn, on stock and on
//! ours, in scenarios that go all ways through the pipe. What comes of it must
//! be right, and the same on both sides, call for call, when ours does nothing
//! beyond nginx; and right when it does.

use std::io::Result;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};
use pipe_tests::torture::{Injected, scenarios, torment, torment_extended, undisturbed};

fn main() {
    let mut arguments = Arguments::from_args();
    // A process that another test starts would, for a moment, hold the sockets
    // of this one open.
    arguments.test_threads = Some(1);
    let injected = Arc::default();
    let extended = Arc::default();
    let trials = trials(&injected, &extended).unwrap_or_else(|error| {
        eprintln!("torture: {error}");
        std::process::exit(1)
    });
    let conclusion = libtest_mimic::run(&arguments, trials);
    println!("{}", injected.lock().expect("no test is left"));
    println!(
        "{} faults injected on ours with all that it does beyond nginx\n",
        extended.lock().expect("no test is left")
    );
    conclusion.exit();
}

fn trials(injected: &Arc<Mutex<Injected>>, extended: &Arc<Mutex<usize>>) -> Result<Vec<Trial>> {
    let binaries = Arc::new(pipe_tests::without_pools()?);
    let mut trials = Vec::new();
    for scenario in scenarios().into_iter().map(Arc::new) {
        let (shared, nginx) = (Arc::clone(&scenario), Arc::clone(&binaries));
        let run = move || undisturbed(&shared, &nginx).map_err(Failed::from);
        trials.push(Trial::test(format!("{}/undisturbed", scenario.name), run));

        for &call in &scenario.calls {
            let (shared, nginx) = (Arc::clone(&scenario), Arc::clone(&binaries));
            let injected = Arc::clone(injected);
            let run = move || {
                let faults = torment(&shared, call, &nginx)?;
                *injected.lock().expect("tests run one by one") += faults;
                Ok(())
            };
            trials.push(Trial::test(format!("{}/{call}", scenario.name), run));

            let (shared, nginx) = (Arc::clone(&scenario), Arc::clone(&binaries));
            let extended = Arc::clone(extended);
            let run = move || {
                let faults = torment_extended(&shared, call, &nginx)?;
                *extended.lock().expect("tests run one by one") += faults;
                Ok(())
            };
            let name = format!("{}/{call}/extended", scenario.name);
            trials.push(Trial::test(name, run));
        }
    }
    Ok(trials)
}

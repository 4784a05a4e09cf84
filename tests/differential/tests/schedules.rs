//! A quick look at what the harness's program does at length.

use pipe_differential::choices::Choices;
use pipe_differential::config::WriteFailure;
use pipe_differential::deviation::Deviation;
use pipe_differential::feature::Feature;
use pipe_differential::schedule::{attribute, compare, compare_with, with_feature};
use pipe_differential::{crowd, init, report, shrunk};

/// nginx's globals allow one schedule at a time: hence one test for all.
#[test]
fn both_pipes_do_the_same() {
    init();
    identical(1..30_000);
    identical_when_a_call_fails(1..60);
    known_defects_strike(1..30_000);
    features_keep_the_invariants(1..30_000);
    rarities_keep_them();
    crowds_take_turns(1..20_000);
}

fn crowds_take_turns(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        if let Err(fault) = crowd::run(seed) {
            panic!("seed {seed}: {fault}");
        }
    }
}

fn identical(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let choices = Choices::from_seed(seed).recorded();
        if let Err(difference) = compare(choices) {
            panic!("seed {seed}: {}", report(&shrunk(*difference)));
        }
    }
}

fn identical_when_a_call_fails(seeds: std::ops::Range<u64>) {
    let mut failures = 0;
    for seed in seeds {
        for nth in 0.. {
            let choices = Choices::from_seed(seed).recorded();
            let summary = compare_with(choices, |config| {
                config.failing = Some(nth);
                config.write_failure = WriteFailure::ALL[nth as usize % WriteFailure::ALL.len()];
            });
            match summary {
                Err(difference) => panic!("seed {seed}: {}", report(&difference)),
                Ok(summary) if summary.failed => failures += 1,
                Ok(_) => break,
            }
        }
    }
    assert!(failures > 500, "{failures}");
}

/// Each defect of nginx's pipe that is known makes a difference, and breaks an
/// invariant there: so the harness sees it.
fn known_defects_strike(seeds: std::ops::Range<u64>) {
    for deviation in Deviation::ALL {
        let (mut differ, mut broken) = (0, 0);
        for seed in seeds.clone() {
            let choices = Choices::from_seed(seed).recorded();
            match attribute(choices, deviation) {
                Err(difference) => panic!("seed {seed}: {}", report(&difference)),
                Ok(effect) => {
                    differ += u32::from(effect.differs);
                    broken += u32::from(effect.breaks);
                }
            }
        }
        assert!(differ > 0, "{deviation:?} makes no difference");
        // Since 1.30.6, taking back is no defect, only a difference.
        let is_defect = deviation != Deviation::TakenBack || !pipe_differential::C_KEEPS_BUSY;
        assert_eq!(broken > 0, is_defect, "{deviation:?}: {broken} broken");
    }
}

/// What takes far more schedules to come together: that a loan is spilled while
/// all other buffers are full (with all build conditions; with others, these
/// are schedules like any).
fn rarities_keep_them() {
    for (feature, seed) in [(Feature::Memory, 230_477), (Feature::Together, 230_477)] {
        let choices = Choices::from_seed(seed).recorded();
        if let Err(difference) = with_feature(choices, feature) {
            panic!("{feature:?}, seed {seed}: {}", report(&difference));
        }
    }
}

/// Each feature makes a difference, only where it has done something, and breaks
/// no invariant: with failures as well.
fn features_keep_the_invariants(seeds: std::ops::Range<u64>) {
    for feature in Feature::ALL {
        let mut differ = 0;
        for seed in seeds.clone() {
            let choices = Choices::from_seed(seed).recorded();
            match with_feature(choices, feature) {
                Err(difference) => panic!("{feature:?}, seed {seed}: {}", report(&difference)),
                Ok(parted) => differ += u32::from(parted),
            }
        }
        assert!(differ > 0, "{feature:?} makes no difference");
    }
}

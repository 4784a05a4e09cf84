//! Advice for a zone, from its totals alone: whether other buffers, or a delay before the
//! disk is used, would spare the disk and upstreams, and what they cost. (nginx has
//! none.)
//!
//! The rules, which `docs/metrics.md` explains:
//!
//! 1. A response is *hindered* if it has touched the disk or has held upstream back. If
//!    no more than one in a hundred is, there is nothing to change.
//! 2. *Buffers* help a response whose need they hold. Each doubling of the buffers has to
//!    help five responses in a hundred, or the memory is better spent elsewhere.
//! 3. A *delay* helps a response that was spilled and whose client was waited for no
//!    longer. Each step of the delay has to help five responses in a hundred.

#![forbid(unsafe_code)]

use crate::extensions::totals::{BYTE_LIMITS, TIME_LIMITS, Totals, share};

/// Fewer responses say nothing.
const ENOUGH: u64 = 100;

/// So many hindered responses, in thousandths, are no reason to change anything.
const FEW: u64 = 10;

/// So many responses, in thousandths, a step must help that it is worth its price.
const WORTHWHILE: u64 = 50;

/// No response is given more buffers than this, in bytes.
const MOST_MEMORY: u64 = 1 << 20;

/// No response waits longer for its client, in milliseconds.
const MOST_DELAY: u64 = 5000;

/// Buffers that hold nothing of what waits: the one that is being sent, and the one that
/// is being filled.
const IN_USE: u64 = 2;

/// What is advised for a zone.
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) struct Advice {
    pub(crate) verdict: Verdict,
    /// The share of the responses that were not hindered, in thousandths.
    pub(crate) unhindered: u64,
    /// What would help, each by itself. (A memory budget of the worker's, once there is
    /// one, has its place here.)
    pub(crate) suggestions: [Option<Suggestion>; 2],
}

#[derive(Clone, Copy)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) enum Verdict {
    /// There were too few responses.
    TooFew,
    /// Hardly any response was hindered.
    Nothing,
    /// Something would help.
    Change,
    /// Responses were hindered, and nothing would help enough for its price.
    NoRemedy,
}

/// A change that would help, and its price.
#[derive(Clone, Copy)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) struct Suggestion {
    pub(crate) remedy: Remedy,
    /// The share of the responses, in thousandths, that would not have been hindered;
    /// with a delay, that would not have touched the disk.
    pub(crate) share: u64,
    /// How much more memory a response may take, in bytes: at most, and in the mean.
    pub(crate) most_memory: u64,
    pub(crate) mean_memory: u64,
}

#[derive(Clone, Copy)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) enum Remedy {
    /// So many buffers of this size in bytes.
    Buffers { number: u64, size: u64 },
    /// `event_pipe_spill_delay`, in milliseconds.
    Delay { time: u64 },
}

/// What is advised for the zone with these totals.
pub(crate) fn of(totals: &Totals) -> Advice {
    let responses = totals.responses;
    let unhindered = responses.saturating_sub(totals.hindered_responses);
    let mut advice = Advice {
        verdict: Verdict::TooFew,
        unhindered: share(unhindered, responses),
        suggestions: [None; 2],
    };

    if responses < ENOUGH {
        return advice;
    }

    if share(totals.hindered_responses, responses) <= FEW {
        advice.verdict = Verdict::Nothing;
        return advice;
    }

    advice.suggestions = [buffers(totals, advice.unhindered), delay(totals)];
    advice.verdict = match advice.suggestions {
        [None, None] => Verdict::NoRemedy,
        _ => Verdict::Change,
    };

    advice
}

/// The best of some steps, each of which helps `share` thousandths: the one by which each
/// step up to it has helped enough. `None` if none helps enough.
fn best(now: u64, steps: impl Iterator<Item = (u64, u64)>) -> Option<(u64, u64)> {
    let mut best = None;
    let mut most = now;
    let mut price = 0_u64;

    for (limit, share) in steps {
        price = price.saturating_add(WORTHWHILE);

        let worth = share.saturating_sub(price);

        if worth > most {
            most = worth;
            best = Some((limit, share));
        }
    }

    best
}

fn buffers(totals: &Totals, unhindered: u64) -> Option<Suggestion> {
    let responses = totals.responses;
    let size = totals.allowed_memory.checked_div(totals.allowed_buffers)?;
    let memory = totals.allowed_memory.checked_div(responses)?;
    let larger = BYTE_LIMITS
        .into_iter()
        .filter(|limit| (memory.saturating_add(1)..=MOST_MEMORY).contains(limit))
        .map(|limit| (limit, share(totals.needs().up_to(limit), responses)));

    let (limit, share) = best(unhindered, larger)?;
    let number = limit
        .saturating_add(size.saturating_sub(1))
        .checked_div(size)?
        .saturating_add(IN_USE);
    let most = number.saturating_mul(size);

    Some(Suggestion {
        remedy: Remedy::Buffers { number, size },
        share,
        most_memory: most.saturating_sub(memory),
        mean_memory: more_memory(totals, memory, limit).checked_div(responses)?,
    })
}

/// How much more memory all responses together would have taken with buffers of `limit`
/// bytes than with those of `memory` bytes.
fn more_memory(totals: &Totals, memory: u64, limit: u64) -> u64 {
    let more = |need: Option<u64>| {
        need.map_or(limit, |need| need.min(limit))
            .saturating_sub(memory)
    };

    totals
        .needs()
        .buckets()
        .map(|(need, count)| more(need).saturating_mul(count))
        .fold(0, u64::saturating_add)
}

fn delay(totals: &Totals) -> Option<Suggestion> {
    let off_disk = |spared: u64| {
        let spilled = totals.spilled_responses.saturating_sub(spared);
        share(totals.responses.saturating_sub(spilled), totals.responses)
    };
    let steps = TIME_LIMITS
        .into_iter()
        .filter(|time| *time <= MOST_DELAY)
        .map(|time| (time, off_disk(totals.spill_times().up_to(time))));

    let (time, share) = best(off_disk(0), steps)?;

    Some(Suggestion {
        remedy: Remedy::Delay { time },
        share,
        most_memory: 0,
        mean_memory: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extensions::totals::Response;
    use crate::extensions::totals::tests::RESPONSE;

    /// A response that nobody has hindered, with eight buffers of 4k.
    const FREE: Response = Response {
        spilled: 0,
        blocked_count: 0,
        peak: 0,
        received: 100_000,
        ..RESPONSE
    };

    /// A response that was spilled, for want of buffers for `peak` bytes.
    fn spilled(peak: u64, client_time: u64) -> Response {
        Response {
            spilled: peak / 2,
            peak,
            client_time,
            ..FREE
        }
    }

    fn totals(responses: &[(u64, Response)]) -> Totals {
        let mut totals = Totals::default();
        for (times, response) in responses {
            (0..*times).for_each(|_| totals.add(response));
        }
        totals
    }

    fn advice(responses: &[(u64, Response)]) -> Advice {
        of(&totals(responses))
    }

    #[test]
    fn few_responses_say_nothing() {
        let few = advice(&[(99, spilled(50_000, 100))]);
        assert_eq!(few.verdict, Verdict::TooFew);
        assert_eq!(few.suggestions, [None, None]);
        assert_eq!(of(&Totals::default()).verdict, Verdict::TooFew);
    }

    #[test]
    fn one_in_a_hundred_is_no_reason() {
        let few = advice(&[(99, FREE), (1, spilled(50_000, 100))]);
        assert_eq!((few.verdict, few.unhindered), (Verdict::Nothing, 990));
        let more = advice(&[(980, FREE), (20, spilled(50_000, 100))]);
        assert_eq!(more.verdict, Verdict::NoRemedy);
    }

    #[test]
    fn buffers_are_as_many_as_most_need() {
        let advice = advice(&[
            (50, FREE),
            (45, spilled(100_000, 60_000)),
            (5, spilled(1 << 30, 60_000)),
        ]);
        let buffers = Suggestion {
            remedy: Remedy::Buffers {
                number: 34,
                size: 4096,
            },
            share: 950,
            most_memory: 34 * 4096 - 8 * 4096,
            mean_memory: (131_072 - 8 * 4096) / 2,
        };
        assert_eq!(advice.verdict, Verdict::Change);
        assert_eq!(advice.unhindered, 500);
        assert_eq!(advice.suggestions, [Some(buffers), None]);
    }

    /// A doubling for three responses in a hundred is not worth it.
    #[test]
    fn each_doubling_has_to_help() {
        let advice = advice(&[
            (50, FREE),
            (47, spilled(50_000, 60_000)),
            (3, spilled(100_000, 60_000)),
        ]);
        let share = advice.suggestions[0].map(|suggestion| suggestion.share);
        assert_eq!(share, Some(970));
    }

    #[test]
    fn what_is_larger_than_any_buffers_has_no_remedy() {
        let advice = advice(&[(50, FREE), (50, spilled(1 << 30, 60_000))]);
        assert_eq!(advice.verdict, Verdict::NoRemedy);
        assert_eq!(advice.suggestions, [None, None]);
    }

    #[test]
    fn a_delay_helps_those_whose_clients_come_soon() {
        let advice = advice(&[
            (50, FREE),
            (30, spilled(1 << 30, 900)),
            (20, spilled(1 << 30, 60_000)),
        ]);
        let delay = Suggestion {
            remedy: Remedy::Delay { time: 1000 },
            share: 800,
            most_memory: 0,
            mean_memory: 0,
        };
        assert_eq!(advice.suggestions, [None, Some(delay)]);
    }

    /// Of a response that has held upstream back, only its size is known.
    #[test]
    fn a_response_that_held_upstream_back_needs_its_size_at_most() {
        let blocked = Response {
            blocked_count: 1,
            peak: 32_768,
            received: 200_000,
            ..FREE
        };
        let advice = advice(&[(50, FREE), (50, blocked)]);
        let Some(buffers) = advice.suggestions[0] else {
            panic!("{advice:?}");
        };
        let (number, size) = (66, 4096);
        assert_eq!(buffers.remedy, Remedy::Buffers { number, size });
        assert_eq!(buffers.share, 1000);
    }

    #[test]
    fn no_totals_are_too_large() {
        for number in [0, 1, u64::MAX / 3, u64::MAX] {
            of(&crate::extensions::totals::tests::all(number));
        }
    }
}

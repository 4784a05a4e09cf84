//! The totals: the counts of responses that are over, summed up. Each zone has totals of
//! its own (`zones`). (nginx has none.)
//!
//! Dashboards depend on the limits of the histograms.

#![forbid(unsafe_code)]

use core::iter;

use crate::extensions::text::Unit;
use crate::nginx::{End, WORDS};

/// The counts of one response: when the response is over, or until now.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Response {
    /// Bytes received from upstream, framing included.
    pub(crate) received: u64,
    /// Bytes of the body given to the output filter.
    pub(crate) passed: u64,
    /// Bytes written to temporary files because the client was slow, not for a cache or
    /// store.
    pub(crate) spilled: u64,
    /// How many times upstream was held back.
    pub(crate) blocked_count: u64,
    /// For how long upstream was held back, in milliseconds.
    pub(crate) blocked_time: u64,
    /// For how long the client was waited for, in milliseconds.
    pub(crate) client_time: u64,
    /// Reads from upstream.
    pub(crate) reads: u64,
    /// Calls of the output filter.
    pub(crate) writes: u64,
    /// Reads into loans.
    pub(crate) loans: u64,
    /// Bytes received into loans.
    pub(crate) lent: u64,
    /// The most bytes of the worker's memory that were lent at a time.
    pub(crate) memory: u64,
    /// How many times the pipe has waited for its turn.
    pub(crate) cut_turns: u64,
    /// For how long the pipe has waited for its turn, in milliseconds.
    pub(crate) queue_time: u64,
    /// The most bytes that have waited for the client at a time.
    pub(crate) peak: u64,
    /// Raw buffers that were allocated.
    pub(crate) buffers: u64,
    /// Raw buffers that may be allocated.
    pub(crate) buffers_max: u64,
    /// The size of a raw buffer, in bytes.
    pub(crate) buffer_size: u64,
    /// How the response has ended.
    pub(crate) end: End,
}

impl Response {
    /// The response has touched the disk, or has held upstream back.
    fn is_hindered(&self) -> bool {
        self.spilled != 0 || self.blocked_count != 0
    }

    /// With so many bytes of buffers, the response would neither have touched the disk
    /// nor held upstream back: with its peak, which is kept to an eighth only. Of a
    /// response that has held upstream back, the peak is what its buffers had room for,
    /// so its need is only known to be at most the whole response.
    fn need(&self) -> u64 {
        let peak = self.peak.saturating_add(self.peak / 8);

        match self.blocked_count {
            0 => peak,
            _ => peak.max(self.received),
        }
    }
}

/// The sums of the counts of responses. All fields start as zero. A total that exceeds
/// 64 bits starts again from zero.
#[derive(Clone, Default)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) struct Totals {
    pub(crate) responses: u64,
    pub(crate) received: u64,
    pub(crate) passed: u64,
    pub(crate) spilled_responses: u64,
    pub(crate) spilled: u64,
    pub(crate) blocked_responses: u64,
    pub(crate) blocked_count: u64,
    /// In milliseconds.
    pub(crate) blocked_time: u64,
    /// Responses that were spilled, or whose upstream was held back, or both.
    pub(crate) hindered_responses: u64,
    /// In milliseconds.
    pub(crate) client_time: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) loans: u64,
    pub(crate) lent: u64,
    pub(crate) cut_turns: u64,
    /// In milliseconds.
    pub(crate) queue_time: u64,
    /// The memory of the raw buffers that were allocated, in bytes.
    pub(crate) used_memory: u64,
    /// Raw buffers that might be allocated, and their memory in bytes.
    pub(crate) allowed_buffers: u64,
    pub(crate) allowed_memory: u64,
    pub(crate) peak: u64,
    /// How many responses had a peak up to each of [`BYTE_LIMITS`] and above the limit
    /// before; the last number is of those above all limits.
    pub(crate) peaks: [u64; BYTE_LIMITS.len() + 1],
    pub(crate) need: u64,
    /// The same for the needs of responses.
    pub(crate) needs: [u64; BYTE_LIMITS.len() + 1],
    /// The sum of the responses' shares, each in thousandths: buffers that were
    /// allocated, as a part of those that may be.
    pub(crate) share: u64,
    /// How many responses had a share up to each of [`SHARE_LIMITS`] and above the
    /// limit before.
    pub(crate) shares: [u64; SHARE_LIMITS.len()],
    /// For how long the clients of spilled responses were waited for, in milliseconds.
    pub(crate) spill_time: u64,
    /// How many spilled responses have waited for the client for up to each of
    /// [`TIME_LIMITS`] and longer than the limit before; the last number is of those
    /// above all limits.
    pub(crate) spill_times: [u64; TIME_LIMITS.len() + 1],
    /// How many responses had each end, in the order of [`ENDS`].
    pub(crate) ends: [u64; ENDS.len()],
}

/// The limits of peaks and needs, in bytes: 0, 1k, 2k, 4k, ... 1g.
pub(crate) const BYTE_LIMITS: [u64; 22] = [
    0, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576, 2097152,
    4194304, 8388608, 16777216, 33554432, 67108864, 134217728, 268435456, 536870912, 1073741824,
];

/// The limits of shares, in thousandths: none of the buffers, one eighth, two, ... all.
pub(crate) const SHARE_LIMITS: [u64; 9] = [0, 125, 250, 375, 500, 625, 750, 875, 1000];

/// The limits of the time that a client was waited for, in milliseconds.
pub(crate) const TIME_LIMITS: [u64; 9] = [100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000];

/// All ends, each at the index that is its number.
pub(crate) const ENDS: [End; 8] = [
    End::Aborted,
    End::Complete,
    End::UpstreamClosed,
    End::UpstreamError,
    End::UpstreamTimeout,
    End::ClientError,
    End::ClientTimeout,
    End::InternalError,
];

impl Totals {
    /// Adds the counts of a response that is over.
    pub(crate) fn add(&mut self, response: &Response) {
        let (buffers, max) = (response.buffers, response.buffers_max);
        let memory = |buffers: u64| buffers.saturating_mul(response.buffer_size);

        increase(&mut self.responses, 1);
        increase(&mut self.received, response.received);
        increase(&mut self.passed, response.passed);
        increase(&mut self.spilled_responses, (response.spilled != 0).into());
        increase(&mut self.spilled, response.spilled);
        increase(
            &mut self.blocked_responses,
            (response.blocked_count != 0).into(),
        );
        increase(&mut self.blocked_count, response.blocked_count);
        increase(&mut self.blocked_time, response.blocked_time);
        increase(&mut self.hindered_responses, response.is_hindered().into());
        increase(&mut self.client_time, response.client_time);
        increase(&mut self.reads, response.reads);
        increase(&mut self.writes, response.writes);
        increase(&mut self.loans, response.loans);
        increase(&mut self.lent, response.lent);
        increase(&mut self.cut_turns, response.cut_turns);
        increase(&mut self.queue_time, response.queue_time);
        increase(&mut self.used_memory, memory(buffers));
        increase(&mut self.allowed_buffers, max);
        increase(&mut self.allowed_memory, memory(max));
        increase(&mut self.peak, response.peak);
        increase_one(&mut self.peaks, bucket(&BYTE_LIMITS, response.peak));
        increase(&mut self.need, response.need());
        increase_one(&mut self.needs, bucket(&BYTE_LIMITS, response.need()));
        increase(&mut self.share, share(buffers, max));
        increase_one(&mut self.shares, share_bucket(buffers, max));
        increase_one(&mut self.ends, response.end as usize);

        if response.spilled != 0 {
            let time = response.client_time;
            increase(&mut self.spill_time, time);
            increase_one(&mut self.spill_times, bucket(&TIME_LIMITS, time));
        }
    }

    /// Adds the totals of other responses.
    pub(crate) fn merge(&mut self, others: &Totals) {
        let mut others = others.clone();

        for (total, other) in self.words().zip(others.words()) {
            increase(total, *other);
        }
    }

    /// All numbers of the totals, [`WORDS`] of them, in one order.
    pub(crate) fn words(&mut self) -> impl Iterator<Item = &mut u64> {
        let Totals {
            responses,
            received,
            passed,
            spilled_responses,
            spilled,
            blocked_responses,
            blocked_count,
            blocked_time,
            hindered_responses,
            client_time,
            reads,
            writes,
            loans,
            lent,
            cut_turns,
            queue_time,
            used_memory,
            allowed_buffers,
            allowed_memory,
            peak,
            peaks,
            need,
            needs,
            share,
            shares,
            spill_time,
            spill_times,
            ends,
        } = self;

        let sums = [
            responses,
            received,
            passed,
            spilled_responses,
            spilled,
            blocked_responses,
            blocked_count,
            blocked_time,
            hindered_responses,
            client_time,
            reads,
            writes,
            loans,
            lent,
            cut_turns,
            queue_time,
            used_memory,
            allowed_buffers,
            allowed_memory,
            peak,
            need,
            share,
            spill_time,
        ];

        sums.into_iter()
            .chain(peaks)
            .chain(needs)
            .chain(shares)
            .chain(spill_times)
            .chain(ends)
    }

    /// The histogram of the peaks of responses.
    pub(crate) fn peaks(&self) -> Histogram<'_> {
        Histogram {
            unit: Unit::One,
            limits: &BYTE_LIMITS,
            counts: &self.peaks,
            sum: self.peak,
        }
    }

    /// The histogram of the needs of responses.
    pub(crate) fn needs(&self) -> Histogram<'_> {
        Histogram {
            unit: Unit::One,
            limits: &BYTE_LIMITS,
            counts: &self.needs,
            sum: self.need,
        }
    }

    /// The histogram of the buffers that responses have allocated.
    pub(crate) fn shares(&self) -> Histogram<'_> {
        Histogram {
            unit: Unit::Thousandth,
            limits: &SHARE_LIMITS,
            counts: &self.shares,
            sum: self.share,
        }
    }

    /// The histogram of the time that the clients of spilled responses were waited for.
    pub(crate) fn spill_times(&self) -> Histogram<'_> {
        Histogram {
            unit: Unit::Thousandth,
            limits: &TIME_LIMITS,
            counts: &self.spill_times,
            sum: self.spill_time,
        }
    }
}

const _: () = assert!(size_of::<Totals>() == WORDS * size_of::<u64>());

/// Responses in buckets, by something that was measured of each response.
pub(crate) struct Histogram<'t> {
    /// The unit of the limits and of the sum.
    pub(crate) unit: Unit,
    limits: &'static [u64],
    /// How many responses measured up to each limit and above the limit before. If
    /// there is one number more than there are limits, the last is of the responses
    /// above all limits.
    counts: &'t [u64],
    /// The sum of what was measured of all responses.
    pub(crate) sum: u64,
}

impl Histogram<'_> {
    /// The limit of each bucket, and how many responses are in it. The last bucket may
    /// have no limit.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let limits = self.limits.iter().copied().map(Some);

        limits
            .chain(iter::repeat(None))
            .zip(self.counts.iter().copied())
    }

    /// How many responses measured up to `limit`, which is the limit of a bucket.
    pub(crate) fn up_to(&self, limit: u64) -> u64 {
        self.buckets()
            .filter(|(bound, _)| bound.is_some_and(|bound| bound <= limit))
            .map(|(_, count)| count)
            .fold(0, u64::saturating_add)
    }
}

fn increase(total: &mut u64, by: u64) {
    *total = total.wrapping_add(by);
}

fn increase_one(counts: &mut [u64], index: usize) {
    if let Some(count) = counts.get_mut(index) {
        increase(count, 1);
    }
}

/// The index of the bucket of a response that has measured `value`.
fn bucket(limits: &[u64], value: u64) -> usize {
    limits
        .iter()
        .position(|limit| value <= *limit)
        .unwrap_or(limits.len())
}

/// `part` of `whole` in thousandths, rounded down; 0 if `whole` is 0.
pub(crate) fn share(part: u64, whole: u64) -> u64 {
    part.saturating_mul(1000).checked_div(whole).unwrap_or(0)
}

/// The index in `shares` of a response that has allocated `buffers` of `max` raw
/// buffers: the eighths of `max` that `buffers` are, rounded up.
fn share_bucket(buffers: u64, max: u64) -> usize {
    const ALL: u64 = SHARE_LIMITS.len() as u64 - 1;

    buffers
        .saturating_mul(ALL)
        .saturating_add(max.saturating_sub(1))
        .checked_div(max)
        .map_or(0, |eighths| eighths.min(ALL) as usize)
}

/// The name of an end, as in `$event_pipe_end`.
pub(crate) fn name(end: End) -> &'static str {
    match end {
        End::Aborted => "aborted",
        End::Complete => "complete",
        End::UpstreamClosed => "upstream_closed",
        End::UpstreamError => "upstream_error",
        End::UpstreamTimeout => "upstream_timeout",
        End::ClientError => "client_error",
        End::ClientTimeout => "client_timeout",
        End::InternalError => "internal_error",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::array;

    use super::*;

    pub(crate) const RESPONSE: Response = Response {
        received: 5000,
        passed: 4000,
        spilled: 3000,
        blocked_count: 2,
        blocked_time: 1007,
        client_time: 12,
        reads: 40,
        writes: 30,
        loans: 3,
        lent: 900,
        memory: 524_288,
        cut_turns: 4,
        queue_time: 5,
        peak: 2049,
        buffers: 3,
        buffers_max: 8,
        buffer_size: 4096,
        end: End::Complete,
    };

    /// The same number in all fields.
    pub(crate) fn all(number: u64) -> Totals {
        let mut totals = Totals::default();
        totals.words().for_each(|word| *word = number);
        totals
    }

    pub(crate) fn added(responses: &[Response]) -> Totals {
        let mut totals = Totals::default();
        responses.iter().for_each(|response| totals.add(response));
        totals
    }

    #[test]
    fn totals_do_not_wrap_at_4_gib() {
        let bytes: u64 = 3 << 30;
        let totals = added(&array::from_fn::<_, 2, _>(|_| Response {
            received: bytes,
            passed: bytes,
            spilled: bytes,
            lent: bytes,
            peak: bytes,
            ..RESPONSE
        }));

        let sums = [
            totals.received,
            totals.passed,
            totals.spilled,
            totals.lent,
            totals.peak,
        ];
        assert_eq!(sums, [6 << 30; 5]);
    }

    #[test]
    fn every_number_is_among_the_words_once() {
        let mut totals = Totals::default();
        assert_eq!(totals.words().count(), WORDS);
        totals.words().for_each(|word| *word += 1);
        assert_eq!(totals, all(1));
    }

    #[test]
    fn totals_are_merged_number_by_number() {
        let mut totals = added(&[RESPONSE]);
        totals.merge(&added(&[RESPONSE, RESPONSE]));
        assert_eq!(totals, added(&[RESPONSE, RESPONSE, RESPONSE]));
    }

    #[test]
    fn an_end_has_its_place_and_its_name() {
        assert!(ENDS.iter().map(|end| *end as usize).eq(0..ENDS.len()));

        let names = [
            "aborted",
            "complete",
            "upstream_closed",
            "upstream_error",
            "upstream_timeout",
            "client_error",
            "client_timeout",
            "internal_error",
        ];
        assert_eq!(ENDS.map(name), names);
    }

    #[test]
    fn a_response_adds_to_each_total() {
        let once = Totals {
            responses: 1,
            received: 5000,
            passed: 4000,
            spilled_responses: 1,
            spilled: 3000,
            blocked_responses: 1,
            blocked_count: 2,
            blocked_time: 1007,
            hindered_responses: 1,
            client_time: 12,
            reads: 40,
            writes: 30,
            loans: 3,
            lent: 900,
            cut_turns: 4,
            queue_time: 5,
            used_memory: 3 * 4096,
            allowed_buffers: 8,
            allowed_memory: 8 * 4096,
            peak: 2049,
            peaks: array::from_fn(|index| (index == 3).into()),
            need: 5000,
            needs: array::from_fn(|index| (index == 4).into()),
            share: 375,
            shares: array::from_fn(|index| (index == 3).into()),
            spill_time: 12,
            spill_times: array::from_fn(|index| (index == 0).into()),
            ends: [0, 1, 0, 0, 0, 0, 0, 0],
        };
        assert_eq!(added(&[RESPONSE]), once);

        let twice = added(&[RESPONSE, RESPONSE]);
        assert_eq!((twice.responses, twice.received), (2, 10_000));
        assert_eq!(twice.shares.iter().sum::<u64>(), 2);
    }

    #[test]
    fn a_response_without_spill_or_wait_is_none_of_those() {
        let totals = added(&[Response {
            spilled: 0,
            blocked_count: 0,
            ..RESPONSE
        }]);

        assert_eq!((totals.spilled_responses, totals.blocked_responses), (0, 0));
        assert_eq!(totals.hindered_responses, 0);
        assert_eq!(totals.spill_times.iter().sum::<u64>(), 0);
        assert_eq!(totals.need, 2049 + 256);
    }

    #[test]
    fn totals_start_again_from_zero() {
        let mut totals = all(u64::MAX);
        totals.add(&RESPONSE);

        assert_eq!((totals.responses, totals.received), (0, 4999));
        assert_eq!((totals.peaks[3], totals.peaks[4]), (0, u64::MAX));
    }

    #[test]
    fn limits_of_bytes_double() {
        let doubled = (0..21).map(|power| 1024 << power);
        let expected: Vec<u64> = [0].into_iter().chain(doubled).collect();
        assert_eq!(expected, BYTE_LIMITS);
    }

    #[test]
    fn a_peak_is_in_the_bucket_of_the_next_limit() {
        let (k, g) = (1 << 10, 1 << 30);
        let peaks = [0, 1, k, k + 1, 2 * k, 2 * k + 1, g, g + 1, u64::MAX];
        let buckets = peaks.map(|peak| bucket(&BYTE_LIMITS, peak));
        assert_eq!(buckets, [0, 1, 1, 2, 2, 3, 21, 22, 22]);
    }

    #[test]
    fn what_is_up_to_a_limit_is_all_below() {
        let totals = added(&[
            RESPONSE,
            Response {
                peak: 1 << 31,
                ..RESPONSE
            },
        ]);
        let counts = [2048, 4096, 1 << 30].map(|limit| totals.peaks().up_to(limit));
        assert_eq!(counts, [0, 1, 1]);
    }

    #[test]
    fn a_share_is_in_the_bucket_of_the_next_eighth() {
        let buckets = |max| [0, 1, 4, 7, 8, 9].map(|buffers| share_bucket(buffers, max));

        assert_eq!(buckets(0), [0, 0, 0, 0, 0, 0]);
        assert_eq!(buckets(1), [0, 8, 8, 8, 8, 8]);
        assert_eq!(buckets(8), [0, 1, 4, 7, 8, 8]);
        assert_eq!(buckets(9), [0, 1, 4, 7, 8, 8]);
        assert_eq!(buckets(100), [0, 1, 1, 1, 1, 1]);
        assert_eq!(share_bucket(13, 100), 2);
    }

    #[test]
    fn a_share_is_rounded_down_to_thousandths() {
        let shares = [(0, 8), (1, 8), (2, 3), (8, 8), (9, 8), (5, 0)];
        let thousandths = shares.map(|(buffers, max)| share(buffers, max));
        assert_eq!(thousandths, [0, 125, 666, 1000, 1125, 0]);
    }
}

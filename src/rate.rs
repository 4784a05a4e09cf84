//! The arithmetic of `proxy_limit_rate`.
//!
//! A response may have received `rate` bytes for each second that has begun since the
//! response started. Differs from nginx, which computes in types of several widths:
//! here all numbers have 64 bits and saturate, so that an absurd rate or a clock that
//! was set back gives a large number instead of an overflow.

#![forbid(unsafe_code)]

use core::num::NonZeroU64;

use crate::nginx::{ngx_msec_t, off_t};

/// How many bytes may be received now; zero or negative if the response is ahead of its
/// rate.
pub(crate) fn allowance(rate: NonZeroU64, seconds: i64, received: off_t) -> off_t {
    let rate = i64::try_from(rate.get()).unwrap_or(i64::MAX);

    rate.saturating_mul(seconds.saturating_add(1))
        .saturating_sub(received)
}

/// How long to wait until a response is `debt` bytes less ahead of its rate, in
/// milliseconds.
pub(crate) fn delay_for_debt(rate: NonZeroU64, debt: u64) -> ngx_msec_t {
    milliseconds((debt.saturating_mul(1000) / rate).saturating_add(1))
}

/// How long `received` bytes take at this rate, in milliseconds.
pub(crate) fn delay_for(rate: NonZeroU64, received: u64) -> ngx_msec_t {
    milliseconds(received.saturating_mul(1000) / rate)
}

fn milliseconds(value: u64) -> ngx_msec_t {
    ngx_msec_t::try_from(value).unwrap_or(ngx_msec_t::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(bytes: u64) -> NonZeroU64 {
        NonZeroU64::new(bytes).unwrap()
    }

    #[test]
    fn allows_a_rate_for_each_second_begun() {
        assert_eq!(allowance(rate(1000), 0, 0), 1000);
        assert_eq!(allowance(rate(1000), 3, 2500), 1500);
        assert_eq!(allowance(rate(1000), 0, 1000), 0);
        assert_eq!(allowance(rate(1000), 0, 1400), -400);
    }

    #[test]
    fn waits_until_a_debt_is_paid() {
        assert_eq!(delay_for_debt(rate(1000), 0), 1);
        assert_eq!(delay_for_debt(rate(1000), 400), 401);
        assert_eq!(delay_for_debt(rate(3), 1), 334);
    }

    #[test]
    fn waits_as_long_as_the_bytes_take() {
        assert_eq!(delay_for(rate(1000), 250), 250);
        assert_eq!(delay_for(rate(1_000_000), 999), 0);
        assert_eq!(delay_for(rate(1), 0), 0);
    }

    #[test]
    fn absurd_rates_and_clocks_saturate() {
        assert_eq!(allowance(rate(u64::MAX), 10, 0), i64::MAX);
        assert_eq!(allowance(rate(u64::MAX), -10, i64::MAX), i64::MIN);
        assert_eq!(delay_for_debt(rate(1), u64::MAX), ngx_msec_t::MAX);
        assert_eq!(delay_for(rate(1), u64::MAX), ngx_msec_t::MAX);
    }
}

//! What is made of the rounds of a cell.

/// Where the rounds lie: machines are never quiet, and a median alone does not
/// tell how far it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Spread {
    /// Of these values, of which there must be one at least.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        };
        Self {
            median,
            lowest: sorted[0],
            highest: sorted[sorted.len() - 1],
        }
    }

    /// Of `values` relative to `base`, round by round: what disturbs the machine
    /// for longer than a round disturbs both.
    pub(crate) fn of_ratios(values: &[f64], base: &[f64]) -> Self {
        let pairs = values.iter().zip(base);
        let ratios: Vec<f64> = pairs.map(|(value, base)| value / base).collect();
        Self::of(&ratios)
    }
}

/// What so large a share of these values, of which there must be one at least,
/// does not exceed.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted[place.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_middle() {
        let odd = Spread::of(&[3.0, 1.0, 9.0]);
        assert_eq!((odd.median, odd.lowest, odd.highest), (3.0, 1.0, 9.0));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 9.0]).median, 3.0);
    }

    #[test]
    fn finds_quantiles() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), 100.0);
        assert_eq!(quantile(&values, 0.99), 198.0);
        assert_eq!(quantile(&[7.0], 0.5), 7.0);
    }

    #[test]
    fn compares_round_by_round() {
        let ratios = Spread::of_ratios(&[1.0, 20.0, 3.0], &[2.0, 40.0, 3.0]);
        assert_eq!((ratios.median, ratios.highest), (0.5, 1.0));
    }
}

//! Medians, quartiles and geometric means of a few numbers.

/// The value below which a share `at` of the numbers lies, between neighbours by straight line. `None` of nothing.
pub fn quantile(numbers: &[f64], at: f64) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = at * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    Some(below + (above - below) * place.fract())
}

/// The number in the middle, and half of the middle half's width as a share of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// The first quartile.
    pub low: f64,
    /// The third quartile.
    pub high: f64,
}

impl Summary {
    /// Of these numbers; `None` of nothing.
    pub fn of(numbers: &[f64]) -> Option<Summary> {
        Some(Summary {
            median: quantile(numbers, 0.5)?,
            low: quantile(numbers, 0.25)?,
            high: quantile(numbers, 0.75)?,
        })
    }

    /// Half of the distance between the quartiles, in percent of the median.
    pub fn spread(&self) -> f64 {
        (self.high - self.low) / 2.0 / self.median * 100.0
    }
}

/// The geometric mean of positive numbers; `None` of nothing.
pub fn geometric_mean(numbers: &[f64]) -> Option<f64> {
    let sum: f64 = numbers.iter().map(|n| n.ln()).sum();
    (!numbers.is_empty()).then(|| (sum / numbers.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[7.0], 0.9), Some(7.0));
        assert_eq!(quantile(&[4.0, 1.0, 3.0, 2.0], 0.5), Some(2.5));
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.25), Some(2.0));
    }

    #[test]
    fn a_summary_ignores_one_wild_number() {
        let calm = Summary::of(&[10.0, 11.0, 9.0, 10.0, 10.0]).unwrap();
        let wild = Summary::of(&[10.0, 11.0, 9.0, 10.0, 99.0]).unwrap();
        assert_eq!(calm.median, wild.median);
        assert_eq!(calm.spread(), 0.0);
        assert_eq!(wild.spread(), 5.0);
    }

    #[test]
    fn a_half_and_a_double_cancel() {
        assert_eq!(geometric_mean(&[]), None);
        assert!((geometric_mean(&[0.5, 2.0]).unwrap() - 1.0).abs() < 1e-12);
    }
}

//! Smooths curves and draws them in one line of text.

/// An exponentially weighted mean, corrected for its start as Adam's moments are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Smooth {
    weight: f64,
    sum: f64,
    power: f64,
}

impl Smooth {
    /// `weight` of the past at each new value.
    pub(crate) fn new(weight: f64) -> Self {
        Smooth { weight, sum: 0.0, power: 1.0 }
    }

    /// The mean with `value` in it.
    pub(crate) fn add(&mut self, value: f64) -> f64 {
        self.sum = self.weight * self.sum + (1.0 - self.weight) * value;
        self.power *= self.weight;
        self.value()
    }

    /// NaN before the first value.
    pub(crate) fn value(&self) -> f64 {
        self.sum / (1.0 - self.power)
    }
}

/// Each value with the mean up to it.
pub(crate) fn smoothed(values: impl IntoIterator<Item = f64>, weight: f64) -> Vec<f64> {
    let mut smooth = Smooth::new(weight);
    values.into_iter().map(|value| smooth.add(value)).collect()
}

/// Each value as the mean of its neighbours, without the lag of a mean of the past.
pub(crate) fn centred(values: &[f64]) -> Vec<f64> {
    let most = (values.len() / 40).clamp(1, 25);
    let mean = |i: usize| {
        let reach = most.min(i).min(values.len() - 1 - i); // as far to both sides
        let around = &values[i - reach..=i + reach];
        around.iter().sum::<f64>() / around.len() as f64
    };
    (0..values.len()).map(mean).collect()
}

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The values as a row of at most `width` bars, the lowest value the lowest bar. Many values share a bar: their mean.
pub(crate) fn sparkline(values: &[f64], width: usize) -> String {
    let values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let bars = width.min(values.len());
    let mean = |i: usize| {
        let part = &values[i * values.len() / bars..(i + 1) * values.len() / bars];
        part.iter().sum::<f64>() / part.len() as f64
    };
    let means: Vec<f64> = (0..bars).map(mean).collect();
    let (low, high) = means
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)));
    let height = |&mean: &f64| {
        ((mean - low) / (high - low).max(1e-12) * (BARS.len() - 1) as f64).round() as usize
    };
    means.iter().map(|mean| BARS[height(mean)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smoothed_curve_begins_with_its_first_value_and_follows() {
        assert!(smoothed([3.0, 3.0, 3.0], 0.9).iter().all(|value| (value - 3.0).abs() < 1e-12));
        // By hand: (0.5 * 0.5 * 4 + 0.5 * 2) / (1 - 0.25) = 8/3
        let curve = smoothed([4.0, 2.0], 0.5);
        assert!(
            (curve[0] - 4.0).abs() < 1e-12 && (curve[1] - 8.0 / 3.0).abs() < 1e-12,
            "{curve:?}"
        );
    }

    #[test]
    fn a_centred_curve_has_no_lag() {
        let line: Vec<f64> = (0..200).map(f64::from).collect();
        assert!(centred(&line).iter().zip(&line).all(|(a, b)| (a - b).abs() < 1e-9));
        assert_eq!(centred(&[1.0, 4.0, 1.0]), [1.0, 2.0, 1.0]);
        assert!(centred(&[]).is_empty());
    }

    #[test]
    fn a_sparkline_has_no_more_bars_than_room_or_values() {
        assert_eq!(sparkline(&[0.0, 7.0], 10), "▁█");
        assert_eq!(sparkline(&[0.0, 0.0, 7.0, 7.0, f64::NAN], 2), "▁█");
        assert_eq!(sparkline(&[1.0; 5], 3), "▁▁▁");
        assert_eq!(sparkline(&[], 3), "");
        assert_eq!(sparkline(&[1.0], 0), "");
    }
}

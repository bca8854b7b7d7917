//! A figure over stories with its interval.
use rayon::prelude::*;
use serde::Serialize;
use stage::Random;

/// A value and the middle 95 % of what other stories of the same kind would have given.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Over all stories.
    pub value: f64,
    /// 2.5 % of resamples are below.
    pub low: f64,
    /// 2.5 % of resamples are above.
    pub high: f64,
}

const RESAMPLES: u64 = 1000;

impl Figure {
    /// The sum of the first numbers over the sum of the second, one pair a story; the interval by the bootstrap over stories
    /// (Efron 1979). None where the second are all 0.
    pub fn ratio(stories: &[(f64, f64)]) -> Option<Figure> {
        let over = |stories: &mut dyn Iterator<Item = &(f64, f64)>| {
            let (part, whole) = stories.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            part / whole
        };
        let value = over(&mut stories.iter());
        if !value.is_finite() {
            return None;
        }
        let resample = |index| {
            let mut random = Random::new(1, "figure", index);
            let mut draw = || stories.get(random.below(stories.len() as u64) as usize);
            over(&mut (0..stories.len()).filter_map(|_| draw()))
        };
        let mut values: Vec<f64> = (0..RESAMPLES).into_par_iter().map(resample).collect();
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = values.len().saturating_sub(1) as f64;
            values.get((share * last).round() as usize).copied().unwrap_or(value)
        };
        Some(Figure { value, low: at(0.025), high: at(0.975) })
    }

    /// A share of yes.
    pub fn share(answers: impl IntoIterator<Item = bool>) -> Option<Figure> {
        let parts: Vec<(f64, f64)> =
            answers.into_iter().map(|yes| (f64::from(u8::from(yes)), 1.0)).collect();
        Figure::ratio(&parts)
    }

    /// A figure that is no sum over stories; the interval by leaving out one group of them at a time (the jackknife, Tukey
    /// 1958). `of` gets the stories that are in.
    pub fn without_groups(stories: usize, of: impl Fn(&[usize]) -> f64) -> Option<Figure> {
        let all: Vec<usize> = (0..stories).collect();
        let value = of(&all);
        if !value.is_finite() {
            return None;
        }
        let groups = stories.min(GROUPS);
        if groups < 2 {
            return Some(Figure { value, low: value, high: value });
        }
        let without = |group| {
            let kept: Vec<usize> = all.iter().copied().filter(|i| i % groups != group).collect();
            of(&kept)
        };
        let values: Vec<f64> = (0..groups).map(without).collect();
        let mean = values.iter().sum::<f64>() / groups as f64;
        let spread = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let half = 1.96 * (spread * (groups - 1) as f64 / groups as f64).sqrt();
        Some(Figure { value, low: value - half, high: value + half })
    }
}

const GROUPS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_as_wide_as_theory_says() {
        let mut random = Random::new(5, "test", 0);
        let yes: Vec<bool> = (0..1000).map(|_| random.below(4) == 0).collect();
        let share = yes.iter().filter(|yes| **yes).count() as f64 / 1000.0;
        let figure = Figure::share(yes).unwrap();
        let half = 1.96 * (share * (1.0 - share) / 1000.0).sqrt();
        assert_eq!(figure.value, share);
        assert!((figure.high - figure.low - 2.0 * half).abs() < 0.3 * half, "{figure:?} {half}");
        // A mean by the jackknife: the same as the standard error of the mean.
        let values: Vec<f64> = (0..1000).map(|_| random.normal_pair().0).collect();
        let mean =
            |kept: &[usize]| kept.iter().map(|&i| values[i]).sum::<f64>() / kept.len() as f64;
        let figure = Figure::without_groups(1000, mean).unwrap();
        let half = 1.96 / 1000f64.sqrt();
        assert!((figure.high - figure.value - half).abs() < 0.5 * half, "{figure:?} {half}");
        assert_eq!(Figure::ratio(&[]), None);
        assert_eq!(Figure::ratio(&[(1.0, 0.0)]), None);
        let one = Figure::share([true]).unwrap();
        assert_eq!((one.value, one.low, one.high), (1.0, 1.0, 1.0));
        assert_eq!(Figure::without_groups(0, |_| f64::NAN), None);
    }
}

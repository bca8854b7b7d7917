//! Batches: windows of a bin, any of which can be had directly.
use stage::config::Train;
use stage::recipe::{Align, Sampling};
use stage::{Action, Failure, Random, Result};

use crate::bin::Bin;
use crate::permutation::Permutation;

/// Windows of `context + 1` tokens: a pure function of (seed, step, micro-batch).
///
/// The windows of a step are one stream, dealt out to its micro-batches in order, so that 2 x 16 sequences are the
/// same data as 1 x 32.
pub struct BatchSampler<'a> {
    bin: &'a Bin,
    seed: u64,
    batch: usize,
    accumulate: u64,
    window: usize,
    sampling: Sampling,
    align: Align,
}

impl<'a> BatchSampler<'a> {
    /// # Errors
    /// Exit code 3 when the bin holds fewer tokens than one window.
    pub fn new(bin: &'a Bin, train: &Train, context: usize) -> Result<Self> {
        let window = context + 1;
        if bin.len() < window as u64 {
            return Err(Failure::input(
                bin.path(),
                format_args!("{} tokens", bin.len()),
                format_args!(
                    "at least {window}: a sequence of model.context = {context} and its next token"
                ),
                format_args!(
                    "take more stories, or set a smaller context with {}",
                    Action::Set("model.context", "N")
                ),
            ));
        }
        Ok(BatchSampler {
            bin,
            seed: train.seed,
            batch: train.batch as usize,
            accumulate: u64::from(train.accumulate),
            window,
            sampling: train.sampling,
            align: train.align,
        })
    }

    /// Windows of an epoch: each token is a target once, but for those at the end that make no whole window.
    pub fn windows_of_an_epoch(bin: &Bin, context: usize) -> u64 {
        bin.len().saturating_sub(1) / context as u64
    }

    /// Fills `tokens` with `[batch, context + 1]` ids, row-major. `redrawn` are steps whose windows were taken out, once for
    /// each time.
    ///
    /// # Errors
    /// Those of [`Bin::copy`].
    pub fn batch(
        &self,
        step: u64,
        micro: u64,
        redrawn: &[u64],
        tokens: &mut Vec<u32>,
    ) -> Result<()> {
        tokens.clear();
        tokens.resize(self.batch * self.window, 0);
        let starts = match self.sampling {
            Sampling::Random => {
                // From further on in the step's stream.
                let times = redrawn.iter().filter(|&&other| other == step).count() as u64;
                self.random_starts(step, micro + times * self.accumulate)
            }
            Sampling::Epochs => {
                // Those of the next step, as those of all steps after it: no window comes twice.
                let taken_out = redrawn.iter().filter(|&&other| other <= step).count() as u64;
                self.epoch_starts((step + taken_out) * self.accumulate + micro)
            }
        };
        for (row, start) in tokens.chunks_exact_mut(self.window).zip(starts) {
            self.bin.copy(self.aligned(start, row)?, row)?;
        }
        Ok(())
    }

    /// Anywhere, each with the same chance.
    fn random_starts(&self, step: u64, micro: u64) -> Vec<u64> {
        let starts = self.bin.len() - self.window as u64 + 1;
        let mut random = Random::new(self.seed, "batch", step);
        for _ in 0..micro * self.batch as u64 {
            random.below(starts); // belongs to the micro-batches before this one
        }
        (0..self.batch).map(|_| random.below(starts)).collect()
    }

    /// Those of the micro-batch with this number since the first step.
    fn epoch_starts(&self, micro_batch: u64) -> Vec<u64> {
        let context = self.window - 1;
        let count = Self::windows_of_an_epoch(self.bin, context);
        let first = micro_batch * self.batch as u64;
        let mut epoch: Option<(u64, Permutation, u64)> = None;
        let mut start = |number: u64| {
            let (index, place) = (number / count, number % count);
            let (_, order, shift) = match epoch.take() {
                Some(same) if same.0 == index => epoch.insert(same),
                _ => epoch.insert(self.epoch(index, count)),
            };
            *shift + order.at(place) * context as u64
        };
        (first..first + self.batch as u64).map(&mut start).collect()
    }

    /// The order of an epoch's windows, and where the first of them begins: not always at the same tokens, where there are
    /// tokens left over.
    fn epoch(&self, index: u64, count: u64) -> (u64, Permutation, u64) {
        let left_over = self.bin.len() - 1 - count * (self.window as u64 - 1);
        let shift = Random::new(self.seed, "epoch shift", index).below(left_over + 1);
        (index, Permutation::new(count, self.seed, "epoch", index), shift)
    }

    /// `start`, or the first beginning of a story after it, if one is less than a context away. `tokens` is scratch.
    fn aligned(&self, start: u64, tokens: &mut [u32]) -> Result<u64> {
        if self.align == Align::None || start == 0 {
            return Ok(start);
        }
        // A story begins after the end of another: the token before `start` may be one.
        self.bin.copy(start - 1, tokens)?;
        let last = self.bin.len() - self.window as u64;
        let ends = tokens.iter().take(self.window - 1).position(|&id| id == self.bin.eos());
        Ok(ends.map(|at| start + at as u64).filter(|&begin| begin <= last).unwrap_or(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bin::tests::write_bin;

    /// A bin of these ids, of which 0 ends a story.
    fn with_bin<T>(ids: &[u32], f: impl FnOnce(&Bin) -> T) -> T {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_bin(&path, ids, 1000);
        f(&Bin::open(&path).unwrap())
    }

    fn section(seed: u64, batch: u32, accumulate: u32, sampling: Sampling) -> Train {
        Train { seed, batch, accumulate, sampling, ..Train::default() }
    }

    fn batch(sampler: &BatchSampler, step: u64, micro: u64, redrawn: &[u64]) -> Vec<u32> {
        let mut tokens = vec![7; 3]; // what was in it does not matter
        sampler.batch(step, micro, redrawn, &mut tokens).unwrap();
        tokens
    }

    #[test]
    fn batches_are_windows_and_a_pure_function_of_seed_step_and_micro_batch() {
        let ids: Vec<u32> = (0..1000).collect();
        for sampling in [Sampling::Random, Sampling::Epochs] {
            with_bin(&ids, |bin| {
                let draw = |seed, rows, accumulate, step, micro| {
                    let train = section(seed, rows, accumulate, sampling);
                    batch(&BatchSampler::new(bin, &train, 8).unwrap(), step, micro, &[])
                };
                let first = draw(1, 4, 1, 5, 0);
                assert_eq!(first.len(), 4 * 9);
                assert!(
                    first.chunks(9).all(|row| row.windows(2).all(|pair| pair[1] == pair[0] + 1))
                );
                assert_eq!(first, draw(1, 4, 1, 5, 0));
                for other in [draw(2, 4, 1, 5, 0), draw(1, 4, 1, 6, 0), draw(1, 4, 2, 5, 1)] {
                    assert_ne!(first, other);
                }
                assert_eq!([draw(1, 2, 2, 5, 0), draw(1, 2, 2, 5, 1)].concat(), first);
            });
        }
    }

    #[test]
    fn every_window_can_come_and_one_too_long_is_refused() {
        with_bin(&(0..10).collect::<Vec<_>>(), |bin| {
            let random = section(1, 200, 1, Sampling::Random);
            let tokens = batch(&BatchSampler::new(bin, &random, 7).unwrap(), 0, 0, &[]);
            let mut starts: Vec<u32> = tokens.chunks(8).map(|row| row[0]).collect();
            starts.sort_unstable();
            starts.dedup();
            assert_eq!(starts, [0, 1, 2]);
            for sampling in [Sampling::Random, Sampling::Epochs] {
                let train = section(1, 1, 1, sampling);
                assert_eq!(batch(&BatchSampler::new(bin, &train, 9).unwrap(), 3, 0, &[])[0], 0);
                let error = BatchSampler::new(bin, &train, 10).map(drop).unwrap_err();
                assert_eq!(error.exit_code(), 3);
                assert!(
                    error.to_string().contains("10 tokens")
                        && error.to_string().contains("at least 11"),
                    "{error}"
                );
            }
        });
    }

    /// Batches that end in the middle of an epoch, batches longer than one, one window, nothing left over and all but one token.
    #[test]
    fn every_window_comes_once_an_epoch_at_awkward_sizes() {
        for (len, context, rows, accumulate) in
            [(101, 10, 3, 1), (110, 10, 4, 3), (57, 8, 16, 2), (9, 8, 2, 1), (33, 1, 5, 1)]
        {
            with_bin(&(0..len).collect::<Vec<_>>(), |bin| {
                let count = BatchSampler::windows_of_an_epoch(bin, context) as usize;
                assert_eq!(count, (len as usize - 1) / context);
                let train = section(3, rows, accumulate, Sampling::Epochs);
                let sampler = BatchSampler::new(bin, &train, context).unwrap();
                let micro_batches = (0..40)
                    .flat_map(|step| (0..u64::from(accumulate)).map(move |micro| (step, micro)));
                let starts: Vec<u32> = micro_batches
                    .flat_map(|(step, micro)| batch(&sampler, step, micro, &[]))
                    .step_by(context + 1)
                    .collect();
                let mut orders = Vec::new();
                for epoch in starts.chunks_exact(count) {
                    let mut sorted = epoch.to_vec();
                    sorted.sort_unstable();
                    let shift = sorted[0];
                    assert!(u64::from(shift) <= (len as u64 - 1) % context as u64);
                    let expected = (0..count as u32).map(|i| shift + i * context as u32);
                    assert!(sorted.into_iter().eq(expected), "{len}, {context}: {epoch:?}");
                    orders.push(epoch.to_vec());
                }
                assert!(orders.len() > 1);
                assert!(count < 4 || orders[0] != orders[1], "{len}, {context}");
            });
        }
    }

    /// A batch that was taken out stays out, and what follows comes once.
    #[test]
    fn what_was_taken_out_comes_no_more() {
        with_bin(&(0..81).collect::<Vec<_>>(), |bin| {
            let sampler = BatchSampler::new(bin, &section(1, 2, 1, Sampling::Epochs), 4).unwrap();
            let whole: Vec<_> = (0..12).map(|step| batch(&sampler, step, 0, &[])).collect();
            let without: Vec<_> = (0..9).map(|step| batch(&sampler, step, 0, &[3, 7, 7])).collect();
            assert_eq!(without[..3], whole[..3]);
            assert_eq!(without[3..7], whole[4..8]);
            assert_eq!(without[7..], whole[10..]);
            let random = BatchSampler::new(bin, &section(1, 2, 1, Sampling::Random), 4).unwrap();
            assert_ne!(batch(&random, 3, 0, &[3]), batch(&random, 3, 0, &[]));
            assert_eq!(batch(&random, 4, 0, &[3]), batch(&random, 4, 0, &[]));
        });
    }

    #[test]
    fn aligned_windows_begin_with_stories_where_one_is_near() {
        // Stories of 1 to 9 tokens and their ends; one of 40, longer than four windows; one that the last window reaches.
        let mut ids = Vec::new();
        let mut begins = vec![0];
        for len in (1..=9).cycle().take(60).chain([40, 3, 5, 12]) {
            ids.extend((0..len).map(|i| i + 1));
            ids.push(0);
            begins.push(ids.len() as u64);
        }
        let (context, last) = (10, ids.len() as u64 - 11);
        with_bin(&ids, |bin| {
            for sampling in [Sampling::Random, Sampling::Epochs] {
                let plain = section(1, 50, 1, sampling);
                let near = Train { align: Align::Stories, ..plain.clone() };
                let starts = |train: &Train, step| {
                    let sampler = BatchSampler::new(bin, train, context).unwrap();
                    let starts = match sampling {
                        Sampling::Random => sampler.random_starts(step, 0),
                        Sampling::Epochs => sampler.epoch_starts(step),
                    };
                    let aligned = |&start: &u64| sampler.aligned(start, &mut [0; 11]).unwrap();
                    let rows: Vec<u64> = starts.iter().map(aligned).collect();
                    // A batch has what lies there.
                    for (row, start) in batch(&sampler, step, 0, &[]).chunks(11).zip(&rows) {
                        assert_eq!(row, &ids[*start as usize..][..11]);
                    }
                    rows
                };
                let mut moved = 0;
                for step in 0..20 {
                    for (from, to) in starts(&plain, step).into_iter().zip(starts(&near, step)) {
                        let next = begins.iter().copied().find(|&begin| begin >= from);
                        let expected = next.filter(|&begin| begin < from + 10 && begin <= last);
                        assert_eq!(to, expected.unwrap_or(from), "{sampling:?} from {from}");
                        moved += u64::from(to != from);
                    }
                }
                assert!(moved > 500, "{moved}");
            }
        });
    }
}

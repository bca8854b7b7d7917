//! Batches: random windows of a bin, any of which can be had directly.
use stage::{Action, Failure, Random, Result};

use crate::bin::Bin;

/// Random windows of `context + 1` tokens: a pure function of (seed, step, micro-batch).
///
/// The windows of a step are one stream, dealt out to its micro-batches in order, so that 2 x 16 sequences are the
/// same data as 1 x 32.
pub struct BatchSampler<'a> {
    bin: &'a Bin,
    seed: u64,
    batch: usize,
    window: usize,
}

impl<'a> BatchSampler<'a> {
    /// # Errors
    /// Exit code 3 when the bin holds fewer tokens than one window.
    pub fn new(bin: &'a Bin, seed: u64, batch: usize, context: usize) -> Result<Self> {
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
        Ok(BatchSampler { bin, seed, batch, window })
    }

    /// Fills `tokens` with `[batch, context + 1]` ids, row-major.
    ///
    /// # Errors
    /// Those of [`Bin::copy`].
    pub fn batch(&self, step: u64, micro: u64, tokens: &mut Vec<u32>) -> Result<()> {
        tokens.clear();
        tokens.resize(self.batch * self.window, 0);
        let starts = self.bin.len() - self.window as u64 + 1;
        let mut random = Random::new(self.seed, "batch", step);
        for _ in 0..micro * self.batch as u64 {
            random.below(starts); // belongs to the micro-batches before this one
        }
        for row in tokens.chunks_exact_mut(self.window) {
            self.bin.copy(random.below(starts), row)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bin::tests::write_bin;

    #[test]
    fn batches_are_windows_and_a_pure_function_of_seed_step_and_micro_batch() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_bin(&path, &(0..1000).collect::<Vec<_>>(), 1000);
        let bin = Bin::open(&path).unwrap();
        let draw = |seed, batch, step, micro| {
            let mut tokens = vec![7; 3]; // what was in it does not matter
            BatchSampler::new(&bin, seed, batch, 8)
                .unwrap()
                .batch(step, micro, &mut tokens)
                .unwrap();
            tokens
        };
        let first = draw(1, 4, 5, 0);
        assert_eq!(first.len(), 4 * 9);
        assert!(first.chunks(9).all(|row| row.windows(2).all(|pair| pair[1] == pair[0] + 1)));
        assert_eq!(first, draw(1, 4, 5, 0));
        for other in [draw(2, 4, 5, 0), draw(1, 4, 6, 0), draw(1, 4, 5, 1)] {
            assert_ne!(first, other);
        }
        assert_eq!([draw(1, 2, 5, 0), draw(1, 2, 5, 1)].concat(), first);
    }

    #[test]
    fn every_window_can_come_and_one_too_long_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_bin(&path, &(0..10).collect::<Vec<_>>(), 1000);
        let bin = Bin::open(&path).unwrap();
        let mut tokens = Vec::new();
        BatchSampler::new(&bin, 1, 200, 7).unwrap().batch(0, 0, &mut tokens).unwrap();
        let mut starts: Vec<u32> = tokens.chunks(8).map(|row| row[0]).collect();
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(starts, [0, 1, 2]);
        assert!(BatchSampler::new(&bin, 1, 1, 9).is_ok());
        let error = BatchSampler::new(&bin, 1, 1, 10).map(drop).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(
            error.to_string().contains("10 tokens") && error.to_string().contains("at least 11"),
            "{error}"
        );
    }
}

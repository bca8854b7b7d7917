//! The loss of a model on packed tokens, every token counted once.
use compute::{Model, NO_TARGET};
use corpus::bin::Bin;
use stage::{Failure, Result};

use crate::engine::failed;

/// Sums over the tokens that were scored.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Sum of the losses, nats.
    pub nats: f64,
    pub tokens: u64,
}

impl Score {
    /// Mean loss, nats per token.
    pub fn loss(&self) -> f64 {
        self.nats / self.tokens as f64
    }

    pub fn perplexity(&self) -> f64 {
        self.loss().exp()
    }

    /// Comparable across tokenizers: the loss of all `tokens` of the text over its `bytes`, in bits.
    pub fn bits_per_byte(&self, tokens: u64, bytes: u64) -> f64 {
        self.loss() * tokens as f64 / bytes as f64 / std::f64::consts::LN_2
    }
}

/// Refuses ids that the model has no row for: a damaged bin, met before its content is hashed to the end.
pub(crate) fn check_ids(bin: &Bin, ids: &[u32], vocab_size: usize) -> Result<()> {
    match ids.iter().find(|&&id| id as usize >= vocab_size) {
        None => Ok(()),
        Some(id) => Err(Failure::input(
            bin.path(),
            format_args!("it holds the id {id}"),
            format_args!("ids below {vocab_size}, the vocabulary"),
            "run `make pack` again with FORCE=1, or copy the file again",
        )),
    }
}

/// Scores the first `windows` windows of the bin (0: all of it). A window has the `sequence` tokens that the model was
/// built for and advances by `stride`; tokens that an earlier window scored are context only. The first token of the bin
/// follows nothing and is not scored. `advance` hears of each batch's tokens.
pub fn score(model: &mut Model, bin: &Bin, stride: usize, windows: u64, mut advance: impl FnMut(u64) -> Result<()>) -> Result<Score> {
    let sequence = model.sequence() as u64;
    let stride = (stride as u64).min(sequence);
    if bin.len() < sequence + 1 {
        return Err(Failure::input(
            bin.path(),
            format_args!("{} tokens", bin.len()),
            format_args!("at least {} for one window", sequence + 1),
            "take more stories, or a smaller model.context",
        ));
    }
    let last = bin.len() - 1 - sequence;
    let mut starts: Vec<u64> = (0..=last).step_by(stride as usize).collect();
    if starts.last() != Some(&last) {
        starts.push(last); // ends with the bin; most of it is context only
    }
    if windows > 0 {
        starts.truncate(windows as usize);
    }
    let mut score = Score::default();
    let mut scored = 1; // tokens before this one are scored
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    let mut window = vec![0; sequence as usize + 1];
    for starts in starts.chunks(model.sequences_at_once()) {
        inputs.clear();
        targets.clear();
        let before = scored;
        for &start in starts {
            bin.copy(start, &mut window);
            check_ids(bin, &window, model.config.vocab_size)?;
            inputs.extend_from_slice(&window[..window.len() - 1]);
            let target = |(i, &token): (usize, &u32)| if start + (i as u64) < scored { NO_TARGET } else { token };
            targets.extend(window.iter().enumerate().skip(1).map(target));
            scored = start + sequence + 1;
        }
        score.nats += model.losses(&inputs, &targets).map_err(failed)?.iter().map(|&loss| f64::from(loss)).sum::<f64>();
        score.tokens += scored - before;
        advance(scored - before)?;
    }
    Ok(score)
}

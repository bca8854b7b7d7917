//! The loss of a model on tokens, every token counted once.
use std::path::Path;

use compute::{Model, NO_TARGET};
use corpus::bin::Bin;
use stage::{Action, Failure, Result};

use crate::engine::failed;

/// Sums over the evaluated tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSum {
    /// Sum of the losses, nats.
    pub nats: f64,
    /// Evaluated tokens.
    pub tokens: u64,
}

impl LossSum {
    /// Mean loss, nats per token.
    pub fn loss(&self) -> f64 {
        self.nats / self.tokens as f64
    }

    /// exp of the mean loss.
    pub fn perplexity(&self) -> f64 {
        self.loss().exp()
    }

    /// Comparable across tokenizers: the loss of all `tokens` of the text over its `bytes`, in bits.
    pub fn bits_per_byte(&self, tokens: u64, bytes: u64) -> f64 {
        self.loss() * tokens as f64 / bytes as f64 / std::f64::consts::LN_2
    }
}

/// Tokens to evaluate.
pub trait Ids {
    /// Ids in all.
    fn len(&self) -> u64;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Copies `out.len()` ids from `start` on.
    fn copy(&self, start: u64, out: &mut [u32]) -> Result<()>;
    /// The file they come from, for errors.
    fn path(&self) -> &Path;
}

impl Ids for Bin {
    fn len(&self) -> u64 {
        Bin::len(self)
    }

    fn copy(&self, start: u64, out: &mut [u32]) -> Result<()> {
        Bin::copy(self, start, out)
    }

    fn path(&self) -> &Path {
        Bin::path(self)
    }
}

/// An evaluated token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLoss {
    /// Its id.
    pub token: u32,
    /// Tokens of its window that the model saw before it.
    pub seen: usize,
    /// Nats.
    pub loss: f32,
}

/// Refuses ids outside the vocabulary: a damaged bin may be read before its hash is checked.
pub fn check_ids(path: &Path, ids: &[u32], vocab_size: usize) -> Result<()> {
    match ids.iter().find(|&&id| id as usize >= vocab_size) {
        None => Ok(()),
        Some(id) => Err(Failure::input(
            path,
            format_args!("it holds the id {id}"),
            format_args!("ids below {vocab_size}, the vocabulary"),
            format_args!("{}, or copy the file again", Action::RunForced("pack")),
        )),
    }
}

/// Evaluates the first `windows` windows of the bin (0: all of it), as [`evaluate_each`] does. `advance` gets the number of tokens of each batch.
///
/// # Errors
/// Those of [`evaluate_each`]; exit code 3 when the bin is shorter than one window.
pub fn evaluate(
    model: &mut Model,
    bin: &Bin,
    stride: usize,
    windows: u64,
    mut advance: impl FnMut(u64) -> Result<()>,
) -> Result<LossSum> {
    if bin.len() < model.sequence() as u64 + 1 {
        return Err(Failure::input(
            bin.path(),
            format_args!("{} tokens", bin.len()),
            format_args!("at least {} for one window", model.sequence() + 1),
            "take more stories, or a smaller model.context",
        ));
    }
    let mut sum = LossSum::default();
    evaluate_each(model, bin, stride, windows, |tokens| {
        sum.nats += tokens.iter().map(|token| f64::from(token.loss)).sum::<f64>();
        sum.tokens += tokens.len() as u64;
        advance(tokens.len() as u64)
    })?;
    Ok(sum)
}

/// Evaluates the first `windows` windows (0: all of them) and hands each batch's tokens to `each`, in order. A window has the
/// `sequence` tokens that the model was built for and advances by `stride`; tokens that an earlier window evaluated are context
/// only. The first token has no context and is not evaluated.
///
/// # Errors
/// Those of `each`; exit code 3 for ids beyond the model's vocabulary, or fewer than two of them.
pub fn evaluate_each(
    model: &mut Model,
    ids: &dyn Ids,
    stride: usize,
    windows: u64,
    mut each: impl FnMut(&[TokenLoss]) -> Result<()>,
) -> Result<()> {
    let sequence = model.sequence() as u64;
    let stride = (stride as u64).clamp(1, sequence);
    if ids.len() < 2 {
        return Err(Failure::input(
            ids.path(),
            format_args!("{} tokens", ids.len()),
            "at least 2",
            "take more text",
        ));
    }
    let last = (ids.len() - 1).saturating_sub(sequence);
    let mut starts: Vec<u64> = (0..=last).step_by(stride as usize).collect();
    if starts.last() != Some(&last) {
        starts.push(last); // ends with the tokens; most of it is context only
    }
    if windows > 0 {
        starts.truncate(windows as usize);
    }
    let mut evaluated = 1; // tokens before this one are evaluated
    let (mut inputs, mut targets, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
    // If there are fewer tokens than a window, the rest stays 0 and is not evaluated.
    let mut window = vec![0; (sequence + 1).min(ids.len()) as usize];
    for starts in starts.chunks(model.sequences_at_once()) {
        inputs.clear();
        targets.clear();
        for &start in starts {
            ids.copy(start, &mut window)?;
            check_ids(ids.path(), &window, model.config.vocab_size)?;
            let target = |(i, &token): (usize, &u32)| {
                if start + (i as u64) < evaluated { NO_TARGET } else { token }
            };
            inputs.extend_from_slice(&window[..window.len() - 1]);
            targets.extend(window.iter().enumerate().skip(1).map(target));
            let full = inputs.len().next_multiple_of(sequence as usize);
            inputs.resize(full, 0);
            targets.resize(full, NO_TARGET);
            evaluated = start + window.len() as u64;
        }
        let losses = model.losses(&inputs, &targets).map_err(failed)?;
        tokens.clear();
        let all = losses
            .iter()
            .zip(&targets)
            .enumerate()
            .filter(|(_, (_, target))| **target != NO_TARGET);
        tokens.extend(all.map(|(row, (&loss, &token))| TokenLoss {
            token,
            seen: row % sequence as usize + 1,
            loss,
        }));
        each(&tokens)?;
    }
    Ok(())
}

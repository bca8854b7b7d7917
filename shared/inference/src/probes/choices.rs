//! Which of several texts a model finds the likeliest: one is right, the others differ from it in a few words.
use compute::{Model, NO_TARGET};
use corpus::tokenizer::Tokenizer;
use stage::{Result, interrupt};

use crate::engine::{Engine, failed};
use crate::evaluate::check_ids;
use crate::loaded_model::LoadedModel;

/// Texts to choose from; the first is right.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What it is about; shares are given for each group.
    pub group: String,
    /// At least two.
    pub texts: Vec<String>,
}

/// Sequences per pass; the engine may split it.
const BATCH: usize = 16;
/// Longest context that is looked at, as everywhere in the evaluation.
const LONGEST: usize = 4096;

/// For each choice, whether the model finds the right text likelier than every other. `each` gets the number of texts scored.
///
/// # Errors
/// Exit code 3 for a text that the tokenizer cannot encode; 130 when interrupted.
pub fn chosen(
    engine: &Engine,
    loaded: &LoadedModel,
    tokenizer: &Tokenizer,
    choices: &[Choice],
    mut each: impl FnMut(u64),
) -> Result<Vec<bool>> {
    let mut scored = Vec::new();
    for choice in choices {
        for ids in encoded(tokenizer, choice)? {
            scored.push(Scored { from: 1, ids });
        }
    }
    let nats = nats(engine, loaded, scored, &mut each)?;
    let mut rest = nats.as_slice();
    let mut right = Vec::with_capacity(choices.len());
    for choice in choices {
        let (own, others) = rest.split_at(choice.texts.len().min(rest.len()));
        rest = others;
        right.push(own.split_first().is_some_and(|(first, wrong)| {
            wrong.iter().all(|nats| first.total_cmp(nats).is_lt() && first.is_finite())
        }));
    }
    Ok(right)
}

/// Ids to score, and the first of them that counts. At least one token stands before it.
pub(crate) struct Scored {
    pub(crate) ids: Vec<u32>,
    pub(crate) from: usize,
}

/// The texts' ids, with what precedes a story.
fn encoded(tokenizer: &Tokenizer, choice: &Choice) -> Result<Vec<Vec<u32>>> {
    choice.texts.iter().map(|text| story_ids(tokenizer, text)).collect()
}

/// The ids of a text, after what precedes every story in the data.
pub(crate) fn story_ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    let mut ids = tokenizer.prefix().to_vec();
    if ids.is_empty() {
        ids.push(tokenizer.eos());
    }
    ids.extend(tokenizer.try_encode(text)?);
    Ok(ids)
}

/// The sum of the losses of each item's tokens from `from` on, nats. Longer items than the context lose their beginning: all
/// texts of one choice end alike far from it, so they lose the same tokens but for a word.
pub(crate) fn nats(
    engine: &Engine,
    loaded: &LoadedModel,
    mut items: Vec<Scored>,
    each: &mut impl FnMut(u64),
) -> Result<Vec<f64>> {
    let most = loaded.config.context.min(LONGEST);
    for item in &mut items {
        let cut = item.ids.len().saturating_sub(most + 1);
        item.ids.drain(..cut);
        item.from = item.from.saturating_sub(cut).max(1);
    }
    let longest = items.iter().map(|item| item.ids.len()).max().unwrap_or(2);
    let sequence = (longest - 1).next_multiple_of(16).min(most).max(1);
    let mut model = Model::new(engine.kernels()?, loaded.config, &loaded.weights, BATCH, sequence)
        .map_err(failed)?;
    let mut sums = Vec::with_capacity(items.len());
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    for items in items.chunks(model.sequences_at_once().max(1)) {
        inputs.clear();
        targets.clear();
        for (row, item) in items.iter().enumerate() {
            check_ids(&loaded.tokenizer, &item.ids, loaded.config.vocab_size)?;
            let (read, predicted) = (
                item.ids.iter().take(item.ids.len().saturating_sub(1)),
                item.ids.iter().enumerate().skip(1),
            );
            inputs.extend(read);
            targets.extend(predicted.map(|(at, &id)| if at < item.from { NO_TARGET } else { id }));
            inputs.resize((row + 1) * sequence, 0);
            targets.resize((row + 1) * sequence, NO_TARGET);
        }
        let losses = model.losses(&inputs, &targets).map_err(failed)?;
        let sum = |row: &[f32]| row.iter().map(|&loss| f64::from(loss)).sum::<f64>();
        sums.extend(losses.chunks(sequence).map(sum));
        each(items.len() as u64);
        interrupt::check("nothing was written; run the same command again")?;
    }
    Ok(sums)
}

//! Which of several texts a model finds the likeliest: one is right, the others differ from it in a few words.
use std::collections::BTreeMap;

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
        let texts: Vec<Vec<u32>> =
            choice.texts.iter().map(|text| story_ids(tokenizer, text)).collect::<Result<_>>()?;
        let from = first_difference(&texts);
        scored.extend(texts.into_iter().map(|ids| Scored { ids, from }));
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

/// The first place at which the texts differ: what is alike before it says nothing of them.
fn first_difference(texts: &[Vec<u32>]) -> usize {
    let shortest = texts.iter().map(Vec::len).min().unwrap_or(0);
    let alike = |&at: &usize| {
        let mut ids = texts.iter().map(|ids| ids.get(at));
        let first = ids.next();
        ids.all(|id| Some(id) == first)
    };
    (0..shortest).take_while(alike).count().min(shortest.saturating_sub(1)).max(1)
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

/// The sum of the losses of each item's tokens from `from` on, nats. Items longer than the context lose their beginning.
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
        check_ids(&loaded.tokenizer, &item.ids, loaded.config.vocab_size)?;
    }
    // Short texts and long ones apart: a batch is as long as its longest text.
    let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (number, item) in items.iter().enumerate() {
        let sequence = (item.ids.len() - 1).next_power_of_two().clamp(16, most.max(16)).min(most);
        by_length.entry(sequence).or_default().push(number);
    }
    let mut sums = vec![0.0; items.len()];
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    for (sequence, numbers) in by_length {
        let (kernels, weights) = (engine.kernels()?, &loaded.weights);
        let mut model =
            Model::new(kernels, loaded.config, weights, BATCH, sequence).map_err(failed)?;
        for numbers in numbers.chunks(model.sequences_at_once().max(1)) {
            inputs.clear();
            targets.clear();
            for (row, item) in numbers.iter().filter_map(|&number| items.get(number)).enumerate() {
                let predicted = item.ids.iter().enumerate().skip(1);
                inputs.extend(item.ids.iter().take(item.ids.len() - 1));
                targets
                    .extend(predicted.map(|(at, &id)| if at < item.from { NO_TARGET } else { id }));
                inputs.resize((row + 1) * sequence, 0);
                targets.resize((row + 1) * sequence, NO_TARGET);
            }
            let losses = model.losses(&inputs, &targets).map_err(failed)?;
            for (&number, row) in numbers.iter().zip(losses.chunks(sequence)) {
                if let Some(sum) = sums.get_mut(number) {
                    *sum = row.iter().map(|&loss| f64::from(loss)).sum();
                }
            }
            each(numbers.len() as u64);
            interrupt::check("nothing was written; run the same command again")?;
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_from_where_they_differ() {
        let first = |texts: &[&[u32]]| {
            first_difference(&texts.iter().map(|ids| ids.to_vec()).collect::<Vec<_>>())
        };
        assert_eq!(first(&[&[0, 5, 6, 7], &[0, 5, 9, 9, 9]]), 2);
        assert_eq!(first(&[&[0, 5, 6], &[0, 5, 6, 7], &[0, 5, 6, 8]]), 2, "one has to be scored");
        assert_eq!(first(&[&[0, 5], &[1, 5]]), 1, "the first token has no context");
    }
}

//! How likely another, better model finds stories: a judge that needs no person.
use corpus::tokenizer::Tokenizer;
use stage::Result;

use crate::engine::Engine;
use crate::figures::Figure;
use crate::loaded_model::LoadedModel;
use crate::probes::{Scored, nats, story_ids};

/// Bits per byte that a model gives to what follows the prompts. `stories` are prompts with their continuations.
///
/// # Errors
/// Exit code 3 for a text that its tokenizer cannot encode; 130 when interrupted.
pub fn bits_by_reference(
    engine: &Engine,
    judge: &LoadedModel,
    tokenizer: &Tokenizer,
    stories: &[(String, String)],
    mut each: impl FnMut(u64),
) -> Result<Option<Figure>> {
    let mut items = Vec::with_capacity(stories.len());
    for (prompt, continuation) in stories {
        let (before, ids) = (
            story_ids(tokenizer, prompt)?,
            story_ids(tokenizer, &format!("{prompt}{continuation}"))?,
        );
        // A token may span the end of the prompt; it counts as of what follows.
        let from = before.iter().zip(&ids).take_while(|(a, b)| a == b).count();
        items.push(Scored { ids, from: from.max(1) });
    }
    let nats = nats(engine, judge, items, &mut each)?;
    let parts: Vec<(f64, f64)> = nats
        .iter()
        .zip(stories)
        .map(|(nats, (_, text))| (nats / std::f64::consts::LN_2, text.len() as f64))
        .collect();
    Ok(Figure::ratio(&parts))
}

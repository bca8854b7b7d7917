//! Prompts to stories.
use compute::{Choice, Decoder, Row};
use corpus::tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};
use stage::{Failure, Random, Result};

use crate::engine::failed;

/// How stories are told.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub choice: Choice,
    pub max_tokens: usize,
    pub seed: u64,
    /// Stories decoded side by side; changes nothing but the speed.
    pub slots: usize,
}

impl Manner {
    pub fn new(section: &stage::config::Sample) -> Self {
        let choice = Choice { temperature: section.temperature, top_k: section.top_k as usize, top_p: section.top_p };
        Manner { choice, max_tokens: section.max_tokens as usize, seed: section.seed, slots: 10 }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Story {
    pub prompt: String,
    /// Prompt and continuation.
    pub text: String,
    /// Ids of the continuation, without the end of the story.
    pub tokens: Vec<u32>,
    /// The model ended it; else the limit did.
    pub ended: bool,
}

impl Story {
    /// The text behind the prompt.
    pub fn continuation(&self) -> &str {
        self.text.strip_prefix(&self.prompt).unwrap_or(&self.text)
    }
}

/// A story being told.
struct Teller {
    prompt: Vec<u32>,
    told: Vec<u32>,
    random: Random,
    /// Tokens of this story in the cache.
    position: usize,
    ended: bool,
}

/// One story per prompt. A story's randomness depends on the seed and its index alone.
pub fn tell(decoder: &mut Decoder, tokenizer: &Tokenizer, prompts: &[String], manner: Manner) -> Result<Vec<Story>> {
    let vocab = decoder.config().vocab_size;
    if tokenizer.vocab_size() as usize > vocab {
        let found = format!("a vocabulary of {}", tokenizer.vocab_size());
        return Err(Failure::input(
            tokenizer.path(),
            found,
            format_args!("at most the model's {vocab}"),
            "use the tokenizer the model was trained with",
        ));
    }
    let mut stories = Vec::with_capacity(prompts.len());
    for (group, prompts) in prompts.chunks(manner.slots).enumerate() {
        let mut tellers = Vec::with_capacity(prompts.len());
        for (i, prompt) in prompts.iter().enumerate() {
            let mut ids = tokenizer.try_encode(prompt)?;
            if ids.is_empty() {
                ids.push(tokenizer.eos()); // what stands before every story in the data
            }
            let random = Random::new(manner.seed, "sample", (group * manner.slots + i) as u64);
            tellers.push(Teller { prompt: ids, told: Vec::new(), random, position: 0, ended: false });
        }
        tell_group(decoder, tokenizer.eos(), &mut tellers, manner)?;
        for (prompt, teller) in prompts.iter().zip(tellers) {
            let text = tokenizer.decode(&[teller.prompt, teller.told.clone()].concat());
            stories.push(Story { prompt: prompt.clone(), text, tokens: teller.told, ended: teller.ended });
        }
    }
    Ok(stories)
}

fn tell_group(decoder: &mut Decoder, eos: u32, tellers: &mut [Teller], manner: Manner) -> Result<()> {
    let (context, vocab) = (decoder.config().context, decoder.config().vocab_size);
    for (slot, teller) in tellers.iter_mut().enumerate() {
        read_all_but_last(decoder, slot, teller, context);
    }
    for _ in 0..manner.max_tokens {
        let mut slots: Vec<usize> = (0..tellers.len()).filter(|&slot| !tellers[slot].ended).collect();
        if slots.is_empty() || stage::interrupt::requested() {
            break;
        }
        for &slot in &slots {
            if tellers[slot].position == context {
                // The window is full: begin again with the half of it that came last.
                read_all_but_last(decoder, slot, &mut tellers[slot], context / 2 + 1);
            }
        }
        let rows: Vec<Row> = slots.iter().map(|&slot| tellers[slot].row(slot)).collect();
        let logits = decoder.next(&rows).map_err(failed)?;
        for (slot, logits) in slots.drain(..).zip(logits.chunks_exact(vocab)) {
            let teller = &mut tellers[slot];
            teller.position += 1;
            let token = manner.choice.pick(logits, teller.random.unit());
            if token == eos {
                teller.ended = true;
            } else {
                teller.told.push(token);
            }
        }
    }
    Ok(())
}

/// Puts the last `most` tokens into the cache from position 0 on, but for the very last, which asks what comes next.
fn read_all_but_last(decoder: &mut Decoder, slot: usize, teller: &mut Teller, most: usize) {
    let ids = [teller.prompt.as_slice(), &teller.told].concat();
    let kept = &ids[ids.len() - ids.len().min(most.max(1))..];
    let before = &kept[..kept.len() - 1];
    let row = |(position, &token): (usize, &u32)| Row { token, slot: slot as u32, position: position as u32 };
    decoder.read(&before.iter().enumerate().map(row).collect::<Vec<Row>>());
    teller.position = before.len();
}

impl Teller {
    fn row(&self, slot: usize) -> Row {
        let last = self.told.last().or(self.prompt.last()).copied().unwrap_or(0);
        Row { token: last, slot: slot as u32, position: self.position as u32 }
    }
}

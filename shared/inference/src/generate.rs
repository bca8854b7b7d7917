//! Generates stories from prompts, several in parallel: when one ends, the next takes its slot.
use compute::{Decoder, Row, TokenSampler, log_probability};
use corpus::tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};
use stage::{Failure, Random, Result, interrupt};

use crate::engine::failed;

/// How stories are generated.
#[derive(Clone, Copy, Debug)]
pub struct SamplingParams {
    /// How the next token is chosen.
    pub sampler: TokenSampler,
    /// Tokens after the prompt, at most.
    pub max_tokens: usize,
    /// Story i draws from the stream (seed, i).
    pub seed: u64,
    /// Stories generated in parallel; changes only the speed.
    pub slots: usize,
    /// Whether to fill [`Story::logprobs`].
    pub logprobs: bool,
}

impl SamplingParams {
    /// Those of the `[sample]` section.
    pub fn new(section: &stage::config::Sample) -> Self {
        let sampler = TokenSampler {
            temperature: section.temperature,
            top_k: section.top_k as usize,
            top_p: section.top_p,
            min_p: section.min_p,
            repetition_penalty: section.repetition_penalty,
        };
        SamplingParams {
            sampler,
            max_tokens: section.max_tokens as usize,
            seed: section.seed,
            slots: section.batch as usize,
            logprobs: false,
        }
    }
}

/// Prompts, each as often as there are to be stories of it.
#[derive(Clone, Debug)]
pub struct Prompts {
    texts: Vec<String>,
    each: usize,
}

impl Prompts {
    /// `each` stories of every text.
    pub fn new(texts: Vec<String>, each: usize) -> Self {
        Prompts { texts, each }
    }

    /// Stories in all.
    pub fn len(&self) -> usize {
        self.texts.len().saturating_mul(self.each)
    }

    /// Whether there are to be no stories.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The prompt of a story: all of the first prompt come first.
    pub fn get(&self, index: usize) -> Option<&str> {
        Some(self.texts.get(index.checked_div(self.each)?)?)
    }

    /// The prompts, each once.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

/// A generated story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Story {
    /// What it begins with.
    pub prompt: String,
    /// Prompt and continuation.
    pub text: String,
    /// Ids of the continuation, without the end of the story.
    pub tokens: Vec<u32>,
    /// Of each of these, the logarithm of the probability that the model itself gave it, whatever the temperature and the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<f32>>,
    /// Ended by the model, not by the limit.
    pub ended: bool,
}

impl Story {
    /// The text after the prompt.
    pub fn continuation(&self) -> &str {
        self.text.strip_prefix(&self.prompt).unwrap_or(&self.text)
    }
}

/// What happens while stories are generated. Indices are those of the prompts.
pub enum GenerationEvent<'a> {
    /// A story has one more token.
    Token {
        /// Number of its prompt.
        index: usize,
        /// Ids of the prompt.
        prompt: &'a [u32],
        /// Ids so far, without the prompt.
        generated: &'a [u32],
    },
    /// A story has ended.
    Finished {
        /// Number of its prompt.
        index: usize,
        /// All of it.
        story: Story,
    },
}

/// A story being generated.
struct InProgress {
    index: usize,
    /// Prompt and continuation.
    ids: Vec<u32>,
    prompt: usize,
    logprobs: Vec<f32>,
    random: Random,
    /// Tokens of this story in the cache.
    position: usize,
    ended: bool,
}

/// Stories that [`generate`] keeps in memory at most.
const MOST_KEPT: usize = 1_000_000;

/// One story per prompt, in their order. Interrupted, only those that were finished.
pub fn generate(
    decoder: &mut Decoder,
    tokenizer: &Tokenizer,
    prompts: &Prompts,
    params: SamplingParams,
) -> Result<Vec<Story>> {
    if prompts.len() > MOST_KEPT {
        return Err(Failure::usage(format_args!(
            "{} stories: expected at most {MOST_KEPT} that are compared with one another",
            prompts.len()
        ))
        .remedy("a smaller sample.n"));
    }
    let mut stories: Vec<Option<Story>> = vec![None; prompts.len()];
    generate_each(decoder, tokenizer, prompts, 0, params, |event| {
        if let GenerationEvent::Finished { index, story } = event {
            stories[index] = Some(story);
        }
        Ok(true)
    })?;
    Ok(stories.into_iter().flatten().collect())
}

/// One story per prompt; `on_event` gets every token and every end, and stops all of it by returning false. A story's randomness depends
/// on the seed and on its index, counted from `first`, alone. An interrupt ends it between two tokens.
pub fn generate_each(
    decoder: &mut Decoder,
    tokenizer: &Tokenizer,
    prompts: &Prompts,
    first: usize,
    params: SamplingParams,
    mut on_event: impl FnMut(GenerationEvent) -> Result<bool>,
) -> Result<()> {
    let (context, vocab) = (decoder.config().context, decoder.config().vocab_size);
    check_vocabulary(tokenizer, vocab)?;
    let mut waiting = 0;
    let mut slots: Vec<Option<InProgress>> =
        (0..params.slots.min(prompts.len())).map(|_| None).collect();
    loop {
        let mut before = Vec::new();
        for (slot, occupant) in slots.iter_mut().enumerate() {
            while occupant.is_none()
                && let Some(prompt) = prompts.get(waiting)
            {
                let index = waiting;
                waiting += 1;
                let mut running = InProgress::new(
                    tokenizer,
                    prompt,
                    index,
                    Random::new(params.seed, "sample", (first + index) as u64),
                )?;
                if params.max_tokens == 0 {
                    if !on_event(GenerationEvent::Finished {
                        index,
                        story: running.story(tokenizer, prompt, params),
                    })? {
                        return Ok(());
                    }
                    continue;
                }
                running.read_all_but_last(slot, context, &mut before);
                *occupant = Some(running);
            }
            if let Some(running) = occupant
                && running.position == context
            {
                // The window is full: start again with its last half.
                running.read_all_but_last(slot, context / 2 + 1, &mut before);
            }
        }
        let rows: Vec<Row> = slots
            .iter()
            .enumerate()
            .filter_map(|(slot, occupant)| Some(occupant.as_ref()?.row(slot)))
            .collect();
        if rows.is_empty() || interrupt::requested() {
            return Ok(());
        }
        if !before.is_empty() {
            decoder.read(&before);
        }
        let logits = decoder.next(&rows).map_err(failed)?;
        for (row, logits) in rows.iter().zip(logits.chunks_exact(vocab)) {
            let occupant = &mut slots[row.slot as usize];
            let Some(running) = occupant else { continue };
            running.choose_next(logits, tokenizer.ends(), params);
            let (prompt, generated) = running.ids.split_at(running.prompt);
            let mut go_on = true;
            if !running.ended {
                go_on =
                    on_event(GenerationEvent::Token { index: running.index, prompt, generated })?;
            }
            if go_on && (running.ended || generated.len() == params.max_tokens) {
                let prompt = prompts.get(running.index).unwrap_or_default();
                let story = running.story(tokenizer, prompt, params);
                go_on = on_event(GenerationEvent::Finished { index: running.index, story })?;
                *occupant = None;
            }
            if !go_on {
                return Ok(());
            }
        }
    }
}

fn check_vocabulary(tokenizer: &Tokenizer, vocab: usize) -> Result<()> {
    if tokenizer.vocab_size() as usize <= vocab {
        return Ok(());
    }
    let found = format!("a vocabulary of {}", tokenizer.vocab_size());
    Err(Failure::input(
        tokenizer.path(),
        found,
        format_args!("at most the model's {vocab}"),
        "use the tokenizer the model was trained with",
    ))
}

impl InProgress {
    fn new(tokenizer: &Tokenizer, prompt: &str, index: usize, random: Random) -> Result<Self> {
        let mut ids = tokenizer.prefix().to_vec();
        ids.extend(tokenizer.try_encode(prompt)?);
        if ids.is_empty() {
            ids.push(tokenizer.eos()); // precedes every story in the data
        }
        Ok(InProgress {
            index,
            prompt: ids.len(),
            ids,
            logprobs: Vec::new(),
            random,
            position: 0,
            ended: false,
        })
    }

    /// Puts the last `most` tokens into the cache from position 0, except the very last, which is the input of the next step.
    fn read_all_but_last(&mut self, slot: usize, most: usize, rows: &mut Vec<Row>) {
        let kept = &self.ids[self.ids.len() - self.ids.len().min(most.max(1))..];
        let before = &kept[..kept.len() - 1];
        let row = |(position, &token): (usize, &u32)| Row {
            token,
            slot: slot as u32,
            position: position as u32,
        };
        rows.extend(before.iter().enumerate().map(row));
        self.position = before.len();
    }

    fn row(&self, slot: usize) -> Row {
        Row {
            token: self.ids.last().copied().unwrap_or(0),
            slot: slot as u32,
            position: self.position as u32,
        }
    }

    fn choose_next(&mut self, logits: &[f32], ends: &[u32], params: SamplingParams) {
        self.position += 1;
        let token = params.sampler.pick(logits, &self.ids, self.random.unit());
        if ends.contains(&token) {
            self.ended = true;
            return;
        }
        if params.logprobs {
            self.logprobs.push(log_probability(logits, token));
        }
        self.ids.push(token);
    }

    fn story(&mut self, tokenizer: &Tokenizer, prompt: &str, params: SamplingParams) -> Story {
        Story {
            prompt: prompt.to_owned(),
            text: tokenizer.decode(&self.ids),
            tokens: self.ids[self.prompt..].to_vec(),
            logprobs: params.logprobs.then(|| std::mem::take(&mut self.logprobs)),
            ended: self.ended,
        }
    }
}

/// Decodes ids as they arrive: only whole characters at first, all of the text in the end.
pub struct Pieces<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    /// Decoding begins here, where the text was whole; the text before `read` was returned.
    start: usize,
    read: usize,
}

impl<'a> Pieces<'a> {
    /// No ids yet.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Pieces { tokenizer, ids: Vec::new(), start: 0, read: 0 }
    }

    /// Ids that were pushed.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether no ids were pushed.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The text that these ids complete.
    pub fn push(&mut self, ids: &[u32]) -> String {
        self.ids.extend_from_slice(ids);
        let text = self.rest();
        if text.ends_with('\u{fffd}') {
            return String::new(); // possibly an incomplete character
        }
        self.start = self.read;
        self.read = self.ids.len();
        text
    }

    /// The rest of the text, whole or not.
    pub fn rest(&self) -> String {
        let given = self.tokenizer.decode(&self.ids[self.start..self.read]);
        let all = self.tokenizer.decode(&self.ids[self.start..]);
        all.get(given.len()..).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn pieces_are_whole_characters_and_together_the_text() {
        let json =
            corpus::tokenizer::train(300, |each| each("Once upon a time, a time upon a time."))
                .unwrap();
        let tokenizer = Tokenizer::from_json(Path::new("tokenizer.json"), json.as_bytes()).unwrap();
        let text = "Once \u{1f469}\u{200d}\u{1f680} caf\u{e9} \u{4f60}\u{597d} time, \u{fffd} upon";
        let mut pieces = Pieces::new(&tokenizer);
        let mut all = String::new();
        let mut silent = 0;
        for id in tokenizer.encode(text) {
            let piece = pieces.push(&[id]);
            silent += usize::from(piece.is_empty());
            assert!(
                !piece.contains('\u{fffd}') || piece.contains("\u{fffd} "),
                "half a character in {piece:?}"
            );
            all += &piece;
        }
        assert_eq!(all + &pieces.rest(), text);
        assert!(silent > 8, "no character was ever incomplete");
        // Bytes that never become a character are given out in the end.
        let mut pieces = Pieces::new(&tokenizer);
        let half = tokenizer.encode("\u{4f60}");
        assert_eq!(
            (pieces.push(&half[..1]), pieces.rest()),
            (String::new(), "\u{fffd}".to_owned())
        );
    }
}

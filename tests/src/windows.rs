//! Windows of stories for tests that train: tokens of the grammar's stories, any step's batch at once.
use corpus::tokenizer::{self, Tokenizer};
use stage::Random;

/// Packed tokens of stories, and of others that no step sees.
pub struct Windows {
    train: Vec<u32>,
    validation: Vec<u32>,
}

impl Windows {
    /// Stories in a vocabulary of this number of tokens.
    pub fn new(vocab_size: usize) -> Self {
        let json = tokenizer::train(vocab_size as u32, |each| {
            (0..400).try_for_each(|i| each(&grammar::story(1, i)))
        })
        .expect("stories train a tokenizer");
        let tokenizer = Tokenizer::from_json("tokenizer.json".as_ref(), json.as_bytes())
            .expect("it reads back");
        let ids = |range: std::ops::Range<u64>| {
            let story =
                |i| tokenizer.encode(&grammar::story(1, i)).into_iter().chain([tokenizer.eos()]);
            range.flat_map(story).collect()
        };
        Windows { train: ids(0..400), validation: ids(1000..1060) }
    }

    /// The batch of a step: [batch, sequence + 1].
    pub fn batch(&self, step: u64, batch: usize, sequence: usize) -> Vec<u32> {
        let mut random = Random::new(1, "windows", step);
        let start = |_| random.below((self.train.len() - sequence) as u64) as usize;
        let starts: Vec<usize> = (0..batch).map(start).collect();
        starts.into_iter().flat_map(|start| self.train[start..=start + sequence].to_vec()).collect()
    }

    /// Inputs and targets of windows that no step sees.
    pub fn held_out(&self, batch: usize, sequence: usize) -> (Vec<u32>, Vec<u32>) {
        let tokens = batch * sequence;
        (self.validation[..tokens].to_vec(), self.validation[1..=tokens].to_vec())
    }
}

//! What the data stages would have made, in no time: stories of a few words, their tokenizer and their bins.
use std::sync::OnceLock;

use corpus::bin::{Dtype, sidecar};
use corpus::tokenizer::{self, Tokenizer};
use serde_json::json;
use stage::{AtomicFile, Random, Work};

use crate::Run;

/// A story from a few words: enough to learn from, made in no time.
pub fn story(index: u64) -> String {
    let mut random = Random::new(1, "training test", index);
    let mut any = |words: &[&'static str]| words[random.below(words.len() as u64) as usize];
    let (name, pet, thing) = (
        any(&["Lily", "Tom", "Anna", "Ben"]),
        any(&["dog", "cat", "bird"]),
        any(&["ball", "hat", "cake", "boat"]),
    );
    let (liked, end) = (
        any(&["red", "big", "old", "soft"]),
        any(&["They were happy.", "It was fun.", "The end."]),
    );
    format!(
        "Once upon a time, {name} had a {liked} {thing}. The {pet} took the {thing}. {name} ran after the {pet}. {end}"
    )
}

/// The tokenizer.json of this many tokens, trained on 300 of these stories.
pub fn tokenizer_of(vocab_size: u32) -> String {
    tokenizer::train(vocab_size, |each| (0..300).try_for_each(|i| each(&story(i)))).unwrap()
}

/// A run whose data is there: 400 stories to train on, 60 to validate with.
pub fn with_data(run: Run) -> Run {
    static TOKENIZER: OnceLock<String> = OnceLock::new();
    let json = TOKENIZER.get_or_init(|| tokenizer_of(300));
    AtomicFile::write(&run.path("tokenizer.json"), json.as_bytes()).unwrap();
    let tokenizer = Tokenizer::load(&run.path("tokenizer.json")).unwrap();
    for (name, stories) in [("train.bin", 0..400), ("val.bin", 1000..1060)] {
        let path = run.path(name);
        let (mut ids, mut text_bytes) = (Vec::new(), 0);
        for text in stories.clone().map(story) {
            ids.extend(tokenizer.encode(&text));
            ids.push(tokenizer.eos());
            text_bytes += text.len() as u64;
        }
        let dtype = Dtype::of(u64::from(tokenizer.vocab_size()));
        let mut bytes = Vec::new();
        dtype.append(&ids, &mut bytes);
        let record = AtomicFile::write(&path, &bytes).unwrap();
        let work =
            Work { stage: "pack-bin", manifest: sidecar(&path), inputs: vec![], config: json!({}) };
        let mut manifest = work.manifest(vec![record]).unwrap();
        let counts = [
            ("stories", stories.end - stories.start),
            ("tokens", ids.len() as u64),
            ("bytes", text_bytes),
        ];
        manifest.counts.extend(counts.map(|(name, count)| (name.to_owned(), count)));
        manifest.facts.extend(
            [("dtype", json!(dtype.name())), ("eos", json!(tokenizer.eos()))]
                .map(|(name, fact)| (name.to_owned(), fact)),
        );
        manifest.tokenizer = Some(tokenizer.record().clone());
        work.publish(&manifest).unwrap();
    }
    run
}

//! Which settings decide which result. A manifest holds them; where one changes, the result is made again.
use serde_json::{Map, Value};

use super::{Order, Pipeline};

/// A key, its value, and the results it decides.
type Setting = (&'static str, Value, &'static [Outcome]);

/// What settings decide: the result of a stage, or whether a training run can be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `raw/`
    Fetch,
    /// `tokenizer.json`
    Tokenizer,
    /// `tokens/`
    Tokenize,
    /// `train.bin` and `val.bin`
    Pack,
    /// `run/`
    Train,
    /// The weights after every step. A run may be resumed with another end.
    Resume,
    /// `eval.json`
    Eval,
    /// The figures of the stories that models tell.
    Stories,
}

impl Outcome {
    fn section(self) -> &'static str {
        match self {
            Outcome::Fetch => "fetch",
            Outcome::Tokenizer => "tokenizer",
            Outcome::Tokenize => "tokenize",
            Outcome::Pack => "pack",
            Outcome::Train | Outcome::Resume => "train",
            Outcome::Eval => "eval",
            Outcome::Stories => "sample",
        }
    }
}

impl Pipeline {
    /// The settings that decide a result, as `{ section: { key: value } }`, the stage's own section first.
    pub fn deciding(&self, outcome: Outcome) -> Map<String, Value> {
        let own = outcome.section().to_owned();
        let mut sections = Map::from_iter([(own, Map::new().into())]);
        let idle = self.idle();
        for (key, value, outcomes) in self.settings() {
            if outcomes.contains(&outcome) && !idle.contains(&key) {
                insert(&mut sections, key, value);
            }
        }
        sections
    }

    /// The same with the keys of the stage's own section behind the other sections.
    pub fn deciding_flat(&self, outcome: Outcome) -> Map<String, Value> {
        let mut sections = self.deciding(outcome);
        if let Some(Value::Object(own)) = sections.shift_remove(outcome.section()) {
            sections.extend(own);
        }
        sections
    }

    /// Later keys at their default: what was made without them stays.
    fn as_in_0_1(&self) -> Vec<&'static str> {
        let before = Pipeline::default().settings();
        let same = |((key, value, _), (_, default, _)): (Setting, Setting)| {
            (LATER.contains(&key) && value == default).then_some(key)
        };
        self.settings().into_iter().zip(before).filter_map(same).collect()
    }

    /// Keys that have no effect beside the others: they decide nothing.
    fn idle(&self) -> Vec<&'static str> {
        let Pipeline { fetch, tokenizer, pack, model, .. } = self;
        let mut idle = self.as_in_0_1();
        if fetch.source.reveal() != "stories:" {
            idle.push("fetch.seed");
        }
        if fetch.separator.is_none() {
            idle.push("fetch.separator");
        }
        match tokenizer.own() {
            Some(_) => idle.extend(["tokenizer.vocab_size", "tokenizer.max_stories"]),
            None => idle.push("tokenizer.file"),
        }
        if pack.order == Order::AsPublished {
            idle.push("pack.seed");
        }
        if model.n_kv_head.is_none_or(|heads| heads == model.n_head) {
            idle.push("model.n_kv_head");
        }
        idle
    }
}

/// Keys that 0.1 did not know. What it did is their default.
const LATER: &[&str] = &[
    "train.schedule",
    "train.final_lr_fraction",
    "train.decay_fraction",
    "train.sampling",
    "train.align",
    "train.zero_init_residual",
    "train.init_from",
    "tokenizer.from",
];

fn insert(table: &mut Map<String, Value>, key: &str, value: Value) {
    match key.split_once('.') {
        None => drop(table.insert(key.to_owned(), value)),
        Some((section, key)) => {
            if let Value::Object(table) = table.entry(section).or_insert_with(|| Map::new().into())
            {
                insert(table, key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::super::KEYS;
    use super::*;

    fn load(settings: &[&str]) -> Pipeline {
        let file = tempfile::NamedTempFile::new().unwrap();
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Pipeline::load(file.path(), &settings).unwrap()
    }

    const ALL: [Outcome; 8] = [
        Outcome::Fetch,
        Outcome::Tokenizer,
        Outcome::Tokenize,
        Outcome::Pack,
        Outcome::Train,
        Outcome::Resume,
        Outcome::Eval,
        Outcome::Stories,
    ];

    /// Results, and keys with another value that make these anew.
    type Group<'a> = (&'a [Outcome], &'a [(&'static str, &'static str)]);

    /// Each key with another value, and the results that this makes anew.
    fn table() -> Vec<(&'static str, &'static str, Vec<Outcome>)> {
        use Outcome::{Eval, Fetch, Pack, Resume, Stories, Tokenize, Tokenizer, Train};
        let run = [Train, Resume];
        let groups: [Group; 9] = [
            (
                &[Fetch],
                &[
                    ("fetch.source", "a.txt"),
                    ("fetch.train_split", "a"),
                    ("fetch.validation_split", "a"),
                    ("fetch.validation_fraction", "0.5"),
                    ("fetch.separator", "a"),
                    ("fetch.max_stories", "9"),
                    ("fetch.max_tokens_hint", "9"),
                    ("fetch.seed", "9"),
                ],
            ),
            (&[Fetch, Tokenizer, Tokenize], &[("fetch.column", "a")]),
            (
                &[Tokenizer],
                &[
                    ("tokenizer.vocab_size", "999"),
                    ("tokenizer.max_stories", "9"),
                    ("tokenizer.file", "a.json"),
                    ("tokenizer.from", "a"),
                ],
            ),
            (&[Tokenize], &[("tokenize.shards", "9")]),
            (&[Pack], &[("pack.order", "as-published"), ("pack.seed", "9")]),
            (
                &run,
                &[
                    ("model.n_layer", "9"),
                    ("model.n_head", "4"),
                    ("model.n_kv_head", "2"),
                    ("model.d_model", "512"),
                    ("model.d_mlp", "9"),
                    ("model.context", "9"),
                    ("train.precision", "f32"),
                    ("train.steps", "9"),
                    ("train.batch", "9"),
                    ("train.accumulate", "9"),
                    ("train.lr", "9.0"),
                    ("train.warmup", "9"),
                    ("train.clip", "9.0"),
                    ("train.schedule", "wsd"),
                    ("train.final_lr_fraction", "0.5"),
                    ("train.decay_fraction", "0.5"),
                    ("train.sampling", "epochs"),
                    ("train.align", "stories"),
                    ("train.zero_init_residual", "true"),
                    ("train.init_from", "a"),
                    ("train.seed", "9"),
                    ("train.optimizer.kind", "sgd"),
                    ("train.optimizer.betas", "[0.5, 0.5]"),
                    ("train.optimizer.eps", "0.5"),
                    ("train.optimizer.weight_decay", "0.5"),
                    ("train.optimizer.momentum", "0.5"),
                    ("train.optimizer.cautious_decay", "true"),
                ],
            ),
            (&[Train], &[("train.max_minutes", "9.0"), ("train.until_loss", "9.0")]),
            (&[Eval], &[("eval.precision", "f16"), ("eval.stride", "9")]),
            (
                &[Stories],
                &[
                    ("sample.max_tokens", "9"),
                    ("sample.temperature", "0.5"),
                    ("sample.top_k", "9"),
                    ("sample.top_p", "0.5"),
                    ("sample.min_p", "0.5"),
                    ("sample.repetition_penalty", "9.0"),
                    ("sample.seed", "9"),
                ],
            ),
        ];
        let decided = groups.into_iter().flat_map(|(outcomes, keys)| {
            keys.iter().map(|&(key, value)| (key, value, outcomes.to_vec()))
        });
        let free = [
            ("out", "a"),
            ("train.device", "cpu"),
            ("train.log_every", "9"),
            ("train.val_every", "9"),
            ("train.val_windows", "9"),
            ("train.checkpoint_every", "9"),
            ("train.keep_last", "9"),
            ("train.on_nan", "rollback"),
            ("eval.device", "cpu"),
            ("sample.device", "cpu"),
            ("sample.precision", "f16"),
            ("sample.batch", "9"),
            ("sample.prompts", "[\"a\"]"),
            ("sample.prompts_file", "a"),
            ("sample.n", "9"),
            ("sample.temperatures", "[0.5]"),
        ];
        decided.chain(free.into_iter().map(|(key, value)| (key, value, vec![]))).collect()
    }

    #[test]
    fn each_key_decides_what_its_mark_says_and_no_key_is_left_out() {
        let before = load(&[]);
        for (key, value, expected) in table() {
            let after = load(&[&format!("{key}={value}")]);
            assert_ne!(after, before, "{key}={value} changes nothing");
            let changed: Vec<Outcome> = ALL
                .into_iter()
                .filter(|&outcome| after.deciding(outcome) != before.deciding(outcome))
                .collect();
            assert_eq!(changed, expected, "{key}={value}");
        }
        let tested: BTreeSet<&str> = table().iter().map(|(key, ..)| *key).collect();
        let sections = ["train.optimizer"]; // tables of keys that have marks of their own
        let all = KEYS.iter().copied().filter(|key| !sections.contains(key)).collect();
        assert_eq!(tested, all);
    }

    #[test]
    fn what_other_settings_leave_without_effect_decides_nothing() {
        for (other, key) in [
            ("fetch.source=a.txt", "fetch.seed=9"),
            ("tokenizer.file=a.json", "tokenizer.vocab_size=999"),
            ("tokenizer.file=a.json", "tokenizer.max_stories=9"),
            ("pack.order=as-published", "pack.seed=9"),
            ("model.n_head=4", "model.n_kv_head=4"),
        ] {
            let (before, after) = (load(&[other]), load(&[other, key]));
            for outcome in ALL {
                assert_eq!(before.deciding(outcome), after.deciding(outcome), "{other}, {key}");
            }
        }
        assert_eq!(load(&["tokenizer.file="]).tokenizer.own(), None);
        for (setting, path) in [("tokenizer.file=a", "a"), ("tokenizer.from=a", "a/tokenizer.json")]
        {
            assert_eq!(load(&[setting]).tokenizer.own(), Some(PathBuf::from(path)));
        }
    }

    /// What manifests of 0.1 hold, to the byte: their hash is taken over this text.
    #[test]
    fn the_text_in_manifests_stays_as_it_was() {
        let pipeline = load(&["fetch.max_stories=600"]);
        let text = |map: Map<String, Value>| Value::from(map).to_string();
        assert_eq!(
            text(pipeline.deciding_flat(Outcome::Fetch)),
            r#"{"source":"stories:","train_split":"train","validation_split":null,"validation_fraction":null,"column":"text","max_stories":600,"max_tokens_hint":null,"seed":1}"#
        );
        assert_eq!(
            text(pipeline.deciding(Outcome::Tokenizer)),
            r#"{"tokenizer":{"vocab_size":8000,"max_stories":100000},"fetch":{"column":"text"}}"#
        );
        assert_eq!(
            text(pipeline.deciding(Outcome::Tokenize)),
            r#"{"tokenize":{"shards":16},"fetch":{"column":"text"}}"#
        );
        assert_eq!(
            text(pipeline.deciding(Outcome::Pack)),
            r#"{"pack":{"order":"shuffled","seed":1}}"#
        );
        assert_eq!(
            text(load(&["pack.order=as-published"]).deciding(Outcome::Pack)),
            r#"{"pack":{"order":"as-published"}}"#
        );
        assert_eq!(
            text(pipeline.deciding_flat(Outcome::Eval)),
            r#"{"stride":256,"precision":"f32"}"#
        );
        let mut seed = load(&["train.seed=18446744073709551615"]).deciding_flat(Outcome::Resume);
        assert_eq!(seed.shift_remove("seed"), Some(u64::MAX.into()), "a number, not a string");
    }
}

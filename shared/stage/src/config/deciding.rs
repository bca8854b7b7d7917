//! Which settings decide which result. A manifest holds them; where one changes, the result is made again.
use serde_json::{Map, Value};

use super::{Order, Outcome, Pipeline};
use crate::shipped;

/// A key, its value, and the results it decides.
type Setting = (&'static str, Value, &'static [Outcome]);

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

    /// Newer keys at their default: what was made without them stays up to date.
    fn as_in_0_1(&self) -> Vec<&'static str> {
        let before = Pipeline::default().settings();
        let same = |((key, value, _), (_, default, _)): (Setting, Setting)| {
            (LATER.contains(&key) && value == default).then_some(key)
        };
        self.settings().into_iter().zip(before).filter_map(same).collect()
    }

    /// The shipped pipeline that these settings are of, in all that decides the weights but seeds and precision.
    pub fn shipped_name(&self) -> Option<&'static str> {
        let recipe = self.recipe();
        let shipped = |name| toml::from_str::<Pipeline>(shipped::text(name)?).ok();
        shipped::names().find(|name| shipped(name).is_some_and(|other| other.recipe() == recipe))
    }

    /// What decides the weights, without what makes one run differ from another of the same settings.
    fn recipe(&self) -> Vec<Map<String, Value>> {
        let outcomes = [Outcome::Fetch, Outcome::Tokenizer, Outcome::Pack, Outcome::Resume];
        let of = |outcome| {
            let mut sections = self.deciding(outcome);
            for keys in sections.values_mut().filter_map(Value::as_object_mut) {
                keys.retain(|key, _| key != "seed" && key != "precision");
            }
            sections
        };
        outcomes.into_iter().map(of).collect()
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

/// Keys that 0.1 did not have. Their defaults are what it did.
const LATER: &[&str] = &[
    "train.schedule",
    "train.final_lr_fraction",
    "train.decay_fraction",
    "train.sampling",
    "train.align",
    "train.zero_init_residual",
    "train.init_from",
    "train.patience",
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
    use std::path::PathBuf;

    use super::*;

    fn load(settings: &[&str]) -> Pipeline {
        let file = tempfile::NamedTempFile::new().unwrap();
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Pipeline::load(file.path(), &settings).unwrap()
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
            for &outcome in Outcome::ALL {
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

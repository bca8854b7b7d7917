//! `[[sweep]]`: lists of values for keys of a pipeline, and the variants that they make.
use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::{Failure, Result};

/// Variants of a pipeline at most: each is a run of its own.
const MOST: usize = 1000;
/// Characters of a folder's name at most.
const LONGEST: usize = 120;
/// Keys that are not swept: where a run is computed, and a path, which makes no folder's name.
const FIXED: [&str; 2] = ["train.device", "train.init_from"];
const SEED: &str = "train.seed";

/// A pipeline with some settings of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// `lr=0.002 seed=1`
    pub name: String,
    /// Its folder: `lr=0.002-seed=1`. It has no number, so that a longer list leaves finished runs where they are.
    pub folder: String,
    /// Keys with their values.
    pub settings: Vec<(String, Value)>,
}

impl Variant {
    fn new(settings: Vec<(String, Value)>) -> Self {
        let name = name(&settings);
        let plain = |c: char| if c.is_ascii_alphanumeric() || "=._".contains(c) { c } else { '-' };
        let folder = name.chars().map(plain).take(LONGEST).collect();
        Variant { name, folder, settings }
    }

    /// As `--set` takes them.
    pub fn assignments(&self) -> impl Iterator<Item = String> {
        self.settings.iter().map(|(key, value)| format!("{key}={value}"))
    }

    /// What variants have in common that differ in nothing but the seed: `lr=0.002`.
    pub fn arm(&self) -> String {
        name(self.settings.iter().filter(|(key, _)| key != SEED))
    }

    /// Its seed, where the sweep has one.
    pub fn seed(&self) -> Option<&Value> {
        self.settings.iter().find(|(key, _)| key == SEED).map(|(_, value)| value)
    }
}

fn name<'a>(settings: impl IntoIterator<Item = &'a (String, Value)>) -> String {
    let part = |(key, value): &(String, Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{}={text}", key.rsplit('.').next().unwrap_or(key))
    };
    settings.into_iter().map(part).collect::<Vec<_>>().join(" ")
}

/// All variants, those of the first table first: in each every value of a key with every value of the others.
///
/// # Errors
/// Exit code 2 for a key that a training run does not have, a list without a value, two variants of one folder, or too many.
pub(crate) fn variants(tables: &[Table], known: &[&str]) -> Result<Vec<Variant>> {
    let mut all = Vec::new();
    for table in tables {
        let mut made = vec![Vec::new()];
        for (key, values) in flat("", table) {
            let values = values_of(&key, values, known)?;
            check_count(made.len().saturating_mul(values.len()))?;
            let with = |settings: Vec<(String, Value)>| {
                let own = |value: &Value| {
                    settings.iter().cloned().chain([(key.clone(), value.clone())]).collect()
                };
                values.iter().map(own).collect::<Vec<Vec<_>>>()
            };
            made = made.into_iter().flat_map(with).collect();
        }
        all.append(&mut made);
        check_count(all.len())?;
    }
    let all: Vec<Variant> = all.into_iter().map(Variant::new).collect();
    let mut folders = BTreeSet::new();
    match all.iter().find(|variant| !folders.insert(variant.folder.to_ascii_lowercase())) {
        Some(twice) => Err(Failure::usage(format_args!("{:?} twice", twice.name))
            .at("[[sweep]]")
            .expected("variants that differ, so that each has a folder of its own")),
        None => Ok(all),
    }
}

/// The values of a key, each of which makes a variant.
fn values_of(key: &str, values: Value, known: &[&str]) -> Result<Vec<Value>> {
    let wrong = |found: &str, expected: &str| {
        Failure::usage(found).at(format_args!("[[sweep]]: {key}")).expected(expected)
    };
    let of_run = key.starts_with("train.") || key.starts_with("model.");
    if !of_run || FIXED.contains(&key) {
        let expected = "a key of [train] or [model] that changes what is trained";
        return Err(wrong("it is not swept", expected)
            .remedy("give it in the pipeline itself, and what differs in its lists"));
    }
    if !known.contains(&key) {
        return Err(wrong("unknown key", "a key of [train] or [model]"));
    }
    match values {
        Value::Array(values) if values.is_empty() => Err(wrong("[]", "at least one value")),
        Value::Array(values) => Ok(values),
        value => Ok(vec![value]),
    }
}

fn check_count(count: usize) -> Result<()> {
    match count {
        ..=MOST => Ok(()),
        _ => Err(Failure::usage(format_args!("{count} variants"))
            .at("[[sweep]]")
            .expected(format_args!("at most {MOST}"))),
    }
}

/// Keys with their sections before them: `train.lr` may be written as one key, or as a table's.
fn flat(before: &str, table: &Table) -> Vec<(String, Value)> {
    let of = |(key, value): (&String, &Value)| {
        let key = format!("{before}{key}");
        match value {
            Value::Table(inner) => flat(&format!("{key}."), inner),
            value => vec![(key, value.clone())],
        }
    };
    table.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["train.lr", "train.seed", "train.optimizer.kind", "tokenize.shards"];

    fn of(text: &str) -> Result<Vec<Variant>> {
        let table: Table = text.parse().unwrap();
        let tables: Vec<Table> = table["sweep"].clone().try_into().unwrap();
        variants(&tables, &KNOWN)
    }

    #[test]
    fn every_value_comes_with_every_other_table_after_table() {
        let all = of("[[sweep]]\ntrain.lr = [1e-3, 2e-3]\n\"train.seed\" = [1, 2, 3]\n[[sweep]]\ntrain.optimizer.kind = \"muon\"\n").unwrap();
        let names: Vec<&str> = all.iter().map(|variant| variant.name.as_str()).collect();
        assert_eq!(names.len(), 7);
        assert_eq!(
            (names[0], names[5], names[6]),
            ("lr=0.001 seed=1", "lr=0.002 seed=3", "kind=muon")
        );
        assert_eq!(all[3].folder, "lr=0.002-seed=1");
        let settings: Vec<String> = all[3].assignments().collect();
        assert_eq!(settings, ["train.lr=0.002", "train.seed=1"]);
        assert_eq!(all[6].assignments().collect::<Vec<_>>(), ["train.optimizer.kind=\"muon\""]);
        assert_eq!((all[3].arm().as_str(), all[3].seed()), ("lr=0.002", Some(&Value::Integer(1))));
        assert_eq!((all[6].arm().as_str(), all[6].seed()), ("kind=muon", None));
    }

    #[test]
    fn a_longer_list_leaves_the_folders_of_the_others() {
        let folders = |text: &str| -> Vec<String> {
            of(text).unwrap().into_iter().map(|variant| variant.folder).collect()
        };
        let before = folders("[[sweep]]\ntrain.lr = [1e-3, 4e-3]\ntrain.seed = [1]");
        let after = folders("[[sweep]]\ntrain.lr = [1e-4, 1e-3, 4e-3]\ntrain.seed = [2, 1]");
        assert!(before.iter().all(|folder| after.contains(folder)), "{before:?} {after:?}");
        // No value leaves its folder.
        let hostile = folders("[[sweep]]\ntrain.optimizer.kind = [\"../../x\", \"/etc\"]");
        assert_eq!(hostile, ["kind=..-..-x", "kind=-etc"]);
    }

    #[test]
    fn what_is_no_list_of_values_for_a_run_is_wrong_usage() {
        for (text, says) in [
            ("[[sweep]]\ntokenize.shards = [1, 2]", "[[sweep]]: tokenize.shards: it is not swept"),
            ("[[sweep]]\ntrain.device = [\"cpu\", \"gpu\"]", "train.device: it is not swept"),
            ("[[sweep]]\ntrain.stpes = [1]", "train.stpes: unknown key"),
            (
                "[[sweep]]\ntrain.lr = [1e-3, 2e-3]\n[[sweep]]\ntrain.lr = 1e-3",
                "\"lr=0.001\" twice",
            ),
            ("[[sweep]]\ntrain.lr = []", "at least one value"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(says), "{error}");
        }
        let many: Vec<String> = (0..1001).map(|i| i.to_string()).collect();
        let error = of(&format!("[[sweep]]\ntrain.seed = [{}]", many.join(","))).unwrap_err();
        assert!(error.to_string().contains("1000"), "{error}");
    }
}

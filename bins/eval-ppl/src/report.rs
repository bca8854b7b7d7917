//! The results, as `eval.json` and as tables.
use std::fmt::Write;

use inference::{Bucket, Interval, Tally};
use serde_json::{Map, Value, json};

/// One text under one model.
pub(crate) struct Evaluated {
    pub tally: Tally,
    /// Of the text.
    pub bytes: u64,
    /// Tokens of the text. The first is included, although it is not evaluated.
    pub tokens: u64,
}

impl Evaluated {
    pub(crate) fn bits_per_byte(&self) -> f64 {
        self.tally.sum.bits_per_byte(self.tokens, self.bytes)
    }

    /// The keys that every result has.
    fn keys(&self) -> Map<String, Value> {
        let sum = &self.tally.sum;
        let keys = json!({
            "loss": sum.loss(),
            "perplexity": sum.perplexity(),
            "bits_per_byte": self.bits_per_byte(),
            "tokens": sum.tokens,
            "bytes": self.bytes,
            "stories": self.tally.stories.len(),
        });
        keys.as_object().cloned().unwrap_or_default()
    }
}

/// The results of one model.
pub(crate) struct Result {
    pub model: String,
    pub context: usize,
    pub stride: usize,
    pub precision: &'static str,
    /// None where only texts are evaluated.
    pub stories: Option<Evaluated>,
    /// Of bits per byte, and of their difference to the first model's.
    pub intervals: Option<(Interval, Interval)>,
    pub texts: Vec<(String, Evaluated)>,
}

fn buckets(buckets: &[Bucket], stories: bool) -> Value {
    let row = |bucket: &Bucket| {
        let mut row = json!({ "from": bucket.from, "to": bucket.to, "tokens": bucket.sum.tokens, "loss": bucket.sum.loss() });
        if stories {
            row["stories"] = bucket.stories.into();
        }
        row
    };
    buckets.iter().map(row).collect()
}

impl Result {
    /// The stories' result, or that of the first text.
    pub(crate) fn main(&self) -> Option<&Evaluated> {
        self.stories.as_ref().or(self.texts.first().map(|(_, evaluated)| evaluated))
    }

    fn json(&self) -> Map<String, Value> {
        let Some(main) = self.main() else { return Map::new() };
        let mut keys = main.keys();
        keys.insert("context".into(), self.context.into());
        keys.insert("stride".into(), self.stride.into());
        keys.insert("precision".into(), self.precision.into());
        if let Some((Interval { low, high }, _)) = self.intervals {
            keys.insert("bits_per_byte_95".into(), json!([low, high]));
        }
        keys.insert("by_position".into(), buckets(&main.tally.by_position(), false));
        keys.insert("by_story_length".into(), buckets(&main.tally.by_length(), true));
        let text = |(name, evaluated): &(String, Evaluated)| {
            let mut keys = evaluated.keys();
            keys.shift_insert(0, "text".into(), name.as_str().into());
            if let Some(stories) = &self.stories {
                keys.insert(
                    "gap_bits_per_byte".into(),
                    (evaluated.bits_per_byte() - stories.bits_per_byte()).into(),
                );
            }
            Value::Object(keys)
        };
        if !self.texts.is_empty() {
            keys.insert("texts".into(), self.texts.iter().map(text).collect());
        }
        keys
    }
}

/// `eval.json`: the first model's result, and with several of them all, each with its difference to the first.
pub(crate) fn to_json(results: &[Result]) -> Value {
    let mut keys = results.first().map(Result::json).unwrap_or_default();
    if results.len() > 1 {
        let own = |result: &Result| {
            let mut keys = result.json();
            keys.shift_insert(0, "model".into(), result.model.as_str().into());
            if let (Some((_, Interval { low, high })), Some(main), Some(first)) =
                (result.intervals, result.main(), results[0].main())
            {
                keys.insert(
                    "difference_bits_per_byte".into(),
                    (main.bits_per_byte() - first.bits_per_byte()).into(),
                );
                keys.insert("difference_bits_per_byte_95".into(), json!([low, high]));
            }
            Value::Object(keys)
        };
        keys.insert("models".into(), results.iter().map(own).collect());
    }
    Value::Object(keys)
}

/// The tables of `eval.json`, as text.
pub(crate) fn tables(json: &Value) -> String {
    let mut text = String::new();
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let range = |row: &Value| format!("{} to {}", row["from"], row["to"]);
    let rows = |key: &str| json[key].as_array().cloned().unwrap_or_default();
    let _ = writeln!(text, "loss by tokens of context     loss   perplexity     tokens");
    for row in rows("by_position") {
        let loss = number(&row["loss"]);
        let _ = writeln!(
            text,
            "  {:>22} {loss:10.3} {:12.2} {:>10}",
            range(&row),
            loss.exp(),
            row["tokens"].to_string()
        );
    }
    let _ = writeln!(text, "loss by tokens of the story   loss   perplexity     tokens    stories");
    for row in rows("by_story_length") {
        let loss = number(&row["loss"]);
        let (tokens, stories) = (row["tokens"].to_string(), row["stories"].to_string());
        let _ = writeln!(
            text,
            "  {:>22} {loss:10.3} {:12.2} {tokens:>10} {stories:>10}",
            range(&row),
            loss.exp()
        );
    }
    if json["texts"].is_array() {
        let _ =
            writeln!(text, "text                          loss   perplexity  bits/byte        gap");
        for row in rows("texts") {
            let [loss, perplexity, bits, gap] =
                ["loss", "perplexity", "bits_per_byte", "gap_bits_per_byte"]
                    .map(|key| number(&row[key]));
            let gap = if gap.is_nan() { String::new() } else { format!("{gap:+.4}") };
            let _ = writeln!(
                text,
                "  {:22} {loss:10.3} {perplexity:12.2} {bits:10.4} {gap:>10}",
                end(&row["text"], 22)
            );
        }
    }
    if json["models"].is_array() {
        let _ = writeln!(
            text,
            "model                         loss   perplexity  bits/byte  95 % of stories    to the first"
        );
        for row in rows("models") {
            let [loss, perplexity, bits] =
                ["loss", "perplexity", "bits_per_byte"].map(|key| number(&row[key]));
            let interval =
                |key: &str, sign: bool| match (row[key][0].as_f64(), row[key][1].as_f64()) {
                    (Some(low), Some(high)) if sign => format!("{low:+.4} to {high:+.4}"),
                    (Some(low), Some(high)) => format!("{low:.4} to {high:.4}"),
                    _ => String::new(),
                };
            let (own, other) = (
                interval("bits_per_byte_95", false),
                interval("difference_bits_per_byte_95", true),
            );
            let _ = writeln!(
                text,
                "  {:22} {loss:10.3} {perplexity:12.2} {bits:10.4}  {own}  {other}",
                end(&row["model"], 22)
            );
        }
    }
    text.trim_end().to_owned()
}

/// The last `most` characters of a name.
pub(crate) fn end(name: &Value, most: usize) -> String {
    let name = name.as_str().unwrap_or_default();
    let skipped = name.chars().count().saturating_sub(most);
    if skipped == 0 {
        name.to_owned()
    } else {
        format!("…{}", name.chars().skip(skipped + 1).collect::<String>())
    }
}

//! What was measured, or why it was not: one row each, as a table and as JSON.
use std::fmt::Write;

use serde_json::{Value, json};

/// Rows in the order they are printed; ratios stand last.
#[derive(Default)]
pub(crate) struct Figures {
    rows: Vec<Value>,
    ratios: Vec<Value>,
}

impl Figures {
    /// `more` holds what only the JSON has: windows, shapes, losses along the way.
    pub(crate) fn value(&mut self, key: &str, figure: &str, value: f64, unit: &str, more: Value) {
        eprintln!("{figure}: {} {unit}", shown(value));
        self.rows.push(row(key, figure, value, unit, more));
    }

    pub(crate) fn ratio(&mut self, key: &str, figure: &str, value: f64, more: Value) {
        self.ratios.push(row(key, figure, value, "x", more));
    }

    pub(crate) fn skip(&mut self, key: &str, figure: &str, reason: &str) {
        self.rows.push(json!({ "key": key, "figure": figure, "skipped": reason }));
    }

    pub(crate) fn skip_ratio(&mut self, key: &str, figure: &str, reason: &str) {
        self.ratios.push(json!({ "key": key, "figure": figure, "skipped": reason }));
    }

    pub(crate) fn get(&self, key: &str) -> Option<f64> {
        self.all().find(|row| row["key"] == key)?["value"].as_f64()
    }

    fn all(&self) -> impl Iterator<Item = &Value> {
        self.rows.iter().chain(&self.ratios)
    }

    pub(crate) fn json(&self) -> Vec<Value> {
        self.all().cloned().collect()
    }

    /// What was measured as a table; below it what was not, by reason.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from("| figure | value | unit |\n|---|---|---|\n");
        let mut skipped: Vec<(&str, Vec<&str>)> = Vec::new();
        for row in self.all() {
            let words = |key: &str| row[key].as_str().unwrap_or_default();
            if let Some(value) = row["value"].as_f64() {
                let _ = writeln!(
                    text,
                    "| {} | {} | {} |",
                    words("figure"),
                    shown(value),
                    words("unit")
                );
                continue;
            }
            match skipped.iter_mut().find(|(reason, _)| *reason == words("skipped")) {
                Some((_, keys)) => keys.push(words("key")),
                None => skipped.push((words("skipped"), vec![words("key")])),
            }
        }
        for (number, (reason, keys)) in skipped.iter().enumerate() {
            let _ = writeln!(
                text,
                "{}Skipped, {reason}: {}",
                if number == 0 { "\n" } else { "" },
                keys.join(", ")
            );
        }
        text
    }
}

fn row(key: &str, figure: &str, value: f64, unit: &str, more: Value) -> Value {
    let mut row = json!({ "key": key, "figure": figure, "value": value, "unit": unit });
    if let (Some(row), Some(more)) = (row.as_object_mut(), more.as_object()) {
        row.extend(more.clone());
    }
    row
}

fn shown(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v == v.trunc() => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// The middle one; None of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// YYYY-MM-DD of now, UTC (Howard Hinnant's days from civil, turned round).
pub(crate) fn today() -> String {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    format!("{}-{month:02}-{day:02}", year_of_era + era * 400 + u64::from(month <= 2))
}

//! Grammar by minimal pairs: two sentences that differ in one place, of which one is English.
use std::path::Path;

use serde::Deserialize;
use stage::{Action, Failure, Result};

use super::choices::Choice;

/// The pairs of this crate, by phenomenon. A fault in the file is a fault of the program, which the tests look for.
pub fn own_pairs() -> Vec<Choice> {
    let lines = include_str!("pairs.txt").lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .flat_map(|(group, sentence)| expanded(group, sentence))
        .collect()
}

/// One pair for each combination of the alternatives in round brackets.
fn expanded(group: &str, sentence: &str) -> Vec<Choice> {
    let mut sentences = vec![String::new()];
    let mut rest = sentence;
    while let Some((before, open)) = rest.split_once('(') {
        let (alternatives, after) = open.split_once(')').unwrap_or((open, ""));
        sentences = sentences
            .iter()
            .flat_map(|start| {
                alternatives.split('|').map(move |word| format!("{start}{before}{word}"))
            })
            .collect();
        rest = after;
    }
    let pair = |start: String| {
        let whole = start + rest;
        let (before, open) = whole.split_once('[')?;
        let (both, after) = open.split_once(']')?;
        let (right, wrong) = both.split_once('/')?;
        let texts = [right, wrong].map(|word| format!("{before}{word}{after}")).to_vec();
        Some(Choice { group: group.to_owned(), texts })
    };
    sentences.into_iter().filter_map(pair).collect()
}

/// A line of a file of pairs, as BLiMP has them (Warstadt et al., arXiv 1912.00582).
#[derive(Deserialize)]
struct Line {
    sentence_good: String,
    sentence_bad: String,
    #[serde(rename = "UID")]
    uid: Option<String>,
    linguistics_term: Option<String>,
}

/// The pairs of a file of JSON lines with `sentence_good` and `sentence_bad`; `linguistics_term` or `UID` names their group.
///
/// # Errors
/// Exit code 3: not there, no UTF-8, a line that is something else, or no pair at all.
pub fn read_pairs(path: &Path) -> Result<Vec<Choice>> {
    let text = stage::read_to_string(path)?;
    let expected = "one JSON object a line with sentence_good and sentence_bad, as BLiMP has them";
    let remedy = format!("name another file with {}", Action::Switch("pairs"));
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let Line { sentence_good, sentence_bad, uid, linguistics_term } =
            serde_json::from_str(line).map_err(|error| {
                let found = format!("line {}: {error}", number + 1);
                Failure::input(path, found, expected, &remedy)
            })?;
        let group = linguistics_term.or(uid).unwrap_or_else(|| "pairs".to_owned());
        pairs.push(Choice { group, texts: vec![sentence_good, sentence_bad] });
    }
    if pairs.is_empty() {
        return Err(Failure::input(path, "no pair in it", expected, &remedy));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn alternatives_multiply_and_every_pair_differs_in_one_place() {
        let pairs = expanded("g", "The (a|b) [was/were] (x|y|z).");
        assert_eq!(pairs.len(), 6);
        assert_eq!(pairs[1].texts, ["The a was y.", "The a were y."]);
        let own = own_pairs();
        let groups: HashSet<&str> = own.iter().map(|pair| pair.group.as_str()).collect();
        assert!(groups.len() >= 12 && own.len() >= 240, "{} {}", groups.len(), own.len());
        let mut seen = HashSet::new();
        for Choice { texts, group } in &own {
            let [good, bad] = &texts[..] else { panic!("{texts:?}") };
            assert!(good != bad && seen.insert(good), "{group}: {good}");
            for text in texts {
                assert!(!text.contains(['[', ']', '(', ')', '|', '/']), "{text}");
                assert!(text.ends_with(['.', '?']), "{text}");
            }
        }
        // Every line of the file gives pairs.
        let lines = include_str!("pairs.txt").lines();
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (group, sentence) = line.split_once(": ").unwrap();
            assert!(!expanded(group, sentence).is_empty(), "{line}");
        }
    }

    #[test]
    fn a_file_of_pairs_is_read_and_its_faults_have_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.jsonl");
        let good =
            r#"{"sentence_good": "A b.", "sentence_bad": "B a.", "UID": "order", "field": 3}"#;
        std::fs::write(&path, format!("{good}\n\n")).unwrap();
        let expected = Choice { group: "order".into(), texts: vec!["A b.".into(), "B a.".into()] };
        assert_eq!(read_pairs(&path).unwrap(), [expected]);
        for (text, said) in [("\n", "no pair"), (&format!("{good}\n{{}}\n"), "line 2")] {
            std::fs::write(&path, text).unwrap();
            let error = read_pairs(&path).unwrap_err();
            assert!(error.exit_code() == 3 && error.to_string().contains(said), "{error}");
        }
    }
}

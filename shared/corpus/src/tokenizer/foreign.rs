//! What is looked at in a `tokenizer.json` before crate `tokenizers` reads it: the crate takes lengths, patterns and
//! replacements at their word, and some make it panic, hang or fill the memory.
use std::ops::ControlFlow;

use serde_json::Value;

/// Bytes of a tokenizer.json, at most. The largest that are published have 35 MB.
pub(super) const MOST_BYTES: u64 = 256 << 20;
/// Highest id plus one, at most: each has a row in the embedding.
pub(super) const MOST_IDS: u64 = 1 << 22;
/// A text may grow this many times by replacements.
const MOST_GROWTH: f64 = 64.0;

/// What was found and what was expected.
#[derive(Debug, PartialEq)]
pub(super) struct Unfit {
    pub found: String,
    pub expected: &'static str,
}

fn unfit(found: impl Into<String>, expected: &'static str) -> Unfit {
    Unfit { found: found.into(), expected }
}

/// Checks the components that decide how text is changed and split.
pub(super) fn check(json: &Value) -> Result<(), Unfit> {
    let mut growth = 1.0;
    for part in ["normalizer", "pre_tokenizer", "decoder"] {
        let Some(component) = json.get(part) else { continue };
        let mut found = None;
        let _ = each_component(component, &mut |component| match check_component(
            component,
            &mut growth,
        ) {
            Ok(()) => ControlFlow::Continue(()),
            Err(unfit) => {
                found = Some(Unfit { found: format!("{part}: {}", unfit.found), ..unfit });
                ControlFlow::Break(())
            }
        });
        if let Some(found) = found {
            return Err(found);
        }
    }
    Ok(())
}

/// Calls `each` with a component and, where it is a sequence, with all within it.
fn each_component(
    component: &Value,
    each: &mut impl FnMut(&Value) -> ControlFlow<()>,
) -> ControlFlow<()> {
    each(component)?;
    for list in ["normalizers", "pretokenizers", "decoders"] {
        for inner in component.get(list).and_then(Value::as_array).into_iter().flatten() {
            each_component(inner, each)?;
        }
    }
    ControlFlow::Continue(())
}

fn check_component(component: &Value, growth: &mut f64) -> Result<(), Unfit> {
    let kind = component.get("type").and_then(Value::as_str).unwrap_or_default();
    let pattern = component.get("pattern");
    let literal = pattern.and_then(|pattern| pattern.get("String")).and_then(Value::as_str);
    let regex = pattern.and_then(|pattern| pattern.get("Regex")).and_then(Value::as_str);
    if let Some(regex) = regex.filter(|regex| repeats_a_repetition(regex)) {
        return Err(unfit(
            format!("{kind} with the pattern {regex:?}"),
            "a pattern without a repetition of a repetition, which can take for ever",
        ));
    }
    match kind {
        "Precompiled" => check_precompiled(component),
        "FixedLength" if component.get("length").and_then(Value::as_u64) == Some(0) => {
            Err(unfit("FixedLength with the length 0", "a length of at least 1"))
        }
        "Replace" => {
            if literal == Some("") {
                return Err(unfit("Replace with an empty pattern", "a pattern of something"));
            }
            let content = component.get("content").and_then(Value::as_str).unwrap_or_default();
            let replaced = literal.map_or(1, str::len);
            *growth *= (content.len() as f64 / replaced as f64).max(1.0);
            if *growth > MOST_GROWTH {
                return Err(unfit(
                    format!("replacements that make a text {growth:.0} times as long"),
                    "at most 64 times",
                ));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The table of SentencePiece: the length of its trie in four bytes, the trie in words of four, then text.
fn check_precompiled(component: &Value) -> Result<(), Unfit> {
    let text = component.get("precompiled_charsmap").and_then(Value::as_str).unwrap_or_default();
    let length = text.trim_end_matches('=').len() / 4 * 3;
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Some(u64::from(c - b'A')),
        b'a'..=b'z' => Some(u64::from(c - b'a') + 26),
        b'0'..=b'9' => Some(u64::from(c - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    // Six digits of base64 hold the first four bytes.
    let bits = text
        .as_bytes()
        .get(..6)
        .and_then(|digits| digits.iter().try_fold(0, |bits, &c| Some(bits << 6 | digit(c)?)));
    let trie = bits.map(|bits: u64| ((bits >> 4) as u32).swap_bytes() as usize); // little-endian
    match trie {
        Some(trie) if trie > 0 && trie.is_multiple_of(4) && trie + 4 <= length + 2 => Ok(()),
        Some(trie) => Err(unfit(
            format!("Precompiled with a trie of {trie} bytes in about {length}"),
            "a precompiled_charsmap that holds its trie",
        )),
        None => Err(unfit(
            format!("Precompiled with {} characters of base64", text.len()),
            "a precompiled_charsmap that holds its trie",
        )),
    }
}

/// `(a+)+` and the like: an engine that goes back tries every way to cut a text in two, and again in each half.
fn repeats_a_repetition(pattern: &str) -> bool {
    let bytes = pattern.as_bytes();
    // For each open group, whether there is an unbounded repetition in it.
    let mut groups = vec![false];
    let (mut at, mut in_class) = (0, 0);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'[' => in_class += 1,
            b']' if in_class > 0 => in_class -= 1,
            _ if in_class > 0 => {}
            b'(' => groups.push(false),
            b')' => {
                let inner = groups.pop().unwrap_or_default();
                let repeated = unbounded(bytes.get(at + 1..).unwrap_or_default());
                if inner && repeated {
                    return true;
                }
                if let Some(outer) = groups.last_mut() {
                    *outer |= inner || repeated;
                }
            }
            b'+' | b'*' if bytes.get(at + 1) == Some(&b'+') => at += 1, // possessive
            b'+' | b'*' | b'{' if unbounded(bytes.get(at..).unwrap_or_default()) => {
                if let Some(group) = groups.last_mut() {
                    *group = true;
                }
            }
            _ => {}
        }
        at += 1;
    }
    false
}

/// Whether a repetition without an upper bound begins here. A possessive one (`++`) never goes back.
fn unbounded(rest: &[u8]) -> bool {
    let possessive = |length: usize| rest.get(length) == Some(&b'+');
    match rest.first() {
        Some(b'+' | b'*') => !possessive(1),
        Some(b'{') => {
            let end = rest.iter().position(|&byte| byte == b'}');
            end.is_some_and(|end| {
                rest.get(end.wrapping_sub(1)) == Some(&b',') && !possessive(end + 1)
            })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patterns_that_go_back_for_ever_are_known_and_those_of_published_tokenizers_are_not_among_them()
     {
        for pattern in
            [r"^(a+)+$", r"(x+x+)+y", r"(?:\w*|b)*c", r"((ab)+c)*", r"(a{2,})+", r"([)]+)+"]
        {
            assert!(repeats_a_repetition(pattern), "{pattern}");
        }
        for pattern in [
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\s+",
            r" ?[^(\s|[.,!?…。，、।۔،])]+",
            r"(?:\r?\n)+",
            r" {2,}",
            r"(a++)+",
            r"\(a+\)+",
        ] {
            assert!(!repeats_a_repetition(pattern), "{pattern}");
        }
    }

    #[test]
    fn components_are_refused_by_name_wherever_they_stand() {
        let growing =
            json!({ "type": "Replace", "pattern": { "String": "a" }, "content": "aaaaaaaaaa" });
        let charsmap = |text: &str| json!({ "type": "Precompiled", "precompiled_charsmap": text });
        for (words, component) in [
            ("100 times as long", json!({ "type": "Sequence", "normalizers": [growing, growing] })),
            (
                "empty pattern",
                json!({ "type": "Replace", "pattern": { "String": "" }, "content": "x" }),
            ),
            ("for ever", json!({ "type": "Split", "pattern": { "Regex": "(a+)+" } })),
            (
                "length 0",
                json!({ "type": "Sequence", "pretokenizers": [{ "type": "FixedLength", "length": 0 }] }),
            ),
            ("0 characters", charsmap("")),
            ("2147483647 bytes", charsmap("////f2FiYw==")),
            ("1073741824 bytes", charsmap("AAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
            ("characters of base64", charsmap("!!!!!!!!")),
        ] {
            for part in ["normalizer", "pre_tokenizer", "decoder"] {
                let error = check(&json!({ part: component })).unwrap_err();
                let text = format!("{} {}", error.found, error.expected);
                assert!(text.starts_with(part) && text.contains(words), "{words}: {text}");
            }
        }
        let once =
            json!({ "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" });
        // A trie of 8 bytes and a text of 4.
        let fine = json!({ "type": "Sequence", "normalizers": [once, charsmap("CAAAAAAAAAAAAAAAYWJjAA==")] });
        assert_eq!(check(&json!({ "normalizer": fine, "decoder": null })), Ok(()));
    }
}

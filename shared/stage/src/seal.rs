//! The seal of manifests and records: a SHA-256 of their own text, as its last field.
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(crate) const SEAL: &str = "sha256";

/// An object as JSON text whose last field is the SHA-256 of all bytes before that field. Any later change is detected, and
/// a reader checks the stored bytes rather than a re-serialisation.
pub fn seal(mut object: Value) -> String {
    if let Value::Object(fields) = &mut object {
        fields.shift_remove(SEAL);
        fields.insert(SEAL.to_owned(), "".into());
    }
    let text = format!("{object:#}\n");
    let Some(at) = seal_at(&text) else { return text };
    let (content, seal) = text.split_at(at);
    let sha256 = hex::encode(Sha256::digest(content));
    format!("{content}{}", seal.replacen("\"\"", &format!("\"{sha256}\""), 1))
}

/// Checks and removes the seal that [`seal`] has written. The error says what was found.
pub fn unseal(text: &[u8]) -> Result<Value, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "bytes that are not UTF-8")?;
    let mut object: Value = serde_json::from_str(text).map_err(|_| "text that is not JSON")?;
    let fields = object.as_object_mut().ok_or("JSON that is not an object")?;
    let sha256 = fields.shift_remove(SEAL).ok_or("no sha256 of itself in it")?;
    let content = seal_at(text).and_then(|at| text.get(..at)).ok_or("no sha256 of itself in it")?;
    let fits = sha256 == hex::encode(Sha256::digest(content))
        || sha256 == hex::encode(Sha256::digest(compact(content)));
    if fits { Ok(object) } else { Err("its content does not fit its sha256") }
}

/// Where the seal's key begins: it is the last field of the object.
fn seal_at(text: &str) -> Option<usize> {
    let at = text.rfind(&format!("\"{SEAL}\""))?;
    let only_a_string = text.get(at..)?.matches([',', ':']).count() == 1;
    only_a_string.then_some(at)
}

/// What a seal of format 2 covers: the fields before the seal as a compact object.
fn compact(content: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let mut text: String = content
        .chars()
        .filter(|&c| {
            let keep = in_string || !c.is_ascii_whitespace();
            if in_string {
                (in_string, escaped) = (escaped || c != '"', !escaped && c == '\\');
            } else {
                in_string = c == '"';
            }
            keep
        })
        .collect();
    text.truncate(text.trim_end_matches(',').len());
    text + "}"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Numbers of every magnitude, and text that looks like the seal or like JSON.
    #[test]
    fn what_is_sealed_is_read_again_whatever_stands_in_it() {
        let mut random = crate::Random::new(5, "seal", 0);
        let words = [
            "a,b",
            "\"",
            "\\",
            "\\\"",
            "sha256",
            "\"sha256\": \"\"",
            " } ",
            "\u{7f}\n\t",
            "é\u{202e}",
            "",
        ];
        for number in 0..20_000 {
            let float = f64::from_bits(random.u64());
            let word = words[number % words.len()];
            let float = if float.is_finite() { float } else { 5e-324 };
            let object = json!({ "float": float, "small": (float as f32), word: [word, random.u64(), { "sha256": word }], "sha256": "x" });
            let text = seal(object.clone());
            let mut expected = object;
            expected.as_object_mut().unwrap().shift_remove("sha256");
            if word != "sha256" {
                assert_eq!(unseal(text.as_bytes()), Ok(expected), "{text}");
            } else {
                assert!(unseal(text.as_bytes()).is_ok(), "{text}");
            }
            assert!(unseal(text.replacen("float", "flaot", 1).as_bytes()).is_err());
            assert!(
                unseal(text.replacen('\n', "\n ", 1).as_bytes()).is_err(),
                "not even a space may change"
            );
        }
    }

    /// As 0.1 wrote them: the seal over the compact text, stored indented (manifests) or compact (records of parts).
    #[test]
    fn seals_of_format_2_are_read_with_numbers_that_no_longer_print_the_same() {
        for number in ["1.32190000000000000001e-23", "7.2740000000000004e-12", "0.1", "-1E+2"] {
            let content = format!(r#"{{"lr":{number},"a \"b\"":["x, y",{{}},[]]"#);
            let sha256 = hex::encode(Sha256::digest(format!("{content}}}")));
            let compact = format!(r#"{content},"sha256":"{sha256}"}}"#);
            let pretty = format!(
                "{{\n  \"lr\": {number},\n  \"a \\\"b\\\"\": [\n    \"x, y\",\n    {{}},\n    []\n  ],\n  \"sha256\": \"{sha256}\"\n}}\n"
            );
            for text in [compact, pretty] {
                assert_eq!(unseal(text.as_bytes()).unwrap()["a \"b\""][0], "x, y", "{text}");
                assert!(unseal(text.replace("x, y", "x,y").as_bytes()).is_err());
            }
        }
    }
}

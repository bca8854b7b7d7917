//! Raw text of the rules to text that is read: spaces, capitals, articles, paragraphs.

/// The text as it is read: spaces, capitals and articles in order, and `~` as a new paragraph or as a space.
pub(crate) fn polish(raw: &str, paragraphs: bool) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(raw.len() + 16);
    let bytes = raw.as_bytes();
    let (mut capital, mut quoted) = (true, false);
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        match byte {
            b'^' => capital = true,
            b'~' => {
                trim_space(&mut out);
                if !out.is_empty() {
                    out.extend_from_slice(if paragraphs { b"\n\n" } else { b" " });
                }
                capital = true;
            }
            b' ' => {
                if out.last().is_some_and(|last| !last.is_ascii_whitespace())
                    && !(quoted && out.last() == Some(&b'"'))
                {
                    out.push(b' ');
                }
            }
            b'.' | b'!' | b'?' | b',' => {
                trim_space(&mut out);
                out.push(byte);
                capital = byte != b',';
            }
            b'"' if quoted => {
                trim_space(&mut out);
                // After `?"` and `!"` the sentence may go on (`asked Tom`); a rule that starts a new one says `^`.
                capital = out.last() == Some(&b'.');
                out.push(b'"');
                quoted = false;
            }
            b'"' => {
                out.push(b'"');
                (capital, quoted) = (true, true);
            }
            _ => {
                let starts_word = i == 0 || !bytes[i - 1].is_ascii_alphabetic();
                if starts_word && after_article(&out) && vowel_sound(&raw[i..]) {
                    out.pop();
                    out.extend_from_slice(b"n ");
                }
                out.push(if capital { byte.to_ascii_uppercase() } else { byte });
                capital = false;
                // Plain words go over in one piece, up to what may need one of the cases above.
                let rest = &bytes[i + 1..];
                let plain = |j: usize| {
                    let single = || {
                        j > 0
                            && rest[j - 1] != b'a'
                            && rest.get(j + 1).is_some_and(u8::is_ascii_lowercase)
                    };
                    rest[j].is_ascii_lowercase() || (rest[j] == b' ' && single())
                };
                let run = (0..rest.len()).find(|&j| !plain(j)).unwrap_or(rest.len());
                out.extend_from_slice(&rest[..run]);
                i += run;
            }
        }
        i += 1;
    }
    trim_space(&mut out);
    String::from_utf8(out).expect("the rules are ASCII, which the tests check")
}

fn trim_space(out: &mut Vec<u8>) {
    while out.last() == Some(&b' ') {
        out.pop();
    }
}

/// Whether the text so far ends in the word `a` and a space.
fn after_article(out: &[u8]) -> bool {
    let n = out.len();
    n >= 2
        && out[n - 1] == b' '
        && out[n - 2].eq_ignore_ascii_case(&b'a')
        && (n == 2 || !out[n - 3].is_ascii_alphabetic())
}

/// Whether a word (in lower case) takes `an`.
fn vowel_sound(word: &str) -> bool {
    match word.as_bytes() {
        [b'a' | b'e' | b'i' | b'A' | b'E' | b'I' | b'O', ..] => true,
        [b'o', ..] => !(word.starts_with("one") || word.starts_with("once")),
        [b'u', ..] => !["uni", "use", "usu"].iter().any(|start| word.starts_with(start)),
        [b'h', ..] => word.starts_with("hour") || word.starts_with("honest"),
        _ => false,
    }
}

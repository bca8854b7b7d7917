//! Untrusted text on a terminal: control characters are shown, not obeyed.
use std::borrow::Cow;

/// Control characters that move the cursor, change colours or titles, or reverse the direction of text.
fn steers(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && !matches!(c, '\n' | '\t')) || turns
}

/// The text with every such character escaped (`\u{1b}`). Line ends and tabs stay.
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\r' => escaped.push_str("\\r"),
            c if steers(c) => escaped.extend(c.escape_unicode()),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out_and_nothing_else() {
        for plain in ["", "Once\n\tupon", "Käse, 日本語 \u{1f600}", "\u{301}"] {
            assert!(matches!(shown(plain), Cow::Borrowed(text) if text == plain));
        }
        assert_eq!(shown("\u{1b}]0;x\u{7}a\rb"), "\\u{1b}]0;x\\u{7}a\\rb");
        assert_eq!(shown("\u{9b}2J\u{7f}\0"), "\\u{9b}2J\\u{7f}\\u{0}");
        assert_eq!(shown("gnp\u{202e}exe"), "gnp\\u{202e}exe");
    }
}

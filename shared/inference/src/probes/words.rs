//! Words of a story and where they stand.

/// A word: letters and inner apostrophes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    /// Bytes before it.
    pub(super) start: usize,
    /// Whether it may have its capital from being the first of a sentence.
    pub(super) opens: bool,
}

impl Word<'_> {
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// The words of a text, in order.
pub(super) fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut opens = true;
    let mut start = None;
    let is_word = |c: char| c.is_alphabetic() || c == '\'';
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (is_word(c), start) {
            (true, None) if c != '\'' => start = Some(at),
            (false, Some(from)) => {
                let word = text.get(from..at).unwrap_or_default();
                words.push(Word { text: word.trim_end_matches('\''), start: from, opens });
                opens = false;
                start = None;
            }
            _ => {}
        }
        if matches!(c, '.' | '!' | '?' | '"' | '\u{201c}' | '\u{201d}' | ':' | '\n') {
            opens = true;
        }
    }
    words
}

/// Where the sentence that holds byte `at` ends: behind its full stop, or with the text.
pub(super) fn sentence_end(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    rest.find(['.', '!', '?']).map_or(text.len(), |dot| at + dot + 1)
}

/// The proper names of a story: capitalised within sentences at least twice, never in lower case.
pub(super) fn names<'a>(words: &[Word<'a>]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for word in words {
        let mut letters = word.text.chars();
        let is_name = letters.next().is_some_and(char::is_uppercase)
            && letters.clone().next().is_some()
            && letters.all(char::is_lowercase);
        if !is_name || word.opens || names.contains(&word.text) || NOT_NAMES.contains(&word.text) {
            continue;
        }
        let inside = words.iter().filter(|other| other.text == word.text && !other.opens).count();
        let lower = word.text.to_lowercase();
        if inside >= 2 && !words.iter().any(|other| other.text == lower) {
            names.push(word.text);
        }
    }
    names
}

/// Capitalised, but nobody.
const NOT_NAMES: [&str; 14] = [
    "Mr",
    "Mrs",
    "Miss",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Christmas",
    "Halloween",
    "Easter",
    "English",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_places_and_names_are_found() {
        let text = "One day, Lily saw Tom's \"Ball\". The dog ran to Lily, and Tom laughed. Tom's dog? It's 'fine'.";
        let all = words(text);
        assert!(all.iter().all(|word| text[word.start..word.end()] == *word.text));
        let shown: Vec<&str> = all.iter().map(|word| word.text).collect();
        assert_eq!(shown[..6], ["One", "day", "Lily", "saw", "Tom's", "Ball"]);
        assert_eq!(shown[shown.len() - 2..], ["It's", "fine"]);
        assert!(all[0].opens && !all[2].opens && all[5].opens && all[6].opens);
        assert_eq!(names(&all), ["Lily"], "Tom's with its ending is another word");
        assert_eq!(&text[sentence_end(text, 40)..][..6], " Tom's");
        assert_eq!(sentence_end("no stop", 2), 7);
        assert!(words("").is_empty() && words("' '' 7").is_empty());
    }
}

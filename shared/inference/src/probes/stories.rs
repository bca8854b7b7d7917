//! Choices made of real stories: who did it, and a word that the story had before.
use stage::Random;

use super::choices::Choice;
use super::words::{Word, names, sentence_end, words};

/// Words that a mention must have before it, so that there is something to know it from.
const CONTEXT: usize = 30;

/// At most one choice with a name and one with a pronoun: a late mention, as it stands and as the other character.
pub fn who(story: &str) -> Vec<Choice> {
    let words = words(story);
    by_name(story, &words).into_iter().chain(by_pronoun(story, &words)).collect()
}

/// The story up to the end of the sentence of `word`, as it is and with another word there.
fn replaced(story: &str, word: &Word, other: &str, group: &str) -> Option<Choice> {
    let end = sentence_end(story, word.end());
    let (before, after) = (story.get(..word.start)?, story.get(word.end()..end)?);
    Some(Choice {
        group: group.to_owned(),
        texts: vec![story.get(..end)?.to_owned(), format!("{before}{other}{after}")],
    })
}

fn by_name(story: &str, words: &[Word]) -> Option<Choice> {
    let names = names(words);
    let late = words.len() * 2 / 3;
    words.iter().enumerate().skip(late.max(CONTEXT)).rev().find_map(|(at, word)| {
        let before = words.get(..at)?;
        let known = |name: &str| before.iter().filter(|other| other.text == name).count() >= 2;
        if !names.contains(&word.text) || !known(word.text) {
            return None;
        }
        // The other character is the one that was named last.
        let other = before
            .iter()
            .rev()
            .map(|other| other.text)
            .find(|other| *other != word.text && names.contains(other) && known(other))?;
        replaced(story, word, other, "name")
    })
}

/// The other pronoun of the same form. "Her" is not replaced: it is "him" as well as "his".
fn other_pronoun(word: &str) -> Option<(bool, &'static str)> {
    Some(match word {
        "he" => (true, "she"),
        "He" => (true, "She"),
        "him" => (true, "her"),
        "his" => (true, "her"),
        "His" => (true, "Her"),
        "she" => (false, "he"),
        "She" => (false, "He"),
        _ => return None,
    })
}

fn is_pronoun(word: &str, male: bool) -> bool {
    let lower = word.to_lowercase();
    if male {
        ["he", "him", "his"].contains(&lower.as_str())
    } else {
        ["she", "her", "hers"].contains(&lower.as_str())
    }
}

fn by_pronoun(story: &str, words: &[Word]) -> Option<Choice> {
    let late = words.len() * 2 / 3;
    words.iter().enumerate().skip(late.max(CONTEXT)).rev().find_map(|(at, word)| {
        let (male, other) = other_pronoun(word.text)?;
        let before = words.get(..at)?;
        let met = |male| before.iter().any(|other| is_pronoun(other.text, male));
        if met(male) && met(!male) { replaced(story, word, other, "pronoun") } else { None }
    })
}

/// Words of [`last_word`] to choose from.
pub const LAST_WORD_OPTIONS: usize = 5;

/// The last sentence that ends with a longer word which stood in the story before, and the same with four other words of the
/// story in its place (drawn by `index`). As in LAMBADA (Paperno et al., arXiv 1606.06031), but among given words.
pub fn last_word(story: &str, index: u64) -> Option<Choice> {
    let words = words(story);
    let long = |word: &Word| word.text.chars().count() >= 4;
    let ends =
        |word: &Word| story.get(word.end()..).is_some_and(|rest| rest.starts_with(['.', '!', '?']));
    let (at, last) = words.iter().enumerate().skip(CONTEXT).rev().find(|(at, word)| {
        long(word) && ends(word) && words.iter().take(*at).any(|other| other.text == word.text)
    })?;
    let mut others: Vec<&str> = Vec::new();
    for word in words.iter().take(at) {
        let same_case =
            word.text.chars().all(char::is_lowercase) == last.text.chars().all(char::is_lowercase);
        if long(word) && same_case && word.text != last.text && !others.contains(&word.text) {
            others.push(word.text);
        }
    }
    Random::new(1, "last word", index).shuffle(&mut others);
    let before = story.get(..last.start)?;
    let with = |word: &str| format!("{before}{word}.");
    let wrong = others.iter().take(LAST_WORD_OPTIONS - 1);
    let texts: Vec<String> = [last.text].iter().chain(wrong).map(|word| with(word)).collect();
    (texts.len() == LAST_WORD_OPTIONS).then_some(Choice { group: "last word".to_owned(), texts })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORY: &str = "One day, a girl named Lily met a boy named Tom. She liked the red ball \
        that he had. They played in the park with Lily and with Tom until the sun went down. \
        Then the dog took the ball and ran. Both looked for it a long time. In the end Tom found \
        the dog, and he gave Lily the ball. She was happy.";

    #[test]
    fn a_late_name_and_a_late_pronoun_are_swapped() {
        let choices = who(STORY);
        assert_eq!(choices.len(), 2);
        let [name, pronoun] = &choices[..] else { panic!("{choices:?}") };
        assert_eq!((name.group.as_str(), pronoun.group.as_str()), ("name", "pronoun"));
        assert!(name.texts[0].ends_with("he gave Lily the ball."));
        assert!(name.texts[1].ends_with("he gave Tom the ball."));
        assert!(pronoun.texts[0].ends_with("the ball. She was happy."));
        assert!(pronoun.texts[1].ends_with("the ball. He was happy."));
        assert!(who("Tom and Lily ran.").is_empty());
        assert!(who("").is_empty());
    }

    #[test]
    fn the_last_word_stood_before_and_so_did_the_others() {
        let choice = last_word(STORY, 3).unwrap();
        assert!(choice.texts[0].ends_with("he gave Lily the ball."), "{choice:?}");
        assert_eq!(choice.texts.len(), LAST_WORD_OPTIONS);
        let start = choice.texts[0].len() - "ball.".len();
        let mut seen = Vec::new();
        for text in &choice.texts {
            let word = text[start..].trim_end_matches('.');
            assert!(STORY[..start].contains(word) && !seen.contains(&word), "{word}");
            seen.push(word);
        }
        assert_eq!(last_word(STORY, 3), Some(choice));
        assert_ne!(last_word(STORY, 4), last_word(STORY, 3));
        assert_eq!(last_word("A ball. The ball.", 1), None);
    }
}

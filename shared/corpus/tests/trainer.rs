//! The trainer makes the file that crate `tokenizers` makes of the same texts, byte for byte.
mod common;

use common::{hard, long, made_up, own_files, random_text, real_stories, train, train_by_crate};
use corpus::tokenizer::WordCounts;

fn check(name: &str, vocab_size: u32, texts: &[String]) {
    let (own, by_crate) = (train(vocab_size, texts), train_by_crate(vocab_size, texts));
    if own != by_crate {
        let place = own.lines().zip(by_crate.lines()).position(|(a, b)| a != b);
        let shown = |json: &str| {
            json.lines().skip(place.unwrap_or_default()).take(3).collect::<Vec<_>>().join("\n")
        };
        panic!(
            "{name}, {vocab_size} tokens, line {place:?}:\n{}\ncrate tokenizers:\n{}",
            shown(&own),
            shown(&by_crate)
        );
    }
}

#[test]
fn merges_and_vocabulary_are_those_of_the_crate() {
    check("nothing", 300, &[]);
    check("one word", 5000, &["to be or not to be".into()]);
    check("made up", 4000, &made_up(2000));
    check("own files", 6000, &own_files());
    check("hard", 5000, &hard());
    check("one letter", 400, &["a".repeat(1000), "aaaa aaa aa a".into(), "abababab ababab".into()]);
    if let Some(stories) = real_stories() {
        check("real", 8000, &stories);
        check("few", 20_000, &stories[..300]);
    }
}

#[test]
fn ties_are_broken_as_the_crate_breaks_them() {
    // Few letters and short texts: nearly all counts are equal to others.
    let rounds = if long() { 3000 } else { 150 };
    for round in 0..rounds {
        let texts: Vec<String> = (0..5 + round % 60).map(|i| random_text(round, i)).collect();
        check(&format!("round {round}"), 258 + (round % 7 * 100) as u32, &texts);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_file() {
    let texts = [made_up(1500), own_files()].concat();
    let one = train(3000, &texts);
    for threads in [2, 5] {
        let words = WordCounts::default();
        std::thread::scope(|scope| {
            for part in 0..threads {
                let (words, texts) = (&words, &texts);
                scope.spawn(move || {
                    let mut counter = words.counter();
                    texts.iter().skip(part).step_by(threads).for_each(|text| counter.add(text));
                });
            }
        });
        assert!(
            corpus::tokenizer::train_on_words(3000, words).unwrap() == one,
            "{threads} threads"
        );
    }
}

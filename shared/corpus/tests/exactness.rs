//! The encoder gives the ids of crate `tokenizers`, one by one, on every text there is.
mod common;

use std::sync::LazyLock;
use std::time::Instant;

use common::{Pair, hard, long, made_up, own_files, random_text, real_stories, train, very_long};
use corpus::tokenizer::Scratch;
use rayon::prelude::*;

/// A tokenizer for stories, and one of another corpus: programs and hard Unicode.
static STORIES: LazyLock<Pair> =
    LazyLock::new(|| Pair::new(&train(8000, &real_stories().unwrap_or_else(|| made_up(3000)))));
static OTHER: LazyLock<Pair> =
    LazyLock::new(|| Pair::new(&train(3000, &[own_files(), hard()].concat())));

fn check(texts: &[String]) {
    for pair in [&*STORIES, &*OTHER] {
        assert!(pair.own.is_fast());
        texts.par_iter().for_each_init(Scratch::default, |scratch, text| pair.check(text, scratch));
    }
}

#[test]
fn stories() {
    check(&made_up(2000));
    check(&real_stories().unwrap_or_default());
}

#[test]
fn every_line_of_the_projects_own_files() {
    let files = own_files();
    assert!(files.len() > 50);
    check(&files);
    check(&files.iter().flat_map(|text| text.lines().map(str::to_owned)).collect::<Vec<_>>());
}

#[test]
fn hard_unicode() {
    check(&hard());
    // One text that has it all: every piece is in the caches now.
    check(&[hard().concat(), hard().join(" "), hard().join("\n")]);
}

#[test]
fn every_code_point() {
    let all: Vec<char> = (0..=0x10_ffff).filter_map(char::from_u32).collect();
    check(&all.chunks(64).map(|some| some.iter().collect()).collect::<Vec<String>>());
    check(
        &all.chunks(64)
            .map(|some| some.iter().flat_map(|&c| ['a', c, ' ', c, '1']).collect())
            .collect::<Vec<String>>(),
    );
}

#[test]
fn random_strings() {
    let (seed, count) = if long() { (2, 10_000_000) } else { (1, 50_000) };
    for pair in [&*STORIES, &*OTHER] {
        (0..count / 2).into_par_iter().for_each_init(Scratch::default, |scratch, index| {
            pair.check(&random_text(seed, index), scratch)
        });
    }
}

#[test]
fn a_piece_of_a_megabyte_takes_no_square_of_it() {
    for text in very_long() {
        for pair in [&*STORIES, &*OTHER] {
            // The best of three: other tests run beside this one.
            let seconds = |text: &str| {
                let once = || {
                    let start = Instant::now();
                    pair.own.try_encode(text).unwrap();
                    start.elapsed().as_secs_f64()
                };
                once().min(once()).min(once())
            };
            let cut = text.char_indices().nth(text.chars().count() / 16).unwrap().0;
            let (part, whole) = (seconds(&text[..cut]).max(1e-3), seconds(&text));
            assert!(
                whole < 64.0 * part,
                "{:?}...: {whole} s, a sixteenth of it {part} s",
                text.chars().next()
            );
        }
    }
    check(&very_long());
}

/// GPT-2's own vocabulary and merges, where somebody put them: `BEDTIME_GPT2` names its tokenizer.json.
#[test]
fn gpt2() {
    let Some(path) = std::env::var_os("BEDTIME_GPT2") else {
        eprintln!("SKIPPED: BEDTIME_GPT2 names no tokenizer.json");
        return;
    };
    let pair = Pair::new(&std::fs::read_to_string(path).unwrap());
    assert!(pair.own.is_fast());
    let texts =
        [hard(), made_up(1000), own_files(), very_long(), real_stories().unwrap_or_default()]
            .concat();
    texts.par_iter().for_each_init(Scratch::default, |scratch, text| pair.check(text, scratch));
    let count = if long() { 2_000_000 } else { 20_000 };
    (0..count).into_par_iter().for_each_init(Scratch::default, |scratch, index| {
        pair.check(&random_text(3, index), scratch)
    });
}

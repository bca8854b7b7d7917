//! A grammar of children's stories, so that the whole pipeline runs with no network at all.
//!
//! The rules are the text files in `rules/`: `scenes.txt` (how a story opens and closes),
//! `plots_*.txt`, `words.txt`, `cast.txt`, `names.txt`, and `plots.txt`, which lists the plots.
//! A rule is `name = first | second`, or `name =` with one alternative to each indented line; an
//! alternative may be a record, `ball / kicked / rolled away`. A line that begins with `#` is a
//! comment.
//!
//! | notation | what it writes |
//! |---|---|
//! | `<rule>`, `<rule:f,h>` | one alternative of a rule; with the friend as `s`, the hero as `t` in it |
//! | `<rule*>`, `<+rule>` | the rule for the hero's kind (`rule.child`, ...), for this story's plot (`lost.rule`, ...) |
//! | `<rule!>` | `rule.named` or `rule.unnamed`, as the hero has a name or not |
//! | `(one\|two\|)` | one of these |
//! | `{=o toy}` | nothing: binds `o` to an alternative of `toy` for the rest of the story |
//! | `{o}`, `{o.1}` | the bound alternative, or its second field |
//! | `{h}`, `{h.he}`, `{he}` | a person (`h` hero, `f` friend (in full at the first mention), `g` grown-up, `x` a stray animal, `s`, `t`), a word for them, for `s` |
//! | `%3 ...`, `@rule` | this alternative three times as often; here all the alternatives of another rule |
//! | `{?f} ...` | this alternative only if the friend has been met (the others: `rules::Guard`) |
//! | `~`, `^` | a new paragraph; the next letter is a capital |
//!
//! A sentence is bound to come with many slots: with names masked, none is to be in more than 1 %
//! of the stories.
//!
//! One story, in the order of the files: `parse.rs` reads the rules once into `rules.rs`,
//! `casting.rs` chooses who is in the story (`cast.rs`), `generator.rs` walks the rules, and
//! `polish.rs` puts capitals, articles and spaces right.
mod cast;
mod casting;
mod generator;
mod parse;
mod polish;
mod rules;

use cast::Character;
use rules::Grammar;
use stage::Random;
use std::sync::LazyLock;

/// The rules of this crate. A fault in them is a fault of the program, which the tests look for.
static GRAMMAR: LazyLock<Grammar> =
    LazyLock::new(|| parse::grammar(parse::SOURCES).unwrap_or_else(|fault| panic!("{fault}")));

/// Story number `index` of the stream of `seed`: a pure function of both. ASCII, 60 to 260 words.
pub fn story(seed: u64, index: u64) -> String {
    let (mut generator, _) = raw_story(seed, index);
    let paragraphs = generator.pick(10) < 7;
    polish::polish(&generator.out, paragraphs)
}

/// Every proper name that a character may have.
pub fn names() -> impl Iterator<Item = &'static str> {
    GRAMMAR.names.iter().flatten().copied()
}

/// A story before it is polished, and who is in it.
fn raw_story(seed: u64, index: u64) -> (generator::Generator<'static>, [Character; 4]) {
    let mut generator = generator::Generator::new(&GRAMMAR, Random::new(seed, "story", index));
    casting::cast(&mut generator);
    generator.write_story();
    let people = std::mem::take(&mut generator.cast);
    (generator, people)
}

#[cfg(test)]
mod tests;

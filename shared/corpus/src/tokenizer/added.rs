//! Tokens that stand in the text as they are, such as `<|endoftext|>`: found before the text is split into pieces.
use aho_corasick::{AhoCorasick, MatchKind};

/// The added tokens of a tokenizer. Those that are to be found in the text as it is go first, then, in what these leave,
/// those to be found in the normalized text, which without a normalizer is the same text.
pub(super) struct Added {
    passes: Vec<Pass>,
}

struct Pass {
    finder: AhoCorasick,
    /// Of each pattern: its id, and whether it has rules about its neighbours.
    tokens: Vec<(u32, bool)>,
}

/// What a text consists of.
pub(super) enum Part<'a> {
    Text(&'a str),
    Token(u32),
}

impl Added {
    /// None if the tokens are too much for the search.
    pub(super) fn new(tokenizer: &tokenizers::Tokenizer) -> Option<Self> {
        let mut all: Vec<_> = tokenizer.get_added_tokens_decoder().into_iter().collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        let mut passes = Vec::new();
        for normalized in [false, true] {
            let of_pass = || all.iter().filter(|(_, token)| token.normalized == normalized);
            let tokens: Vec<_> = of_pass()
                .map(|(id, token)| (*id, token.single_word || token.lstrip || token.rstrip))
                .collect();
            if !tokens.is_empty() {
                let mut finder = AhoCorasick::builder();
                finder.match_kind(MatchKind::LeftmostLongest);
                let finder = finder.build(of_pass().map(|(_, token)| &token.content)).ok()?;
                passes.push(Pass { finder, tokens });
            }
        }
        Some(Added { passes })
    }

    /// Calls `each` with the parts of a text, in order. False where a token is found that has rules of its own; what
    /// was given so far is then worth nothing.
    pub(super) fn parts<'a>(&self, text: &'a str, each: &mut impl FnMut(Part<'a>)) -> bool {
        parts(&self.passes, text, each)
    }
}

fn parts<'a>(passes: &[Pass], text: &'a str, each: &mut impl FnMut(Part<'a>)) -> bool {
    let Some((pass, rest)) = passes.split_first() else {
        each(Part::Text(text));
        return true;
    };
    let mut from = 0;
    for found in pass.finder.find_iter(text) {
        let token = pass.tokens.get(found.pattern().as_usize()).filter(|(_, has_rules)| !has_rules);
        let (Some(&(id, _)), Some(before)) = (token, text.get(from..found.start())) else {
            return false;
        };
        if !parts(rest, before, each) {
            return false;
        }
        each(Part::Token(id));
        from = found.end();
    }
    parts(rest, text.get(from..).unwrap_or_default(), each)
}

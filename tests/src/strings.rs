//! The texts in a crate's code: its string literals, but for tests and attributes (of which comments that document are one).
use std::path::Path;
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::files_below;
use crate::imports::{end_of_item, is_test};

/// Every literal of the files below `src`, with its file, as it is written.
pub fn strings(src: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for path in files_below(src).iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let tokens =
            TokenStream::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut literals = Vec::new();
        read(tokens, &mut literals);
        found.extend(literals.into_iter().map(|text| (path.display().to_string(), text)));
    }
    found
}

fn read(tokens: TokenStream, found: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |i: usize, sign: char| matches!(tokens.get(i), Some(TokenTree::Punct(punct)) if punct.as_char() == sign);
    let mut i = 0;
    while i < tokens.len() {
        match &tokens[i] {
            TokenTree::Punct(_) if is(i, '#') && is_test(tokens.get(i + 1)) => {
                i = end_of_item(&tokens, i + 2);
                continue;
            }
            TokenTree::Punct(_) if is(i, '#') => {
                let at = i + 1 + usize::from(is(i + 1, '!'));
                if matches!(tokens.get(at), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket)
                {
                    i = at + 1;
                    continue;
                }
            }
            TokenTree::Group(group) => read(group.stream(), found),
            TokenTree::Literal(literal) => {
                found.extend(Some(literal.to_string()).filter(|text| text.contains('"')))
            }
            _ => {}
        }
        i += 1;
    }
}

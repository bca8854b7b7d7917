//! Figures of stories that need no judge: whether they end, how varied they are, how much is copied.
use std::collections::HashSet;

use corpus::bin::Bin;
use corpus::copies::{self, copied};
use serde::Serialize;
use stage::Result;

use crate::markdown::markdown;

/// A story without its prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Continuation {
    /// The text after the prompt.
    pub text: String,
    /// Its ids, without the end of the story.
    pub tokens: Vec<u32>,
    /// By the model, not by the limit.
    pub ended: bool,
}

/// Figures over some stories. Words are runs of letters, digits and apostrophes, in lower case; n-grams are of words and do not
/// go from one story into the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Quality {
    /// Stories measured.
    pub stories: usize,
    /// Share of stories that the model ended.
    pub ended: f64,
    /// Means over the stories.
    pub tokens: f64,
    /// Mean over the stories.
    pub words: f64,
    /// Different n-grams over all n-grams of all stories, n = 1, 2, 3 (Li et al., arXiv 1510.03055). More text gives less, so only
    /// equally many stories of equal length compare.
    pub distinct: [f64; 3],
    /// Share of the 4-grams of a story that the same story had before.
    pub repeated_4grams: f64,
    /// Share of tokens inside matches of at least [`copies::COUNTED`] tokens with the training stories.
    pub copied: Option<f64>,
    /// Mean and greatest length of the longest match of a story, tokens; below [`copies::SHORTEST`] counts as 0.
    pub longest_copy: Option<(f64, usize)>,
}

pub(crate) fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Different n-grams of these texts, and all of them.
pub(crate) fn distinct<'a>(
    texts: impl Iterator<Item = &'a Vec<String>> + Clone,
    n: usize,
) -> (usize, usize) {
    let different: HashSet<&[String]> = texts.clone().flat_map(|words| words.windows(n)).collect();
    (different.len(), texts.map(|words| words.windows(n).len()).sum())
}

/// 4-grams that the same text had before, and all of its 4-grams.
pub(crate) fn repeats(words: &[String]) -> (usize, usize) {
    let mut seen = HashSet::new();
    (words.windows(4).filter(|run| !seen.insert(*run)).count(), words.windows(4).len())
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Quality {
    /// Measures stories; with `train`, also what is copied from it.
    ///
    /// # Errors
    /// 130 when interrupted.
    pub fn of(stories: &[Continuation], train: Option<&Bin>) -> Result<Self> {
        let texts: Vec<Vec<String>> = stories.iter().map(|story| words(&story.text)).collect();
        let distinct = [1, 2, 3].map(|n| {
            let (different, all) = distinct(texts.iter(), n);
            share(different, all)
        });
        let (repeated, runs) = texts
            .iter()
            .map(|words| repeats(words))
            .fold((0, 0), |sum, (again, all)| (sum.0 + again, sum.1 + all));
        let (tokens, n) =
            (stories.iter().map(|story| story.tokens.len()).sum::<usize>(), stories.len());
        let mut quality = Quality {
            stories: n,
            ended: share(stories.iter().filter(|story| story.ended).count(), n),
            tokens: share(tokens, n),
            words: share(texts.iter().map(Vec::len).sum(), n),
            distinct,
            repeated_4grams: share(repeated, runs),
            copied: None,
            longest_copy: None,
        };
        if let Some(train) = train {
            let found = copied(
                train,
                &stories.iter().map(|story| story.tokens.clone()).collect::<Vec<_>>(),
            )?;
            quality.copied = Some(share(found.iter().map(|copy| copy.tokens).sum(), tokens));
            let longest = found.iter().map(|copy| copy.longest);
            quality.longest_copy =
                Some((share(longest.clone().sum(), n), longest.max().unwrap_or(0)));
        }
        Ok(quality)
    }

    /// A table with a column for each entry.
    pub fn table(columns: &[(String, Quality)]) -> String {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        type Cell<'a> = &'a dyn Fn(&Quality) -> String;
        let rows: [(&str, Cell); 11] = [
            ("stories", &|q| q.stories.to_string()),
            ("end by themselves", &|q| percent(q.ended)),
            ("tokens", &|q| format!("{:.0}", q.tokens)),
            ("words", &|q| format!("{:.0}", q.words)),
            ("distinct-1", &|q| format!("{:.3}", q.distinct[0])),
            ("distinct-2", &|q| format!("{:.3}", q.distinct[1])),
            ("distinct-3", &|q| format!("{:.3}", q.distinct[2])),
            ("repeated 4-grams", &|q| percent(q.repeated_4grams)),
            ("copied", &|q| q.copied.map_or("?".into(), percent)),
            ("longest copy, mean", &|q| {
                q.longest_copy.map_or("?".into(), |(mean, _)| format!("{mean:.1}"))
            }),
            ("longest copy of all", &|q| {
                q.longest_copy.map_or("?".into(), |(_, most)| most.to_string())
            }),
        ];
        let mut cells = vec![
            [String::new()]
                .into_iter()
                .chain(columns.iter().map(|(name, _)| name.clone()))
                .collect::<Vec<_>>(),
        ];
        cells.extend(rows.iter().map(|(name, cell)| {
            [name.to_string()]
                .into_iter()
                .chain(columns.iter().map(|(_, quality)| cell(quality)))
                .collect::<Vec<_>>()
        }));
        let (counted, shortest) = (copies::COUNTED, copies::SHORTEST);
        markdown(&cells)
            + &format!(
                "
All of it is about what follows the prompt. Tokens and words: means. Distinct-n:
different n-grams of words over all n-grams (more text gives less). Repeated:
4-grams of words that the same story had before. Copied: tokens in runs of {counted}
or more that stand in the training stories word for word. Longest copy: the
longest such run of each story, in tokens (below {shortest} counts as 0).
"
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, ended: bool) -> Continuation {
        Continuation { text: text.to_owned(), tokens: vec![7; text.len()], ended }
    }

    #[test]
    fn figures_by_hand() {
        // 8 words: the cat sat the cat sat the cat. 3 different; pairs: the-cat 3, cat-sat 2, sat-the 2; triples: the-cat-sat 2,
        // cat-sat-the 2, sat-the-cat 2; fours: 5 in all, the-cat-sat-the and cat-sat-the-cat twice each.
        let one = told("The cat sat. The CAT sat; the cat", true);
        // 3 words: it's a dog
        let two = told(" It's\na dog!", false);
        let q = Quality::of(&[one, two], None).unwrap();
        assert_eq!((q.stories, q.ended, q.words), (2, 0.5, 5.5));
        assert_eq!(q.tokens, (33.0 + 12.0) / 2.0);
        assert_eq!(q.distinct, [6.0 / 11.0, 5.0 / 9.0, 4.0 / 7.0]);
        assert_eq!(q.repeated_4grams, 2.0 / 5.0);
        assert_eq!((q.copied, q.longest_copy), (None, None));
        let none = Quality::of(&[], None).unwrap();
        assert_eq!((none.ended, none.distinct, none.repeated_4grams), (0.0, [0.0; 3], 0.0));
        let table = Quality::table(&[("a model".into(), q), ("none".into(), none)]);
        assert!(
            table.starts_with("|                     | a model |  none |\n|---------------------|--------:|------:|\n| stories "),
            "{table}"
        );
        assert!(
            table.contains("| end by themselves   |  50.0 % | 0.0 % |")
                && table.contains("| copied              |       ? |     ? |"),
            "{table}"
        );
    }
}

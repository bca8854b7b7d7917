//! Figures of generated stories beside those of real ones, each with an interval over the stories.
use corpus::bin::Bin;
use corpus::copies::copied;
use stage::Result;

use crate::figures::Figure;
use crate::quality::{Continuation, distinct, repeats, words};

/// What is measured of one set of stories. Every entry is of what follows the prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoryFigures {
    /// Share of stories that the model ended.
    pub ended: Option<Figure>,
    /// Mean words of a story.
    pub words: Option<Figure>,
    /// Different n-grams of words over all of them, n = 1, 2, 3.
    pub distinct: [Option<Figure>; 3],
    /// Share of the 4-grams of a story that the same story had before.
    pub repeated: Option<Figure>,
    /// Share of the tokens inside long matches with the training stories.
    pub copied: Option<Figure>,
}

impl StoryFigures {
    /// Measures stories. `tokens` of each are ids of `train`, whose copies are looked for.
    ///
    /// # Errors
    /// 130 when interrupted.
    pub fn of(stories: &[Continuation], train: Option<&Bin>) -> Result<Self> {
        let texts: Vec<Vec<String>> = stories.iter().map(|story| words(&story.text)).collect();
        let lengths = texts.iter().map(|words| (words.len() as f64, 1.0));
        let repeats = texts.iter().map(|words| {
            let (again, all) = repeats(words);
            (again as f64, all as f64)
        });
        let copies = match train {
            None => None,
            Some(train) => {
                let tokens: Vec<Vec<u32>> =
                    stories.iter().map(|story| story.tokens.clone()).collect();
                let pairs = copied(train, &tokens)?.into_iter().zip(&tokens);
                let parts: Vec<(f64, f64)> =
                    pairs.map(|(copy, tokens)| (copy.tokens as f64, tokens.len() as f64)).collect();
                Figure::ratio(&parts)
            }
        };
        Ok(StoryFigures {
            ended: Figure::share(stories.iter().map(|story| story.ended)),
            words: Figure::ratio(&lengths.collect::<Vec<_>>()),
            distinct: [1, 2, 3].map(|n| {
                Figure::without_groups(texts.len(), |kept| share_distinct(&texts, kept, n))
            }),
            repeated: Figure::ratio(&repeats.collect::<Vec<_>>()),
            copied: copies,
        })
    }
}

fn share_distinct(texts: &[Vec<String>], kept: &[usize], n: usize) -> f64 {
    let (different, all) = distinct(kept.iter().filter_map(|&i| texts.get(i)), n);
    different as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_by_hand() {
        let told =
            |text: &str, ended| Continuation { text: text.to_owned(), tokens: vec![1], ended };
        let stories = [told("The cat sat. The CAT sat; the cat", true), told("It's a dog!", false)];
        let figures = StoryFigures::of(&stories, None).unwrap();
        let value = |figure: Option<Figure>| figure.unwrap().value;
        assert_eq!(value(figures.ended), 0.5);
        assert_eq!(value(figures.words), 5.5);
        assert_eq!(figures.distinct.map(value), [6.0 / 11.0, 5.0 / 9.0, 4.0 / 7.0]);
        assert_eq!(value(figures.repeated), 2.0 / 5.0);
        assert_eq!(figures.copied, None);
        assert_eq!(StoryFigures::of(&[], None).unwrap(), StoryFigures::default());
    }
}

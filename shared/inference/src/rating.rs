//! Ratings of stories by a person: grammar, coherence and fun, 0 to 5, one line of JSON per story.
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stage::{Action, Failure, Result};

/// One story, rated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rating {
    /// SHA-256 of the model's weights, and of the story's text.
    pub model: String,
    /// SHA-256 of the story's text.
    pub story: String,
    /// As it was named.
    pub name: String,
    /// 0 to 5.
    pub grammar: u8,
    /// 0 to 5.
    pub coherence: u8,
    /// 0 to 5.
    pub fun: u8,
}

impl Rating {
    /// Three numbers from 0 to 5.
    pub fn scores(answer: &str) -> Option<[u8; 3]> {
        let numbers: Vec<u8> = answer
            .split([' ', ',', '\t'])
            .filter(|word| !word.is_empty())
            .map(|word| word.parse().ok().filter(|n| *n <= 5))
            .collect::<Option<_>>()?;
        numbers.try_into().ok()
    }
}

/// The file of ratings; each rating is written at once.
pub struct Ratings {
    path: PathBuf,
    file: File,
    /// Those of the file, then those added.
    pub all: Vec<Rating>,
}

impl Ratings {
    /// Opens or creates the file. An incomplete last line is removed.
    ///
    /// # Errors
    /// Exit code 3 where it holds something else.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Failure::writing(folder))?;
        }
        let text = stage::read_if_present(path)?.unwrap_or_default();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut all = Vec::new();
        for (number, line) in text[..whole].lines().enumerate() {
            let rating = serde_json::from_str(line).map_err(|error: serde_json::Error| {
                Failure::input(
                    path,
                    error,
                    "one rating a line, as ratings are written here",
                    format_args!("name another file with {}", Action::Switch("ratings")),
                )
                .at(format_args!("line {}", number + 1))
            })?;
            all.push(rating);
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(Failure::writing(path))?;
        file.set_len(whole as u64).map_err(Failure::writing(path))?;
        Ok(Ratings { path: path.to_owned(), file, all })
    }

    /// Model and story of those that are rated.
    pub fn rated(&self) -> HashSet<(String, String)> {
        self.all.iter().map(|rating| (rating.model.clone(), rating.story.clone())).collect()
    }

    /// Appends a rating, on disk when this returns.
    pub fn add(&mut self, rating: Rating) -> Result<()> {
        let line = serde_json::to_string(&rating)
            .map_err(|error| Failure::try_again(error.to_string()))?
            + "\n";
        self.file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.sync_data())
            .map_err(Failure::writing(&self.path))?;
        self.all.push(rating);
        Ok(())
    }
}

/// Means of one model's ratings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Average {
    /// The model's.
    pub name: String,
    /// Ratings averaged.
    pub stories: usize,
    /// 0 to 5.
    pub grammar: f64,
    /// 0 to 5.
    pub coherence: f64,
    /// 0 to 5.
    pub fun: f64,
}

/// Means for the models (name and hash), of the stories that `keep` wants.
pub fn averages(
    ratings: &[Rating],
    models: &[(String, String)],
    keep: impl Fn(&Rating) -> bool,
) -> Vec<Average> {
    let of_model = |(name, model): &(String, String)| {
        let own: Vec<&Rating> =
            ratings.iter().filter(|rating| rating.model == *model && keep(rating)).collect();
        let mean = |score: fn(&Rating) -> u8| {
            own.iter().map(|rating| f64::from(score(rating))).sum::<f64>() / own.len() as f64
        };
        Average {
            name: name.clone(),
            stories: own.len(),
            grammar: mean(|r| r.grammar),
            coherence: mean(|r| r.coherence),
            fun: mean(|r| r.fun),
        }
    };
    models.iter().map(of_model).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rating(model: &str, story: &str, [grammar, coherence, fun]: [u8; 3]) -> Rating {
        Rating {
            model: model.into(),
            story: story.into(),
            name: model.into(),
            grammar,
            coherence,
            fun,
        }
    }

    #[test]
    fn answers_are_three_numbers_up_to_five() {
        assert_eq!(Rating::scores(" 5 0, 3\n".trim()), Some([5, 0, 3]));
        for bad in ["", "5 5", "5 5 6", "5 5 5 5", "a b c", "-1 2 3", "4.5 3 2"] {
            assert_eq!(Rating::scores(bad), None, "{bad}");
        }
    }

    #[test]
    fn ratings_are_kept_one_by_one_and_a_cut_line_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/ratings.jsonl");
        let given =
            [rating("a", "1", [5, 4, 3]), rating("b", "2", [1, 1, 1]), rating("a", "3", [4, 4, 0])];
        let mut ratings = Ratings::open(&path).unwrap();
        given.iter().for_each(|rating| ratings.add(rating.clone()).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 3]).unwrap();
        let mut again = Ratings::open(&path).unwrap();
        assert_eq!(again.all, given[..2]);
        assert!(again.rated().contains(&("b".into(), "2".into())) && again.rated().len() == 2);
        again.add(given[2].clone()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        let models = ["a", "b", "c"].map(|name| (name.to_owned(), name.to_owned()));
        let means = averages(&again.all, &models, |rating| rating.story != "2");
        assert_eq!(
            means[0],
            Average { name: "a".into(), stories: 2, grammar: 4.5, coherence: 4.0, fun: 1.5 }
        );
        assert_eq!(means[1].stories + means[2].stories, 0);
        std::fs::write(&path, "something else\n").unwrap();
        assert!(Ratings::open(&path).map(drop).unwrap_err().to_string().contains("line 1"));
    }
}

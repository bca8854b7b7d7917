//! Which files of a source are for training, which for validation and which for neither: told by the words of their
//! names, as people and the Hub write them.
#![allow(clippy::indexing_slicing)] // each list has one element a file
use std::path::Path;

use stage::config::Fetch;
use stage::{Action, Failure, Result};

/// Share of the stories set aside where a source has no validation stories and the settings say nothing.
pub const DEFAULT_VALIDATION_FRACTION: f64 = 0.01;
/// Names that a message lists before it says "...".
const MOST_SHOWN: usize = 12;

/// Where validation stories come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Validation<T> {
    /// Files of their own.
    Files(Vec<T>),
    /// This share of the training files' stories.
    Fraction(f64),
}

/// The files of a source, told apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Splits<T> {
    /// Files of the training split.
    pub train: Vec<T>,
    /// Where validation stories come from.
    pub validation: Validation<T>,
    /// What was decided, for the user to see.
    pub notes: Vec<String>,
}

/// What the names of a source's files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Splits: files of other names than those asked for are left out.
    Splits,
    /// Paths below the source, with `/` between their parts.
    Paths,
    /// That of the one file that the source names: it is for training, whatever it is called.
    Single,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Train,
    Validation,
    Test,
}

/// The words for a split. Of several kinds of validation files the first one here is taken.
const WORDS: [(&str, Role); 11] = [
    ("train", Role::Train),
    ("training", Role::Train),
    ("validation", Role::Validation),
    ("valid", Role::Validation),
    ("val", Role::Validation),
    ("dev", Role::Validation),
    ("eval", Role::Validation),
    ("evaluation", Role::Validation),
    ("test", Role::Test),
    ("testing", Role::Test),
    ("heldout", Role::Test),
];

fn role(word: &str) -> Option<Role> {
    WORDS.iter().find(|(known, _)| *known == word).map(|&(_, role)| role)
}

/// Runs of letters or of digits, in lower case: `TinyStoriesV2-GPT4-train.txt` has the word `train`, `trainer` has not.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last = None;
    for c in text.chars() {
        let kind = (c.is_alphabetic(), c.is_numeric());
        if kind != (false, false) {
            match words.last_mut().filter(|_| last == Some(kind)) {
                Some(word) => word.extend(c.to_lowercase()),
                None => words.push(c.to_lowercase().collect()),
            }
        }
        last = Some(kind);
    }
    words
}

/// The word that says what a file is for: the last one of its name, or of the innermost folder that has one.
fn label(path: &str) -> Option<String> {
    path.rsplit('/').find_map(|part| {
        let of_split = words(part).into_iter().rev().map(|word| match word.strip_suffix("set") {
            Some(short) if role(short).is_some() => short.to_owned(), // trainset, testset
            _ => word,
        });
        of_split.into_iter().find(|word| role(word).is_some())
    })
}

/// Whether a file of this name is of the split, by its very word or by the beginning of its name.
fn is_called(path: &str, split: &str) -> bool {
    let wanted = words(split);
    if let [word] = &wanted[..]
        && role(word).is_some()
    {
        return label(path).as_ref() == Some(word);
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let holds = |part: &str| words(part).windows(wanted.len().max(1)).any(|some| some == wanted);
    name.starts_with(split) || path.split('/').any(holds)
}

/// Marks the files of a split: those of the very name, else those whose name means the same.
fn marked(files: &[String], split: &str, names: Names) -> Vec<bool> {
    let exact: Vec<bool> = match names {
        Names::Splits => return files.iter().map(|file| file == split).collect(),
        _ => files.iter().map(|file| is_called(file, split)).collect(),
    };
    match role(&split.to_lowercase()) {
        Some(wanted) if !exact.contains(&true) => {
            files.iter().map(|file| role_of(file) == Some(wanted)).collect()
        }
        _ => exact,
    }
}

fn role_of(file: &str) -> Option<Role> {
    role(&label(file)?)
}

/// Tells training files from validation files. `name` gives what `names` says.
///
/// # Errors
/// Exit code 3 where a split that was asked for is not there, and where every file is called one for validation or testing.
pub fn tell_apart<T>(
    place: &str,
    files: Vec<T>,
    settings: &Fetch,
    names: Names,
    name: impl Fn(&T) -> String,
) -> Result<Splits<T>> {
    let called: Vec<String> = files.iter().map(name).collect();
    let wanted = settings.validation_split.as_deref().filter(|split| !split.is_empty());
    let asked = wanted.map(|split| (split.to_owned(), marked(&called, split, names)));
    if let Some((split, _)) = asked.as_ref().filter(|(_, found)| !found.contains(&true)) {
        let remedy =
            format!("{}, or {}", Action::Set("fetch.validation_split", "NAME"), share_instead());
        return Err(missing(place, "fetch.validation_split", split, &called, &remedy));
    }
    let own = match &asked {
        None if settings.validation_fraction.is_none() => own_validation(&called, settings, names),
        _ => None,
    };
    let note = match (&own, &asked, settings.validation_fraction) {
        (Some((split, _)), ..) => Some(format!("validation stories: the source's own {split:?}")),
        (None, None, None) => Some(fraction_note()),
        _ => None,
    };
    let split = asked.or(own);
    let nowhere = vec![false; called.len()];
    let validates = split.as_ref().map_or(&nowhere, |(_, files)| files);
    let trains = for_training(&called, validates, settings, names);
    if !trains.contains(&true) {
        return Err(nothing_to_train_on(place, &called, validates, settings, names));
    }
    let notes = note.into_iter().chain(where_they_went(&called, &trains, validates, names));
    let notes = notes.collect();
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for (i, file) in files.into_iter().enumerate() {
        if validates[i] {
            validation.push(file);
        } else if trains[i] {
            train.push(file);
        }
    }
    let fraction = settings.validation_fraction.unwrap_or(DEFAULT_VALIDATION_FRACTION);
    let validation = match split {
        Some(_) => Validation::Files(validation),
        None => Validation::Fraction(fraction),
    };
    Ok(Splits { train, validation, notes })
}

/// What is said where no setting decides.
pub fn fraction_note() -> String {
    format!(
        "validation stories: {DEFAULT_VALIDATION_FRACTION} of all, by a hash of their text (fetch.validation_fraction)"
    )
}

/// The validation files that a source brings along, if others are left to train on.
fn own_validation(
    called: &[String],
    settings: &Fetch,
    names: Names,
) -> Option<(String, Vec<bool>)> {
    let splits = WORDS.iter().filter(|(_, role)| *role == Role::Validation);
    splits
        .map(|&(split, _)| {
            let exact = |file: &String| match names {
                Names::Splits => file == split,
                _ => label(file).as_deref() == Some(split),
            };
            (split.to_owned(), called.iter().map(exact).collect::<Vec<bool>>())
        })
        .filter(|(_, files)| files.contains(&true))
        .find(|(_, files)| for_training(called, files, settings, names).contains(&true))
}

/// Those of the training split; where nothing is called so, those that are called nothing else.
fn for_training(
    called: &[String],
    validates: &[bool],
    settings: &Fetch,
    names: Names,
) -> Vec<bool> {
    let rest = |chosen: &dyn Fn(usize) -> bool| -> Vec<bool> {
        (0..called.len()).map(|i| chosen(i) && !validates[i]).collect()
    };
    let asked = marked(called, &settings.train_split, names);
    if asked.contains(&true) || names == Names::Splits {
        return rest(&|i| asked[i]);
    }
    if names == Names::Single {
        return rest(&|_| true);
    }
    let by_default = settings.train_split == Fetch::default().train_split;
    let for_other = |i: usize| matches!(role_of(&called[i]), Some(Role::Validation | Role::Test));
    rest(&|i| (by_default || called.len() == 1) && !for_other(i))
}

fn nothing_to_train_on(
    place: &str,
    called: &[String],
    validates: &[bool],
    settings: &Fetch,
    names: Names,
) -> Failure {
    let held_out = called.iter().find_map(|file| {
        label(file).filter(|word| role(word).is_some_and(|role| role != Role::Train))
    });
    let by_default = settings.train_split == Fetch::default().train_split;
    match held_out {
        Some(word) if names == Names::Paths && by_default && !validates.contains(&true) => {
            Failure::input(
                Path::new(place),
                format_args!(
                    "every file is called one for validation or testing: {}",
                    listed(called.iter())
                ),
                "files to train on",
                format_args!(
                    "{} to train on them all the same",
                    Action::Set("fetch.train_split", &word)
                ),
            )
        }
        _ => missing(
            place,
            "fetch.train_split",
            &settings.train_split,
            called,
            &Action::Set("fetch.train_split", "NAME").to_string(),
        ),
    }
}

/// How to set a share of the stories aside where no split is for validation.
pub(crate) fn share_instead() -> String {
    let share = DEFAULT_VALIDATION_FRACTION.to_string();
    let (no_split, share) = (
        Action::Set("fetch.validation_split", ""),
        Action::Set("fetch.validation_fraction", &share),
    );
    format!("{no_split} {share}")
}

fn missing(place: &str, setting: &str, split: &str, called: &[String], remedy: &str) -> Failure {
    let found = format!("nothing for {setting} = {split:?}; there are {}", listed(called.iter()));
    Failure::input(Path::new(place), found, "files or a split of that name", remedy)
}

/// Which file went where. Of one file, or of splits, there is nothing to say.
fn where_they_went(
    called: &[String],
    trains: &[bool],
    validates: &[bool],
    names: Names,
) -> Option<String> {
    if called.len() == 1 || names == Names::Splits {
        return None;
    }
    let of = |chosen: &dyn Fn(usize) -> bool| {
        let some: Vec<&String> =
            (0..called.len()).filter(|&i| chosen(i)).map(|i| &called[i]).collect();
        (!some.is_empty()).then(|| listed(some.into_iter()))
    };
    let train = of(&|i| trains[i] && !validates[i]).map(|some| format!("for training: {some}"));
    let validation = of(&|i| validates[i]).map(|some| format!("for validation: {some}"));
    let neither = of(&|i| !trains[i] && !validates[i]).map(|some| format!("not used: {some}"));
    Some(train.into_iter().chain(validation).chain(neither).collect::<Vec<_>>().join("; "))
}

/// The first names, each once.
fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    names.dedup();
    let more = names.len().saturating_sub(MOST_SHOWN);
    let shown = names[..names.len() - more].join(", ");
    if more > 0 { format!("{shown}, ... and {more} more") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_as(
        names: Names,
        files: &[&str],
        change: impl FnOnce(&mut Fetch),
    ) -> Result<Splits<String>> {
        let mut settings = Fetch::default();
        change(&mut settings);
        let files = files.iter().map(|name| name.to_string()).collect();
        tell_apart("here", files, &settings, names, String::clone)
    }

    fn split(
        files: &[&str],
        validation: Option<&str>,
        fraction: Option<f64>,
    ) -> Result<Splits<String>> {
        split_as(Names::Paths, files, |settings| {
            settings.validation_split = validation.map(String::from);
            settings.validation_fraction = fraction;
        })
    }

    #[test]
    fn files_are_told_apart_by_name_setting_and_default() {
        let names = ["README", "train-0", "valid-0"];
        let splits = split(&names, None, None).unwrap();
        assert_eq!(
            (splits.train, splits.validation),
            (vec!["train-0".into()], Validation::Files(vec!["valid-0".into()]))
        );
        let halved = split(&names, None, Some(0.5)).unwrap();
        assert_eq!(halved.validation, Validation::Fraction(0.5));
        assert!(halved.notes[0].contains("not used: README, valid-0"), "{:?}", halved.notes);
        assert_eq!(
            split(&names, Some("README"), None).unwrap().validation,
            Validation::Files(vec!["README".into()])
        );
        let plain = split(&["a", "b"], None, None).unwrap();
        assert_eq!(plain.train.len(), 2);
        assert_eq!(plain.validation, Validation::Fraction(DEFAULT_VALIDATION_FRACTION));
        assert!(split(&["a"], Some("test"), None).unwrap_err().to_string().contains("there are a"));
    }

    /// The words of a split stand anywhere in a name or in the name of a folder.
    #[test]
    fn names_as_people_write_them_are_told_apart() {
        let cases: [(&[&str], &[usize], &[usize]); 14] = [
            (&["TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt"], &[0], &[1]),
            (&["train/0.parquet", "validation/0.parquet"], &[0], &[1]),
            (&["data/train-00000-of-00002.parquet", "data/dev-00000-of-00001.parquet"], &[0], &[1]),
            (&["stories_training.jsonl", "stories_val.jsonl"], &[0], &[1]),
            (&["Stories.Train.TXT", "Stories.Eval.TXT"], &[0], &[1]),
            (&["split=train/part-0.parquet", "split=test/part-0.parquet"], &[0], &[]),
            (&["trainset.txt", "testset.txt", "valset.txt"], &[0], &[2]),
            (&["validation/train.txt", "train/validation.txt"], &[0], &[1]),
            (&["a.txt", "b.txt", "dev.txt"], &[0, 1], &[2]),
            (&["trainer.txt", "evaluate.txt", "latest.txt", "devil.txt"], &[0, 1, 2, 3], &[]),
            (&["train1.txt", "train2.txt", "valid1.txt"], &[0, 1], &[2]),
            (&["train.txt", "valid.txt", "validation.txt"], &[0], &[2]),
            (&["train.txt", "notes.txt"], &[0], &[]),
            (&["stories.txt", "test.txt"], &[0], &[]),
        ];
        for (files, train, validation) in cases {
            let splits = split(files, None, None).unwrap();
            let of = |indices: &[usize]| -> Vec<String> {
                indices.iter().map(|&i| files[i].to_owned()).collect()
            };
            assert_eq!(splits.train, of(train), "{files:?}");
            match splits.validation {
                Validation::Files(found) => assert_eq!(found, of(validation), "{files:?}"),
                Validation::Fraction(_) => assert!(validation.is_empty(), "{files:?}"),
            }
            assert!(splits.notes.iter().any(|note| note.contains("for training: ")), "{files:?}");
        }
    }

    #[test]
    fn files_called_for_validation_are_trained_on_only_when_asked_for() {
        for file in ["valid.txt", "a-validation.txt", "dev/1.txt", "x_test.txt", "Eval/x.txt"] {
            let error = split(&[file], None, None).unwrap_err().to_string();
            assert!(error.contains("validation or testing") && error.contains(file), "{error}");
            assert!(split(&[file], None, Some(0.1)).is_err(), "{file}");
            let word = label(file).unwrap();
            let asked = split_as(Names::Paths, &[file], |s| s.train_split = word).unwrap();
            assert_eq!(asked.train, [file]);
            assert_eq!(split_as(Names::Single, &[file], |_| ()).unwrap().train, [file]);
        }
        let named = ["X-train.txt", "X-valid.txt", "Y-train.txt"];
        let splits = split_as(Names::Paths, &named, |settings| {
            settings.train_split = "X-train".into();
            settings.validation_split = Some("X-valid".into());
        });
        let splits = splits.unwrap();
        assert_eq!((splits.train.len(), &*splits.train[0]), (1, "X-train.txt"));
        let typo = split_as(Names::Paths, &named, |s| s.train_split = "Z-train".into());
        assert!(typo.unwrap_err().to_string().contains("nothing for fetch.train_split"));
    }

    #[test]
    fn splits_of_the_hub_are_taken_by_their_very_names() {
        let splits = split_as(Names::Splits, &["test", "train", "validation"], |_| ()).unwrap();
        assert_eq!(splits.train, ["train"]);
        assert_eq!(splits.validation, Validation::Files(vec!["validation".into()]));
        let other = split_as(Names::Splits, &["training"], |_| ()).unwrap_err().to_string();
        assert!(other.contains("there are training"), "{other}");
    }
}

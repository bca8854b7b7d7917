//! What `fetch.source` names: the forms it can have, the local files behind it, and which of the files of a source
//! are for training and which for validation.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stage::config::Fetch;
use stage::{Failure, Result};

/// Share of the stories set aside where a source has no validation stories and the settings say nothing.
pub const DEFAULT_VALIDATION_FRACTION: f64 = 0.01;
/// Stories of `stories:` where the settings say nothing.
pub const DEFAULT_SYNTHETIC_STORIES: u64 = 20_000;
const FORMS: &str = "stories:, hf://datasets/OWNER/NAME[@REVISION], https://HOST/FILE.parquet, s3://BUCKET/PATH, gs://BUCKET/PATH, or a local file, folder or glob of .parquet, .jsonl, .txt";

/// The source as the user wrote it, understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The grammar of this project: synthetic, without end.
    Synthetic,
    Local(Vec<LocalFile>),
    Hub {
        dataset: String,
        revision: Option<String>,
    },
    /// One parquet file at an https (or http) address.
    Url(String),
    /// One object or everything under a prefix, on S3 or Google Cloud Storage.
    Bucket(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Parquet,
    JsonLines,
    Text,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LocalFile {
    pub path: PathBuf,
    pub kind: Kind,
}

impl LocalFile {
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Source {
    /// Understands the text; of local sources it lists the files.
    pub fn parse(text: &str) -> Result<Self> {
        let usage = |found: &str| {
            Failure::usage(format!(
                "fetch.source {text:?}: {found}\n  expected: {FORMS}\n  remedy: --set fetch.source=SOURCE"
            ))
        };
        match text.split_once(':') {
            Some(("stories", "")) => Ok(Source::Synthetic),
            Some(("https" | "http", _)) => Ok(Source::Url(text.to_owned())),
            Some(("s3" | "gs", rest)) if rest.trim_start_matches('/').is_empty() => {
                Err(usage("no bucket"))
            }
            Some(("s3" | "gs", _)) => Ok(Source::Bucket(text.to_owned())),
            Some(("hf", rest)) => {
                let path = rest
                    .strip_prefix("//datasets/")
                    .ok_or_else(|| usage("not a dataset of the Hub"))?;
                let (dataset, revision) = path
                    .trim_end_matches('/')
                    .split_once('@')
                    .map_or((path.trim_end_matches('/'), None), |(d, r)| (d, Some(r)));
                let parts: Vec<&str> = dataset.split('/').collect();
                if parts.len() > 2
                    || parts.iter().any(|part| part.is_empty())
                    || revision == Some("")
                {
                    return Err(usage("not OWNER/NAME or OWNER/NAME@REVISION"));
                }
                Ok(Source::Hub {
                    dataset: dataset.to_owned(),
                    revision: revision.map(str::to_owned),
                })
            }
            Some((scheme, rest)) if rest.starts_with("//") && scheme != "file" => {
                Err(usage(&format!("{scheme}: is no kind of source")))
            }
            _ if text.is_empty() => Err(usage("empty")),
            _ => local_files(text.strip_prefix("file://").unwrap_or(text)).map(Source::Local),
        }
    }

    /// The source as a manifest may name it: without the place where local files lie.
    pub fn label<'a>(&self, text: &'a str) -> &'a str {
        if matches!(self, Source::Local(_)) { "local" } else { text }
    }

    /// Whether one of its files is in this folder.
    pub fn lies_in(&self, folder: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        let folder = real(folder);
        folder.is_some()
            && self
                .inputs()
                .iter()
                .any(|(_, path)| real(path).as_deref().and_then(Path::parent) == folder.as_deref())
    }

    /// The files whose content decides the result, by name. Of a remote source there are none: what was fetched stays
    /// until a setting changes or `--force`.
    pub fn inputs(&self) -> Vec<(String, PathBuf)> {
        match self {
            Source::Local(files) => {
                files.iter().map(|file| (file.name(), file.path.clone())).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn local_files(text: &str) -> Result<Vec<LocalFile>> {
    let path = Path::new(text);
    let found: Vec<LocalFile> = if path.is_dir() {
        // The Hub keeps a dataset's parquet files in data/.
        [path.to_owned(), path.join("data")]
            .iter()
            .map(|folder| one_kind(files_in(folder)))
            .find(|files| !files.is_empty())
            .unwrap_or_default()
    } else if path.exists() {
        vec![path.to_owned()].into_iter().filter_map(story_file).collect()
    } else if text.contains(['*', '?', '[']) {
        let pattern = glob::glob(text)
            .map_err(|error| Failure::usage(format!("fetch.source {text:?}: {error}")))?;
        pattern
            .filter_map(|entry| entry.ok().filter(|path| path.is_file()))
            .filter_map(story_file)
            .collect()
    } else {
        return Err(Failure::input(
            path,
            "not found",
            FORMS,
            "check the path, or set another one with --set fetch.source=SOURCE",
        ));
    };
    match found.is_empty() {
        true => Err(Failure::input(
            path,
            "no .parquet, .jsonl or .txt file",
            "at least one",
            "check the path, or set another one with --set fetch.source=SOURCE",
        )),
        false => Ok(found),
    }
}

fn files_in(folder: &Path) -> Vec<LocalFile> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .filter(|path| {
            !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
        })
        .filter_map(story_file)
        .collect()
}

/// A folder of parquet may well hold a README.txt: the first kind there is takes all.
fn one_kind(files: Vec<LocalFile>) -> Vec<LocalFile> {
    let kind = [Kind::Parquet, Kind::JsonLines, Kind::Text]
        .into_iter()
        .find(|&kind| files.iter().any(|file| file.kind == kind));
    files.into_iter().filter(|file| Some(file.kind) == kind).collect()
}

fn story_file(path: PathBuf) -> Option<LocalFile> {
    let kind = match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "parquet" => Kind::Parquet,
        "jsonl" => Kind::JsonLines,
        "txt" => Kind::Text,
        _ => return None,
    };
    Some(LocalFile { path, kind })
}

/// Where validation stories come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Validation<T> {
    Files(Vec<T>),
    /// This share of the training files' stories.
    Fraction(f64),
}

/// The files of a source, told apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Splits<T> {
    pub train: Vec<T>,
    pub validation: Validation<T>,
    /// What was decided without being asked, for the user to see.
    pub note: Option<String>,
}

/// Tells training files from validation files. `belongs(file, split)` decides one; `strict` sources (the Hub) have named
/// splits, of the others everything that is not for validation is for training where nothing bears the training split's name.
pub fn tell_apart<T>(
    place: &str,
    files: Vec<T>,
    settings: &Fetch,
    strict: bool,
    belongs: impl Fn(&T, &str) -> bool,
    name: impl Fn(&T) -> String,
) -> Result<Splits<T>> {
    let mut names: Vec<String> = files.iter().map(&name).collect();
    names.dedup();
    let (shown, more) = (names.len().min(12), if names.len() > 12 { ", ..." } else { "" });
    let missing = |setting: &str, split: &str, remedy: &str| {
        let found = format!(
            "nothing for {setting} = {split:?}; there are {}{more}",
            names[..shown].join(", ")
        );
        Failure::input(Path::new(place), found, "files or a split of that name", remedy)
    };
    let wanted = settings.validation_split.as_deref().filter(|split| !split.is_empty());
    let has = |split: &str| files.iter().any(|file| belongs(file, split));
    if let Some(split) = wanted.filter(|split| !has(split)) {
        let remedy = format!(
            "--set fetch.validation_split=NAME, or --set fetch.validation_split= --set fetch.validation_fraction={DEFAULT_VALIDATION_FRACTION}"
        );
        return Err(missing("fetch.validation_split", split, &remedy));
    }
    let trains = has(&settings.train_split);
    let usual = || {
        ["validation", "valid"]
            .into_iter()
            .find(|split| has(split) && (trains || !files.iter().all(|file| belongs(file, split))))
    };
    let split = wanted
        .or_else(|| settings.validation_fraction.is_none().then(usual).flatten())
        .map(str::to_owned);
    let note = match (&split, wanted, settings.validation_fraction) {
        (Some(split), None, _) => Some(format!("validation stories: the source's own {split:?}")),
        (None, _, None) => Some(format!(
            "validation stories: {DEFAULT_VALIDATION_FRACTION} of all, by a hash of their text (fetch.validation_fraction)"
        )),
        _ => None,
    };
    let all = !trains && !strict;
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for file in files {
        if split.as_ref().is_some_and(|split| belongs(&file, split)) {
            validation.push(file);
        } else if all || belongs(&file, &settings.train_split) {
            train.push(file);
        }
    }
    if train.is_empty() {
        return Err(missing(
            "fetch.train_split",
            &settings.train_split,
            "--set fetch.train_split=NAME",
        ));
    }
    let fraction = settings.validation_fraction.unwrap_or(DEFAULT_VALIDATION_FRACTION);
    Ok(Splits {
        train,
        validation: if split.is_some() {
            Validation::Files(validation)
        } else {
            Validation::Fraction(fraction)
        },
        note,
    })
}

/// The local files of a source, told apart by the beginning of their names.
pub fn local_splits(files: Vec<LocalFile>, settings: &Fetch) -> Result<Splits<Arc<LocalFile>>> {
    let folder = files
        .first()
        .and_then(|file| file.path.parent())
        .map(|folder| folder.display().to_string())
        .unwrap_or_default();
    let files: Vec<Arc<LocalFile>> = files.into_iter().map(Arc::new).collect();
    tell_apart(
        &folder,
        files,
        settings,
        false,
        |file, split| file.name().starts_with(split),
        |file| file.name(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_source_is_told_from_the_others() {
        let hub = |dataset: &str, revision: Option<&str>| Source::Hub {
            dataset: dataset.into(),
            revision: revision.map(String::from),
        };
        assert_eq!(Source::parse("stories:").unwrap(), Source::Synthetic);
        assert_eq!(Source::parse("hf://datasets/a/b").unwrap(), hub("a/b", None));
        assert_eq!(
            Source::parse("hf://datasets/a/b@refs/convert/parquet").unwrap(),
            hub("a/b", Some("refs/convert/parquet"))
        );
        assert_eq!(
            Source::parse("https://x/y.parquet").unwrap(),
            Source::Url("https://x/y.parquet".into())
        );
        assert_eq!(
            Source::parse("s3://bucket/dir").unwrap(),
            Source::Bucket("s3://bucket/dir".into())
        );
        for (text, code) in [
            ("ftp://x/y", 2),
            ("hf://models/a/b", 2),
            ("hf://datasets/a/b/c", 2),
            ("s3://", 2),
            ("", 2),
            ("/no/such/file.txt", 3),
        ] {
            assert_eq!(Source::parse(text).unwrap_err().exit_code(), code, "{text}");
        }
    }

    #[test]
    fn files_are_told_apart_by_name_setting_and_default() {
        let split = |names: &[&str], validation: Option<&str>, fraction: Option<f64>| {
            let settings = Fetch {
                validation_split: validation.map(String::from),
                validation_fraction: fraction,
                ..Fetch::default()
            };
            let files = names.iter().map(|name| name.to_string()).collect();
            tell_apart(
                "here",
                files,
                &settings,
                false,
                |file, split| file.starts_with(split),
                String::clone,
            )
        };
        let names = ["README", "train-0", "valid-0"];
        let splits = split(&names, None, None).unwrap();
        assert_eq!(
            (splits.train, splits.validation),
            (vec!["train-0".into()], Validation::Files(vec!["valid-0".into()]))
        );
        assert_eq!(split(&names, None, Some(0.5)).unwrap().validation, Validation::Fraction(0.5));
        assert_eq!(
            split(&names, Some("README"), None).unwrap().validation,
            Validation::Files(vec!["README".into()])
        );
        assert_eq!(split(&["a", "b"], None, None).unwrap().train.len(), 2);
        assert_eq!(
            split(&["a", "b"], None, None).unwrap().validation,
            Validation::Fraction(DEFAULT_VALIDATION_FRACTION)
        );
        assert_eq!(split(&["valid-0"], None, None).unwrap().train.len(), 1);
        assert!(split(&["a"], Some("test"), None).unwrap_err().to_string().contains("there are a"));
    }
}

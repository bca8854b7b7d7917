//! What `fetch.source` names: the forms it can have.
use std::path::{Path, PathBuf};

use stage::{Action, Address, Failure, Result};

use crate::local_files::LocalFiles;

/// Stories of `stories:` where the settings say nothing.
pub const DEFAULT_SYNTHETIC_STORIES: u64 = 20_000;
const FORMS: &str = "stories:, hf://datasets/OWNER/NAME[@REVISION], https://HOST/FILE.parquet, s3://BUCKET/PATH, gs://BUCKET/PATH, or a local file, folder or glob of .parquet, .jsonl, .json, .txt";

/// The source as the user wrote it, understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The grammar of this project: synthetic, without end.
    Synthetic,
    /// Files of this machine.
    Local(LocalFiles),
    /// A dataset of the Hugging Face Hub.
    Hub {
        /// OWNER/NAME.
        dataset: String,
        /// Branch, tag or commit.
        revision: Option<String>,
    },
    /// One parquet file at an https (or http) address.
    Url(Address),
    /// One object or everything under a prefix, on S3 or Google Cloud Storage.
    Bucket(Address),
}

impl Source {
    /// Understands the text; of local sources it lists the files.
    pub fn parse(text: &str) -> Result<Self> {
        let usage = |found: &str| {
            Failure::usage(found)
                .at(format_args!("fetch.source {text:?}"))
                .expected(FORMS)
                .remedy(Action::Set("fetch.source", "SOURCE"))
        };
        match text.split_once(':') {
            Some(("stories", "")) => Ok(Source::Synthetic),
            Some(("https" | "http", _)) => Ok(Source::Url(text.into())),
            Some(("s3" | "gs", rest)) if rest.trim_start_matches('/').is_empty() => {
                Err(usage("no bucket"))
            }
            Some(("s3" | "gs", _)) => Ok(Source::Bucket(text.into())),
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
            Some(("file", rest)) if rest.starts_with("//") => {
                let path = file_path(text).ok_or_else(|| {
                    usage("not file:///PATH, with ? and # in the path written as %3F and %23")
                })?;
                LocalFiles::list(&path, FORMS).map(Source::Local)
            }
            _ => LocalFiles::list(Path::new(text), FORMS).map(Source::Local),
        }
    }

    /// The source as a manifest may name it: without secrets, and without the place where local files lie.
    pub fn label(&self, address: &Address) -> String {
        if matches!(self, Source::Local(_)) { "local".into() } else { address.to_string() }
    }

    /// Whether one of its files is in this folder or below it.
    pub fn lies_in(&self, folder: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        let inside =
            |folder: &PathBuf, path: &Path| real(path).is_some_and(|path| path.starts_with(folder));
        let folder = real(folder);
        folder.is_some_and(|folder| self.inputs().iter().any(|(_, path)| inside(&folder, path)))
    }

    /// The files whose content decides the result, by name. Of a remote source there are none: what was fetched stays
    /// until a setting changes or `--force`.
    pub fn inputs(&self) -> Vec<(String, PathBuf)> {
        match self {
            Source::Local(local) => {
                local.files.iter().map(|file| (file.name.clone(), file.path.clone())).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The path of a `file://` address, whose `%20` is a space.
fn file_path(text: &str) -> Option<PathBuf> {
    let url = reqwest::Url::parse(text).ok()?;
    let plain = url.query().is_none() && url.fragment().is_none();
    plain.then(|| url.to_file_path().ok()).flatten()
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
            ("file://host/x.txt", 2),
            ("file:///x.txt?y", 2),
            ("", 2),
            ("/no/such/file.txt", 3),
        ] {
            assert_eq!(Source::parse(text).unwrap_err().exit_code(), code, "{text}");
        }
    }
    #[cfg(unix)]
    #[test]
    fn addresses_of_files_are_decoded() {
        for (text, path) in [
            ("file:///a%20b/%C3%A4.txt", "/a b/\u{e4}.txt"),
            ("file://localhost/a+b", "/a+b"),
            ("file:///50%25", "/50%"),
        ] {
            assert_eq!(file_path(text).unwrap(), Path::new(path));
        }
    }
}

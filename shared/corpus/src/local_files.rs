//! The files of stories on this machine that a file, a folder or a glob names.
use std::path::{Path, PathBuf};

use stage::config::Fetch;
use stage::{Action, Failure, Result};
use walkdir::{DirEntry, WalkDir};

use crate::splits::{Names, Splits, tell_apart};

/// Folders within each other, at most.
const MOST_DEPTH: usize = 32;
/// Files of one source, at most.
const MOST_FILES: usize = 100_000;

/// What a file of stories is, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A column holds the texts.
    Parquet,
    /// An object a line.
    JsonLines,
    /// An array of objects, or an object a line.
    Json,
    /// Plain text with separators.
    Text,
}

const KINDS: [Kind; 4] = [Kind::Parquet, Kind::JsonLines, Kind::Json, Kind::Text];

impl Kind {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        if name.ends_with(".parquet") {
            return Some(Kind::Parquet);
        }
        let packed = [".gz", ".zst"].iter().find_map(|packing| name.strip_suffix(packing));
        match packed.unwrap_or(&name).rsplit_once('.')?.1 {
            "jsonl" | "ndjson" => Some(Kind::JsonLines),
            "json" => Some(Kind::Json),
            "txt" => Some(Kind::Text),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Parquet => ".parquet",
            Kind::JsonLines => ".jsonl",
            Kind::Json => ".json",
            Kind::Text => ".txt",
        }
    }

    /// The kind of a folder's stories. Beside parquet there may well be a README.txt; beside texts a settings.json, and
    /// beside JSON a README.txt: of these the kind with more bytes is taken.
    fn of_all(files: &[LocalFile]) -> Option<Self> {
        let has = |kind: &Kind| files.iter().any(|file| file.kind == *kind);
        let bytes = |kind: Kind| -> u64 {
            let of_kind = files.iter().filter(|file| file.kind == kind);
            of_kind.filter_map(|file| std::fs::metadata(&file.path).ok()).map(|m| m.len()).sum()
        };
        let certain = [Kind::Parquet, Kind::JsonLines].into_iter().find(has);
        certain.or_else(|| match (has(&Kind::Json), has(&Kind::Text)) {
            (true, true) if bytes(Kind::Text) > bytes(Kind::Json) => Some(Kind::Text),
            (true, _) => Some(Kind::Json),
            (false, true) => Some(Kind::Text),
            (false, false) => None,
        })
    }
}

/// A file of a local source.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// The path below the source, with `/` between its parts, the same on every machine.
    pub name: String,
}

/// What a local source has.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalFiles {
    /// In the order of their names.
    pub files: Vec<LocalFile>,
    /// The source names one file.
    single: bool,
    /// Files of other kinds that are left out, for the user to see.
    passed_over: Option<String>,
}

impl LocalFiles {
    /// Lists what `path` names: a file, a folder with all that is below it, or a glob of these.
    ///
    /// # Errors
    /// Exit code 3 where there is nothing, or what there is cannot be listed; 2 for what is no glob.
    pub fn list(path: &Path, forms: &str) -> Result<Self> {
        let text = path.to_string_lossy();
        let mut files = Vec::new();
        let single = path.exists() && !path.is_dir();
        if single {
            stage::open(path)?; // a pipe or a device is told at once
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.extend(Kind::of(path).map(|kind| LocalFile {
                path: path.to_owned(),
                kind,
                name,
            }));
        } else if path.is_dir() {
            add_below(path, path, &mut files)?;
        } else if text.contains(['*', '?', '[']) {
            let found = glob::glob(&text)
                .map_err(|error| Failure::usage(error).at(format_args!("fetch.source {text:?}")))?;
            let root = fixed_part(path);
            for entry in found {
                let entry = entry.map_err(|error| {
                    let place = error.path().to_owned();
                    Failure::reading(&place)(error.into())
                })?;
                add_below(&root, &entry, &mut files)?;
            }
        } else {
            return Err(Failure::input(path, "not found", forms, remedy()));
        }
        let Some(kind) = Kind::of_all(&files) else {
            let found =
                "no .parquet, .jsonl, .json or .txt file (the last three also as .gz or .zst)";
            return Err(Failure::input(path, found, "at least one", remedy()));
        };
        let passed_over = passed_over(&files, kind);
        files.retain(|file| file.kind == kind);
        Ok(LocalFiles { files, single, passed_over })
    }

    /// Tells training from validation by the words in names and folders.
    pub fn splits(self, source: &str, settings: &Fetch) -> Result<Splits<LocalFile>> {
        let names = if self.single { Names::Single } else { Names::Paths };
        let mut splits = tell_apart(source, self.files, settings, names, |file| file.name.clone())?;
        splits.notes.extend(self.passed_over);
        Ok(splits)
    }
}

fn passed_over(files: &[LocalFile], taken: Kind) -> Option<String> {
    let others: Vec<String> = KINDS
        .iter()
        .filter(|&&kind| kind != taken)
        .map(|&kind| (kind, files.iter().filter(|file| file.kind == kind).count()))
        .filter(|&(_, n)| n > 0)
        .map(|(kind, n)| format!("{n} {}", kind.name()))
        .collect();
    let taken = taken.name();
    (!others.is_empty())
        .then(|| format!("only {taken} files are read; there are also {}", others.join(" and ")))
}

/// Adds the files of stories at or below `path`, in the order of their names. What is hidden, and what Spark and its like
/// keep beside their data (`_temporary`, `_delta_log`), is no source.
fn add_below(root: &Path, path: &Path, files: &mut Vec<LocalFile>) -> Result<()> {
    let hidden = |entry: &DirEntry| {
        entry.depth() > 0 && entry.file_name().to_string_lossy().starts_with(['.', '_'])
    };
    let walk = WalkDir::new(path).follow_links(true).max_depth(MOST_DEPTH).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(|entry| !hidden(entry)) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.loop_ancestor().is_some() => continue, // a link to a folder above it
            Err(error) => {
                let place = error.path().unwrap_or(path).to_owned();
                if place.is_symlink() && Kind::of(&place).is_none() {
                    continue; // a link to nothing that would be no story either
                }
                let error =
                    error.into_io_error().unwrap_or_else(|| std::io::ErrorKind::Other.into());
                return Err(Failure::reading(&place)(error));
            }
        };
        let Some(kind) = Kind::of(entry.path()).filter(|_| entry.file_type().is_file()) else {
            continue;
        };
        if files.len() == MOST_FILES {
            let found = format!("more than {MOST_FILES} files");
            return Err(Failure::input(path, found, "fewer, larger files", remedy()));
        }
        let below = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let parts = below.iter().map(|part| part.to_string_lossy());
        let name = parts.collect::<Vec<_>>().join("/");
        files.push(LocalFile { path: entry.into_path(), kind, name });
    }
    Ok(())
}

/// The folder in which everything that a glob may name lies.
fn fixed_part(pattern: &Path) -> PathBuf {
    let fixed = |part: &&std::ffi::OsStr| !part.to_string_lossy().contains(['*', '?', '[']);
    pattern.iter().take_while(fixed).collect()
}

fn remedy() -> String {
    format!("check the path, or set another one with {}", Action::Set("fetch.source", "SOURCE"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "Once.").unwrap();
        }
        folder
    }

    fn names(found: &LocalFiles) -> Vec<&str> {
        found.files.iter().map(|file| file.name.as_str()).collect()
    }

    fn list(text: &str) -> Result<LocalFiles> {
        LocalFiles::list(Path::new(text), "a source")
    }

    #[test]
    fn nested_folders_are_listed_without_what_is_hidden_or_another_program_s() {
        let folder = folder(&[
            "lang=en/part-1.parquet",
            "lang=en/part-0.parquet",
            "data/train-0.parquet",
            "_temporary/0/x.parquet",
            ".cache/y.parquet",
            "_SUCCESS",
            "README.txt",
            "a/b/c.txt",
        ]);
        let root = folder.path().to_str().unwrap();
        let found = list(root).unwrap();
        assert_eq!(
            names(&found),
            ["data/train-0.parquet", "lang=en/part-0.parquet", "lang=en/part-1.parquet"]
        );
        assert!(found.passed_over.unwrap().contains("2 .txt"));
        let found = list(&format!("{root}/lang=*/*.parquet")).unwrap();
        assert_eq!(names(&found), ["lang=en/part-0.parquet", "lang=en/part-1.parquet"]);
        assert_eq!(names(&list(&format!("{root}/d*")).unwrap()), ["data/train-0.parquet"]);
        let found = list(&format!("{root}/README.txt")).unwrap();
        assert_eq!((names(&found), found.single), (vec!["README.txt"], true));
        assert_eq!(list(&format!("{root}/_SUCCESS")).unwrap_err().exit_code(), 3);
    }

    #[cfg(unix)]
    #[test]
    fn links_in_a_circle_end() {
        let folder = folder(&["a/x.txt"]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("a/again")).unwrap();
        let link = folder.path().join("a/gone");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert_eq!(names(&list(folder.path().to_str().unwrap()).unwrap()), ["a/x.txt"]);
        std::os::unix::fs::symlink("nowhere", link.with_extension("txt")).unwrap();
        let error = list(folder.path().to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains("gone.txt: not found"), "{error}");
    }
}

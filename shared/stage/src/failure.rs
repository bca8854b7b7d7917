//! What can go wrong, described so that a user can act on it, and the exit code of each kind.
use std::fmt::{self, Display};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::io_advice::{self, Advice, Mend};
use crate::problem::Problem;

/// The result type of this crate.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Who can do something about it. It decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// 2: the command line or the pipeline file is wrong, or the output cannot be written there.
    Usage,
    /// 3: an input is missing, damaged or does not fit.
    BadInput,
    /// 4: the same command may work later: network, disk full, device lost.
    TryAgain,
    /// 130: stopped by a signal; everything finished is kept.
    Interrupted,
}

impl FailureKind {
    /// Its name in JSON logs.
    pub fn name(self) -> &'static str {
        match self {
            FailureKind::Usage => "usage",
            FailureKind::BadInput => "bad_input",
            FailureKind::TryAgain => "try_again",
            FailureKind::Interrupted => "interrupted",
        }
    }

    /// The number before each of them.
    pub fn exit_code(self) -> u8 {
        match self {
            FailureKind::Usage => 2,
            FailureKind::BadInput => 3,
            FailureKind::TryAgain => 4,
            FailureKind::Interrupted => 130,
        }
    }
}

/// Why a stage ended without its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Who can do something about it.
    pub kind: FailureKind,
    /// What is wrong, where, and what to do.
    pub problem: Box<Problem>,
}

impl std::error::Error for Failure {}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.kind {
            FailureKind::Interrupted => write!(f, "interrupted: {}", self.problem),
            _ => self.problem.fmt(f),
        }
    }
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, problem: impl Into<Box<Problem>>) -> Self {
        Failure { kind, problem: problem.into() }
    }

    /// A wrong command line or pipeline file: exit code 2.
    pub fn usage(found: impl Display) -> Self {
        Failure::new(FailureKind::Usage, Problem::new(found))
    }

    /// A bad input: exit code 3.
    pub fn bad_input(found: impl Display) -> Self {
        Failure::new(FailureKind::BadInput, Problem::new(found))
    }

    /// What may work later: exit code 4.
    pub fn try_again(found: impl Display) -> Self {
        Failure::new(FailureKind::TryAgain, Problem::new(found))
    }

    /// `kept` says what is kept, and how to go on.
    pub fn interrupted(kept: impl Display) -> Self {
        Failure::new(FailureKind::Interrupted, Problem::new(kept))
    }

    /// A bad input file: which one, what was found, what was expected, what to do. [`at`](Self::at) adds row, line or byte.
    pub fn input(
        file: &Path,
        found: impl Display,
        expected: impl Display,
        remedy: impl Display,
    ) -> Self {
        Failure::bad_input(found).file(file).expected(expected).remedy(remedy)
    }

    fn with(mut self, change: impl FnOnce(Problem) -> Problem) -> Self {
        *self.problem = change(std::mem::take(&mut *self.problem));
        self
    }

    /// Adds the file.
    pub fn file(self, file: impl Into<PathBuf>) -> Self {
        self.with(|problem| problem.file(file))
    }

    /// Where in the file, or which setting, address or device.
    pub fn at(self, place: impl Display) -> Self {
        self.with(|problem| problem.at(place))
    }

    /// Adds a line of another name.
    pub fn note(self, name: &'static str, text: impl Display) -> Self {
        self.with(|problem| problem.note(name, text))
    }

    /// Adds what was expected.
    pub fn expected(self, expected: impl Display) -> Self {
        self.with(|problem| problem.expected(expected))
    }

    /// Adds what is kept.
    pub fn kept(self, kept: impl Display) -> Self {
        self.with(|problem| problem.kept(kept))
    }

    /// Adds what to do.
    pub fn remedy(self, remedy: impl Display) -> Self {
        self.with(|problem| problem.remedy(remedy))
    }

    /// For `map_err`: an I/O error while reading `path`.
    pub fn reading(path: &Path) -> impl FnOnce(io::Error) -> Failure + '_ {
        move |error| Failure::advised(path, io_advice::reading(&error))
    }

    /// For `map_err`: an I/O error while writing `path`.
    pub fn writing(path: &Path) -> impl FnOnce(io::Error) -> Failure + '_ {
        move |error| {
            let failure = Failure::advised(path, io_advice::writing(&error));
            match failure.kind {
                FailureKind::TryAgain => failure.kept("every file already under its final name"),
                _ => failure,
            }
        }
    }

    fn advised(path: &Path, advice: Advice) -> Self {
        let Advice { mend, found, expected, remedy } = advice;
        let kind = match mend {
            Mend::Settings => FailureKind::Usage,
            Mend::Input => FailureKind::BadInput,
            Mend::Machine => FailureKind::TryAgain,
        };
        let problem = Problem::new(found).file(path).expected(expected).remedy(remedy);
        Failure::new(kind, problem)
    }

    /// 2, 3, 4 or 130: see the variants.
    pub fn exit_code(&self) -> u8 {
        self.kind.exit_code()
    }

    /// The fields of a JSON line: `kind`, and those of the problem.
    pub fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::from_iter([("kind".to_owned(), self.kind.name().into())]);
        fields.extend(self.problem.fields());
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    /// What reading, or writing, a path tells.
    fn told(
        path: &Path,
        result: io::Result<impl Sized>,
        advice: impl FnOnce(io::Error) -> Failure,
    ) -> (u8, String) {
        let Err(error) = result else { panic!("{} can be opened", path.display()) };
        let failure = advice(error);
        (failure.exit_code(), failure.to_string())
    }

    #[test]
    #[cfg(unix)]
    fn real_errors_are_told_for_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "x").unwrap();
        std::os::unix::fs::symlink("circle", at("circle")).unwrap();
        let long = "n".repeat(300);
        let cases = [
            ("missing", 3, "not found", 4, "its folder is gone"),
            ("", 3, "a folder", 2, "cannot be written: a folder"),
            ("file/below", 3, "is a file, not a folder", 2, "is a file, not a folder"),
            ("circle", 3, "form a loop", 2, "form a loop"),
            (&long, 3, "too long", 2, "too long"),
        ];
        for (name, read_code, read_words, write_code, write_words) in cases {
            let path = at(name);
            let (code, text) = told(&path, fs::read(&path), Failure::reading(&path));
            assert_eq!(code, read_code, "{text}");
            assert!(text.contains(read_words), "{text}");
            // Nothing to write to is missing only where the folder is.
            let path = if name == "missing" { at("missing/file") } else { path };
            let (code, text) = told(&path, File::create(&path), Failure::writing(&path));
            assert_eq!(code, write_code, "{text}");
            assert!(text.contains(write_words) && text.contains("remedy: "), "{text}");
            assert!(!text.contains("check the disk"), "{text}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_and_too_many_open_files_may_work_later() {
        use std::io::Write;
        let full = Path::new("/dev/full");
        let mut file = fs::OpenOptions::new().write(true).open(full).unwrap();
        let (code, text) = told(full, file.write_all(b"x"), Failure::writing(full));
        assert_eq!(code, 4);
        assert!(text.contains("the disk is full") && text.contains("kept: "), "{text}");

        // The limit holds for a whole process: a child takes it.
        let test = std::env::current_exe().unwrap();
        let output = std::process::Command::new("sh")
            .args(["-c", "ulimit -n 32 && exec \"$0\" --exact --ignored --nocapture \"$1\""])
            .arg(test)
            .arg("failure::tests::opens_files_until_there_are_too_many")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }

    /// Run by the test above, in a process of its own.
    #[test]
    #[ignore = "needs a process with few descriptors"]
    fn opens_files_until_there_are_too_many() {
        let path = Path::new("/dev/null");
        let mut open = Vec::new();
        let error = loop {
            match File::open(path) {
                Ok(file) if open.len() < 1000 => open.push(file),
                Ok(_) => panic!("no limit"),
                Err(error) => break error,
            }
        };
        drop(open);
        let failure = Failure::reading(path)(error);
        assert_eq!(failure.exit_code(), 4);
        let text = failure.to_string();
        assert!(text.contains("too many open files") && text.contains("ulimit -n"), "{text}");
    }
}

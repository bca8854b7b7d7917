//! What can go wrong, in words a person can act on, and the exit code each kind has.
use std::fmt::Display;
use std::io;
use std::path::Path;

use crate::io_advice::{self, Advice, Mend};

pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a stage ended without its result. The variant decides the exit code.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// 2: the command line or the pipeline file is wrong, or the output cannot be written there.
    #[error("{0}")]
    Usage(String),
    /// 3: an input is missing, damaged or does not fit.
    #[error("{0}")]
    BadInput(String),
    /// 4: the same command may work later: network, disk full, device lost.
    #[error("{0}")]
    TryAgain(String),
    /// 130: stopped by a signal; everything finished is kept.
    #[error("interrupted: {0}")]
    Interrupted(String),
}

impl Failure {
    pub fn usage(message: impl Into<String>) -> Self {
        Failure::Usage(message.into())
    }

    /// A bad input file: which one, what was found (with row, line or byte), what was expected, what to do.
    pub fn input(
        file: &Path,
        found: impl Display,
        expected: impl Display,
        remedy: impl Display,
    ) -> Self {
        Failure::BadInput(format!(
            "{}: {found}\n  expected: {expected}\n  remedy: {remedy}",
            file.display()
        ))
    }

    pub fn try_again(message: impl Into<String>) -> Self {
        Failure::TryAgain(message.into())
    }

    /// For `map_err`: an I/O error while reading `path`.
    pub fn reading(path: &Path) -> impl FnOnce(io::Error) -> Failure + '_ {
        move |error| Failure::advised(path, "", io_advice::reading(&error))
    }

    /// For `map_err`: an I/O error while writing `path`.
    pub fn writing(path: &Path) -> impl FnOnce(io::Error) -> Failure + '_ {
        move |error| {
            let kept = "\n  kept: every file already under its final name";
            Failure::advised(path, kept, io_advice::writing(&error))
        }
    }

    /// `kept` is said where the same command can go on later.
    fn advised(path: &Path, kept: &str, advice: Advice) -> Self {
        let Advice { mend, found, expected, remedy } = advice;
        let kept = if mend == Mend::Machine { kept } else { "" };
        let text = format!(
            "{}: {found}\n  expected: {expected}{kept}\n  remedy: {remedy}",
            path.display()
        );
        match mend {
            Mend::Settings => Failure::Usage(text),
            Mend::Input => Failure::BadInput(text),
            Mend::Machine => Failure::TryAgain(text),
        }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::BadInput(_) => 3,
            Failure::TryAgain(_) => 4,
            Failure::Interrupted(_) => 130,
        }
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
            ("circle", 3, "lead round in a circle", 2, "lead round in a circle"),
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

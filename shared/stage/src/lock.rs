//! One writer at a time: an advisory lock for each stage of an OUT folder, and for each part of a stage.
//!
//! Some network file systems have no locks. There, nobody is refused, and a warning says so once: temporaries with unique
//! names and the check of what was renamed keep two attempts apart.
use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use crate::{Failure, Log, Result, Shard, interrupt, platform};

/// How often a waiting attempt tries again.
const POLL: Duration = Duration::from_millis(50);

/// Held until dropped. The system releases it when the process is killed.
#[derive(Debug)]
pub struct Lock {
    _files: Vec<File>,
}

#[derive(Clone, Copy)]
enum Kind {
    Alone,
    Shared,
}

impl Lock {
    /// The lock of `stage` in `out`, or None while another attempt holds it.
    ///
    /// # Errors
    /// Those of making the lock file.
    pub fn try_take(out: &Path, stage: &str, log: &Log) -> Result<Option<Self>> {
        let file = try_lock(&path(out, stage, None), Kind::Alone, ask_system)?;
        Ok(file.map(|file| Lock { _files: vec![file.held(stage, out, log)] }))
    }

    /// Waits for the lock of `stage`, or of one part of it. Also returns whether somebody else held it before.
    /// A part excludes the whole stage and the same part, but not other parts.
    ///
    /// # Errors
    /// Exit code 130 when interrupted while it waits; those of making the lock file.
    pub fn wait(out: &Path, stage: &str, part: Option<Shard>, log: &Log) -> Result<(Self, bool)> {
        let mut wanted = vec![(path(out, stage, None), Kind::Alone)];
        if part.is_some() {
            wanted =
                vec![(path(out, stage, None), Kind::Shared), (path(out, stage, part), Kind::Alone)];
        }
        let (mut files, mut waited) = (Vec::new(), false);
        for (path, kind) in wanted {
            let file = loop {
                if let Some(file) = try_lock(&path, kind, ask_system)? {
                    break file.held(stage, out, log);
                }
                if !waited {
                    log.say(format!(
                        "waiting for another {stage} in {}{}",
                        out.display(),
                        holder(&path)
                    ));
                }
                waited = true;
                interrupt::check("it was still waiting for the other one")?;
                std::thread::sleep(POLL);
            };
            if matches!(kind, Kind::Alone) {
                sign(&file);
            }
            files.push(file);
        }
        Ok((Lock { _files: files }, waited))
    }
}

fn path(out: &Path, stage: &str, part: Option<Shard>) -> PathBuf {
    out.join(match part {
        None => format!(".{stage}.lock"),
        Some(Shard { index, of }) => format!(".{stage}-{index}-of-{of}.lock"),
    })
}

fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        crate::create_dir(folder)?;
    }
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    // Never follow a link, and never block on a pipe in this place.
    platform::follow_no_link(&mut options);
    options.open(path).map_err(Failure::writing(path))
}

type Ask = fn(&File, Kind) -> std::result::Result<(), TryLockError>;

fn ask_system(file: &File, kind: Kind) -> std::result::Result<(), TryLockError> {
    match kind {
        Kind::Alone => file.try_lock(),
        Kind::Shared => file.try_lock_shared(),
    }
}

/// A lock file that nobody else holds.
#[derive(Debug)]
struct Held {
    file: File,
    /// Why it excludes nobody.
    no_lock: Option<std::io::Error>,
}

impl Held {
    /// Warns, once per process, when the file system has no locks.
    fn held(self, stage: &str, out: &Path, log: &Log) -> File {
        static SAID: Once = Once::new();
        if let Some(error) = self.no_lock {
            SAID.call_once(|| log.warn(no_lock(stage, out, &error)));
        }
        self.file
    }
}

fn no_lock(stage: &str, out: &Path, error: &std::io::Error) -> String {
    format!(
        "{}: its file system has no locks ({error}); a second {stage} there would not wait for this one, and only what is whole is published",
        out.display()
    )
}

/// The locked file, or None while somebody else holds it. Without locks on the file system, nobody does.
fn try_lock(path: &Path, kind: Kind, ask: Ask) -> Result<Option<Held>> {
    let file = open(path)?;
    let no_lock = match ask(&file, kind) {
        Ok(()) => None,
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => Some(error),
    };
    // `bedtime clean` may have removed it meanwhile: a lock on a file without a name excludes nobody.
    let held = platform::is_the_file_of(&file, path);
    Ok(held.then_some(Held { file, no_lock }))
}

/// Tells those who wait which process holds it.
fn sign(mut file: &File) {
    let text = format!("process {} {}\n", std::process::id(), platform::host_name());
    let _ = file.set_len(0).and_then(|()| file.write_all(text.as_bytes()));
}

/// `: process 12 host`, if the holder has written it.
fn holder(path: &Path) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(200).read_to_string(&mut text));
    match (read, text.trim()) {
        (Ok(1..), text) if text.starts_with("process ") => {
            format!(": {}", text.chars().filter(|c| !c.is_control()).collect::<String>())
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogFormat;

    #[test]
    fn a_stage_keeps_out_itself_and_its_parts_but_parts_not_one_another() {
        let folder = tempfile::tempdir().unwrap();
        let (out, log) = (folder.path().join("out"), Log::new("test", LogFormat::Text));
        let part = |index| Some(Shard { index, of: 3 });
        let try_take = |stage| Lock::try_take(&out, stage, &log).unwrap();
        let (first, waited) = Lock::wait(&out, "fetch", part(1), &log).unwrap();
        assert!(!waited);
        let (second, waited) = Lock::wait(&out, "fetch", part(2), &log).unwrap();
        assert!(!waited);
        // Another stage is another lock; the whole has to wait for both parts.
        assert!(try_take("tokenize").is_some());
        assert!(try_take("fetch").is_none());
        drop(first);
        assert!(try_take("fetch").is_none());
        drop(second);
        let whole = try_take("fetch");
        assert!(whole.is_some());
        let waiting = std::thread::spawn({
            let (out, log) = (out.clone(), log);
            move || Lock::wait(&out, "fetch", part(1), &log).unwrap().1
        });
        std::thread::sleep(4 * POLL);
        assert!(!waiting.is_finished());
        drop(whole);
        assert!(waiting.join().unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_system_without_locks_refuses_nobody_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), "fetch", None);
        for code in [libc::ENOLCK, libc::ENOTSUP, libc::ENOSYS, libc::EIO] {
            let error = std::io::Error::from_raw_os_error(code);
            let words = no_lock("fetch", folder.path(), &error);
            assert!(words.contains("no locks (") && !words.contains('\n'), "{words}");
        }
        let no_locks: Ask =
            |_, _| Err(TryLockError::Error(std::io::Error::from_raw_os_error(libc::ENOLCK)));
        let first = try_lock(&path, Kind::Alone, no_locks).unwrap().unwrap();
        let second = try_lock(&path, Kind::Alone, no_locks).unwrap().unwrap();
        assert!(first.no_lock.is_some() && second.no_lock.is_some());
        // Where there are locks nothing is said.
        let locked = try_lock(&path, Kind::Alone, ask_system).unwrap().unwrap();
        assert!(locked.no_lock.is_none());
        let busy: Ask = |_, _| Err(TryLockError::WouldBlock);
        assert!(try_lock(&path, Kind::Alone, busy).unwrap().is_none());
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_whose_file_was_removed_is_none_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (out, log) = (folder.path(), Log::new("test", LogFormat::Text));
        let try_take = |stage| Lock::try_take(out, stage, &log);
        let held = try_take("fetch").unwrap().unwrap();
        let old = open(&path(out, "fetch", None)).unwrap();
        std::fs::remove_file(path(out, "fetch", None)).unwrap();
        // Whoever comes next locks another file; the one that waits for the old one sees it.
        assert!(!platform::is_the_file_of(&old, &path(out, "fetch", None)));
        let next = try_take("fetch").unwrap();
        assert!(next.is_some() && try_take("fetch").unwrap().is_none());
        drop((held, next));

        let mine = out.join("mine");
        std::fs::write(&mine, "mine").unwrap();
        std::os::unix::fs::symlink(&mine, path(out, "tokenize", None)).unwrap();
        assert!(try_take("tokenize").is_err());
        assert_eq!(std::fs::read_to_string(&mine).unwrap(), "mine");
    }
}

//! Names for what is on its way to its final name: `.NAME.HOST-PID-RANDOM.partial`, in the folder of that name.
//!
//! No two attempts share a name, so an attempt that was suspended and resumes later never writes into another's file. Files
//! are created exclusively: an existing link is an error and is never followed. The name says who owns the file, so what an
//! ended attempt left behind can be removed, and nothing else is.
use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;

use crate::platform;

/// After this time without a change, a file of an unknown owner counts as abandoned.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of NAME that a temporary name uses: file names have at most 255.
const NAME_BYTES: usize = 150;
const NOTE: &str = ".etag";

/// What happens to a file or folder whose process was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Removed by the next attempt.
    Partial,
    /// Taken over by the next attempt: a download resumes where it broke off.
    Download,
}

impl Kind {
    const ALL: [(Kind, &str); 2] = [(Kind::Partial, "partial"), (Kind::Download, "download")];

    fn extension(self) -> &'static str {
        if self == Kind::Partial { "partial" } else { "download" }
    }
}

/// The process that writes. A download that ended in good order leaves a file without an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    /// A hash of host name, boot and process namespace: where it is equal, process ids can be compared.
    host: u64,
    pid: u32,
}

const NOBODY: Owner = Owner { host: 0, pid: 0 };

impl Owner {
    fn this() -> Self {
        static HOST: OnceLock<u64> = OnceLock::new();
        Owner { host: *HOST.get_or_init(platform::host), pid: std::process::id() }
    }

    /// Whether the process has ended. None if this cannot be known from here.
    fn has_ended(self) -> Option<bool> {
        if self == NOBODY {
            return Some(true);
        }
        let this = Owner::this();
        if self.host != this.host {
            return None;
        }
        if self.pid == this.pid { Some(false) } else { platform::process_has_ended(self.pid) }
    }
}

/// The parts of a temporary name.
#[derive(Debug, PartialEq)]
struct Parsed<'a> {
    target: &'a str,
    owner: Owner,
    kind: Kind,
}

/// Parses only the exact form that [`Temporary`] writes.
fn parse(name: &str) -> Option<Parsed<'_>> {
    let (rest, extension) = name.strip_prefix('.')?.rsplit_once('.')?;
    let (kind, _) = Kind::ALL.into_iter().find(|(_, known)| *known == extension)?;
    let (target, owner) = rest.rsplit_once('.')?;
    let mut parts = owner.split('-');
    let (host, pid, random) = (parts.next()?, parts.next()?, parts.next()?);
    let hexadecimal = |text: &str| {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        text.len() == 16 && text.bytes().all(digit)
    };
    let decimal = pid.parse::<u32>().ok().filter(|number| number.to_string() == pid)?;
    if target.is_empty() || parts.next().is_some() || !hexadecimal(host) || !hexadecimal(random) {
        return None;
    }
    let owner = Owner { host: u64::from_str_radix(host, 16).ok()?, pid: decimal };
    Some(Parsed { target, owner, kind })
}

/// NAME as it appears in a temporary name.
fn target_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let end = (0..=name.len().min(NAME_BYTES)).rev().find(|&end| name.is_char_boundary(end));
    match end.and_then(|end| name.get(..end)) {
        None | Some("") => "file".to_owned(),
        Some(name) => name.to_owned(),
    }
}

fn new_path(target: &Path, owner: Owner, kind: Kind) -> PathBuf {
    let random = RandomState::new().hash_one(std::time::SystemTime::now());
    let (name, Owner { host, pid }) = (target_of(target), owner);
    let extension = kind.extension();
    target.with_file_name(format!(".{name}.{host:016x}-{pid}-{random:016x}.{extension}"))
}

/// A file or folder under a temporary name. Dropping removes it, but leaves a download for the next attempt.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    target: PathBuf,
    kind: Kind,
    is_over: bool,
}

impl Temporary {
    /// A new empty file, open for writing and reading. Creates its folder if missing.
    pub fn file(target: &Path) -> io::Result<(Self, File)> {
        let open =
            |path: &Path| OpenOptions::new().read(true).write(true).create_new(true).open(path);
        Self::make(target, open)
    }

    /// A new empty folder.
    pub fn folder(target: &Path) -> io::Result<Self> {
        Ok(Self::make(target, |path| fs::create_dir(path))?.0)
    }

    /// A second name of `file`.
    pub fn link(file: &Path, target: &Path) -> io::Result<Self> {
        Ok(Self::make(target, |path| fs::hard_link(file, path))?.0)
    }

    fn make<T>(target: &Path, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<(Self, T)> {
        let folder = target.parent().unwrap_or(Path::new(""));
        sweep_once(folder);
        let mut tries = 0;
        loop {
            let path = new_path(target, Owner::this(), Kind::Partial);
            match make(&path) {
                Ok(made) => return Ok((Self::at(path, target, Kind::Partial), made)),
                // The folder is missing, or another attempt has just removed it while it was empty.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < 5 => {
                    fs::create_dir_all(folder)?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < 5 => {}
                Err(error) => return Err(error),
            }
            tries += 1;
        }
    }

    fn at(path: PathBuf, target: &Path, kind: Kind) -> Self {
        Temporary { path, target: target.to_owned(), kind, is_over: false }
    }

    /// For a download: what an ended attempt left, renamed for this attempt, or else a free name. If two attempts want the same
    /// file, one gets it. Its [note](Self::note) moves along.
    pub fn download(target: &Path) -> io::Result<Self> {
        let folder = target.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(folder)?;
        let path = new_path(target, Owner::this(), Kind::Download);
        let name = target_of(target);
        let mut left = left_behind(folder, Kind::Download);
        left.retain(|(path, _)| name_of(path).and_then(parse).is_some_and(|it| it.target == name));
        left.sort_by_key(|(_, metadata)| std::cmp::Reverse(metadata.len()));
        // If the rename fails, another attempt has it.
        if let Some((old, _)) = left.into_iter().find(|(old, _)| fs::rename(old, &path).is_ok()) {
            let _ = fs::rename(note_of(&old), note_of(&path));
        }
        Ok(Self::at(path, target, Kind::Download))
    }

    /// The file beside a download that says what its bytes belong to.
    pub fn note(&self) -> PathBuf {
        note_of(&self.path)
    }

    /// Where it is now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its final name, on disk when this returns. It must be the very file that was `written`, not a link, and have
    /// that length.
    pub fn publish(self, written: &File, bytes: u64) -> io::Result<()> {
        self.publish_with(written, bytes, || Ok(()))
    }

    /// Calls `before` when only the renaming is left to do.
    pub(crate) fn publish_with<E: From<io::Error>>(
        mut self,
        written: &File,
        bytes: u64,
        before: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let changed = |what: &str| io::Error::other(format!("another process has {what} it"));
        let (known, found) = (written.metadata()?, fs::symlink_metadata(&self.path)?);
        if !found.is_file() || !platform::is_same(&known, &found) {
            return Err(changed("replaced").into());
        }
        if found.len() != bytes {
            return Err(changed("written to").into());
        }
        written.sync_all()?;
        before()?;
        fs::rename(&self.path, &self.target)?;
        self.is_over = true;
        remove(&self.path)?; // where both names are links to one file already, a rename does nothing
        if self.kind == Kind::Download {
            remove(&self.note())?;
        }
        Ok(platform::sync_folder_of(&self.target)?)
    }

    /// Removes it now.
    pub fn discard(mut self) -> io::Result<()> {
        self.is_over = true;
        remove(&self.path)?;
        if self.kind == Kind::Download { remove(&self.note()) } else { Ok(()) }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        match self.kind {
            Kind::Partial => drop(remove(&self.path)),
            Kind::Download => {
                // Without an owner from now on: another host could not know that this process has ended.
                let path = new_path(&self.target, NOBODY, Kind::Download);
                let _ = fs::rename(&self.path, &path);
                let _ = fs::rename(note_of(&self.path), note_of(&path));
            }
        }
    }
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn note_of(download: &Path) -> PathBuf {
    let mut name = download.as_os_str().to_owned();
    name.push(NOTE);
    name.into()
}

/// Files and folders of this kind whose process has ended or has long been silent. Links do not count.
fn left_behind(folder: &Path, kind: Kind) -> Vec<(PathBuf, Metadata)> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let is_left = |path: &Path| {
        let name = name_of(path)?;
        let parsed = parse(name.strip_suffix(NOTE).unwrap_or(name))?;
        let metadata = fs::symlink_metadata(path).ok()?;
        let is_old = || metadata.modified().ok()?.elapsed().ok().map(|age| age > ABANDONED);
        let ended = parsed.owner.has_ended().or_else(is_old).unwrap_or(false);
        (parsed.kind == kind && !metadata.is_symlink() && ended).then_some(metadata)
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| is_left(&entry.path()).map(|found| (entry.path(), found))).collect()
}

/// Removes what killed attempts left in a folder, once per process.
fn sweep_once(folder: &Path) {
    static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let is_new = SWEPT.lock().insert(folder.to_owned());
    if is_new {
        sweep(folder, Kind::Partial);
    }
}

fn sweep(folder: &Path, kind: Kind) {
    for (path, _) in left_behind(folder, kind) {
        let _ = remove(&path); // what cannot be removed only takes up space
    }
}

/// Removes everything that ended attempts left in a folder, downloads included: nobody will resume them.
pub fn sweep_left_behind(folder: &Path) {
    Kind::ALL.iter().for_each(|(kind, _)| sweep(folder, *kind));
}

/// What [`sweep_left_behind`] would remove.
pub fn all_left_behind(folder: &Path) -> Vec<PathBuf> {
    Kind::ALL
        .iter()
        .flat_map(|(kind, _)| left_behind(folder, *kind))
        .map(|(path, _)| path)
        .collect()
}

/// Without following links.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_in(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn of(pid: u32, target: &Path, kind: Kind) -> PathBuf {
        new_path(target, Owner { pid, ..Owner::this() }, kind)
    }

    /// The id of a process that has ended.
    fn ended() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        pid
    }

    #[test]
    fn names_are_read_back_and_others_are_not_taken_for_them() {
        let long = "x".repeat(300);
        for target in ["train.bin", ".train.bin.json.stamp", "a-b.c d", long.as_str()] {
            let path = new_path(Path::new(target), Owner::this(), Kind::Partial);
            let name = name_of(&path).unwrap();
            assert!(name.len() < 255);
            let parsed = parse(name).unwrap();
            assert!(target.starts_with(parsed.target) && parsed.owner == Owner::this(), "{name}");
        }
        let good = ".a.0123456789abcdef-7-0123456789abcdef.partial";
        assert!(parse(good).is_some());
        for wrong in [
            &good[1..],
            "train.bin.partial",
            ".train.bin.partial",
            ".a.0123456789abcdef-07-0123456789abcdef.partial",
            ".a.0123456789abcdef--7-0123456789abcdef.partial",
            ".a.0123456789ABCDEF-7-0123456789abcdef.partial",
            ".a.0123456789abcdef-7-0123456789abcdef.part",
            ".a.0123456789abcdef-7-0123456789abcde.partial",
            ".a.0123456789abcdef-7-0123456789abcdef-8.partial",
            "..0123456789abcdef-7-0123456789abcdef.partial",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn two_attempts_share_no_file_and_the_later_name_wins() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        let (first, mut one) = Temporary::file(&target).unwrap();
        let (second, mut two) = Temporary::file(&target).unwrap();
        io::Write::write_all(&mut one, b"one").unwrap();
        io::Write::write_all(&mut two, b"two").unwrap();
        second.publish(&two, 3).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
        first.publish(&one, 3).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"one");
        assert_eq!(name_in(folder.path()), ["a"]);
    }

    #[test]
    fn what_was_replaced_or_cut_is_not_published() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        let (temporary, file) = Temporary::file(&target).unwrap();
        assert!(temporary.publish(&file, 1).is_err());
        let (temporary, file) = Temporary::file(&target).unwrap();
        fs::remove_file(temporary.path()).unwrap();
        fs::write(temporary.path(), "").unwrap();
        assert!(temporary.publish(&file, 0).is_err());
        assert_eq!(name_in(folder.path()), [] as [&str; 0]);
    }

    #[test]
    #[cfg(unix)]
    fn only_what_ended_or_abandoned_attempts_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let (at, target) = (|name: &str| folder.path().join(name), folder.path().join("a"));
        let (dead, old, day) = (ended(), Owner { host: 7, pid: 8 }, ABANDONED + ABANDONED);
        let is_left = |path: &Path| fs::symlink_metadata(path).is_ok();
        let swept = [of(dead, &target, Kind::Partial), new_path(&target, old, Kind::Partial)];
        let kept = [
            of(std::process::id(), &target, Kind::Partial),
            new_path(&target, old, Kind::Partial),
            of(dead, &target, Kind::Download),
            at("a.partial"),
            of(dead, &at("link"), Kind::Partial),
        ];
        swept.iter().chain(&kept[..4]).for_each(|path| fs::write(path, "x").unwrap());
        let long_ago = std::time::SystemTime::now() - day;
        File::options().write(true).open(&swept[1]).unwrap().set_modified(long_ago).unwrap();
        std::os::unix::fs::symlink(at("a.partial"), &kept[4]).unwrap();
        let buckets = of(dead, &at("buckets"), Kind::Partial);
        fs::create_dir(&buckets).unwrap();
        fs::write(buckets.join("000"), "x").unwrap();
        sweep_once(folder.path());
        assert!(!swept.iter().any(|path| is_left(path)) && !buckets.exists());
        kept.iter().for_each(|path| assert!(is_left(path), "{}", path.display()));
    }

    #[test]
    #[cfg(unix)]
    fn a_download_goes_on_where_one_that_ended_stopped_and_takes_none_from_a_live_one() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        let live = Temporary::download(&target).unwrap();
        fs::write(live.path(), "live").unwrap();
        let killed = of(ended(), &target, Kind::Download);
        fs::write(&killed, "killed").unwrap();
        fs::write(note_of(&killed), "its note").unwrap();
        let next = Temporary::download(&target).unwrap();
        assert_eq!(fs::read(next.path()).unwrap(), b"killed");
        assert_eq!(fs::read(next.note()).unwrap(), b"its note");
        assert!(!Temporary::download(&target).unwrap().path().exists());
        drop(next); // in good order: whoever comes next takes it
        let third = Temporary::download(&target).unwrap();
        assert_eq!(fs::read(third.note()).unwrap(), b"its note");
        third.discard().unwrap();
        assert!(live.path().exists() && name_in(folder.path()).len() == 1);
    }
}

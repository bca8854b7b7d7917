//! What each I/O error means, who can fix it, and how: one table.
use std::io::{self, ErrorKind};

use crate::platform::codes;

/// Who can fix it. This decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mend {
    /// Another setting: 2.
    Settings,
    /// Another input: 3.
    Input,
    /// The machine, and the same command again: 4.
    Machine,
}

/// What to report about an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Advice {
    pub(crate) mend: Mend,
    pub(crate) found: String,
    pub(crate) expected: &'static str,
    pub(crate) remedy: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    NotFound,
    Denied,
    ReadOnly,
    Folder,
    NoFolder,
    Exists,
    Full,
    Quota,
    FileTooLarge,
    OpenFiles,
    OpenFilesOfAll,
    Name,
    Links,
    Busy,
    Damaged,
    Memory,
    Stale,
    Device,
    Other,
}

/// One kind of error, when reading and when writing.
struct Row {
    trouble: Trouble,
    /// What was found. The system's own message follows where this does not say everything.
    found: &'static str,
    reading: (Mend, &'static str, &'static str),
    writing: (Mend, &'static str, &'static str),
}

use Mend::{Input, Machine, Settings};

const WRITABLE: &str = "a folder this user may write to";
const OTHER_OUT: &str = "set another one with --out DIR";
const FREE_SPACE: &str =
    "free space or set another folder (--out DIR), then run the same command again";
const ROOM: &str = "room for the file";
const DESCRIPTORS: &str = "fewer open files than the limit";
const RAISE_LIMIT: &str =
    "raise the limit (ulimit -n 4096), or use fewer --threads, then run the same command again";
const CLOSE_FILES: &str =
    "end other programs that hold files open, then run the same command again";
const PATH: &str = "check the path";
const CHECK_DEVICE: &str =
    "check the disk and the system's log (dmesg), then run the same command again";
const AGAIN: &str = "run the same command again";
const REMAKE: &str = "run the stage that makes it again";

const TABLE: [Row; 19] = [
    Row {
        trouble: Trouble::NotFound,
        found: "not found",
        reading: (Input, "an existing file", "check the path, or run the stage that makes it"),
        writing: (Machine, "a folder that stays while it is written to", AGAIN),
    },
    Row {
        trouble: Trouble::Denied,
        found: "permission denied",
        reading: (Input, "a readable file", "change its permissions"),
        writing: (Settings, WRITABLE, OTHER_OUT),
    },
    Row {
        trouble: Trouble::ReadOnly,
        found: "the file system is read-only",
        reading: (Machine, "a file system that can be read", AGAIN),
        writing: (Settings, WRITABLE, OTHER_OUT),
    },
    Row {
        trouble: Trouble::Folder,
        found: "a folder",
        reading: (Input, "a file", "name a file in it, or another one"),
        writing: (
            Settings,
            "a file, or nothing, at this place",
            "move the folder away, or set another place with --out DIR",
        ),
    },
    Row {
        trouble: Trouble::NoFolder,
        found: "a part of its path is a file, not a folder",
        reading: (Input, "a path through folders", PATH),
        writing: (Settings, WRITABLE, OTHER_OUT),
    },
    Row {
        trouble: Trouble::Exists,
        found: "something already exists there",
        reading: (Input, "a file of its own", PATH),
        writing: (
            Settings,
            "nothing at this place",
            "move it away, or set another place with --out DIR",
        ),
    },
    Row {
        trouble: Trouble::Full,
        found: "the disk is full",
        reading: (Machine, ROOM, FREE_SPACE),
        writing: (Machine, ROOM, FREE_SPACE),
    },
    Row {
        trouble: Trouble::Quota,
        found: "the disk quota of this user or group is used up",
        reading: (Machine, ROOM, FREE_SPACE),
        writing: (
            Machine,
            ROOM,
            "delete something within the quota, or set another folder (--out DIR), then run the same command again",
        ),
    },
    Row {
        trouble: Trouble::FileTooLarge,
        found: "larger than a file may be here",
        reading: (Input, "a file that this system can open", "copy it to another file system"),
        writing: (
            Machine,
            "a file within the limits of the process (ulimit -f) and of the file system",
            "raise the limit, or set a folder on another file system with --out DIR",
        ),
    },
    Row {
        trouble: Trouble::OpenFiles,
        found: "this process has too many open files",
        reading: (Machine, DESCRIPTORS, RAISE_LIMIT),
        writing: (Machine, DESCRIPTORS, RAISE_LIMIT),
    },
    Row {
        trouble: Trouble::OpenFilesOfAll,
        found: "the whole machine has too many open files",
        reading: (Machine, DESCRIPTORS, CLOSE_FILES),
        writing: (Machine, DESCRIPTORS, CLOSE_FILES),
    },
    Row {
        trouble: Trouble::Name,
        found: "a name that the file system does not accept (too long, or with a forbidden character)",
        reading: (Input, "the name of a file", PATH),
        writing: (Settings, "a shorter path", OTHER_OUT),
    },
    Row {
        trouble: Trouble::Links,
        found: "symbolic links that form a loop",
        reading: (Input, "links that end at a file", "mend the links, or name the file itself"),
        writing: (Settings, "links that end at a folder", OTHER_OUT),
    },
    Row {
        trouble: Trouble::Busy,
        found: "another program uses it",
        reading: (
            Machine,
            "a file that nobody locks",
            "end the other program, then run the same command again",
        ),
        writing: (
            Machine,
            "a file that nobody locks",
            "end the other program, then run the same command again",
        ),
    },
    Row {
        trouble: Trouble::Damaged,
        found: "damaged",
        reading: (Input, "a whole file", REMAKE),
        writing: (Machine, "a whole file", AGAIN),
    },
    Row {
        trouble: Trouble::Memory,
        found: "the system has no memory left for it",
        reading: (Machine, "free memory", "end other programs, then run the same command again"),
        writing: (Machine, "free memory", "end other programs, then run the same command again"),
    },
    Row {
        trouble: Trouble::Stale,
        found: "the server of this network folder no longer knows the file",
        reading: (
            Machine,
            "a mounted folder that answers",
            "mount the folder again, then run the same command again",
        ),
        writing: (
            Machine,
            "a mounted folder that answers",
            "mount the folder again, then run the same command again",
        ),
    },
    Row {
        trouble: Trouble::Device,
        found: "the device failed",
        reading: (Machine, "a disk that can be read", CHECK_DEVICE),
        writing: (Machine, "a disk that can be written", CHECK_DEVICE),
    },
    Row {
        trouble: Trouble::Other,
        found: "failed",
        reading: (Machine, "a file that can be read", AGAIN),
        writing: (Machine, "a file that can be written", AGAIN),
    },
];

pub(crate) fn reading(error: &io::Error) -> Advice {
    let row = row(error);
    let found = match row.trouble {
        // These have a message of their own, from a parser or the system.
        Trouble::Damaged => error.to_string(),
        Trouble::Device | Trouble::Other => format!("reading failed: {error}"),
        _ => row.found.to_owned(),
    };
    let (mend, expected, remedy) = row.reading;
    Advice { mend, found, expected, remedy }
}

pub(crate) fn writing(error: &io::Error) -> Advice {
    let row = row(error);
    let (mend, expected, remedy) = row.writing;
    let found = match row.trouble {
        Trouble::Device | Trouble::Other | Trouble::Damaged => format!("writing failed: {error}"),
        Trouble::NotFound => "its folder is gone".to_owned(),
        _ if mend == Settings => format!("cannot be written: {}", row.found),
        _ => row.found.to_owned(),
    };
    Advice { mend, found, expected, remedy }
}

fn row(error: &io::Error) -> &'static Row {
    let trouble = trouble(error);
    let [.., other] = &TABLE;
    TABLE.iter().find(|row| row.trouble == trouble).unwrap_or(other)
}

fn trouble(error: &io::Error) -> Trouble {
    if let Some(trouble) = error.raw_os_error().and_then(of_code) {
        return trouble;
    }
    match error.kind() {
        ErrorKind::NotFound => Trouble::NotFound,
        ErrorKind::PermissionDenied => Trouble::Denied,
        ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
        ErrorKind::IsADirectory => Trouble::Folder,
        ErrorKind::NotADirectory => Trouble::NoFolder,
        ErrorKind::AlreadyExists => Trouble::Exists,
        ErrorKind::StorageFull => Trouble::Full,
        ErrorKind::QuotaExceeded => Trouble::Quota,
        ErrorKind::FileTooLarge => Trouble::FileTooLarge,
        ErrorKind::InvalidFilename | ErrorKind::InvalidInput => Trouble::Name,
        ErrorKind::ResourceBusy | ErrorKind::ExecutableFileBusy => Trouble::Busy,
        ErrorKind::UnexpectedEof | ErrorKind::InvalidData => Trouble::Damaged,
        ErrorKind::OutOfMemory => Trouble::Memory,
        ErrorKind::StaleNetworkFileHandle => Trouble::Stale,
        _ => Trouble::Other,
    }
}

/// The codes that have no [`ErrorKind`] of their own.
fn of_code(code: i32) -> Option<Trouble> {
    let named = [
        (codes::OPEN_FILES, Trouble::OpenFiles),
        (codes::OPEN_FILES_OF_ALL, Trouble::OpenFilesOfAll),
        (codes::LINKS, Trouble::Links),
        (codes::BUSY, Trouble::Busy),
        (codes::DEVICE, Trouble::Device),
        (codes::UNSPECIFIC, Trouble::Other),
    ];
    named.into_iter().find_map(|(codes, trouble)| codes.contains(&code).then_some(trouble))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_trouble_has_one_row_and_only_a_failing_device_sends_to_the_disk() {
        let names: BTreeSet<_> = TABLE.iter().map(|row| format!("{:?}", row.trouble)).collect();
        assert_eq!(names.len(), TABLE.len());
        for row in &TABLE {
            for (_, expected, remedy) in [row.reading, row.writing] {
                assert!(!row.found.is_empty() && !expected.is_empty() && !remedy.is_empty());
                let sends_to_the_disk = remedy.contains("check the disk");
                assert_eq!(sends_to_the_disk, row.trouble == Trouble::Device, "{}", row.found);
            }
        }
    }

    #[test]
    #[cfg(unix)]
    fn each_code_of_the_system_has_its_own_words() {
        let codes = [
            (libc::ENOENT, Trouble::NotFound, Input, Machine),
            (libc::EACCES, Trouble::Denied, Input, Settings),
            (libc::EPERM, Trouble::Denied, Input, Settings),
            (libc::EROFS, Trouble::ReadOnly, Machine, Settings),
            (libc::EISDIR, Trouble::Folder, Input, Settings),
            (libc::ENOTDIR, Trouble::NoFolder, Input, Settings),
            (libc::EEXIST, Trouble::Exists, Input, Settings),
            (libc::ENOSPC, Trouble::Full, Machine, Machine),
            (libc::EDQUOT, Trouble::Quota, Machine, Machine),
            (libc::EFBIG, Trouble::FileTooLarge, Input, Machine),
            (libc::EMFILE, Trouble::OpenFiles, Machine, Machine),
            (libc::ENFILE, Trouble::OpenFilesOfAll, Machine, Machine),
            (libc::ENAMETOOLONG, Trouble::Name, Input, Settings),
            (libc::ELOOP, Trouble::Links, Input, Settings),
            (libc::EBUSY, Trouble::Busy, Machine, Machine),
            (libc::ETXTBSY, Trouble::Busy, Machine, Machine),
            (libc::ENOMEM, Trouble::Memory, Machine, Machine),
            (libc::ESTALE, Trouble::Stale, Machine, Machine),
            (libc::EIO, Trouble::Device, Machine, Machine),
            (libc::ENXIO, Trouble::Other, Machine, Machine),
        ];
        let mut found = BTreeSet::new();
        for (code, expected, when_reading, when_writing) in codes {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(trouble(&error), expected, "{error}");
            assert_eq!(reading(&error).mend, when_reading, "{error}");
            assert_eq!(writing(&error).mend, when_writing, "{error}");
            found.insert(reading(&error).found);
        }
        // EPERM says what EACCES says, and ETXTBSY what EBUSY says.
        assert_eq!(found.len(), codes.len() - 2);
    }
}

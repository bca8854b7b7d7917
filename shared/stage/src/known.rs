//! Files whose content is known: this process has hashed or written them, and nobody has touched them since.
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use parking_lot::Mutex;

use crate::platform;

/// Enough to tell whether a file was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    pub bytes: u64,
    /// Since 1970. Negative when a clock was wrong.
    pub modified_ns: i128,
    /// Another attempt's file of the same name has another identity.
    inode: u64,
}

impl Touch {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        Self::from(&std::fs::metadata(path).ok()?)
    }

    pub(crate) fn from(metadata: &Metadata) -> Option<Self> {
        let modified_ns = match metadata.modified().ok()?.duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_nanos() as i128,
            Err(before) => -(before.duration().as_nanos() as i128),
        };
        Some(Touch { bytes: metadata.len(), modified_ns, inode: platform::inode(metadata) })
    }
}

static KNOWN: Mutex<BTreeMap<PathBuf, (Touch, String)>> = Mutex::new(BTreeMap::new());

/// Notes the SHA-256 of the file's content at the time of `touch`.
pub(crate) fn note(path: &Path, touch: Option<Touch>, sha256: &str) {
    let mut known = KNOWN.lock();
    match touch {
        Some(touch) => known.insert(path.to_owned(), (touch, sha256.to_owned())),
        None => known.remove(path),
    };
}

/// The file as it is now, if its content is known to have this SHA-256.
pub(crate) fn still(path: &Path, sha256: &str) -> Option<Touch> {
    let known = KNOWN.lock();
    let (touch, _) = known.get(path).filter(|(_, known)| known == sha256)?;
    (Touch::of(path).as_ref() == Some(touch)).then_some(*touch)
}

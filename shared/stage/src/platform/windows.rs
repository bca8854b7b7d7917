//! Windows: the functions of `unix`.
use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::FileExt;
use std::path::Path;

use signal_hook::consts::{SIGINT, SIGTERM};

/// Codes of errors that have no `ErrorKind` of their own.
pub(crate) mod codes {
    pub(crate) const OPEN_FILES: &[i32] = &[4];
    pub(crate) const OPEN_FILES_OF_ALL: &[i32] = &[];
    pub(crate) const LINKS: &[i32] = &[1921];
    /// Another program has it open, or has locked a part of it.
    pub(crate) const BUSY: &[i32] = &[32, 33];
    pub(crate) const DEVICE: &[i32] = &[1117];
    pub(crate) const UNSPECIFIC: &[i32] = &[];
}

/// Ctrl-C and what the C library calls by these names.
pub(crate) fn heard_signals() -> impl Iterator<Item = i32> {
    [SIGINT, SIGTERM].into_iter()
}

/// Nothing to do: the console tells all its programs of Ctrl-C.
pub(crate) fn hear_signals(_act: impl Fn(i32) + Send + 'static) -> io::Result<()> {
    Ok(())
}

/// Pipes have no names among files.
pub(crate) fn wait_for_nobody(_options: &mut OpenOptions) {}

/// Making a link takes rights that few have: none lies in wait.
pub(crate) fn follow_no_link(_options: &mut OpenOptions) {}

pub(crate) fn kind_name(kind: FileType) -> &'static str {
    if kind.is_dir() { "a folder" } else { "a device" }
}

/// The standard library does not tell it.
pub(crate) fn inode(_metadata: &Metadata) -> u64 {
    0
}

pub(crate) fn is_same(a: &Metadata, b: &Metadata) -> bool {
    a.len() == b.len()
}

/// Here a file that is open keeps its name.
pub(crate) fn is_the_file_of(_file: &File, _path: &Path) -> bool {
    true
}

pub(crate) fn process_has_ended(_pid: u32) -> Option<bool> {
    None
}

/// A folder cannot be opened as a file; the rename itself is durable enough.
pub(crate) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Fills `bytes` from byte `at` of the file on.
///
/// # Errors
/// `UnexpectedEof` where the file ends before.
pub fn read_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.seek_read(bytes, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                bytes = bytes.split_at_mut(read).1;
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

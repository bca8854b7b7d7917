//! Linux, macOS and other Unixes.
use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

/// Codes of errors that have no `ErrorKind` of their own.
pub(crate) mod codes {
    pub(crate) const OPEN_FILES: &[i32] = &[libc::EMFILE];
    pub(crate) const OPEN_FILES_OF_ALL: &[i32] = &[libc::ENFILE];
    pub(crate) const LINKS: &[i32] = &[libc::ELOOP];
    pub(crate) const BUSY: &[i32] = &[];
    pub(crate) const DEVICE: &[i32] = &[libc::EIO];
    /// EINVAL may come from a device or a file system as well, so it says nothing about the name.
    pub(crate) const UNSPECIFIC: &[i32] = &[libc::EINVAL];
}

/// The signals that ask a program for its end. SIGHUP stays ignored where `nohup` made it so. (A script's `&` ignores SIGINT,
/// which its user may well send.)
pub(crate) fn heard_signals() -> impl Iterator<Item = i32> {
    let signals = [SIGINT, SIGTERM, SIGHUP, SIGUSR1].into_iter();
    signals.filter(|&signal| signal != SIGHUP || !is_ignored(signal))
}

fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks for the present action of a signal; `action` is large enough, and all zeros are one.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Calls `act` with each of [`heard_signals`] that comes, outside the handler.
pub(crate) fn hear_signals(act: impl Fn(i32) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new(heard_signals())?;
    std::thread::spawn(move || signals.forever().for_each(act));
    Ok(())
}

/// Opening a pipe would wait for a writer, and a terminal could become the process's own. Of a regular file it means nothing.
pub(crate) fn wait_for_nobody(options: &mut OpenOptions) {
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
}

/// Fails on a link in place of opening what is behind it; a pipe in this place is not waited for.
pub(crate) fn follow_no_link(options: &mut OpenOptions) {
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
}

/// What it is that is no file.
pub(crate) fn kind_name(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

/// A number that no other file of the file system has at this time.
pub(crate) fn inode(metadata: &Metadata) -> u64 {
    metadata.ino()
}

/// Whether both are of one file, under whatever names.
pub(crate) fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Whether an open file still has this name.
pub(crate) fn is_the_file_of(file: &File, path: &Path) -> bool {
    matches!((file.metadata(), path.symlink_metadata()), (Ok(a), Ok(b)) if is_same(&a, &b))
}

/// Whether the process has ended; None where that cannot be known.
pub(crate) fn process_has_ended(pid: u32) -> Option<bool> {
    // 0 and negative ids are groups of processes.
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0)?;
    // SAFETY: signal 0 is not delivered: it only checks whether the process exists.
    let asked = unsafe { libc::kill(pid, 0) };
    Some(asked != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH))
}

pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Fills `bytes` from byte `at` of the file, without moving the file's own position.
///
/// # Errors
/// `UnexpectedEof` when the file ends before that.
pub fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    file.read_exact_at(bytes, at)
}

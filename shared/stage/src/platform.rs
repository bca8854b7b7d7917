//! What differs between systems. Only here is asked which one this is (tests/walls.rs): the other rooms call these functions.
//!
//! `unix` and `windows` have the same functions; what systems have or lack beside them is in files of its own.
use std::path::Path;

mod host;
pub(crate) mod memory;
mod pages;
#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
mod windows;

pub(crate) use host::{host, host_name};
pub use pages::ask_for_large_pages;
#[cfg(unix)]
use unix as system;
#[cfg(not(unix))]
use windows as system;

pub use system::read_at;
pub(crate) use system::{
    codes, follow_no_link, hear_signals, heard_signals, inode, is_same, is_the_file_of, kind_name,
    process_has_ended, wait_for_nobody,
};

/// On a machine without a desktop, Vulkan drivers load libwayland, which writes a spurious error to stderr.
pub(crate) fn quiet_wayland() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: this runs first in the program, so no other thread can read the environment yet.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
}

/// Makes a rename in the folder of `path` outlast a loss of power.
pub(crate) fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => system::sync_folder(Path::new(".")),
        Some(folder) => system::sync_folder(folder),
        None => Ok(()),
    }
}

//! A small disk of its own, where this user and this system can mount one.
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What [`SmallDisk::fill`] puts there.
pub const FILLER: &str = "filler";

/// Mounted at a folder, gone when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where mounting is not allowed: the test then says that it is skipped.
    pub fn mount(folder: &Path, kib: u64) -> Option<Self> {
        fs::create_dir_all(folder).expect("a folder for the disk can be made");
        let size = format!("size={kib}k");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).output();
        let disk = mounted
            .is_ok_and(|output| output.status.success())
            .then(|| SmallDisk(folder.to_owned()));
        if disk.is_none() {
            eprintln!("SKIPPED: a small disk cannot be mounted here");
        }
        disk
    }

    /// `ro`, `rw` or `size=4096k`
    pub fn remount(&self, how: &str) {
        let status =
            Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "the disk cannot be mounted again with {how}"
        );
    }

    /// Fills the disk but for `free` bytes with a file [`FILLER`].
    pub fn fill(&self, free: u64) {
        let mut file = fs::File::create(self.0.join(FILLER)).expect("the disk can be written");
        while file.write_all(&[1; 4096]).is_ok() {}
        let filled = file.metadata().expect("its length is known").len();
        file.set_len(filled.saturating_sub(free)).expect("it can be cut");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

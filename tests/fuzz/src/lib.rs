//! What the targets share: a folder in memory for the readers that want a path.
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use stage::{Log, LogFormat};

fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = parent.join(format!("bedtime-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    })
}

/// A file of this content, in place of the one before.
pub fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::write(&path, content).expect("a file can be written");
    path
}

/// Two files in one input: what is before the first zero byte, and what is behind it.
pub fn halves(input: &[u8]) -> (&[u8], &[u8]) {
    let at = input.iter().position(|&byte| byte == 0).unwrap_or(input.len());
    (&input[..at], input.get(at + 1..).unwrap_or_default())
}

pub fn log() -> Log {
    Log::new("fuzz", LogFormat::Text)
}

//! Which machine, or container, a process runs on.
use std::fs;

use sha2::{Digest, Sha256};

/// Its name, empty where the system does not tell it.
pub(crate) fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.or_else(|_| std::env::var("COMPUTERNAME")).unwrap_or_default();
    name.trim().to_owned()
}

/// A number that processes share which see each other's ids: of the same start of the machine, and the same container.
pub(crate) fn host() -> u64 {
    let mut hasher = Sha256::new();
    for file in ["/proc/sys/kernel/hostname", "/proc/sys/kernel/random/boot_id"] {
        hasher.update(fs::read(file).unwrap_or_default());
    }
    let processes = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    hasher.update(processes.to_string_lossy().as_bytes());
    for variable in ["HOSTNAME", "COMPUTERNAME"] {
        hasher.update(std::env::var(variable).unwrap_or_default());
    }
    let digest = hasher.finalize();
    digest.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte)).max(1)
}

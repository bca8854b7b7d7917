//! How much memory this process can still allocate, checked before a large allocation.
//!
//! A size that does not fit must end in an error message, not in an abort or the system's out-of-memory killer.
use crate::platform::memory::{address_space, control_group, machine};

/// Bytes available to this process: the smallest of what the machine has left (swap included), what its control group allows
/// and what its address space limit allows. `u64::MAX` when the system does not say.
///
/// `BEDTIME_MEMORY_MIB` overrides all of them: for tests and for shared machines.
pub fn available() -> u64 {
    let told = std::env::var("BEDTIME_MEMORY_MIB").ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(mib) = told {
        return mib.saturating_mul(1 << 20);
    }
    [machine(), control_group(), address_space()].into_iter().flatten().min().unwrap_or(u64::MAX)
}

/// A size as people read it.
pub fn mib(bytes: u64) -> String {
    match bytes {
        u64::MAX => "more bytes than can be counted".to_owned(),
        _ if bytes >= 10 << 30 => format!("{} GiB", bytes >> 30),
        _ => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_words() {
        for (bytes, text) in [
            (0, "0 MiB"),
            (1, "1 MiB"),
            (3 << 20, "3 MiB"),
            (10 << 30, "10 GiB"),
            (u64::MAX, "more bytes than can be counted"),
        ] {
            assert_eq!(mib(bytes), text);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_some() {
        assert!((1 << 20..1 << 50).contains(&available()), "{}", available());
    }
}

//! Which of the sets this machine can run.
use std::sync::LazyLock;

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::set::Set;
use super::vectors;

/// The sets this machine can run, the fastest first.
pub(super) fn available() -> impl Iterator<Item = &'static Set> {
    let mut sets = vec![&vectors::PORTABLE];
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        sets.push(&vectors::AVX2);
        if std::arch::is_x86_feature_detected!("avx512f") {
            sets.push(&vectors::AVX512);
            if amx::available() {
                sets.push(&amx::AMX);
            }
        }
    }
    sets.into_iter().rev()
}

/// The fastest of them.
pub(crate) fn best() -> &'static Set {
    static BEST: LazyLock<&Set> =
        LazyLock::new(|| available().next().expect("the portable set runs everywhere"));
    &BEST
}

/// The fastest of them that is fast for few rows and columns too.
pub(super) fn best_of_vectors() -> &'static Set {
    static BEST: LazyLock<&Set> = LazyLock::new(|| {
        available().find(|set| set.depth == 1).expect("the portable set runs everywhere")
    });
    &BEST
}

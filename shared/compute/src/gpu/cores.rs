//! How many multiprocessors a GPU has: no graphics interface tells, and the tiles of a matmul are chosen by it.

/// Multiprocessors (NVIDIA), compute units (AMD) and GPU cores (Apple) as their makers publish them; a longer name before one that it
/// begins with.
const CORES: &[(&str, u32)] = &[
    ("H100 PCIe", 114),
    ("H100", 132),
    ("H200", 132),
    ("GH200", 132),
    ("B200", 148),
    ("A100", 108),
    ("A10G", 80),
    ("A10", 72),
    ("A40", 84),
    ("L40S", 142),
    ("L40", 142),
    ("L4", 58),
    ("T4", 40),
    ("V100", 80),
    ("P100", 56),
    ("RTX 2060", 30),
    ("RTX 2070", 36),
    ("RTX 2080 Ti", 68),
    ("RTX 2080", 46),
    ("RTX 3060", 28),
    ("RTX 3070", 46),
    ("RTX 3080", 68),
    ("RTX 3090", 82),
    ("RTX 4060", 24),
    ("RTX 4070", 46),
    ("RTX 4080", 76),
    ("RTX 4090", 128),
    ("RTX 5070", 48),
    ("RTX 5080", 84),
    ("RTX 5090", 170),
    ("RX 7600", 32),
    ("RX 7700 XT", 54),
    ("RX 7800 XT", 60),
    ("RX 7900 XTX", 96),
    ("RX 7900 XT", 84),
    ("RX 9070 XT", 64),
    ("RX 9070", 56),
    ("M1 Ultra", 64),
    ("M1 Max", 32),
    ("M1 Pro", 16),
    ("M1", 8),
    ("M2 Ultra", 76),
    ("M2 Max", 38),
    ("M2 Pro", 19),
    ("M2", 10),
    ("M3 Ultra", 80),
    ("M3 Max", 40),
    ("M3 Pro", 18),
    ("M3", 10),
    ("M4 Max", 40),
    ("M4 Pro", 20),
    ("M4", 10),
];

/// Of the adapter with this name.
pub(super) fn cores(adapter: &str) -> Option<u32> {
    let word = |text: &str| text.chars().next().is_none_or(|c| !c.is_ascii_alphanumeric());
    let named = |name: &str| {
        adapter.match_indices(name).any(|(at, _)| {
            word(&adapter[at + name.len()..])
                && adapter[..at].chars().next_back().is_none_or(|c| !c.is_ascii_alphanumeric())
        })
    };
    CORES.iter().find(|(name, _)| named(name)).map(|(_, cores)| *cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_known_by_their_whole_names() {
        for (adapter, expected) in [
            ("Tesla T4", Some(40)),
            ("NVIDIA A100-SXM4-40GB", Some(108)),
            ("NVIDIA A10", Some(72)),
            ("NVIDIA A1000", None),
            ("NVIDIA H100 80GB HBM3", Some(132)),
            ("NVIDIA H100 PCIe", Some(114)),
            ("NVIDIA L40S", Some(142)),
            ("Apple M2 Pro", Some(19)),
            ("Apple M2", Some(10)),
            ("AMD Radeon RX 7900 XTX (RADV NAVI31)", Some(96)),
            ("llvmpipe (LLVM 15.0.6, 256 bits)", None),
        ] {
            assert_eq!(cores(adapter), expected, "{adapter}");
        }
    }

    #[test]
    fn no_name_hides_a_longer_one_behind_it() {
        for (i, (name, _)) in CORES.iter().enumerate() {
            let before = CORES[..i]
                .iter()
                .find(|(earlier, _)| *name != *earlier && name.starts_with(&format!("{earlier} ")));
            assert_eq!(before, None, "{name}");
        }
    }
}

//! What kinds of processor multiply with: for each a set of sizes and the two functions that know its units.
use std::ops::Range;
use std::sync::LazyLock;

use super::operands::{Output, Panels, Strided};
use super::vectors;

/// One kind of processor's way to multiply.
pub struct Set {
    pub name: &'static str,
    /// Rows and columns of the tile whose sums stay in registers. Panels of a packed b are as wide.
    pub rows: usize,
    pub columns: usize,
    /// A packed operand is filled up with zeros to a multiple of so many steps of k, and each takes so many f32 of a panel.
    pub depth: usize,
    pub width: usize,
    pub blocks: Blocks,
    /// `pack(depth, columns, b, panel)`: the first columns of b, at most a tile's, as a panel.
    pub pack: fn(usize, usize, Strided, &mut [f32]),
    /// A block of the product on the calling thread.
    ///
    /// SAFETY: the processor has the set's units, and the block is what it says.
    pub multiply: unsafe fn(&Block),
}

/// How a product is cut, by what the caches hold.
pub struct Blocks {
    /// Most steps of k at once; where each of them is on another line of a.
    pub depth: usize,
    pub depth_transposed: usize,
    /// Most rows and columns of a task.
    pub rows: usize,
    pub columns: usize,
    /// Rows of a task that has all columns, and where b is larger than the second cache.
    pub rows_of_all: usize,
    pub rows_of_all_large: usize,
}

/// `out[rows, columns] (+)= a[rows, ..] b[depth, columns]`.
pub struct Block<'a> {
    pub rows: Range<usize>,
    /// From a multiple of the set's columns on.
    pub columns: Range<usize>,
    /// The steps of b that are used, from a multiple of the set's depth on; a's column 0 is the first of them.
    pub depth: Range<usize>,
    pub a: Strided<'a>,
    pub b: Panels<'a>,
    /// Has these rows and columns, which are nobody else's.
    pub out: Output,
    pub accumulate: bool,
}

impl Set {
    /// f32 values of a panel of `depth` steps of k.
    pub const fn panel(&self, depth: usize) -> usize {
        depth.next_multiple_of(self.depth) * self.width
    }

    /// The part of a panel that the block's kernel reads for its columns from `column` on.
    pub fn panel_of<'a>(&self, block: &Block<'a>, column: usize) -> &'a [f32] {
        let panel = &block.b.data[column / self.columns * self.panel(block.b.depth)..];
        &panel[self.panel(block.depth.start)..self.panel(block.depth.end)]
    }
}

/// The sets this machine can run, the fastest first.
pub fn available() -> impl Iterator<Item = &'static Set> {
    let mut sets = vec![&vectors::PORTABLE];
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        sets.push(&vectors::AVX2);
        if std::arch::is_x86_feature_detected!("avx512f") {
            sets.push(&vectors::AVX512);
            if super::amx::available() {
                sets.push(&super::amx::AMX);
            }
        }
    }
    sets.into_iter().rev()
}

/// The fastest of them.
pub fn best() -> &'static Set {
    static BEST: LazyLock<&Set> =
        LazyLock::new(|| available().next().expect("the portable set runs everywhere"));
    &BEST
}

/// The fastest of them that is fast for few rows and columns too.
pub fn best_of_vectors() -> &'static Set {
    static BEST: LazyLock<&Set> = LazyLock::new(|| {
        available().find(|set| set.depth == 1).expect("the portable set runs everywhere")
    });
    &BEST
}

//! What kinds of processor multiply with: for each a set of sizes and the two functions that know its units.
use std::ops::Range;

use super::operands::{Output, Panels, Strided};

/// One kind of processor's way to multiply.
pub(crate) struct Set {
    pub name: &'static str,
    /// Rows and columns of the tile whose accumulators stay in registers. Panels of a packed b are as wide.
    pub rows: usize,
    pub columns: usize,
    /// A packed operand is padded with zeros to a multiple of this number of steps of k; each step takes this number of f32 of a panel.
    pub depth: usize,
    pub width: usize,
    pub blocks: Blocks,
    /// `pack(depth, columns, b, panel)`: the first columns of b, at most a tile's, as a panel.
    pub pack: fn(usize, usize, Strided, &mut [f32]),
    /// A block of the matmul on the calling thread.
    ///
    /// SAFETY: the processor has the set's units, and the block is what it says.
    pub multiply: unsafe fn(&Block),
}

/// How a matmul is cut, by what the caches hold.
pub(crate) struct Blocks {
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
pub(crate) struct Block<'a> {
    pub rows: Range<usize>,
    /// From a multiple of the set's columns on.
    pub columns: Range<usize>,
    /// The steps of b that are used, from a multiple of the set's depth on; a's column 0 is the first of them.
    pub depth: Range<usize>,
    pub a: Strided<'a>,
    pub b: Panels<'a>,
    /// Has these rows and columns, which are nobody else's.
    pub out: Output<'a>,
    pub accumulate: bool,
}

impl Set {
    /// f32 values of a panel of `depth` steps of k.
    pub(crate) const fn panel(&self, depth: usize) -> usize {
        depth.next_multiple_of(self.depth) * self.width
    }

    /// The part of a panel that the block's kernel reads for its columns from `column` on.
    pub(crate) fn panel_of<'a>(&self, block: &Block<'a>, column: usize) -> &'a [f32] {
        let panel = &block.b.data[column / self.columns * self.panel(block.b.depth)..];
        &panel[self.panel(block.depth.start)..self.panel(block.depth.end)]
    }
}

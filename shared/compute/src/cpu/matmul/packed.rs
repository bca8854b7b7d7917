//! A packed operand that is used again and again.
use super::machine::best_of_vectors;
use super::operands::{Panels, Strided, aligned, scratch};
use super::set::Set;

/// A packed b [depth, columns], for `multiply`.
pub(crate) struct Packed {
    pub set: &'static Set,
    data: Vec<f32>,
    pub depth: usize,
    pub columns: usize,
}

impl Default for Packed {
    fn default() -> Self {
        Packed { set: best_of_vectors(), data: Vec::new(), depth: 0, columns: 0 }
    }
}

impl Packed {
    /// Packs `b` [k, n], on the calling thread.
    pub(crate) fn pack(&mut self, k: usize, n: usize, b: Strided) {
        b.check(k, n);
        (self.depth, self.columns) = (k, n);
        let set = self.set;
        let panel = set.panel(k);
        for (p, panel) in scratch(&mut self.data, n.div_ceil(set.columns) * panel)
            .chunks_exact_mut(panel)
            .enumerate()
        {
            (set.pack)(
                k,
                (n - p * set.columns).min(set.columns),
                b.from(0, p * set.columns),
                panel,
            );
        }
    }

    pub(crate) fn panels(&self) -> Panels<'_> {
        Panels { data: aligned(&self.data), depth: self.depth }
    }
}

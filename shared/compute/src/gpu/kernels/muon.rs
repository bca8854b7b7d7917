//! Muon: matrices of one shape at once, as many as scratch holds.
use crate::gpu::dispatch::{Params, counted, params, striding, word};
use crate::gpu::engine::Gpu;
use crate::gpu::record::Cost;
use crate::gpu::table::{self, MUON_GRAM, MUON_MOMENTUM, MUON_NORMALISE, MUON_POLYNOMIAL};
use crate::kernels::{F32View, HalfView, View};
use crate::matrices::MatrixGroup;
use crate::optimizer::{Muon, Optimizer, Update};

params! {
    MuonParams {
        len: u32, rows: u32, columns: u32, offset: u32, first: u32, side_by_side: u32, stride: u32, x_from: u32,
        beta: f32, rate: f32, decay: f32, cautious: u32
    }
    MuonMatmul { m: u32, n: u32, k: u32, left: u32, right: u32, added: u32, out: u32, alpha: f32, beta: f32 }
}

/// Side of the tile of a matmul, as in lib/tile.wgsl.
const TILE: usize = 64;

/// What an update reads and writes, all from the first matrix on.
#[derive(Clone, Copy)]
pub(super) struct MuonViews {
    pub(super) state: F32View,
    pub(super) gradients: F32View,
    pub(super) momentum: F32View,
    pub(super) weights: F32View,
    pub(super) weights_half: HalfView,
}

impl Gpu {
    /// One update of all matrices and their momentum.
    pub(super) fn muon(&mut self, update: &Update, views: MuonViews) {
        // Scratch is used for all else: what is in it has to be added up by now.
        self.reduce_partials();
        for group in update.matrices {
            let (short, long) = group.sides();
            let at_once = (self.scratch().len / Muon::scratch(short, long)).max(1);
            for first in (0..group.count()).step_by(at_once) {
                let count = at_once.min(group.count() - first);
                self.muon_batch(update, group, first..first + count, views);
            }
        }
    }

    /// The matrices of a group with these numbers.
    fn muon_batch(
        &mut self,
        update: &Update,
        group: &MatrixGroup,
        numbers: std::ops::Range<usize>,
        views: MuonViews,
    ) {
        let MatrixGroup { rows, columns, offset, side_by_side, stride, .. } = *group;
        let Optimizer { kind, momentum: beta, weight_decay, cautious_decay, .. } = update.optimizer;
        let (count, len) = (numbers.len(), numbers.len() * group.values());
        let (short, long) = group.sides();
        let space = self.scratch().slice(0, count * Muon::scratch(short, long));
        let mut x = [0, len];
        let [gram, polynomial] = [2 * len, 2 * len + count * short * short];
        let MuonViews { state, gradients, momentum, weights, weights_half } = views;
        let params = |x_from: usize| MuonParams {
            len: word(len),
            rows: word(rows),
            columns: word(columns),
            offset: word(offset),
            first: word(numbers.start),
            side_by_side: word(side_by_side),
            stride: word(stride),
            x_from: word(x_from),
            beta,
            rate: update.learning_rate * Muon::scale(rows, columns),
            decay: update.learning_rate * weight_decay,
            cautious: u32::from(cautious_decay),
        };
        let operands = [*state, *gradients, *momentum, space];
        self.run(&MUON_MOMENTUM, params(x[0]), &operands, striding(len), 0.0);
        self.run(&MUON_NORMALISE, params(x[0]), &[space], counted(count), 0.0);
        let [a, b, c] = Muon::COEFFICIENTS;
        let square = |out: usize| MuonMatmul {
            m: word(short),
            n: word(short),
            k: word(short),
            left: word(gram),
            right: word(gram),
            added: word(gram),
            out: word(out),
            alpha: b,
            beta: c,
        };
        for _ in 0..Muon::STEPS {
            let [from, to] = x;
            let (left, k) = (word(from), word(long));
            let of_x = MuonMatmul { left, right: left, k, ..square(gram) };
            self.muon_matmul(&MUON_GRAM, of_x, space, count);
            self.muon_matmul(&MUON_POLYNOMIAL, square(polynomial), space, count);
            let step = MuonMatmul {
                n: word(long),
                left: word(polynomial),
                right: word(from),
                added: word(from),
                alpha: a,
                beta: 1.0,
                ..square(to)
            };
            self.muon_matmul(&MUON_POLYNOMIAL, step, space, count);
            x.swap(0, 1);
        }
        let rule = kind.rule();
        let (kernel, operands) = match *weights == *weights_half {
            true => (rule.name, vec![*state, space, *weights]),
            false => (rule.half_kernel, vec![*state, space, *weights, *weights_half]),
        };
        let kernel = table::named(kernel).expect("an optimizer's kernels are in the table");
        self.run(kernel, params(x[0]), &operands, striding(len), 0.0);
    }

    fn muon_matmul(
        &mut self,
        kernel: &'static table::Kernel,
        params: MuonMatmul,
        space: View,
        count: usize,
    ) {
        let [m, n, k] = [params.m, params.n, params.k].map(|size| size as usize);
        let groups = [word(n.div_ceil(TILE)), word(m.div_ceil(TILE)), word(count)];
        let flop = 2.0 * (count * m * n * k) as f64;
        let cost = Cost { shape: Some([m, n, k]), flop, bytes: 0.0 };
        let variant = kernel.scalar_variant(self.precision, self.head_width);
        self.run_variant(kernel, &variant, params, &[space], groups, cost);
    }
}

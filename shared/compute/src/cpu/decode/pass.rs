//! A pass through the model, as one member of the team computes it.
use std::ops::Range;

use model::Config;

use super::buffer::Place;
use super::kernels::{Attention, Matmul};
use super::q8;
use super::team::Member;
use super::weights::{Matrix, Weights};
use crate::cpu::elementwise::rotate;
use crate::cpu::math::sigmoid;
use crate::cpu::normalise::forward_row;
use crate::decode::Row;

/// Parts of outputs that a member takes are multiples of this, a line of f32 and a panel of q8.
const UNIT: usize = 16;

/// What a member has for itself.
#[derive(Default)]
pub(super) struct Scratch {
    /// [rows, d] normalised
    norm: Vec<f32>,
    quantised: q8::Activations,
    /// Weights of attention.
    weights: Vec<f32>,
}

/// Where a pass reads and writes.
pub(super) struct Places {
    pub(super) keys: Place,
    pub(super) values: Place,
    pub(super) x: Place,
    pub(super) qkv: Place,
    pub(super) attention: Place,
    pub(super) gate: Place,
    pub(super) up: Place,
    pub(super) logits: Place,
    /// Stories side by side.
    pub(super) slots: usize,
    /// Positions in a row of `keys`: the context and some more, so that a head's rows do not share sets of the caches.
    pub(super) key_stride: usize,
    /// Values of a head's part of `values`: those of the context, and as many more as a kernel reads behind any of them. These
    /// are nobody's: another member may be writing the next head's.
    pub(super) value_stride: usize,
}

/// A pass as one member sees it.
pub(super) struct Pass<'a> {
    pub(super) weights: &'a Weights,
    pub(super) places: &'a Places,
    pub(super) rows: &'a [Row],
    pub(super) member: Member<'a>,
}

impl Pass<'_> {
    /// The members' parts of x, elements of rows: where the residual stream is added to.
    fn own_columns(&self) -> Range<usize> {
        self.member.part(self.weights.config.d_model, UNIT)
    }

    pub(super) fn embed(&self) {
        let d = self.weights.config.d_model;
        let columns = self.own_columns();
        let mut whole = vec![0.0; d];
        for (i, row) in self.rows.iter().enumerate() {
            let token = row.token as usize;
            let from = match &self.weights.embedding {
                Matrix::F32(range) => &self.weights.flat[range.start + token * d..][..d],
                Matrix::Q8(number) => {
                    self.weights.quantised[*number].row(&self.weights.eight, token, &mut whole);
                    &whole[..]
                }
            };
            // SAFETY: own columns.
            unsafe { self.places.x.get_mut(i * d + columns.start..i * d + columns.end) }
                .copy_from_slice(&from[columns.clone()]);
        }
        self.member.barrier();
    }

    pub(super) fn layer(&self, l: usize, scratch: &mut Scratch) {
        let Weights { config, layers, .. } = self.weights;
        let (Config { d_model: d, d_mlp: f, .. }, layer, at) = (*config, &layers[l], self.places);
        let (own, qkv) = (self.own_columns(), config.qkv_width());

        self.normalise(&layer.attention_norm, scratch);
        self.matmul(&layer.qkv, d, self.member.part(qkv, UNIT), scratch, None, at.qkv, qkv);
        self.member.barrier();
        self.keep(l);
        if config.n_kv_head != config.n_head {
            // Else a member's keys and values are those of its queries.
            self.member.barrier();
        }
        self.attend(l, scratch);
        self.member.barrier();
        // What a branch adds goes where queries were.
        self.quantise(d, Some(at.attention), scratch);
        self.matmul(&layer.attention_out, d, own.clone(), scratch, Some(at.attention), at.qkv, qkv);
        self.add(at.qkv, qkv);
        self.member.barrier();
        self.normalise(&layer.mlp_norm, scratch);
        let part = self.member.part(f, UNIT);
        self.matmul(&layer.gate, d, part.clone(), scratch, None, at.gate, f);
        self.matmul(&layer.up, d, part.clone(), scratch, None, at.up, f);
        self.swiglu(part);
        self.member.barrier();
        self.quantise(f, Some(at.gate), scratch);
        self.matmul(&layer.down, f, own, scratch, Some(at.gate), at.qkv, qkv);
        self.add(at.qkv, qkv);
        self.member.barrier();
    }

    pub(super) fn logits(&self, scratch: &mut Scratch) {
        let Config { d_model: d, vocab_size: vocab, .. } = self.weights.config;
        self.normalise(&self.weights.final_norm, scratch);
        let head = self.weights.head.as_ref().unwrap_or(&self.weights.embedding);
        self.matmul(
            head,
            d,
            self.member.part(vocab, UNIT),
            scratch,
            None,
            self.places.logits,
            vocab,
        );
    }

    /// Norms of all rows into this member's scratch.
    fn normalise(&self, gain: &Range<usize>, scratch: &mut Scratch) {
        let Config { d_model: d, rms_eps, .. } = self.weights.config;
        let gain = &self.weights.flat[gain.clone()];
        scratch.norm.resize(self.rows.len() * d, 0.0);
        // SAFETY: x is written between other barriers.
        let x = unsafe { self.places.x.get(0..self.rows.len() * d) };
        for (x, out) in x.chunks_exact(d).zip(scratch.norm.chunks_exact_mut(d)) {
            forward_row(rms_eps, x, gain, out);
        }
        self.quantise(d, None, scratch);
    }

    /// Quantises the rows of the next matmuls, where weights are.
    fn quantise(&self, depth: usize, from: Option<Place>, scratch: &mut Scratch) {
        if !self.weights.quantised.is_empty() {
            let rows = self.rows.len();
            let a = match from {
                // SAFETY: all members wrote it before the last barrier.
                Some(place) => unsafe { place.get(0..rows * depth) },
                None => &scratch.norm[..rows * depth],
            };
            scratch.quantised.set(rows, depth, a);
        }
    }

    /// `out[i, j] = a[i] · matrix[j]` for all rows and the outputs of `part`; a [rows, depth] is the norm, or `from`.
    fn matmul(
        &self,
        matrix: &Matrix,
        depth: usize,
        part: Range<usize>,
        scratch: &Scratch,
        from: Option<Place>,
        out: Place,
        stride: usize,
    ) {
        let rows = self.rows.len();
        if part.is_empty() {
            return;
        }
        assert!((rows - 1) * stride + part.end <= out.len);
        let a = match from {
            // SAFETY: all members wrote it before the last barrier.
            Some(place) => unsafe { place.get(0..rows * depth) },
            None => &scratch.norm[..rows * depth],
        };
        match matrix {
            Matrix::F32(range) => {
                let b =
                    &self.weights.flat[range.start + part.start * depth..][..part.len() * depth];
                // SAFETY: a and b are as long as the sizes say; the outputs of this part are this member's.
                unsafe {
                    (self.weights.kernels.matmul)(&Matmul {
                        rows,
                        outputs: part.len(),
                        depth,
                        a: a.as_ptr(),
                        b: b.as_ptr(),
                        out: out.data.add(part.start),
                        stride,
                    });
                }
            }
            Matrix::Q8(number) => {
                let matrix = &self.weights.quantised[*number];
                // SAFETY: the outputs of this part are this member's, and inside `out` by the assertion above.
                unsafe {
                    matrix.matmul(
                        self.weights.q8,
                        &self.weights.eight,
                        &scratch.quantised,
                        part,
                        out.data,
                        stride,
                    )
                };
            }
        }
    }

    /// `x += branch`, this member's columns.
    fn add(&self, branch: Place, stride: usize) {
        let (d, columns) = (self.weights.config.d_model, self.own_columns());
        for i in 0..self.rows.len() {
            // SAFETY: own columns of both.
            let (x, branch) = unsafe {
                (
                    self.places.x.get_mut(i * d + columns.start..i * d + columns.end),
                    branch.get(i * stride + columns.start..i * stride + columns.end),
                )
            };
            x.iter_mut().zip(branch).for_each(|(x, branch)| *x += branch);
        }
    }

    /// `gate = silu(gate) up`, this member's part.
    fn swiglu(&self, part: Range<usize>) {
        let f = self.weights.config.d_mlp;
        for i in 0..self.rows.len() {
            let range = i * f + part.start..i * f + part.end;
            // SAFETY: own part of both.
            let (gate, up) =
                unsafe { (self.places.gate.get_mut(range.clone()), self.places.up.get(range)) };
            swiglu(gate, up);
        }
    }

    /// Where head `kv_head` of keys and values of a row's story is, in heads.
    fn place(&self, l: usize, row: &Row, kv_head: usize) -> usize {
        let config = &self.weights.config;
        let slots = self.places.slots;
        (l * slots + row.slot as usize) * config.n_kv_head + kv_head
    }

    /// Cosines and sines of a row's position.
    fn angles(&self, row: &Row) -> (&[f32], &[f32]) {
        let width = self.weights.config.head_width();
        self.weights.rope[row.position as usize * width..][..width].split_at(width / 2)
    }

    /// Turns keys, and puts keys and values into the cache: their heads are shared out.
    fn keep(&self, l: usize) {
        let config = &self.weights.config;
        let Places { key_stride, value_stride, .. } = self.places;
        let Config { d_model: d, n_kv_head: heads, .. } = *config;
        let (width, at) = (config.head_width(), self.places);
        let mut turned = vec![0.0; width];
        for head in self.member.part(heads, 1) {
            for (i, row) in self.rows.iter().enumerate() {
                let position = row.position as usize;
                let key = i * config.qkv_width() + d + head * width;
                let value = key + config.kv_width();
                let place = self.place(l, row, head);
                // SAFETY: the last matmul wrote qkv, and nobody writes its keys and values before the next barrier.
                let (key, value) =
                    unsafe { (at.qkv.get(key..key + width), at.qkv.get(value..value + width)) };
                // SAFETY: only this member touches this head's part of the cache before the next barrier.
                let (keys, values) = unsafe {
                    (
                        at.keys
                            .get_mut(place * width * key_stride..(place + 1) * width * key_stride),
                        at.values.get_mut(place * value_stride..(place + 1) * value_stride),
                    )
                };
                turned.copy_from_slice(key);
                let (cos, sin) = self.angles(row);
                rotate(&mut turned, cos, sin, 1.0);
                for (keys, &key) in keys.chunks_exact_mut(*key_stride).zip(&turned) {
                    keys[position] = key;
                }
                values[position * width..][..width].copy_from_slice(value);
            }
        }
    }

    /// Turns queries and attends: their heads are shared out. A row sees those of its story before it, which may be in the
    /// same pass: all are in the cache.
    fn attend(&self, l: usize, scratch: &mut Scratch) {
        let Weights { config, kernels, .. } = self.weights;
        let Places { key_stride, value_stride, .. } = self.places;
        let Config { d_model: d, n_head: heads, .. } = *config;
        let (width, group, at) = (config.head_width(), heads / config.n_kv_head, self.places);
        scratch.weights.resize(*key_stride, 0.0);
        for head in self.member.part(heads, 1) {
            for (i, row) in self.rows.iter().enumerate() {
                let (cos, sin) = self.angles(row);
                let from = i * config.qkv_width() + head * width;
                // SAFETY: only this member touches the columns of this head.
                let query = unsafe { at.qkv.get_mut(from..from + width) };
                rotate(query, cos, sin, 1.0);
                let place = self.place(l, row, head / group);
                let out = i * d + head * width;
                // SAFETY: sizes as the fields say: `key_stride` is beyond the context's last block, and sixteen values follow a
                // head's last of `values`; nobody writes the cache before the next barrier; the columns of this head of `attention` are
                // this member's.
                unsafe {
                    let keys = place * width * key_stride..(place + 1) * width * key_stride;
                    (kernels.attention)(&Attention {
                        width,
                        length: row.position as usize + 1,
                        key_stride: *key_stride,
                        query: query.as_ptr(),
                        keys: at.keys.get(keys).as_ptr(),
                        values: at.values.data.add(place * value_stride),
                        weights: scratch.weights.as_mut_ptr(),
                        out: at.attention.get_mut(out..out + width).as_mut_ptr(),
                    });
                }
            }
        }
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn swiglu(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate * sigmoid(*gate) * up;
    }
}

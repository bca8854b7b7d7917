//! Decoding on the CPU engine: a pass over few rows as one job of a [`Team`], its kernels made for one row as much as for ten.
//!
//! Same model, same order of kernels as `block.rs` has for any engine. Every member computes the norms of all rows for itself
//! (microseconds) and then its part of a matrix's outputs, so a layer has five places where all wait for all. The bits of a row
//! depend on its own story only: not on the rows beside it nor on the number of threads.
mod buffer;
mod kernels;
mod lanes;
mod q8;
mod team;

use std::borrow::Cow;
use std::ops::Range;

use model::{Config, TensorTable};

use super::elementwise::rotate;
use super::large::Large;
use super::math::sigmoid;
use super::normalise::forward_row;
use crate::block::rope_table;
use crate::decode::{Decode, PROMPT_ROWS, Row};
use crate::kernels::Result;
use buffer::{Buffer, Place};
use kernels::{Attention, Matmul};
use lanes::LANES;
use team::{Member, Team};

/// What weights are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Weights as they are.
    F32,
    /// Eight bits in blocks of 32 with a scale, activations too; norms in f32.
    Q8,
}

/// Parts of outputs that a member takes are multiples of this, a line of f32 and a panel of q8.
const UNIT: usize = 16;

/// [outputs, depth] of f32 in the flat buffer, or the number of one that is quantised.
enum Matrix {
    F32(Range<usize>),
    Q8(usize),
}

struct Layer {
    attention_norm: Range<usize>,
    qkv: Matrix,
    attention_out: Matrix,
    mlp_norm: Range<usize>,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
}

/// What a member has for itself.
#[derive(Default)]
struct Scratch {
    /// [rows, d] normalised
    norm: Vec<f32>,
    quantised: q8::Activations,
    /// Weights of attention.
    weights: Vec<f32>,
}

/// A model ready to generate up to `slots` stories side by side.
pub(crate) struct Session {
    config: Config,
    /// Norms, and in f32 all weights; what is in eight bits.
    flat: Large<f32>,
    eight: Large<q8::PanelBlock>,
    quantised: Vec<q8::Matrix>,
    layers: Vec<Layer>,
    final_norm: Range<usize>,
    embedding: Matrix,
    /// The head's, where it is not the embedding.
    head: Option<Matrix>,
    rope: Vec<f32>,
    team: Team,
    scratch: Vec<Scratch>,
    /// Positions in a row of `keys`: the context and some more, so that a head's rows do not share sets of the caches.
    key_stride: usize,
    /// Values of a head's part of `values`: those of the context, and as many more as a kernel reads behind any of them. These
    /// are nobody's: another member may be writing the next head's.
    value_stride: usize,
    /// [layer, slot, kv head, width, key_stride], and [layer, slot, kv head, value_stride]
    keys: Buffer,
    values: Buffer,
    /// [rows, d], [rows, qkv], [rows, d], [rows, f] twice, [slots, V]
    x: Buffer,
    qkv: Buffer,
    attention: Buffer,
    gate: Buffer,
    up: Buffer,
    logits: Buffer,
    kernels: &'static kernels::Set,
    q8: q8::Kernel,
}

impl Session {
    /// What [`new`](Self::new) takes beside the weights it is given, bytes: weights in its own layout, caches, and the rows of
    /// a pass.
    pub(crate) fn bytes(config: &Config, slots: usize, rows: usize, storage: Storage) -> u64 {
        let Config { d_model: d, d_mlp: f, vocab_size: vocab, n_layer, context, .. } = *config;
        let table = TensorTable::new(config);
        let weights = match storage {
            Storage::F32 => 4 * table.len as u128,
            // A byte for each and 4 for the scale of 32, and the norms.
            Storage::Q8 => table.len as u128 * 36 / 32 + 4 * (2 * n_layer + 1) as u128 * d as u128,
        };
        let key_stride = context.next_multiple_of(kernels::BLOCK) + LANES;
        let heads = (n_layer * config.n_kv_head) as u128 * slots as u128;
        let width = config.head_width();
        let caches = heads * (width * key_stride + value_stride(config)) as u128;
        let columns = 2 * d + config.qkv_width() + 2 * f;
        let passes = rows as u128 * columns as u128 + slots as u128 * vocab as u128;
        let rope = (context * config.head_width()) as u128;
        u64::try_from(weights + 4 * (caches + passes + rope)).unwrap_or(u64::MAX)
    }

    /// Takes the flat weights of the tensor table.
    pub(crate) fn new(
        config: Config,
        weights: Vec<f32>,
        slots: usize,
        rows: usize,
        threads: usize,
        storage: Storage,
    ) -> Self {
        let Config { d_model: d, d_mlp: f, vocab_size: vocab, n_layer, context, .. } = config;
        let (table, kv) = (TensorTable::new(&config), config.kv_width());
        assert_eq!(weights.len(), table.len);
        let mut quantised = Vec::new();
        let mut matrix = |range: Range<usize>, outputs: usize, depth: usize| match storage {
            Storage::F32 => Matrix::F32(range),
            Storage::Q8 => {
                let before =
                    quantised.last().map_or(0, |(_, matrix): &(_, q8::Matrix)| matrix.end());
                quantised.push((range, q8::Matrix::new(outputs, depth, before)));
                Matrix::Q8(quantised.len() - 1)
            }
        };
        let mut layers = Vec::with_capacity(n_layer);
        for layer in &table.layers {
            let middle = layer.gate_up.start + f * d;
            layers.push(Layer {
                attention_norm: layer.attention_norm.clone(),
                qkv: matrix(layer.qkv.clone(), config.qkv_width(), d),
                attention_out: matrix(layer.attention_out.clone(), d, d),
                mlp_norm: layer.mlp_norm.clone(),
                gate: matrix(layer.gate_up.start..middle, f, d),
                up: matrix(middle..layer.gate_up.end, f, d),
                down: matrix(layer.down.clone(), d, f),
            });
        }
        let embedding = matrix(table.embedding.clone(), vocab, d);
        let head = (table.head != table.embedding).then(|| matrix(table.head.clone(), vocab, d));
        let mut eight = Large::zeros(quantised.last().map_or(0, |(_, matrix)| matrix.end()));
        for (range, matrix) in &quantised {
            matrix.set(&weights[range.clone()], &mut eight);
        }
        let quantised = quantised.into_iter().map(|(_, matrix)| matrix).collect();
        let mut final_norm = table.final_norm.clone();
        let mut flat;
        if storage == Storage::F32 {
            flat = Large::zeros(weights.len());
            flat.copy_from_slice(&weights);
        } else {
            flat = Large::zeros((2 * n_layer + 1) * d);
            keep_norms(&weights, &mut layers, &mut final_norm, &mut flat);
        }
        drop(weights);
        let key_stride = context.next_multiple_of(kernels::BLOCK) + LANES;
        let team = Team::new(threads);
        Session {
            rope: rope_table(&config),
            scratch: (0..team.threads()).map(|_| Scratch::default()).collect(),
            team,
            key_stride,
            value_stride: value_stride(&config),
            keys: Buffer::new(n_layer * slots * kv * key_stride),
            values: Buffer::new(n_layer * slots * config.n_kv_head * value_stride(&config)),
            x: Buffer::new(rows * d),
            qkv: Buffer::new(rows * config.qkv_width()),
            attention: Buffer::new(rows * d),
            gate: Buffer::new(rows * f),
            up: Buffer::new(rows * f),
            logits: Buffer::new(slots * vocab),
            kernels: kernels::best(),
            q8: q8::best(),
            config,
            flat,
            eight,
            quantised,
            layers,
            final_norm,
            embedding,
            head,
        }
    }

    /// Reads rows into the cache; with `last`, gives their logits too, [rows, V].
    fn pass(&mut self, rows: &[Row], last: bool) -> &[f32] {
        let Config { d_model: d, vocab_size: vocab, context, n_layer, .. } = self.config;
        let slots = self.logits.data.len() / vocab;
        assert!(
            rows.len() * d <= self.x.data.len() && (!last || rows.len() <= slots),
            "{} rows",
            rows.len()
        );
        for row in rows {
            let fits = (row.token as usize) < vocab
                && (row.slot as usize) < slots
                && (row.position as usize) < context;
            assert!(
                fits,
                "{row:?} of a vocabulary of {vocab}, {slots} slots and a context of {context}"
            );
        }
        let mut team = std::mem::replace(&mut self.team, Team::new(1));
        let mut scratch = std::mem::take(&mut self.scratch);
        {
            let places = Places {
                keys: self.keys.place(),
                values: self.values.place(),
                x: self.x.place(),
                qkv: self.qkv.place(),
                attention: self.attention.place(),
                gate: self.gate.place(),
                up: self.up.place(),
                logits: self.logits.place(),
            };
            /// Each member takes its own.
            struct Own(*mut Scratch);
            // SAFETY: `index` differs from member to member.
            unsafe impl Sync for Own {}
            let own = Own(scratch.as_mut_ptr());
            let session = &*self;
            team.run(&|member| {
                let own = &own;
                // SAFETY: as many scratches as members.
                let scratch = unsafe { &mut *own.0.add(member.index) };
                let pass = Pass { session, places: &places, rows, member };
                pass.embed();
                for l in 0..n_layer {
                    pass.layer(l, scratch);
                }
                if last {
                    pass.logits(scratch);
                }
            });
        }
        (self.team, self.scratch) = (team, scratch);
        if last { &self.logits.data[..rows.len() * vocab] } else { &[] }
    }
}

/// See [`Session::value_stride`].
fn value_stride(config: &Config) -> usize {
    config.context * config.head_width() + LANES
}

/// Copies the norms, which are wanted where all else is quantised, and says where they are now.
fn keep_norms(
    weights: &[f32],
    layers: &mut [Layer],
    final_norm: &mut Range<usize>,
    flat: &mut [f32],
) {
    let width = final_norm.len();
    let ranges =
        layers.iter_mut().flat_map(|layer| [&mut layer.attention_norm, &mut layer.mlp_norm]);
    for (number, (range, norm)) in
        ranges.chain([final_norm]).zip(flat.chunks_exact_mut(width)).enumerate()
    {
        norm.copy_from_slice(&weights[range.clone()]);
        *range = number * width..(number + 1) * width;
    }
}

impl Decode for Session {
    fn config(&self) -> &Config {
        &self.config
    }

    fn read(&mut self, rows: &[Row]) {
        rows.chunks(PROMPT_ROWS).for_each(|rows| {
            self.pass(rows, false);
        });
    }

    fn next(&mut self, rows: &[Row]) -> Result<Cow<'_, [f32]>> {
        Ok(Cow::Borrowed(self.pass(rows, true)))
    }

    fn weight_bytes(&self) -> Option<usize> {
        let one = |matrix: &Matrix| match matrix {
            Matrix::F32(range) => 4 * range.len(),
            Matrix::Q8(number) => self.quantised[*number].bytes(),
        };
        let layers =
            self.layers.iter().flat_map(|l| [&l.qkv, &l.attention_out, &l.gate, &l.up, &l.down]);
        Some(layers.chain([self.head.as_ref().unwrap_or(&self.embedding)]).map(one).sum())
    }
}

struct Places {
    keys: Place,
    values: Place,
    x: Place,
    qkv: Place,
    attention: Place,
    gate: Place,
    up: Place,
    logits: Place,
}

/// A pass as one member sees it.
struct Pass<'a> {
    session: &'a Session,
    places: &'a Places,
    rows: &'a [Row],
    member: Member<'a>,
}

impl Pass<'_> {
    /// The members' parts of x, elements of rows: where the residual stream is added to.
    fn own_columns(&self) -> Range<usize> {
        self.member.part(self.session.config.d_model, UNIT)
    }

    fn embed(&self) {
        let d = self.session.config.d_model;
        let columns = self.own_columns();
        let mut whole = vec![0.0; d];
        for (i, row) in self.rows.iter().enumerate() {
            let token = row.token as usize;
            let from = match &self.session.embedding {
                Matrix::F32(range) => &self.session.flat[range.start + token * d..][..d],
                Matrix::Q8(number) => {
                    self.session.quantised[*number].row(&self.session.eight, token, &mut whole);
                    &whole[..]
                }
            };
            // SAFETY: own columns.
            unsafe { self.places.x.get_mut(i * d + columns.start..i * d + columns.end) }
                .copy_from_slice(&from[columns.clone()]);
        }
        self.member.barrier();
    }

    fn layer(&self, l: usize, scratch: &mut Scratch) {
        let Session { config, layers, .. } = self.session;
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

    fn logits(&self, scratch: &mut Scratch) {
        let Config { d_model: d, vocab_size: vocab, .. } = self.session.config;
        self.normalise(&self.session.final_norm, scratch);
        let head = self.session.head.as_ref().unwrap_or(&self.session.embedding);
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
        let Config { d_model: d, rms_eps, .. } = self.session.config;
        let gain = &self.session.flat[gain.clone()];
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
        if !self.session.quantised.is_empty() {
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
                    &self.session.flat[range.start + part.start * depth..][..part.len() * depth];
                // SAFETY: a and b are as long as the sizes say; the outputs of this part are this member's.
                unsafe {
                    (self.session.kernels.matmul)(&Matmul {
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
                let matrix = &self.session.quantised[*number];
                // SAFETY: the outputs of this part are this member's, and inside `out` by the assertion above.
                unsafe {
                    matrix.matmul(
                        self.session.q8,
                        &self.session.eight,
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
        let (d, columns) = (self.session.config.d_model, self.own_columns());
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
        let f = self.session.config.d_mlp;
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
        let config = &self.session.config;
        let slots = self.session.logits.data.len() / config.vocab_size;
        (l * slots + row.slot as usize) * config.n_kv_head + kv_head
    }

    /// Cosines and sines of a row's position.
    fn angles(&self, row: &Row) -> (&[f32], &[f32]) {
        let width = self.session.config.head_width();
        self.session.rope[row.position as usize * width..][..width].split_at(width / 2)
    }

    /// Turns keys, and puts keys and values into the cache: their heads are shared out.
    fn keep(&self, l: usize) {
        let Session { config, key_stride, value_stride, .. } = self.session;
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
        let Session { config, key_stride, value_stride, kernels, .. } = self.session;
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

//! Decoding on the CPU engine: a pass over few rows as one job of a [`Team`], its kernels made for one row as much as for ten.
//!
//! Same model, same order of kernels as `block.rs` has for any engine. Every member computes the norms of all rows for itself
//! (microseconds) and then its part of a matrix's outputs, so a layer has five places where all wait for all. The bits of a row
//! depend on its own story only: not on the rows beside it nor on the number of threads.
mod buffer;
mod kernels;
mod lanes;
mod pass;
mod q8;
mod team;
mod weights;

use std::borrow::Cow;

use model::{Config, TensorTable};

use crate::decode::{Decode, PROMPT_ROWS, Row};
use crate::kernels::Result;
use buffer::Buffer;
use lanes::LANES;
use pass::{Pass, Places, Scratch};
use team::Team;
use weights::Weights;

pub use weights::Storage;

/// A model ready to generate up to `slots` stories side by side.
pub(crate) struct Session {
    weights: Weights,
    team: Team,
    scratch: Vec<Scratch>,
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
        let heads = (n_layer * config.n_kv_head) as u128 * slots as u128;
        let width = config.head_width();
        let caches = heads * (width * key_stride(config) + value_stride(config)) as u128;
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
        let Config { d_model: d, d_mlp: f, vocab_size: vocab, n_layer, .. } = config;
        let team = Team::new(threads);
        Session {
            weights: Weights::new(config, weights, storage),
            scratch: (0..team.threads()).map(|_| Scratch::default()).collect(),
            team,
            keys: Buffer::new(n_layer * slots * config.kv_width() * key_stride(&config)),
            values: Buffer::new(n_layer * slots * config.n_kv_head * value_stride(&config)),
            x: Buffer::new(rows * d),
            qkv: Buffer::new(rows * config.qkv_width()),
            attention: Buffer::new(rows * d),
            gate: Buffer::new(rows * f),
            up: Buffer::new(rows * f),
            logits: Buffer::new(slots * vocab),
        }
    }

    /// Reads rows into the cache; with `last`, gives their logits too, [rows, V].
    fn pass(&mut self, rows: &[Row], last: bool) -> &[f32] {
        let Config { d_model: d, vocab_size: vocab, context, n_layer, .. } = self.weights.config;
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
                slots,
                key_stride: key_stride(&self.weights.config),
                value_stride: value_stride(&self.weights.config),
            };
            /// Each member takes its own.
            struct Own(*mut Scratch);
            // SAFETY: `index` differs from member to member.
            unsafe impl Sync for Own {}
            let own = Own(scratch.as_mut_ptr());
            let weights = &self.weights;
            team.run(&|member| {
                let own = &own;
                // SAFETY: as many scratches as members.
                let scratch = unsafe { &mut *own.0.add(member.index) };
                let pass = Pass { weights, places: &places, rows, member };
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

/// See [`Places::key_stride`].
fn key_stride(config: &Config) -> usize {
    config.context.next_multiple_of(kernels::BLOCK) + LANES
}

/// See [`Places::value_stride`].
fn value_stride(config: &Config) -> usize {
    config.context * config.head_width() + LANES
}

impl Decode for Session {
    fn config(&self) -> &Config {
        &self.weights.config
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
        Some(self.weights.bytes())
    }
}

//! The embedding and its gradient, which goes token by token over sorted rows.
use crate::gpu::dispatch::{Params, counted, params, striding, word};
use crate::gpu::engine::Gpu;
use crate::gpu::pipeline::Element;
use crate::gpu::table::{EMBEDDING_BACKWARD, EMBEDDING_FORWARD};
use crate::kernels::{Tokens, View};

params! {
    Embedding { len: u32, width: u32 }
    Segments { segments: u32, width: u32 }
}

impl Gpu {
    /// `out[R, width] = table[tokens]`
    pub fn embed(&mut self, width: usize, tokens: Tokens, table: View, out: View) {
        let params = Embedding { len: word(out.len), width: word(width) };
        self.run(
            &EMBEDDING_FORWARD,
            params,
            &[self.ids(tokens), table, out],
            striding(out.len),
            0.0,
        );
    }

    /// `dtable[tokens] += dout[R, width]`, equal tokens in the order of their rows.
    pub fn embed_backward(&mut self, width: usize, tokens: Tokens, dout: View, dtable: View) {
        let (order, segments, count) = self.sort_rows(tokens);
        let params = Segments { segments: word(count), width: word(width) };
        self.run(
            &EMBEDDING_BACKWARD,
            params,
            &[order, segments, dout, dtable],
            counted(count),
            0.0,
        );
    }

    /// The rows of `tokens` sorted by token, and the segments of equal ones; see embedding_backward.wgsl.
    fn sort_rows(&mut self, tokens: Tokens) -> (View, View, usize) {
        let ids = &self.tokens[tokens.buffer].ids[tokens.offset..tokens.offset + tokens.len];
        // By counting: stable, and linear in rows and vocabulary.
        let largest = ids.iter().copied().max().unwrap_or(0) as usize;
        let mut ends = vec![0u32; largest + 2];
        ids.iter().for_each(|&id| ends[id as usize + 1] += 1);
        let mut segments = Vec::new();
        for token in 0..=largest {
            if ends[token + 1] > 0 {
                segments.extend([token as u32, ends[token]]);
            }
            ends[token + 1] += ends[token];
        }
        let count = segments.len() / 2;
        segments.extend([0, word(ids.len())]);
        let mut order = vec![0u32; ids.len()];
        for (row, &id) in ids.iter().enumerate() {
            order[ends[id as usize] as usize] = row as u32;
            ends[id as usize] += 1;
        }
        let all = self.tokens[tokens.buffer].ids.len();
        let (order_view, segment_view) = match self.tokens[tokens.buffer].sorted {
            Some(views) => views,
            None => (
                self.create("order", Element::U32, all),
                self.create("segments", Element::U32, 2 * all + 2),
            ),
        };
        self.tokens[tokens.buffer].sorted = Some((order_view, segment_view));
        self.write(order_view.slice(0, order.len()), bytemuck::cast_slice(&order));
        self.write(segment_view.slice(0, segments.len()), bytemuck::cast_slice(&segments));
        // Bound whole, whatever this batch's number of segments: the bind group is the same in every step.
        (order_view, segment_view, count)
    }
}

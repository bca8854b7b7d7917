//! The CPU engine: each kernel a function, parallel over parts whose bounds do not depend on the number of threads,
//! so the same input gives the same bits on any number of them.
mod attention;
pub(crate) mod decode;
mod elementwise;
mod large;
mod loss;
pub(crate) mod math;
mod matmul;
mod normalise;
mod optimizer;
mod parallel;

use std::ops::{Deref, DerefMut};

use crate::EngineError;
use crate::kernels::{AttentionShape, Kernels, Precision, Result, Snapshot, Ticket, Tokens, View};
use crate::optimizer::Update;
use large::Large;
use matmul::{LINE, Strided};

/// Buffers in memory. A kernel takes its output buffer out while it runs, so an input in the same buffer is a panic,
/// not a silent race.
#[derive(Default)]
pub struct Cpu {
    buffers: Vec<Buffer>,
    tokens: Vec<Vec<u32>>,
    workspace: matmul::Workspace,
    partial: Vec<f32>,
    /// Reports that were not collected yet, and how many ever were asked for.
    reports: std::collections::VecDeque<Vec<f32>>,
    submitted: u64,
    /// Bytes that could be had when the first buffer was asked for, and those asked for in all.
    available: Option<u64>,
    asked: u64,
}

/// f32 values from the start of a cache line on: no vector lies across two where rows are a multiple of them.
#[derive(Default)]
struct Buffer {
    memory: Option<Large<f32>>,
    values: std::ops::Range<usize>,
}

impl Buffer {
    /// The `index`-th buffer of an engine; None where the system has no room for it.
    fn new(index: usize, len: usize) -> Option<Self> {
        // Buffers that begin at large pages would have all their rows in the same sets of the caches.
        let first = index % 16 * 17 * LINE;
        let memory = Large::try_zeros(first.checked_add(len)?)?;
        Some(Buffer { memory: Some(memory), values: first..first + len })
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.memory.as_ref().map_or(&[], |memory| &memory[self.values.clone()])
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.memory.as_mut().map_or(&mut [], |memory| &mut memory[self.values.clone()])
    }
}

/// Rows per task of kernels that work row by row.
const ROWS: usize = 32;

impl Cpu {
    /// The engine, for [`Trainer`](crate::Trainer), [`Model`](crate::Model) or [`Decoder`](crate::Decoder).
    pub fn boxed() -> Box<dyn Kernels> {
        Box::<Self>::default()
    }

    /// Whether four bytes for each of `len` values can be had beside all that was asked for before.
    fn has_room(&mut self, len: usize) -> bool {
        let available = *self.available.get_or_insert_with(stage::memory::available);
        self.asked = self.asked.saturating_add((len as u64).saturating_mul(4));
        self.asked <= available
    }

    fn get(&self, view: View) -> &[f32] {
        let buffer = &self.buffers[view.buffer];
        assert!(
            view.offset + view.len <= buffer.len(),
            "view {view:?} of a buffer that is being written"
        );
        &buffer[view.offset..view.offset + view.len]
    }

    fn ids(&self, tokens: Tokens) -> &[u32] {
        &self.tokens[tokens.buffer][tokens.offset..tokens.offset + tokens.len]
    }

    /// Runs `f` with the engine to read from and N outputs to write, each in a buffer of its own.
    fn write<const N: usize>(
        &mut self,
        outputs: [View; N],
        f: impl FnOnce(&mut Self, [&mut [f32]; N]),
    ) {
        self.write_all(&outputs, |cpu, outputs| {
            f(
                cpu,
                outputs.try_into().unwrap_or_else(|_| unreachable!("as many as there are views")),
            );
        });
    }

    /// The same for any number of outputs.
    fn write_all(&mut self, outputs: &[View], f: impl FnOnce(&mut Self, Vec<&mut [f32]>)) {
        let mut taken = Vec::with_capacity(outputs.len());
        for view in outputs {
            let buffer = std::mem::take(&mut self.buffers[view.buffer]);
            assert!(
                view.offset + view.len <= buffer.len(),
                "output {view:?} overlaps another one's buffer"
            );
            taken.push(buffer);
        }
        let pairs = taken.iter_mut().zip(outputs);
        let parts = pairs.map(|(buffer, view)| &mut buffer[view.offset..view.offset + view.len]);
        f(self, parts.collect());
        for (view, buffer) in outputs.iter().zip(taken) {
            self.buffers[view.buffer] = buffer;
        }
    }

    /// A matrix [rows, columns], stored so or transposed.
    fn operand(
        &self,
        (view, transposed): (View, bool),
        rows: usize,
        columns: usize,
    ) -> Strided<'_> {
        let data = self.get(view);
        assert_eq!(data.len(), rows * columns);
        if transposed { Strided::transposed(data, rows) } else { Strided::rows(data, columns) }
    }

    fn product(
        &mut self,
        m: usize,
        n: usize,
        k: usize,
        a: (View, bool),
        b: (View, bool),
        c: View,
        accumulate: bool,
    ) {
        let mut workspace = std::mem::take(&mut self.workspace);
        self.write([c], |cpu, [c]| {
            matmul::matmul(
                &mut workspace,
                m,
                n,
                k,
                cpu.operand(a, m, k),
                cpu.operand(b, k, n),
                c,
                accumulate,
            );
        });
        self.workspace = workspace;
    }

    /// `outputs[0] = a b`, then `then(engine, first row, rows of the product, the same rows of outputs[1])` for a few rows at a
    /// time, while they are in the cache.
    fn product_then(
        &mut self,
        [m, n, k]: [usize; 3],
        a: View,
        b: (View, bool),
        c: View,
        also: Option<View>,
        then: impl Fn(&Self, usize, &mut [f32], &mut [f32]) + Sync,
    ) {
        let mut workspace = std::mem::take(&mut self.workspace);
        let run = |cpu: &Self, workspace: &mut _, c: &mut [f32], also: &mut [f32]| {
            let (a, b) = (cpu.operand((a, false), m, k), cpu.operand(b, k, n));
            matmul::matmul_then(workspace, m, n, k, a, b, c, also, |row, c, also| {
                then(cpu, row, c, also)
            });
        };
        match also {
            Some(also) => self.write([c, also], |cpu, [c, also]| run(cpu, &mut workspace, c, also)),
            None => self.write([c], |cpu, [c]| run(cpu, &mut workspace, c, &mut [])),
        }
        self.workspace = workspace;
    }
}

/// A snapshot in memory is there at once.
struct Copied(Vec<Vec<f32>>);

impl Snapshot for Copied {
    fn wait(self: Box<Self>) -> Result<Vec<Vec<f32>>> {
        Ok(self.0)
    }
}

impl Kernels for Cpu {
    fn device(&self) -> String {
        format!("cpu {} {}", std::env::consts::ARCH, matmul::best().name).trim_end().to_owned()
    }

    fn precision(&self) -> Precision {
        Precision::F32
    }

    fn plan(&self) -> String {
        "tiles of the microkernel".into() // and that is part of the device's name
    }

    fn allocate(&mut self, _label: &'static str, len: usize) -> View {
        let room = self.has_room(len);
        let buffer = Buffer::new(self.buffers.len(), len).filter(|_| room);
        if buffer.is_none() {
            self.available = Some(self.available.unwrap_or(0).min(self.asked.saturating_sub(1)));
        }
        self.buffers.push(buffer.unwrap_or_default());
        View { buffer: self.buffers.len() - 1, offset: 0, len }
    }

    fn allocate_stored(&mut self, label: &'static str, len: usize) -> View {
        self.allocate(label, len)
    }

    fn allocate_tokens(&mut self, _label: &'static str, len: usize) -> Tokens {
        let room = self.has_room(len);
        self.tokens.push(vec![0; if room { len } else { 0 }]);
        Tokens { buffer: self.tokens.len() - 1, offset: 0, len }
    }

    fn allocated(&mut self) -> Result<()> {
        let (needed, available) = (self.asked, self.available.unwrap_or(u64::MAX));
        if needed <= available {
            return Ok(());
        }
        Err(EngineError::OutOfMemory {
            message: format!(
                "{} of memory can be had; {} were asked for in all",
                stage::memory::mib(available),
                stage::memory::mib(needed)
            ),
            needed,
            available,
        })
    }

    fn bytes(&self) -> u64 {
        self.buffers
            .iter()
            .map(|buffer| 4 * buffer.len() as u64)
            .chain(self.tokens.iter().map(|ids| 4 * ids.len() as u64))
            .sum()
    }

    fn upload(&mut self, to: View, values: &[f32]) {
        self.write([to], |_, [out]| out.copy_from_slice(values));
    }

    fn upload_tokens(&mut self, to: Tokens, values: &[u32]) {
        self.tokens[to.buffer][to.offset..to.offset + to.len].copy_from_slice(values);
    }

    fn download(&mut self, from: View) -> Result<Vec<f32>> {
        Ok(self.get(from).to_vec())
    }

    fn snapshot(&mut self, views: &[View]) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(Copied(views.iter().map(|&view| self.get(view).to_vec()).collect())))
    }

    fn submit(&mut self, report: View) -> Ticket {
        self.reports.push_back(self.get(report).to_vec());
        self.submitted += 1;
        Ticket(self.submitted - 1)
    }

    fn collect(&mut self, ticket: Ticket, _wait: bool) -> Result<Option<Vec<f32>>> {
        assert_eq!(
            ticket.0,
            self.submitted - self.reports.len() as u64,
            "reports are collected in order"
        );
        Ok(self.reports.pop_front())
    }

    fn fill(&mut self, out: View, value: f32) {
        self.write([out], |_, [out]| {
            parallel::each_part([(out, 1 << 16)], |_, [part]| part.fill(value))
        });
    }

    fn round(&mut self, x: View, shadow: View) {
        assert_eq!(x, shadow, "a shadow in f32 is the view itself");
    }

    fn rows_at_once(&self, _widest: usize) -> usize {
        // Enough that threads seldom wait for one another, and memory does not grow with the batch.
        4096
    }

    fn logits_at_once(&self) -> usize {
        1 << 22
    }

    fn matmul_nt_rope(
        &mut self,
        shape: AttentionShape,
        k: usize,
        a: View,
        b: View,
        positions: Tokens,
        table: View,
        qkv: View,
    ) {
        let size = [shape.rows(), 3 * shape.heads * shape.width, k];
        self.product_then(size, a, (b, true), qkv, None, |cpu, row, qkv, _| {
            elementwise::rope_rows(shape, &cpu.ids(positions)[row..], cpu.get(table), qkv, 1.0);
        });
    }

    fn matmul_nt_residual(
        &mut self,
        m: usize,
        n: usize,
        k: usize,
        a: View,
        b: View,
        x: View,
        _branch: View,
        out: View,
    ) {
        self.product_then([m, n, k], a, (b, true), out, None, |cpu, row, out, _| {
            elementwise::add(&cpu.get(x)[row * n..], out)
        });
    }

    fn matmul_nt_swiglu(
        &mut self,
        m: usize,
        width: usize,
        k: usize,
        a: View,
        b: View,
        gate_up: View,
        out: View,
    ) {
        self.product_then(
            [m, 2 * width, k],
            a,
            (b, true),
            gate_up,
            Some(out),
            |_, _, gate_up, out| {
                elementwise::swiglu_rows(width, gate_up, out);
            },
        );
    }

    fn matmul_nn_swiglu(
        &mut self,
        m: usize,
        width: usize,
        k: usize,
        a: View,
        b: View,
        gate_up: View,
        dout: View,
        dgate_up: View,
    ) {
        self.product_then(
            [m, width, k],
            a,
            (b, false),
            dout,
            Some(dgate_up),
            |cpu, row, dout, dgate_up| {
                elementwise::swiglu_backward_rows(
                    width,
                    &cpu.get(gate_up)[row * 2 * width..],
                    dout,
                    dgate_up,
                );
            },
        );
    }

    fn attention_backward_rope(
        &mut self,
        shape: AttentionShape,
        qkv: View,
        out: View,
        lse: View,
        dout: View,
        positions: Tokens,
        table: View,
        dqkv: View,
    ) {
        self.write([dqkv], |cpu, [dqkv]| {
            let rope = Some((cpu.ids(positions), cpu.get(table)));
            attention::backward(
                shape,
                cpu.get(qkv),
                cpu.get(out),
                cpu.get(lse),
                cpu.get(dout),
                dqkv,
                rope,
            );
        });
    }

    fn embedding_forward(&mut self, width: usize, tokens: Tokens, table: View, out: View) {
        self.write([out], |cpu, [out]| {
            elementwise::embedding_forward(width, cpu.ids(tokens), cpu.get(table), out)
        });
    }

    fn embedding_backward(&mut self, width: usize, tokens: Tokens, dout: View, dtable: View) {
        self.write([dtable], |cpu, [dtable]| {
            elementwise::embedding_backward(width, cpu.ids(tokens), cpu.get(dout), dtable)
        });
    }

    fn rmsnorm_forward(
        &mut self,
        width: usize,
        eps: f32,
        x: View,
        gain: View,
        out: View,
        rstd: View,
    ) {
        self.write([out, rstd], |cpu, [out, rstd]| {
            normalise::rmsnorm_forward(width, eps, cpu.get(x), cpu.get(gain), out, rstd)
        });
    }

    fn rmsnorm_backward(
        &mut self,
        width: usize,
        x: View,
        gain: View,
        rstd: View,
        dout: View,
        dx: View,
        dx_low: View,
        dgain: View,
    ) {
        self.round(dx, dx_low);
        let mut partial = std::mem::take(&mut self.partial);
        self.write([dx, dgain], |cpu, [dx, dgain]| {
            normalise::rmsnorm_backward(
                width,
                cpu.get(x),
                cpu.get(gain),
                cpu.get(rstd),
                cpu.get(dout),
                dx,
                dgain,
                &mut partial,
            );
        });
        self.partial = partial;
    }

    fn matmul_nt(&mut self, m: usize, n: usize, k: usize, a: View, b: View, c: View) {
        self.product(m, n, k, (a, false), (b, true), c, false);
    }

    fn matmul_nn(&mut self, m: usize, n: usize, k: usize, a: View, b: View, c: View) {
        self.product(m, n, k, (a, false), (b, false), c, false);
    }

    fn matmul_tn(&mut self, m: usize, n: usize, k: usize, a: View, b: View, c: View) {
        self.product(m, n, k, (a, true), (b, false), c, true);
    }

    fn matvec_nt(&mut self, m: usize, n: usize, k: usize, a: View, b: View, c: View) {
        self.write([c], |cpu, [c]| matmul::matvec_nt(m, n, k, cpu.get(a), cpu.get(b), c));
    }

    fn rope_forward(&mut self, shape: AttentionShape, positions: Tokens, table: View, qkv: View) {
        self.write([qkv], |cpu, [qkv]| {
            elementwise::rope(shape, cpu.ids(positions), cpu.get(table), qkv, 1.0)
        });
    }

    fn rope_backward(&mut self, shape: AttentionShape, positions: Tokens, table: View, dqkv: View) {
        self.write([dqkv], |cpu, [dqkv]| {
            elementwise::rope(shape, cpu.ids(positions), cpu.get(table), dqkv, -1.0)
        });
    }

    fn attention_forward(&mut self, shape: AttentionShape, qkv: View, out: View, lse: View) {
        self.write([out, lse], |cpu, [out, lse]| attention::forward(shape, cpu.get(qkv), out, lse));
    }

    fn attention_backward(
        &mut self,
        shape: AttentionShape,
        qkv: View,
        out: View,
        lse: View,
        dout: View,
        dqkv: View,
    ) {
        self.write([dqkv], |cpu, [dqkv]| {
            attention::backward(
                shape,
                cpu.get(qkv),
                cpu.get(out),
                cpu.get(lse),
                cpu.get(dout),
                dqkv,
                None,
            )
        });
    }

    fn swiglu_forward(&mut self, width: usize, gate_up: View, out: View) {
        self.write([out], |cpu, [out]| elementwise::swiglu_forward(width, cpu.get(gate_up), out));
    }

    fn swiglu_backward(&mut self, width: usize, gate_up: View, dout: View, dgate_up: View) {
        self.write([dgate_up], |cpu, [dgate_up]| {
            elementwise::swiglu_backward(width, cpu.get(gate_up), cpu.get(dout), dgate_up)
        });
    }

    fn residual_forward(&mut self, x: View, branch: View, out: View) {
        self.write([out], |cpu, [out]| {
            elementwise::residual_forward(cpu.get(x), cpu.get(branch), out)
        });
    }

    fn cross_entropy_forward(&mut self, vocab: usize, logits: View, targets: Tokens, losses: View) {
        self.write([losses], |cpu, [losses]| {
            loss::cross_entropy_forward(vocab, cpu.get(logits), cpu.ids(targets), losses)
        });
    }

    fn head_loss_forward(
        &mut self,
        vocab: usize,
        d: usize,
        x: View,
        head: View,
        _logits: View,
        targets: Tokens,
        losses: View,
    ) {
        let mut workspace = std::mem::take(&mut self.workspace);
        self.write([losses], |cpu, [losses]| {
            loss::head_loss_forward(
                &mut workspace,
                vocab,
                d,
                cpu.get(x),
                cpu.get(head),
                cpu.ids(targets),
                losses,
            );
        });
        self.workspace = workspace;
    }

    fn cross_entropy_backward(
        &mut self,
        vocab: usize,
        scale: f32,
        state: View,
        logits: View,
        targets: Tokens,
        losses: View,
    ) {
        let scale = scale * self.get(state)[crate::state::LOSS_SCALE];
        self.write([logits, losses], |cpu, [logits, losses]| {
            loss::cross_entropy_backward(vocab, scale, logits, cpu.ids(targets), losses)
        });
    }

    fn sum(&mut self, values: View, total: View) {
        self.write([total], |cpu, [total]| {
            total[0] += cpu.get(values).iter().map(|&v| f64::from(v)).sum::<f64>() as f32
        });
    }

    fn grad_norm(&mut self, gradients: View, norm: View) {
        self.write([norm], |cpu, [norm]| norm[0] = loss::grad_norm(cpu.get(gradients)));
    }

    fn loss_scale_update(&mut self, update: &Update, state: View) {
        self.write([state], |_, [state]| loss::loss_scale_update(update, state));
    }

    fn optimizer_update(
        &mut self,
        update: &Update,
        state: View,
        weights: View,
        shadow: View,
        gradients: View,
        slots: &[View],
    ) {
        self.write_all(&[&[weights], slots].concat(), |cpu, mut outputs| {
            let (state, gradients) = (cpu.get(state), cpu.get(gradients));
            let slots = outputs.split_off(1);
            optimizer::optimizer_update(update, state, gradients, outputs[0], slots);
        });
        self.round(weights, shadow);
    }

    fn cache_append(
        &mut self,
        shape: AttentionShape,
        context: usize,
        slots: Tokens,
        positions: Tokens,
        qkv: View,
        cache: View,
    ) {
        self.write([cache], |cpu, [cache]| {
            elementwise::cache_append(
                shape,
                context,
                cpu.ids(slots),
                cpu.ids(positions),
                cpu.get(qkv),
                cache,
            );
        });
    }

    fn attention_decode(
        &mut self,
        shape: AttentionShape,
        context: usize,
        slots: Tokens,
        positions: Tokens,
        qkv: View,
        cache: View,
        out: View,
    ) {
        self.write([out], |cpu, [out]| {
            elementwise::attention_decode(
                shape,
                context,
                cpu.ids(slots),
                cpu.ids(positions),
                cpu.get(qkv),
                cpu.get(cache),
                out,
            );
        });
    }
}

//! The model again as plain f64 loops, written from the formulas: what the kernels are compared with.
use compute::{AttentionShape, NO_TARGET};
use model::{Config, TensorTable};

/// `a[m, k] b[n, k]ᵀ`
pub(crate) fn matmul_nt(m: usize, n: usize, k: usize, a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            c[i * n + j] = (0..k).map(|l| a[i * k + l] * b[j * k + l]).sum();
        }
    }
    c
}

/// `a[rows, columns]ᵀ`
pub(crate) fn transpose(rows: usize, columns: usize, a: &[f64]) -> Vec<f64> {
    (0..rows * columns).map(|i| a[i % rows * columns + i / rows]).collect()
}

pub(crate) fn embedding(width: usize, tokens: &[u32], table: &[f64]) -> Vec<f64> {
    tokens
        .iter()
        .flat_map(|&token| table[token as usize * width..][..width].iter().copied())
        .collect()
}

pub(crate) fn rstd(width: usize, eps: f64, x: &[f64]) -> Vec<f64> {
    x.chunks_exact(width)
        .map(|row| 1.0 / (row.iter().map(|x| x * x).sum::<f64>() / width as f64 + eps).sqrt())
        .collect()
}

pub(crate) fn rmsnorm(width: usize, eps: f64, x: &[f64], gain: &[f64]) -> Vec<f64> {
    let rstd = rstd(width, eps, x);
    x.iter().enumerate().map(|(i, x)| x * rstd[i / width] * gain[i % width]).collect()
}

/// Pairs (i, i + width / 2) of queries and keys turned by position * base^(-2 i / width).
pub(crate) fn rope(shape: AttentionShape, base: f64, positions: &[u32], qkv: &[f64]) -> Vec<f64> {
    let AttentionShape { heads, kv_heads, width, .. } = shape;
    let (columns, half) = ((heads + 2 * kv_heads) * width, width / 2);
    let mut out = qkv.to_vec();
    for (row, &position) in positions.iter().enumerate() {
        for head in 0..heads + kv_heads {
            for i in 0..half {
                let (sin, cos) =
                    (f64::from(position) * base.powf(-2.0 * i as f64 / width as f64)).sin_cos();
                let (a, b) =
                    (row * columns + head * width + i, row * columns + head * width + i + half);
                out[a] = qkv[a] * cos - qkv[b] * sin;
                out[b] = qkv[b] * cos + qkv[a] * sin;
            }
        }
    }
    out
}

/// Output [rows, d] and the logarithm of each row's sum [batch, heads, sequence].
pub(crate) fn attention(shape: AttentionShape, qkv: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let AttentionShape { batch, sequence, heads, kv_heads, width } = shape;
    let (d, columns) = (heads * width, (heads + 2 * kv_heads) * width);
    let (mut out, mut lse) = (vec![0.0; shape.rows() * d], Vec::new());
    for (b, h) in (0..batch).flat_map(|b| (0..heads).map(move |h| (b, h))) {
        let kv = h * kv_heads / heads;
        let at = |part: usize, i: usize| {
            let head = [h, heads + kv, heads + kv_heads + kv][part];
            &qkv[(b * sequence + i) * columns + head * width..][..width]
        };
        for i in 0..sequence {
            let dot = |j: usize| at(0, i).iter().zip(at(1, j)).map(|(q, k)| q * k).sum::<f64>();
            let scores: Vec<f64> = (0..=i).map(|j| dot(j) / (width as f64).sqrt()).collect();
            let total = log_sum_exp(&scores);
            lse.push(total);
            let out = &mut out[(b * sequence + i) * d + h * width..][..width];
            for (j, score) in scores.iter().enumerate() {
                out.iter_mut().zip(at(2, j)).for_each(|(out, v)| *out += (score - total).exp() * v);
            }
        }
    }
    (out, lse)
}

pub(crate) fn swiglu(width: usize, gate_up: &[f64]) -> Vec<f64> {
    let row = |row: &[f64]| {
        (0..width).map(|i| row[i] / (1.0 + (-row[i]).exp()) * row[width + i]).collect::<Vec<f64>>()
    };
    gate_up.chunks_exact(2 * width).flat_map(row).collect()
}

pub(crate) fn log_sum_exp(values: &[f64]) -> f64 {
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + values.iter().map(|v| (v - max).exp()).sum::<f64>().ln()
}

pub(crate) fn cross_entropy(vocab: usize, logits: &[f64], targets: &[u32]) -> Vec<f64> {
    let loss = |(row, &target): (&[f64], &u32)| {
        if target == NO_TARGET { 0.0 } else { log_sum_exp(row) - row[target as usize] }
    };
    logits.chunks_exact(vocab).zip(targets).map(loss).collect()
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// Logits [rows, vocabulary] of sequences of `sequence` tokens.
pub(crate) fn logits(
    config: &Config,
    weights: &[f64],
    sequence: usize,
    inputs: &[u32],
) -> Vec<f64> {
    let (d, f, eps, rows) = (config.d_model, config.d_mlp, f64::from(config.rms_eps), inputs.len());
    let table = TensorTable::new(config);
    let shape = AttentionShape {
        batch: rows / sequence,
        sequence,
        heads: config.n_head,
        kv_heads: config.n_kv_head,
        width: config.head_width(),
    };
    let positions: Vec<u32> = (0..rows).map(|row| (row % sequence) as u32).collect();
    let w = |range: &std::ops::Range<usize>| &weights[range.clone()];
    let mut x = embedding(d, inputs, w(&table.embedding));
    for layer in &table.layers {
        let norm = rmsnorm(d, eps, &x, w(&layer.attention_norm));
        let qkv = matmul_nt(rows, layer.qkv.len() / d, d, &norm, w(&layer.qkv));
        let (attended, _) =
            attention(shape, &rope(shape, f64::from(config.rope_base), &positions, &qkv));
        x = add(&x, &matmul_nt(rows, d, d, &attended, w(&layer.attention_out)));
        let norm = rmsnorm(d, eps, &x, w(&layer.mlp_norm));
        let gate_up = matmul_nt(rows, 2 * f, d, &norm, w(&layer.gate_up));
        x = add(&x, &matmul_nt(rows, d, f, &swiglu(f, &gate_up), w(&layer.down)));
    }
    let norm = rmsnorm(d, eps, &x, w(&table.final_norm));
    matmul_nt(rows, config.vocab_size, d, &norm, w(&table.head))
}

/// Mean loss of windows [sequences, sequence + 1].
pub(crate) fn loss(config: &Config, weights: &[f64], sequence: usize, windows: &[u32]) -> f64 {
    let windows = windows.chunks_exact(sequence + 1);
    let inputs: Vec<u32> = windows.clone().flat_map(|w| w[..sequence].to_vec()).collect();
    let targets: Vec<u32> = windows.flat_map(|w| w[1..].to_vec()).collect();
    let losses =
        cross_entropy(config.vocab_size, &logits(config, weights, sequence, &inputs), &targets);
    losses.iter().sum::<f64>() / losses.len() as f64
}

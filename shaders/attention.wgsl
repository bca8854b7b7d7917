// Causal self-attention of training: out = softmax(q k^T / sqrt(width), causal) v, out [rows, d], and lse [batch, heads, sequence],
// the logarithm of each row's sum, from which backward recomputes the weights (Dao, arXiv 2307.08691).
//
// An invocation owns a query and goes over the keys up to it, a tile at a time, with a running maximum and sum.
//
// Dispatch: (ceil(sequence / 64), batch * heads) workgroups of 64.
#import lib/store
#import lib/heads

struct Params {
    sequence: u32,
    heads: u32,
    kv_heads: u32,
    scale: f32,
    qkv_at: u32,
    out_at: u32,
    lse_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<Stored>;
@group(0) @binding(2) var<storage, read_write> out: array<Stored>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;

@compute @workgroup_size(64)
fn attention_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let d = p.heads * HEAD_WIDTH;
    let batch = group.y / p.heads;
    let head = group.y % p.heads;
    let row = group.x * 64u + lane;
    let real = row < p.sequence;
    // Of the sequence's first row: query, key and value of this head.
    let columns = qkv_columns();
    let sequence = p.qkv_at + batch * p.sequence * columns;
    let query = sequence + head * HEAD_WIDTH;
    let key = sequence + key_column(head);
    let value = key + p.kv_heads * HEAD_WIDTH;

    var q: array<vec4<f32>, VECTORS>;
    var sum: array<vec4<f32>, VECTORS>;
    for (var v = 0u; v < VECTORS; v++) {
        sum[v] = vec4<f32>();
        q[v] = vec4<f32>();
        if real {
            q[v] = p.scale * qkv_vector(query + row * columns, v);
        }
    }
    var largest = LOWEST;
    var total = 0.0;
    let end = min((group.x + 1u) * 64u, p.sequence);
    for (var start = 0u; start < end; start += TILE_ROWS) {
        for (var i = lane; i < TILE_ROWS * VECTORS; i += 64u) {
            let j = min(start + i / VECTORS, p.sequence - 1u) * columns;
            first_tile[i] = qkv_vector(key + j, i % VECTORS);
            second_tile[i] = qkv_vector(value + j, i % VECTORS);
        }
        workgroupBarrier();
        for (var j = 0u; j < TILE_ROWS; j++) {
            if start + j <= row {
                var products = vec4<f32>();
                for (var v = 0u; v < VECTORS; v++) {
                    products += q[v] * first_tile[j * VECTORS + v];
                }
                let score = products.x + products.y + products.z + products.w;
                let larger = max(largest, score);
                let keep = exp(largest - larger);
                let weight = exp(score - larger);
                largest = larger;
                total = total * keep + weight;
                for (var v = 0u; v < VECTORS; v++) {
                    sum[v] = sum[v] * keep + weight * second_tile[j * VECTORS + v];
                }
            }
        }
        workgroupBarrier();
    }
    if real {
        let first = p.out_at + (batch * p.sequence + row) * d + head * HEAD_WIDTH;
        for (var i = 0u; i < HEAD_WIDTH; i++) {
            out[first + i] = narrow(sum[i / 4u][i % 4u] / total);
        }
        lse[p.lse_at + group.y * p.sequence + row] = largest + log(total);
    }
}

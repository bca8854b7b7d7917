// Causal self-attention of training: out = softmax(q k^T / sqrt(width), causal) v, out [rows, d], and lse [batch, heads, sequence],
// the logarithm of each row's sum, from which backward recomputes the weights (Dao, arXiv 2307.08691).
//
// A workgroup owns queries (lib/heads) and goes over the keys up to them, a tile at a time, with a running maximum and sum.
//
// Dispatch: (ceil(sequence / OWN), batch * heads) workgroups of 64.
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
    let row = group.x * OWN + lane / ROW_LANES;
    let part = lane % ROW_LANES;
    let real = row < p.sequence;
    // Of the sequence's first row: query, key and value of this head.
    let columns = qkv_columns();
    let sequence = p.qkv_at + batch * p.sequence * columns;
    let query = sequence + head * HEAD_WIDTH;
    let key = sequence + key_column(head);
    let value = key + p.kv_heads * HEAD_WIDTH;

    var q: Row;
    var sum: Row;
    for (var v = 0u; v < OWN_VECTORS; v++) {
        sum[v] = vec4<f32>();
        q[v] = vec4<f32>();
        if real {
            q[v] = p.scale * qkv_vector(query + row * columns, v * ROW_LANES + part);
        }
    }
    var largest = LOWEST;
    var total = 0.0;
    let end = min((group.x + 1u) * OWN, p.sequence);
    for (var start = 0u; start < end; start += TILE_ROWS) {
        for (var i = lane; i < TILE_ROWS * PADDED; i += LANES) {
            let j = min(start + i / PADDED, p.sequence - 1u) * columns;
            first_tile[i] = qkv_vector(key + j, i % PADDED);
            second_tile[i] = qkv_vector(value + j, i % PADDED);
        }
        workgroupBarrier();
        for (var j = 0u; j < TILE_ROWS; j++) {
            parts[j * LANES + lane] = vec2(part_of_first(&q, j, lane), 0.0);
        }
        workgroupBarrier();
        for (var j = part; j < TILE_ROWS; j += ROW_LANES) {
            let score = add_parts(j, lane).x;
            parts[j * LANES + row_first(lane)].x = select(LOWEST, score, start + j <= row);
        }
        workgroupBarrier();
        var larger = largest;
        for (var j = 0u; j < TILE_ROWS; j++) {
            larger = max(larger, parts[j * LANES + row_first(lane)].x);
        }
        let keep = exp(largest - larger);
        largest = larger;
        total *= keep;
        for (var v = 0u; v < OWN_VECTORS; v++) {
            sum[v] *= keep;
        }
        for (var j = 0u; j < TILE_ROWS; j++) {
            let weight = exp(parts[j * LANES + row_first(lane)].x - largest);
            total += weight;
            for (var v = 0u; v < OWN_VECTORS; v++) {
                sum[v] += weight * second_tile[j * PADDED + v * ROW_LANES + part];
            }
        }
        workgroupBarrier();
    }
    if real {
        let first = p.out_at + (batch * p.sequence + row) * d + head * HEAD_WIDTH;
        for (var v = 0u; v < OWN_VECTORS; v++) {
            for (var i = 0u; i < 4u; i++) {
                let column = 4u * (v * ROW_LANES + part) + i;
                if column < HEAD_WIDTH {
                    out[first + column] = narrow(sum[v][i] / total);
                }
            }
        }
        if part == 0u {
            lse[p.lse_at + group.y * p.sequence + row] = largest + log(total);
        }
    }
}

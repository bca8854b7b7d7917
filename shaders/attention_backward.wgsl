// The gradients of queries, keys and values (Dao, arXiv 2307.08691): with weights = exp(q k^T / sqrt(width) - lse) and
// delta[i] = dout[i] . out[i],
//
//   dscores = weights * (dout v^T - delta) / sqrt(width)
//   dq = dscores k,   dk = dscores^T q,   dv = weights^T dout
//
// attention_backward_queries: an invocation owns a query and goes over the keys up to it.
// attention_backward_keys:    an invocation owns a key and goes over the queries from it on, of each query head that it serves.
// Both recompute the weights, so nothing of the size of sequence x sequence is ever kept, and no sum is shared. If `turned`, dq
// and dk are turned back by their positions as in rope.wgsl; else positions and table are not read.
//
// Dispatch: (ceil(sequence / 64), batch * heads) workgroups of 64, of the second kernel batch * kv_heads.
#import lib/store
#import lib/heads

struct Params {
    sequence: u32,
    heads: u32,
    kv_heads: u32,
    scale: f32,
    turned: u32,
    qkv_at: u32,
    out_at: u32,
    lse_at: u32,
    dout_at: u32,
    positions_at: u32,
    table_at: u32,
    dqkv_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<Stored>;
@group(0) @binding(2) var<storage, read> out: array<Stored>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> dout: array<Stored>;
@group(0) @binding(5) var<storage, read> positions: array<u32>;
@group(0) @binding(6) var<storage, read> table: array<f32>;
@group(0) @binding(7) var<storage, read_write> dqkv: array<Stored>;

var<workgroup> lse_tile: array<f32, TILE_ROWS>;
var<workgroup> delta_tile: array<f32, TILE_ROWS>;

fn dout_vector(first: u32, vector: u32) -> vec4<f32> {
    var values = vec4<f32>();
    for (var i = 0u; i < 4u; i++) {
        if 4u * vector + i < HEAD_WIDTH {
            values[i] = widen(dout[first + 4u * vector + i]);
        }
    }
    return values;
}

// dout . out of a row of the head whose columns begin at `first`, an offset from either's beginning.
fn delta_of(first: u32) -> f32 {
    var delta = 0.0;
    for (var i = 0u; i < HEAD_WIDTH; i++) {
        delta += widen(out[p.out_at + first + i]) * widen(dout[p.dout_at + first + i]);
    }
    return delta;
}

// Writes the gradient of a query or key, a row of the batch, to the head that begins at `first`.
fn write_turned(x: ptr<function, array<vec4<f32>, VECTORS>>, row: u32, first: u32) {
    if p.turned == 0u {
        for (var i = 0u; i < HEAD_WIDTH; i++) {
            dqkv[first + i] = narrow((*x)[i / 4u][i % 4u]);
        }
        return;
    }
    let half = HEAD_WIDTH / 2u;
    let angle = p.table_at + positions[p.positions_at + row] * HEAD_WIDTH;
    for (var i = 0u; i < half; i++) {
        let cosine = table[angle + i];
        let sine = table[angle + half + i];
        let a = (*x)[i / 4u][i % 4u];
        let b = (*x)[(i + half) / 4u][(i + half) % 4u];
        dqkv[first + i] = narrow(a * cosine + b * sine);
        dqkv[first + half + i] = narrow(b * cosine - a * sine);
    }
}

@compute @workgroup_size(64)
fn attention_backward_queries(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let d = p.heads * HEAD_WIDTH;
    let batch = group.y / p.heads;
    let head = group.y % p.heads;
    let row = group.x * 64u + lane;
    let real = row < p.sequence;
    let columns = qkv_columns();
    let query = batch * p.sequence * columns + head * HEAD_WIDTH;
    let key = p.qkv_at + batch * p.sequence * columns + key_column(head);
    let value = key + p.kv_heads * HEAD_WIDTH;
    let out_row = (batch * p.sequence + row) * d + head * HEAD_WIDTH;

    var q: array<vec4<f32>, VECTORS>;
    var dy: array<vec4<f32>, VECTORS>;
    var dq: array<vec4<f32>, VECTORS>;
    var row_lse = 0.0;
    var delta = 0.0;
    for (var v = 0u; v < VECTORS; v++) {
        q[v] = vec4<f32>();
        dy[v] = vec4<f32>();
        dq[v] = vec4<f32>();
        if real {
            q[v] = p.scale * qkv_vector(p.qkv_at + query + row * columns, v);
            dy[v] = dout_vector(p.dout_at + out_row, v);
        }
    }
    if real {
        row_lse = lse[p.lse_at + group.y * p.sequence + row];
        delta = delta_of(out_row);
    }
    let end = min((group.x + 1u) * 64u, p.sequence);
    for (var start = 0u; start < end; start += TILE_ROWS) {
        for (var i = lane; i < TILE_ROWS * VECTORS; i += 64u) {
            let j = min(start + i / VECTORS, p.sequence - 1u) * columns;
            first_tile[i] = qkv_vector(key + j, i % VECTORS);
            second_tile[i] = qkv_vector(value + j, i % VECTORS);
        }
        workgroupBarrier();
        for (var j = 0u; j < TILE_ROWS; j++) {
            if real && start + j <= row {
                var products = vec4<f32>();
                var dproducts = vec4<f32>();
                for (var v = 0u; v < VECTORS; v++) {
                    products += q[v] * first_tile[j * VECTORS + v];
                    dproducts += dy[v] * second_tile[j * VECTORS + v];
                }
                let weight = exp(products.x + products.y + products.z + products.w - row_lse);
                let dweight = dproducts.x + dproducts.y + dproducts.z + dproducts.w;
                let dscore = weight * (dweight - delta) * p.scale;
                for (var v = 0u; v < VECTORS; v++) {
                    dq[v] += dscore * first_tile[j * VECTORS + v];
                }
            }
        }
        workgroupBarrier();
    }
    if real {
        write_turned(&dq, batch * p.sequence + row, p.dqkv_at + query + row * columns);
    }
}

@compute @workgroup_size(64)
fn attention_backward_keys(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let d = p.heads * HEAD_WIDTH;
    let batch = group.y / p.kv_heads;
    let kv_head = group.y % p.kv_heads;
    let served = p.heads / p.kv_heads;
    let row = group.x * 64u + lane;
    let real = row < p.sequence;
    let columns = qkv_columns();
    let sequence = batch * p.sequence * columns;
    let key = sequence + row * columns + (p.heads + kv_head) * HEAD_WIDTH;
    let value_at = key + p.kv_heads * HEAD_WIDTH;

    var k: array<vec4<f32>, VECTORS>;
    var value: array<vec4<f32>, VECTORS>;
    var dk: array<vec4<f32>, VECTORS>;
    var dv: array<vec4<f32>, VECTORS>;
    for (var v = 0u; v < VECTORS; v++) {
        k[v] = vec4<f32>();
        value[v] = vec4<f32>();
        dk[v] = vec4<f32>();
        dv[v] = vec4<f32>();
        if real {
            k[v] = p.scale * qkv_vector(p.qkv_at + key, v);
            value[v] = qkv_vector(p.qkv_at + value_at, v);
        }
    }
    for (var head = kv_head * served; head < (kv_head + 1u) * served; head++) {
        let query = sequence + head * HEAD_WIDTH;
        let out_first = batch * p.sequence * d + head * HEAD_WIDTH;
        // Queries before the group's first key see none of its keys.
        for (var start = group.x * 64u; start < p.sequence; start += TILE_ROWS) {
            for (var i = lane; i < TILE_ROWS * VECTORS; i += 64u) {
                let j = min(start + i / VECTORS, p.sequence - 1u);
                first_tile[i] = qkv_vector(p.qkv_at + query + j * columns, i % VECTORS);
                second_tile[i] = dout_vector(p.dout_at + out_first + j * d, i % VECTORS);
            }
            for (var i = lane; i < TILE_ROWS; i += 64u) {
                let j = min(start + i, p.sequence - 1u);
                lse_tile[i] = lse[p.lse_at + (batch * p.heads + head) * p.sequence + j];
                delta_tile[i] = delta_of(out_first + j * d);
            }
            workgroupBarrier();
            for (var i = 0u; i < TILE_ROWS; i++) {
                if row <= start + i && start + i < p.sequence {
                    var products = vec4<f32>();
                    var dproducts = vec4<f32>();
                    for (var v = 0u; v < VECTORS; v++) {
                        products += k[v] * first_tile[i * VECTORS + v];
                        dproducts += value[v] * second_tile[i * VECTORS + v];
                    }
                    let weight = exp(products.x + products.y + products.z + products.w - lse_tile[i]);
                    let dweight = dproducts.x + dproducts.y + dproducts.z + dproducts.w;
                    let dscore = weight * (dweight - delta_tile[i]) * p.scale;
                    for (var v = 0u; v < VECTORS; v++) {
                        dk[v] += dscore * first_tile[i * VECTORS + v];
                        dv[v] += weight * second_tile[i * VECTORS + v];
                    }
                }
            }
            workgroupBarrier();
        }
    }
    if real {
        write_turned(&dk, batch * p.sequence + row, p.dqkv_at + key);
        for (var i = 0u; i < HEAD_WIDTH; i++) {
            dqkv[p.dqkv_at + value_at + i] = narrow(dv[i / 4u][i % 4u]);
        }
    }
}

// The gradients of queries, keys and values (Dao, arXiv 2307.08691): with weights = exp(q k^T / sqrt(width) - lse) and
// delta[i] = dout[i] . out[i],
//
//   dscores = weights * (dout v^T - delta) / sqrt(width)
//   dq = dscores k,   dk = dscores^T q,   dv = weights^T dout
//
// attention_backward_queries: a workgroup owns queries (lib/heads) and goes over the keys up to them. Leaves delta [batch, heads, sequence].
// attention_backward_keys:    a workgroup owns keys and goes over the queries from them on, of each query head that they serve.
// Both recompute the weights, so nothing of the size of sequence x sequence is ever kept, and no sum is shared. If `turned`, dq
// and dk are turned back by their positions as in rope.wgsl; else positions and table are not read.
//
// Dispatch: (ceil(sequence / OWN), batch * heads) workgroups of 64, of the second kernel batch * kv_heads.
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
    delta_at: u32,
    dqkv_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<Stored>;
@group(0) @binding(2) var<storage, read> out: array<Stored>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> dout: array<Stored>;
@group(0) @binding(5) var<storage, read> positions: array<u32>;
@group(0) @binding(6) var<storage, read> table: array<f32>;
@group(0) @binding(7) var<storage, read_write> delta: array<f32>;
@group(0) @binding(8) var<storage, read_write> dqkv: array<Stored>;

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

fn out_vector(first: u32, vector: u32) -> vec4<f32> {
    var values = vec4<f32>();
    for (var i = 0u; i < 4u; i++) {
        if 4u * vector + i < HEAD_WIDTH {
            values[i] = widen(out[first + 4u * vector + i]);
        }
    }
    return values;
}

// Element i of a gradient in the first tile, which begins at `first`, turned back by the angles of its position that begin at `angle`.
fn turned_back(first: u32, i: u32, angle: u32) -> f32 {
    let half = HEAD_WIDTH / 2u;
    let x = first_tile[first + i / 4u][i % 4u];
    if p.turned == 0u {
        return x;
    }
    let partner = select(i - half, i + half, i < half);
    let y = first_tile[first + partner / 4u][partner % 4u];
    let pair = min(i, partner);
    return x * table[angle + pair] + select(-y, y, i < half) * table[angle + half + pair];
}

// Writes the workgroup's gradients in the first tile, those of queries or keys, to the head whose first row begins at `at`.
fn write_turned(batch: u32, first_row: u32, at: u32, lane: u32) {
    for (var n = lane; n < OWN * HEAD_WIDTH; n += LANES) {
        let row = first_row + n / HEAD_WIDTH;
        let i = n % HEAD_WIDTH;
        if row < p.sequence {
            var angle = 0u;
            if p.turned != 0u {
                angle = p.table_at + positions[p.positions_at + batch * p.sequence + row] * HEAD_WIDTH;
            }
            dqkv[at + row * qkv_columns() + i] = narrow(turned_back(n / HEAD_WIDTH * PADDED, i, angle));
        }
    }
}

@compute @workgroup_size(64)
fn attention_backward_queries(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let d = p.heads * HEAD_WIDTH;
    let batch = group.y / p.heads;
    let head = group.y % p.heads;
    let row = group.x * OWN + lane / ROW_LANES;
    let part = lane % ROW_LANES;
    let real = row < p.sequence;
    let columns = qkv_columns();
    let query = batch * p.sequence * columns + head * HEAD_WIDTH;
    let key = p.qkv_at + batch * p.sequence * columns + key_column(head);
    let value = key + p.kv_heads * HEAD_WIDTH;
    let out_row = (batch * p.sequence + row) * d + head * HEAD_WIDTH;

    var q: Row;
    var dy: Row;
    var dq: Row;
    var delta_part = 0.0;
    for (var v = 0u; v < OWN_VECTORS; v++) {
        let vector = v * ROW_LANES + part;
        q[v] = vec4<f32>();
        dy[v] = vec4<f32>();
        dq[v] = vec4<f32>();
        if real {
            q[v] = p.scale * qkv_vector(p.qkv_at + query + row * columns, vector);
            dy[v] = dout_vector(p.dout_at + out_row, vector);
            delta_part += dot(out_vector(p.out_at + out_row, vector), dy[v]);
        }
    }
    parts[lane] = vec2(delta_part, 0.0);
    workgroupBarrier();
    let row_delta = add_parts(0u, lane).x;
    workgroupBarrier();
    var row_lse = 0.0;
    if real {
        let at = group.y * p.sequence + row;
        row_lse = lse[p.lse_at + at];
        if part == 0u {
            delta[p.delta_at + at] = row_delta;
        }
    }
    let end = min((group.x + 1u) * OWN, p.sequence);
    for (var start = 0u; start < end; start += TILE_ROWS) {
        for (var i = lane; i < TILE_ROWS * PADDED; i += LANES) {
            let j = min(start + i / PADDED, p.sequence - 1u) * columns;
            first_tile[i] = qkv_vector(key + j, i % PADDED);
            second_tile[i] = qkv_vector(value + j, i % PADDED);
        }
        workgroupBarrier();
        for (var j = 0u; j < TILE_ROWS; j++) {
            parts[j * LANES + lane] = vec2(part_of_first(&q, j, lane), part_of_second(&dy, j, lane));
        }
        workgroupBarrier();
        for (var j = part; j < TILE_ROWS; j += ROW_LANES) {
            let sums = add_parts(j, lane);
            let dscore = exp(sums.x - row_lse) * (sums.y - row_delta) * p.scale;
            parts[j * LANES + row_first(lane)].x = select(0.0, dscore, real && start + j <= row);
        }
        workgroupBarrier();
        for (var j = 0u; j < TILE_ROWS; j++) {
            let dscore = parts[j * LANES + row_first(lane)].x;
            for (var v = 0u; v < OWN_VECTORS; v++) {
                dq[v] += dscore * first_tile[j * PADDED + v * ROW_LANES + part];
            }
        }
        workgroupBarrier();
    }
    for (var v = 0u; v < OWN_VECTORS; v++) {
        first_tile[lane / ROW_LANES * PADDED + v * ROW_LANES + part] = dq[v];
    }
    workgroupBarrier();
    write_turned(batch, group.x * OWN, p.dqkv_at + query, lane);
}

@compute @workgroup_size(64)
fn attention_backward_keys(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let d = p.heads * HEAD_WIDTH;
    let batch = group.y / p.kv_heads;
    let kv_head = group.y % p.kv_heads;
    let served = p.heads / p.kv_heads;
    let row = group.x * OWN + lane / ROW_LANES;
    let part = lane % ROW_LANES;
    let columns = qkv_columns();
    let sequence = batch * p.sequence * columns;
    let key = sequence + (p.heads + kv_head) * HEAD_WIDTH;
    let value_at = key + p.kv_heads * HEAD_WIDTH;

    var k: Row;
    var value: Row;
    var dk: Row;
    var dv: Row;
    for (var v = 0u; v < OWN_VECTORS; v++) {
        k[v] = vec4<f32>();
        value[v] = vec4<f32>();
        dk[v] = vec4<f32>();
        dv[v] = vec4<f32>();
        if row < p.sequence {
            k[v] = p.scale * qkv_vector(p.qkv_at + key + row * columns, v * ROW_LANES + part);
            value[v] = qkv_vector(p.qkv_at + value_at + row * columns, v * ROW_LANES + part);
        }
    }
    for (var head = kv_head * served; head < (kv_head + 1u) * served; head++) {
        let query = sequence + head * HEAD_WIDTH;
        let out_first = batch * p.sequence * d + head * HEAD_WIDTH;
        // Queries before the group's first key see none of its keys.
        for (var start = group.x * OWN; start < p.sequence; start += TILE_ROWS) {
            for (var i = lane; i < TILE_ROWS * PADDED; i += LANES) {
                let j = min(start + i / PADDED, p.sequence - 1u);
                first_tile[i] = qkv_vector(p.qkv_at + query + j * columns, i % PADDED);
                second_tile[i] = dout_vector(p.dout_at + out_first + j * d, i % PADDED);
            }
            for (var i = lane; i < TILE_ROWS; i += LANES) {
                let at = (batch * p.heads + head) * p.sequence + min(start + i, p.sequence - 1u);
                lse_tile[i] = lse[p.lse_at + at];
                delta_tile[i] = delta[p.delta_at + at];
            }
            workgroupBarrier();
            for (var j = 0u; j < TILE_ROWS; j++) {
                parts[j * LANES + lane] = vec2(part_of_first(&k, j, lane), part_of_second(&value, j, lane));
            }
            workgroupBarrier();
            for (var j = part; j < TILE_ROWS; j += ROW_LANES) {
                let sums = add_parts(j, lane);
                let i = start + j;
                let weight = select(0.0, exp(sums.x - lse_tile[j]), row <= i && i < p.sequence);
                parts[j * LANES + row_first(lane)] = vec2(weight, weight * (sums.y - delta_tile[j]) * p.scale);
            }
            workgroupBarrier();
            // An end that the compiler does not know: written out it spilled on M1.
            let end = min(TILE_ROWS, p.sequence - start);
            for (var j = 0u; j < end; j++) {
                let sums = parts[j * LANES + row_first(lane)];
                for (var v = 0u; v < OWN_VECTORS; v++) {
                    let at = j * PADDED + v * ROW_LANES + part;
                    dk[v] += sums.y * first_tile[at];
                    dv[v] += sums.x * second_tile[at];
                }
            }
            workgroupBarrier();
        }
    }
    for (var v = 0u; v < OWN_VECTORS; v++) {
        let at = lane / ROW_LANES * PADDED + v * ROW_LANES + part;
        first_tile[at] = dk[v];
        second_tile[at] = dv[v];
    }
    workgroupBarrier();
    write_turned(batch, group.x * OWN, p.dqkv_at + key, lane);
    for (var n = lane; n < OWN * HEAD_WIDTH; n += LANES) {
        let own = group.x * OWN + n / HEAD_WIDTH;
        let i = n % HEAD_WIDTH;
        if own < p.sequence {
            let x = second_tile[n / HEAD_WIDTH * PADDED + i / 4u][i % 4u];
            dqkv[p.dqkv_at + value_at + own * columns + i] = narrow(x);
        }
    }
}

// What both kernels of attention's backward on cooperative matrices share beyond lib/attention_coop: the gradient of the output as a
// tile, and gradients written from the staging, turned back by their positions as in rope.wgsl if p.turned.
//
// Needs: lib/attention_coop; of the importing file p, dout, table and dqkv as vectors of four, positions.
// Gives: stage_own_dout, fetch_dout, write_accumulators, write_turned_accumulators.

// As qkv_vector, fetch_qkv and stage_own of lib/attention_coop.
fn dout_vector(row: u32, v: u32, at: u32) -> vec4<f16> {
    if row < p.sequence && 4u * v < HEAD_WIDTH {
        return dout[(at + row * p.heads * HEAD_WIDTH) / 4u + v];
    }
    return vec4<f16>();
}

fn stage_own_dout(first: u32, at: u32, lane: u32) {
    for (var i = lane; i < OWN * VECTORS; i += LANES) {
        put(FIRST_TILE + i / VECTORS * PITCH + i % VECTORS, dout_vector(first + i / VECTORS, i % VECTORS, at));
    }
}

fn fetch_dout(brought: ptr<function, Brought>, first: u32, at: u32, lane: u32) {
    for (var n = 0u; n < BROUGHT; n++) {
        let i = lane + n * LANES;
        (*brought)[n] = dout_vector(first + i / VECTORS, i % VECTORS, at);
    }
}

// Rows of the staging to rows of dqkv from `first` of the workgroup's sequence on, whose elements of the sequence's first row begin at `at`.
fn write_accumulators(first: u32, at: u32, lane: u32) {
    for (var i = lane; i < FRAGMENT * HEAD_WIDTH / 4u; i += LANES) {
        let row = i / (HEAD_WIDTH / 4u);
        let v = i % (HEAD_WIDTH / 4u);
        if first + row < p.sequence {
            dqkv[(at + (first + row) * qkv_columns()) / 4u + v] = vec4<f16>(staging_at(row * ACCUMULATORS_PITCH + 4u * v));
        }
    }
}

// Of half a head, where heads are multiples of eight; else nothing is turned.
const HALF_VECTORS: u32 = max(HEAD_WIDTH / 8u, 1u);

// The same of queries or keys: four elements of the first half of the head and their partners in the second turn together.
fn write_turned_accumulators(first: u32, at: u32, batch: u32, lane: u32) {
    if p.turned == 0u {
        write_accumulators(first, at, lane);
        return;
    }
    let half = 4u * HALF_VECTORS;
    for (var i = lane; i < FRAGMENT * HALF_VECTORS; i += LANES) {
        let row = i / HALF_VECTORS;
        let j = 4u * (i % HALF_VECTORS);
        if first + row < p.sequence {
            let position = positions[p.positions_at + batch * p.sequence + first + row];
            let angle = p.table_at + position * HEAD_WIDTH + j;
            let cosine = table[angle / 4u];
            let sine = table[(angle + half) / 4u];
            let a = staging_at(row * ACCUMULATORS_PITCH + j);
            let b = staging_at(row * ACCUMULATORS_PITCH + j + half);
            let to = at + (first + row) * qkv_columns() + j;
            dqkv[to / 4u] = vec4<f16>(a * cosine + b * sine);
            dqkv[(to + half) / 4u] = vec4<f16>(b * cosine - a * sine);
        }
    }
}

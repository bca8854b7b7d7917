// The gradient of a layer's weight: c[m, n] += a[k, m]^T b[k, n].
//
// k is the number of rows of the batch, m and n are small, so k is split: workgroup z sums rows [z * part, (z + 1) * part)
// into parts[z], and reduce_partials adds the parts to c in order. With one part alone it adds to c at once.
//
// Dispatch: (ceil(n / 64), ceil(m / 64), parts) workgroups of 256.
#import lib/store
#import lib/tile

struct Params {
    m: u32,
    n: u32,
    k: u32,
    // From one row of a to the next.
    a_pitch: u32,
    // Rows of a part.
    part: u32,
    // 1: out is c and is added to; 0: out is [parts, m, n].
    accumulate: u32,
    a_at: u32,
    b_at: u32,
    out_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<Stored>;
@group(0) @binding(2) var<storage, read> b: array<Stored>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn a_value(l: u32, i: u32, end: u32) -> f32 {
    if i >= p.m || l >= end {
        return 0.0;
    }
    return widen(a[p.a_at + l * p.a_pitch + i]);
}

fn b_value(l: u32, j: u32, end: u32) -> f32 {
    if j >= p.n || l >= end {
        return 0.0;
    }
    return widen(b[p.b_at + l * p.n + j]);
}

@compute @workgroup_size(256)
fn matmul_tn(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first_row = group.y * TILE;
    let first_column = group.x * TILE;
    let place = slice_place(lane, false);
    let row = first_row + 4u * place.x;
    let column = first_column + 4u * place.x;
    let end = min((group.z + 1u) * p.part, p.k);
    var accumulators: array<vec4<f32>, 4>;
    for (var start = group.z * p.part; start < end; start += TILE_K) {
        let l = start + place.y;
        a_tile[place.y * TILE_PITCH + place.x] =
            vec4(a_value(l, row, end), a_value(l, row + 1u, end), a_value(l, row + 2u, end), a_value(l, row + 3u, end));
        b_tile[place.y * TILE_PITCH + place.x] =
            vec4(b_value(l, column, end), b_value(l, column + 1u, end), b_value(l, column + 2u, end), b_value(l, column + 3u, end));
        workgroupBarrier();
        multiply_slice(&accumulators, lane);
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i++) {
        let to_row = first_row + lane / 16u * 4u + i;
        for (var j = 0u; j < 4u; j++) {
            let to_column = first_column + lane % 16u * 4u + j;
            if to_row < p.m && to_column < p.n {
                let at = p.out_at + (group.z * p.m + to_row) * p.n + to_column;
                if p.accumulate == 1u {
                    out[at] += accumulators[i][j];
                } else {
                    out[at] = accumulators[i][j];
                }
            }
        }
    }
}

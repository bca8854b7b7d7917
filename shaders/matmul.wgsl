// The products of layers and of the gradients of their inputs.
//
//   matmul_nt   c[m, n] = a[m, k] b[n, k]^T
//   matmul_nn   c[m, n] = a[m, k] b[k, n]
//
// Rows of a are a_pitch apart, rows of c c_pitch, with zeros beyond n.
//
// Dispatch: (ceil(n / 64), ceil(m / 64)) workgroups of 256.
#import lib/store
#import lib/tile

struct Params {
    m: u32,
    n: u32,
    k: u32,
    a_pitch: u32,
    c_pitch: u32,
    a_at: u32,
    b_at: u32,
    c_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<Stored>;
@group(0) @binding(2) var<storage, read> b: array<Stored>;
@group(0) @binding(3) var<storage, read_write> c: array<Stored>;

fn a_value(i: u32, l: u32) -> f32 {
    if i >= p.m || l >= p.k {
        return 0.0;
    }
    return widen(a[p.a_at + i * p.a_pitch + l]);
}

fn b_value(l: u32, j: u32, transposed: bool) -> f32 {
    if j >= p.n || l >= p.k {
        return 0.0;
    }
    return widen(b[p.b_at + select(l * p.n + j, j * p.k + l, transposed)]);
}

fn matmul_tile(group: vec3<u32>, lane: u32, b_transposed: bool) {
    let first_row = group.y * TILE;
    let first_column = group.x * TILE;
    let a_place = slice_place(lane, true);
    let b_place = slice_place(lane, b_transposed);
    let a_row = first_row + 4u * a_place.x;
    let b_column = first_column + 4u * b_place.x;
    var accumulators: array<vec4<f32>, 4>;
    for (var start = 0u; start < p.k; start += TILE_K) {
        let la = start + a_place.y;
        let lb = start + b_place.y;
        a_tile[a_place.y * TILE_PITCH + a_place.x] =
            vec4(a_value(a_row, la), a_value(a_row + 1u, la), a_value(a_row + 2u, la), a_value(a_row + 3u, la));
        b_tile[b_place.y * TILE_PITCH + b_place.x] = vec4(
            b_value(lb, b_column, b_transposed),
            b_value(lb, b_column + 1u, b_transposed),
            b_value(lb, b_column + 2u, b_transposed),
            b_value(lb, b_column + 3u, b_transposed),
        );
        workgroupBarrier();
        multiply_slice(&accumulators, lane);
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i++) {
        let row = first_row + lane / 16u * 4u + i;
        for (var j = 0u; j < 4u; j++) {
            let column = first_column + lane % 16u * 4u + j;
            if row < p.m && column < p.c_pitch {
                c[p.c_at + row * p.c_pitch + column] = narrow(accumulators[i][j]);
            }
        }
    }
}

@compute @workgroup_size(256)
fn matmul_nt(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    matmul_tile(group, lane, true);
}

@compute @workgroup_size(256)
fn matmul_nn(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    matmul_tile(group, lane, false);
}

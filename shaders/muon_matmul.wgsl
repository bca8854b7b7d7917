// The matmuls of a Newton-Schulz step of Muon, for all matrices of a dispatch at once, in f32. All operands lie in `space`, from
// the places in Params on, matrix after matrix:
//
//   muon_gram         out[m, m] = left[m, k] left[m, k]^T
//   muon_polynomial   out[m, n] = alpha added[m, n] + beta left[m, k] right[k, n]
//
// A step of x [S, L] is gram = x x^T;  polynomial = b gram + c gram gram;  x' = a x + polynomial x.
//
// Dispatch: (ceil(n / 64), ceil(m / 64), matrices) workgroups of 256.
#import lib/tile

struct Params {
    m: u32,
    n: u32,
    k: u32,
    left: u32,
    right: u32,
    added: u32,
    out: u32,
    alpha: f32,
    beta: f32,
    space_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> space: array<f32>;

fn left_value(matrix: u32, i: u32, l: u32) -> f32 {
    if i >= p.m || l >= p.k {
        return 0.0;
    }
    return space[p.space_at + p.left + (matrix * p.m + i) * p.k + l];
}

fn right_value(matrix: u32, l: u32, j: u32) -> f32 {
    if j >= p.n || l >= p.k {
        return 0.0;
    }
    return space[p.space_at + p.right + (matrix * p.k + l) * p.n + j];
}

fn multiply_tile(group: vec3<u32>, lane: u32, transposed: bool) -> array<vec4<f32>, 4> {
    let matrix = group.z;
    let a_place = slice_place(lane, true);
    let b_place = slice_place(lane, transposed);
    let row = group.y * TILE + 4u * a_place.x;
    let column = group.x * TILE + 4u * b_place.x;
    var accumulators: array<vec4<f32>, 4>;
    for (var start = 0u; start < p.k; start += TILE_K) {
        let la = start + a_place.y;
        let lb = start + b_place.y;
        a_tile[a_place.y * TILE_PITCH + a_place.x] = vec4(
            left_value(matrix, row, la),
            left_value(matrix, row + 1u, la),
            left_value(matrix, row + 2u, la),
            left_value(matrix, row + 3u, la),
        );
        if transposed {
            b_tile[b_place.y * TILE_PITCH + b_place.x] = vec4(
                left_value(matrix, column, lb),
                left_value(matrix, column + 1u, lb),
                left_value(matrix, column + 2u, lb),
                left_value(matrix, column + 3u, lb),
            );
        } else {
            b_tile[b_place.y * TILE_PITCH + b_place.x] = vec4(
                right_value(matrix, lb, column),
                right_value(matrix, lb, column + 1u),
                right_value(matrix, lb, column + 2u),
                right_value(matrix, lb, column + 3u),
            );
        }
        workgroupBarrier();
        multiply_slice(&accumulators, lane);
        workgroupBarrier();
    }
    return accumulators;
}

@compute @workgroup_size(256)
fn muon_gram(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var accumulators = multiply_tile(group, lane, true);
    for (var i = 0u; i < 4u; i++) {
        let row = group.y * TILE + lane / 16u * 4u + i;
        for (var j = 0u; j < 4u; j++) {
            let column = group.x * TILE + lane % 16u * 4u + j;
            if row < p.m && column < p.n {
                space[p.space_at + p.out + (group.z * p.m + row) * p.n + column] = accumulators[i][j];
            }
        }
    }
}

@compute @workgroup_size(256)
fn muon_polynomial(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var accumulators = multiply_tile(group, lane, false);
    for (var i = 0u; i < 4u; i++) {
        let row = group.y * TILE + lane / 16u * 4u + i;
        for (var j = 0u; j < 4u; j++) {
            let column = group.x * TILE + lane % 16u * 4u + j;
            if row < p.m && column < p.n {
                let at = (group.z * p.m + row) * p.n + column;
                let added = p.alpha * space[p.space_at + p.added + at];
                space[p.space_at + p.out + at] = added + p.beta * accumulators[i][j];
            }
        }
    }
}

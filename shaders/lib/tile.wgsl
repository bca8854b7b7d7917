// A block tile of a scalar matmul: 64 x 64 accumulators by 256 invocations, 4 x 4 each, over k-slices of TILE_K from workgroup
// memory.
//
// Needs: workgroups of 256.
// Gives: TILE, TILE_K, TILE_PITCH, a_tile, b_tile, slice_place, multiply_slice.
//
// A slice of a is kept as a_tile[l][row / 4] with four rows in a vector, one of b as b_tile[l][column / 4]. One vector
// of padding per l keeps the lanes that write a column of l's in different banks.
const TILE: u32 = 64u;
const TILE_K: u32 = 16u;
const TILE_PITCH: u32 = TILE / 4u + 1u;

var<workgroup> a_tile: array<vec4<f32>, TILE_K * TILE_PITCH>;
var<workgroup> b_tile: array<vec4<f32>, TILE_K * TILE_PITCH>;

// Place of an invocation in a slice: x the group of four rows or columns, y the l. Neighbours follow what is contiguous
// in memory.
fn slice_place(lane: u32, l_contiguous: bool) -> vec2<u32> {
    let low = lane % 16u;
    let high = lane / 16u;
    return select(vec2(low, high), vec2(high, low), l_contiguous);
}

// Adds the slice to the accumulators: row i of the four in accumulators[i].
fn multiply_slice(accumulators: ptr<function, array<vec4<f32>, 4>>, lane: u32) {
    let row = lane / 16u;
    let column = lane % 16u;
    for (var l = 0u; l < TILE_K; l++) {
        let a = a_tile[l * TILE_PITCH + row];
        let b = b_tile[l * TILE_PITCH + column];
        (*accumulators)[0] += a.x * b;
        (*accumulators)[1] += a.y * b;
        (*accumulators)[2] += a.z * b;
        (*accumulators)[3] += a.w * b;
    }
}

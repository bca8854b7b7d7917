// Heads of HEAD_WIDTH elements as vectors of four, zeros beyond the width, and tiles of them in workgroup memory.
//
// Needs: HEAD_WIDTH and TILE_ROWS of the prelude, two tiles filling at most 16 KiB, the least a device has; lib/store; p with
//        heads and kv_heads, and qkv, of the importing file.
// Gives: VECTORS, LOWEST, first_tile, second_tile, qkv_columns, key_column, qkv_vector.
const VECTORS: u32 = (HEAD_WIDTH + 3u) / 4u;
const LOWEST: f32 = -3.4028234e38;

var<workgroup> first_tile: array<vec4<f32>, TILE_ROWS * VECTORS>;
var<workgroup> second_tile: array<vec4<f32>, TILE_ROWS * VECTORS>;

// Columns of queries, keys and values.
fn qkv_columns() -> u32 {
    return (p.heads + 2u * p.kv_heads) * HEAD_WIDTH;
}

// First column of the keys that serve a query head.
fn key_column(head: u32) -> u32 {
    return (p.heads + head / (p.heads / p.kv_heads)) * HEAD_WIDTH;
}

// Four elements of `qkv`, which the importing file binds: from 4 * vector on, of the head that begins at `first`.
fn qkv_vector(first: u32, vector: u32) -> vec4<f32> {
    var values = vec4<f32>();
    for (var i = 0u; i < 4u; i++) {
        if 4u * vector + i < HEAD_WIDTH {
            values[i] = widen(qkv[first + 4u * vector + i]);
        }
    }
    return values;
}

// What the scalar kernels of attention share. A workgroup owns OWN rows (queries, or keys); ROW_LANES lanes serve each and hold every
// ROW_LANES-th vector of four of its width in registers: no lane holds a whole row, which would not fit. It goes over tiles of rows of the
// other kind in workgroup memory. A lane's part of a score goes there too, and one lane of the row adds the parts in order.
//
// Needs: HEAD_WIDTH, LANES, ROW_LANES and TILE_ROWS of the prelude, such that all fits 16 KiB, the least a device has; lib/store; p with
//        heads and kv_heads, and qkv, of the importing file.
// Gives: OWN, PADDED, OWN_VECTORS, LOWEST, Row, first_tile, second_tile, parts, qkv_columns, key_column, qkv_vector, row_first,
//        part_of_first, part_of_second, add_parts.
const OWN: u32 = LANES / ROW_LANES;
const OWN_VECTORS: u32 = ((HEAD_WIDTH + 3u) / 4u + ROW_LANES - 1u) / ROW_LANES;
// Vectors of a row in a tile, zeros beyond HEAD_WIDTH.
const PADDED: u32 = OWN_VECTORS * ROW_LANES;
const LOWEST: f32 = -3.4028234e38;

// A lane's vectors of its row.
alias Row = array<vec4<f32>, OWN_VECTORS>;

// Tiles, and in the end gradients of the workgroup's own rows.
var<workgroup> first_tile: array<vec4<f32>, max(TILE_ROWS, OWN) * PADDED>;
var<workgroup> second_tile: array<vec4<f32>, max(TILE_ROWS, OWN) * PADDED>;
// For each row of a tile, of each lane its part of up to two sums.
var<workgroup> parts: array<vec2<f32>, TILE_ROWS * LANES>;

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

// The first lane of the row that a lane serves: where the sums of the row are.
fn row_first(lane: u32) -> u32 { return lane / ROW_LANES * ROW_LANES; }

// A lane's part of the product of its row with row j of a tile.
fn part_of_first(row: ptr<function, Row>, j: u32, lane: u32) -> f32 {
    var products = vec4<f32>();
    for (var v = 0u; v < OWN_VECTORS; v++) {
        products += (*row)[v] * first_tile[j * PADDED + v * ROW_LANES + lane % ROW_LANES];
    }
    return products.x + products.y + products.z + products.w;
}

fn part_of_second(row: ptr<function, Row>, j: u32, lane: u32) -> f32 {
    var products = vec4<f32>();
    for (var v = 0u; v < OWN_VECTORS; v++) {
        products += (*row)[v] * second_tile[j * PADDED + v * ROW_LANES + lane % ROW_LANES];
    }
    return products.x + products.y + products.z + products.w;
}

// The sums of the row that a lane serves with row j of a tile.
fn add_parts(j: u32, lane: u32) -> vec2<f32> {
    var sum = vec2<f32>();
    for (var i = 0u; i < ROW_LANES; i++) {
        sum += parts[j * LANES + row_first(lane) + i];
    }
    return sum;
}

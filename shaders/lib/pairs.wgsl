// What a product on matrix units does with its sums, where columns belong together in pairs: `pair(j)` of the importing file
// tells the two columns of b. Even fragments of the tile hold the first of UNIT pairs, the odd ones beside them the second;
// four in a row go to `finish(row, j, first, second)`, by way of workgroup memory.
const SPACE_PITCH: u32 = FRAGMENTS_N * UNIT + 4u;
const SPACE: u32 = UNIT * SPACE_PITCH;
var<workgroup> sums_space: array<f32, SUBGROUPS_M * SUBGROUPS_N * SPACE>;

fn column_at(first: u32, column: u32) -> u32 {
    let fragment = column / UNIT;
    let j = first / 2u + fragment / 2u * UNIT + column % UNIT;
    let columns = pair(j);
    return select(p.n, select(columns.x, columns.y, fragment % 2u == 1u), 2u * j < p.n);
}

fn sums_at(at: u32) -> vec4<f32> {
    return vec4(sums_space[at], sums_space[at + 1u], sums_space[at + 2u], sums_space[at + 3u]);
}

// A row of fragments, which begins at this row of c and this column of the tiles.
fn finish_fragments(first_row: u32, first_column: u32, subgroup: u32, lane: u32) {
    for (var i = lane; i < UNIT * FRAGMENTS_N * UNIT / 8u; i += SUBGROUP) {
        let y = i / (FRAGMENTS_N * UNIT / 8u);
        let x = 4u * (i % (FRAGMENTS_N * UNIT / 8u));
        let j = first_column / 2u + x;
        if first_row + y < p.m && 2u * j < p.n {
            let at = subgroup * SPACE + y * SPACE_PITCH + x / UNIT * 2u * UNIT + x % UNIT;
            finish(first_row + y, j, sums_at(at), sums_at(at + UNIT));
        }
    }
}

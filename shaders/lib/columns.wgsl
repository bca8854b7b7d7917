// What a product on matrix units does with its sums, where a column of the tile is a column of c: four in a row go to
// `finish(row, column, values)` of the importing file, by way of workgroup memory.
const SPACE_PITCH: u32 = FRAGMENTS_N * UNIT + 4u;
const SPACE: u32 = UNIT * SPACE_PITCH;
var<workgroup> sums_space: array<f32, SUBGROUPS_M * SUBGROUPS_N * SPACE>;

fn column_at(first: u32, column: u32) -> u32 { return first + column; }

// A row of fragments, which begins at this row and column of c.
fn finish_fragments(first_row: u32, first_column: u32, subgroup: u32, lane: u32) {
    for (var i = lane; i < UNIT * FRAGMENTS_N * UNIT / 4u; i += SUBGROUP) {
        let y = i / (FRAGMENTS_N * UNIT / 4u);
        let x = 4u * (i % (FRAGMENTS_N * UNIT / 4u));
        if first_row + y < p.m && first_column + x < p.n {
            let at = subgroup * SPACE + y * SPACE_PITCH + x;
            finish(first_row + y, first_column + x, vec4(sums_space[at], sums_space[at + 1u], sums_space[at + 2u], sums_space[at + 3u]));
        }
    }
}

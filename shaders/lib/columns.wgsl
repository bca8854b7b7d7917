// From accumulators to the epilogue, where a column of the tile is a column of c: four values in a row at a time, by way of
// workgroup memory.
//
// Needs: the constants of lib/coop; of the importing file p with m and n, and epilogue(row, column, values).
// Gives: STAGING, STAGING_PITCH, staging, column_at, epilogue_fragments.
const STAGING_PITCH: u32 = FRAGMENTS_N * FRAGMENT + 4u;
const STAGING: u32 = FRAGMENT * STAGING_PITCH;
var<workgroup> staging: array<f32, SUBGROUPS_M * SUBGROUPS_N * STAGING>;

fn column_at(first: u32, column: u32) -> u32 { return first + column; }

// A row of fragments, which begins at this row and column of c.
fn epilogue_fragments(first_row: u32, first_column: u32, subgroup: u32, lane: u32) {
    for (var i = lane; i < FRAGMENT * FRAGMENTS_N * FRAGMENT / 4u; i += SUBGROUP) {
        let y = i / (FRAGMENTS_N * FRAGMENT / 4u);
        let x = 4u * (i % (FRAGMENTS_N * FRAGMENT / 4u));
        if first_row + y < p.m && first_column + x < p.n {
            let at = subgroup * STAGING + y * STAGING_PITCH + x;
            epilogue(first_row + y, first_column + x, vec4(staging[at], staging[at + 1u], staging[at + 2u], staging[at + 3u]));
        }
    }
}

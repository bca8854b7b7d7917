// From accumulators to the epilogue, where columns of c belong together in pairs: four pairs in a row at a time, by way of
// workgroup memory. Even fragments of the tile hold the first of FRAGMENT pairs, the odd ones beside them the second.
//
// Needs: the constants of lib/coop; of the importing file p with m and n, pair(j), which tells the two columns of b, and
//        epilogue(row, j, first, second).
// Gives: STAGING, STAGING_PITCH, staging, column_at, epilogue_fragments.
const STAGING_PITCH: u32 = FRAGMENTS_N * FRAGMENT + 4u;
const STAGING: u32 = FRAGMENT * STAGING_PITCH;
var<workgroup> staging: array<f32, SUBGROUPS_M * SUBGROUPS_N * STAGING>;

fn column_at(first: u32, column: u32) -> u32 {
    let fragment = column / FRAGMENT;
    let j = first / 2u + fragment / 2u * FRAGMENT + column % FRAGMENT;
    let columns = pair(j);
    return select(p.n, select(columns.x, columns.y, fragment % 2u == 1u), 2u * j < p.n);
}

fn staging_at(at: u32) -> vec4<f32> {
    return vec4(staging[at], staging[at + 1u], staging[at + 2u], staging[at + 3u]);
}

// A row of fragments, which begins at this row of c and this column of the tiles.
fn epilogue_fragments(first_row: u32, first_column: u32, subgroup: u32, lane: u32) {
    for (var i = lane; i < FRAGMENT * FRAGMENTS_N * FRAGMENT / 8u; i += SUBGROUP) {
        let y = i / (FRAGMENTS_N * FRAGMENT / 8u);
        let x = 4u * (i % (FRAGMENTS_N * FRAGMENT / 8u));
        let j = first_column / 2u + x;
        if first_row + y < p.m && 2u * j < p.n {
            let at = subgroup * STAGING + y * STAGING_PITCH + x / FRAGMENT * 2u * FRAGMENT + x % FRAGMENT;
            epilogue(first_row + y, j, staging_at(at), staging_at(at + FRAGMENT));
        }
    }
}

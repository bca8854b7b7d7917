// Operands of a matmul on cooperative matrices: k-slices of TILE_K from global memory to workgroup memory to fragments of
// FRAGMENT x FRAGMENT.
//
// Needs: of the prelude FRAGMENT, the side of a fragment; SUBGROUP, its lanes; SUBGROUPS_M x SUBGROUPS_N subgroups, LANES in all;
//        FRAGMENTS_M x FRAGMENTS_N accumulators of a subgroup; TILE_K; CoopA, CoopB and CoopC, of f16, f16 and f32; lib/staged.
//        Of the importing file p with m, n, k and where a and b begin; a and b as vectors of four; A_ALONG_K and B_ALONG_K, which say
//        what is contiguous in memory (a [m, k] or [k, m]; b [n, k] or [k, n]); a_pitch(), from one row of a in memory to the next.
//        Of lib/columns or lib/pairs column_at, which column of b a column of the tile is.
// Gives: TILE_M, TILE_N, staged, A_OWN, B_OWN, fetch_a, fetch_b, stage_a, stage_b, fragment_a, fragment_b.
//
// There are two slices in workgroup memory: while one is multiplied, the next is on its way in registers. Two vectors of
// padding per row keep the rows of a fragment in different banks.
const TILE_M: u32 = SUBGROUPS_M * FRAGMENTS_M * FRAGMENT;
const TILE_N: u32 = SUBGROUPS_N * FRAGMENTS_N * FRAGMENT;
const A_WIDTH: u32 = select(TILE_M, TILE_K, A_ALONG_K) / 4u;
const B_WIDTH: u32 = select(TILE_N, TILE_K, B_ALONG_K) / 4u;
const A_PITCH: u32 = A_WIDTH + 2u;
const B_PITCH: u32 = B_WIDTH + 2u;
const A_SLICE: u32 = select(TILE_K, TILE_M, A_ALONG_K) * A_PITCH;
const B_SLICE: u32 = select(TILE_K, TILE_N, B_ALONG_K) * B_PITCH;
const A_OWN: u32 = TILE_M * TILE_K / 4u / LANES;
const B_OWN: u32 = TILE_N * TILE_K / 4u / LANES;

// Both slices of a, then both of b.
const B_SLICES: u32 = 2u * A_SLICE;
var<workgroup> staged: array<StagedSlot, 2u * (A_SLICE + B_SLICE) * STAGED_SLOTS>;

// The vectors of a slice that a lane brings: from row `first` of c and l = `start` on; 0 beyond m and `end`.
fn fetch_a(own: ptr<function, array<vec4<f16>, A_OWN>>, first: u32, start: u32, end: u32, lane: u32) {
    for (var i = 0u; i < A_OWN; i++) {
        let place = lane + i * LANES;
        let outer = place / A_WIDTH;
        let inner = 4u * (place % A_WIDTH);
        let row = first + select(inner, outer, A_ALONG_K);
        let l = start + select(outer, inner, A_ALONG_K);
        var values = vec4<f16>();
        if row < p.m && l < end {
            values = a[(p.a_at + select(l, row, A_ALONG_K) * a_pitch() + select(row, l, A_ALONG_K)) / 4u];
        }
        (*own)[i] = values;
    }
}

fn fetch_b(own: ptr<function, array<vec4<f16>, B_OWN>>, first: u32, start: u32, end: u32, lane: u32) {
    for (var i = 0u; i < B_OWN; i++) {
        let place = lane + i * LANES;
        let outer = place / B_WIDTH;
        let inner = 4u * (place % B_WIDTH);
        let column = column_at(first, select(inner, outer, B_ALONG_K));
        let l = start + select(outer, inner, B_ALONG_K);
        var values = vec4<f16>();
        if column < p.n && l < end {
            values = b[(p.b_at + select(l * p.n + column, column * p.k + l, B_ALONG_K)) / 4u];
        }
        (*own)[i] = values;
    }
}

fn stage_a(own: ptr<function, array<vec4<f16>, A_OWN>>, slice: u32, lane: u32) {
    for (var i = 0u; i < A_OWN; i++) {
        let place = lane + i * LANES;
        let at = slice * A_SLICE + place / A_WIDTH * A_PITCH + place % A_WIDTH;
        put(at, (*own)[i]);
    }
}

fn stage_b(own: ptr<function, array<vec4<f16>, B_OWN>>, slice: u32, lane: u32) {
    for (var i = 0u; i < B_OWN; i++) {
        let place = lane + i * LANES;
        let at = B_SLICES + slice * B_SLICE + place / B_WIDTH * B_PITCH + place % B_WIDTH;
        put(at, (*own)[i]);
    }
}

// The fragment of a whose first row of the tile and first l of the slice these are.
fn fragment_a(slice: u32, row: u32, l: u32) -> CoopA {
    if A_ALONG_K {
        return coopLoadT<CoopA>(&staged[(slice * A_SLICE + row * A_PITCH + l / 4u) * STAGED_SLOTS], A_PITCH * STAGED_SLOTS);
    }
    return coopLoad<CoopA>(&staged[(slice * A_SLICE + l * A_PITCH + row / 4u) * STAGED_SLOTS], A_PITCH * STAGED_SLOTS);
}

fn fragment_b(slice: u32, column: u32, l: u32) -> CoopB {
    if B_ALONG_K {
        return coopLoad<CoopB>(&staged[(B_SLICES + slice * B_SLICE + column * B_PITCH + l / 4u) * STAGED_SLOTS], B_PITCH * STAGED_SLOTS);
    }
    return coopLoadT<CoopB>(&staged[(B_SLICES + slice * B_SLICE + l * B_PITCH + column / 4u) * STAGED_SLOTS], B_PITCH * STAGED_SLOTS);
}

// What the kernels of attention on cooperative matrices share. A workgroup owns rows (queries, or keys): a fragment of them for each
// subgroup, whose scores and sums are its own. It goes over tiles of rows of the other kind in workgroup memory.
//
// From the prelude: as for lib/coop.wgsl, with SUBGROUPS_M subgroups and FRAGMENTS_N fragments of rows in a tile.
// From the importing file: p with sequence, heads and scale, qkv as vectors of four, SCORE_STAGINGS (spaces for scores, f32) and WEIGHT_STAGINGS
// (spaces for what of them is multiplied next, f16).
//
// Matrices cannot be had in arrays: what there is one of for each fragment of a head's width is written out eight times, and
// what is beyond HEAD_FRAGMENTS falls away when the driver compiles.
const OWN: u32 = SUBGROUPS_M * FRAGMENT;
const TILE: u32 = FRAGMENTS_N * FRAGMENT;
const HEAD_FRAGMENTS: u32 = (HEAD_WIDTH + FRAGMENT - 1u) / FRAGMENT;
// Vectors of four in a row of a tile, zeros beyond HEAD_WIDTH; two more keep the rows of a fragment in different banks.
const VECTORS: u32 = HEAD_FRAGMENTS * FRAGMENT / 4u;
const PITCH: u32 = VECTORS + 2u;
const WEIGHTS_PITCH: u32 = TILE / 4u + 2u;
const SCORES_PITCH: u32 = TILE + 4u;
const ACCUMULATORS_PITCH: u32 = 4u * VECTORS + 4u;
// Two tiles, side by side in this order, then what is multiplied with them.
const FIRST_TILE: u32 = 0u;
const SECOND_TILE: u32 = TILE * PITCH;
const WEIGHTS: u32 = 2u * TILE * PITCH;
const WEIGHTS_STAGING: u32 = OWN * WEIGHTS_PITCH;
const SCORES_STAGING: u32 = OWN * SCORES_PITCH;
// Lanes that go over the scores of a row together, every so many vectors each.
const ROW_LANES: u32 = SUBGROUP / FRAGMENT;
const LOWEST: f32 = -3.4028234e38;

var<workgroup> staged: array<StagedSlot, (WEIGHTS + WEIGHT_STAGINGS * WEIGHTS_STAGING) * STAGED_SLOTS>;
// Scores, and in the end the sums of one subgroup after the other.
var<workgroup> staging: array<f32, max(SCORE_STAGINGS * SCORES_STAGING, FRAGMENT * ACCUMULATORS_PITCH)>;

fn staging_at(at: u32) -> vec4<f32> {
    return vec4(staging[at], staging[at + 1u], staging[at + 2u], staging[at + 3u]);
}

// First element of the workgroup's sequence and head in a matrix of rows of per_row * d.
fn head_at(y: u32, per_row: u32) -> u32 {
    return (y / p.heads * p.sequence * per_row * p.heads + y % p.heads) * HEAD_WIDTH;
}

// Four elements of a row of the sequence, of the head in qkv whose elements begin at `at`; zeros beyond width and sequence.
fn qkv_vector(row: u32, v: u32, at: u32) -> vec4<f16> {
    if row < p.sequence && 4u * v < HEAD_WIDTH {
        return qkv[(at + row * 3u * p.heads * HEAD_WIDTH) / 4u + v];
    }
    return vec4<f16>();
}

// Brings the workgroup's own rows, from `first` on, to where the tiles will be.
fn stage_own(first: u32, at: u32, lane: u32) {
    for (var i = lane; i < OWN * VECTORS; i += LANES) {
        put(FIRST_TILE + i / VECTORS * PITCH + i % VECTORS, qkv_vector(first + i / VECTORS, i % VECTORS, at));
    }
}

// The vectors of a tile that a lane brings: fetched while the tile before is multiplied, staged when that is done.
const BROUGHT: u32 = (TILE * VECTORS + LANES - 1u) / LANES;
alias Brought = array<vec4<f16>, BROUGHT>;

fn fetch_qkv(brought: ptr<function, Brought>, first: u32, at: u32, lane: u32) {
    for (var n = 0u; n < BROUGHT; n++) {
        let i = lane + n * LANES;
        (*brought)[n] = qkv_vector(first + i / VECTORS, i % VECTORS, at);
    }
}

fn stage(brought: ptr<function, Brought>, tile: u32, lane: u32) {
    for (var n = 0u; n < BROUGHT; n++) {
        let i = lane + n * LANES;
        if i < TILE * VECTORS {
            put(tile + i / VECTORS * PITCH + i % VECTORS, (*brought)[n]);
        }
    }
}

// Fragment l of the width of the subgroup's own rows, which were staged from the first tile on. Beyond the last, which nobody uses, the last.
fn own_fragment(subgroup: u32, l: u32) -> CoopA {
    let column = min(l, HEAD_FRAGMENTS - 1u) * FRAGMENT / 4u;
    return coopLoadT<CoopA>(&staged[(subgroup * FRAGMENT * PITCH + column) * STAGED_SLOTS], PITCH * STAGED_SLOTS);
}

// Rows of a tile from `row` on as columns: for sums over the width.
fn along_width(tile: u32, row: u32, l: u32) -> CoopB {
    return coopLoad<CoopB>(&staged[(tile + row * PITCH + l * FRAGMENT / 4u) * STAGED_SLOTS], PITCH * STAGED_SLOTS);
}

// Rows of a tile from `row` on as they are: for sums over rows.
fn along_rows(tile: u32, row: u32, l: u32) -> CoopB {
    return coopLoadT<CoopB>(&staged[(tile + row * PITCH + l * FRAGMENT / 4u) * STAGED_SLOTS], PITCH * STAGED_SLOTS);
}

// The subgroup's weights of rows of a tile from `row` on.
fn weights_fragment(weights: u32, subgroup: u32, row: u32) -> CoopA {
    return coopLoadT<CoopA>(&staged[(weights + subgroup * FRAGMENT * WEIGHTS_PITCH + row / 4u) * STAGED_SLOTS], WEIGHTS_PITCH * STAGED_SLOTS);
}

// Products of the subgroup's own rows and all rows of a tile, to a space for scores.
fn put_scores(
    a0: CoopA, a1: CoopA, a2: CoopA, a3: CoopA, a4: CoopA, a5: CoopA, a6: CoopA, a7: CoopA,
    tile: u32, scores: u32, subgroup: u32,
) {
    for (var row = 0u; row < TILE; row += FRAGMENT) {
        var c = coopMultiplyAdd(a0, along_width(tile, row, 0u), CoopC());
        if HEAD_FRAGMENTS > 1u { c = coopMultiplyAdd(a1, along_width(tile, row, 1u), c); }
        if HEAD_FRAGMENTS > 2u { c = coopMultiplyAdd(a2, along_width(tile, row, 2u), c); }
        if HEAD_FRAGMENTS > 3u { c = coopMultiplyAdd(a3, along_width(tile, row, 3u), c); }
        if HEAD_FRAGMENTS > 4u { c = coopMultiplyAdd(a4, along_width(tile, row, 4u), c); }
        if HEAD_FRAGMENTS > 5u { c = coopMultiplyAdd(a5, along_width(tile, row, 5u), c); }
        if HEAD_FRAGMENTS > 6u { c = coopMultiplyAdd(a6, along_width(tile, row, 6u), c); }
        if HEAD_FRAGMENTS > 7u { c = coopMultiplyAdd(a7, along_width(tile, row, 7u), c); }
        let sums = c;
        let at = scores + subgroup * FRAGMENT * SCORES_PITCH + row;
        let pitch = SCORES_PITCH;
        coopStoreT(sums, &staging[at], pitch);
    }
}

// The sums of a subgroup, FRAGMENT rows of the width, to the beginning of the space, if it is its turn. (A loop that ends at once, since naga
// takes no `if` around matrices whose condition is not the same for all subgroups.)
fn stage_accumulators(
    c0: CoopC, c1: CoopC, c2: CoopC, c3: CoopC, c4: CoopC, c5: CoopC, c6: CoopC, c7: CoopC,
    subgroup: u32, turn: u32,
) {
    let pitch = ACCUMULATORS_PITCH;
    for (var own = subgroup == turn; own; own = false) {
        let at0 = 0u;
        let s0 = c0;
        coopStoreT(s0, &staging[at0], pitch);
        if HEAD_FRAGMENTS > 1u {
            let at1 = FRAGMENT;
            let s1 = c1;
            coopStoreT(s1, &staging[at1], pitch);
        }
        if HEAD_FRAGMENTS > 2u {
            let at2 = 2u * FRAGMENT;
            let s2 = c2;
            coopStoreT(s2, &staging[at2], pitch);
        }
        if HEAD_FRAGMENTS > 3u {
            let at3 = 3u * FRAGMENT;
            let s3 = c3;
            coopStoreT(s3, &staging[at3], pitch);
        }
        if HEAD_FRAGMENTS > 4u {
            let at4 = 4u * FRAGMENT;
            let s4 = c4;
            coopStoreT(s4, &staging[at4], pitch);
        }
        if HEAD_FRAGMENTS > 5u {
            let at5 = 5u * FRAGMENT;
            let s5 = c5;
            coopStoreT(s5, &staging[at5], pitch);
        }
        if HEAD_FRAGMENTS > 6u {
            let at6 = 6u * FRAGMENT;
            let s6 = c6;
            coopStoreT(s6, &staging[at6], pitch);
        }
        if HEAD_FRAGMENTS > 7u {
            let at7 = 7u * FRAGMENT;
            let s7 = c7;
            coopStoreT(s7, &staging[at7], pitch);
        }
    }
}

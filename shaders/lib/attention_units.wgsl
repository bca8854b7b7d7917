// What the kernels of attention on matrix units share. A workgroup owns rows (queries, or keys): a fragment of them for each
// subgroup, whose scores and sums are its own. It goes over tiles of rows of the other kind in workgroup memory.
//
// From the prelude: as for lib/units.wgsl, with SUBGROUPS_M subgroups and FRAGMENTS_N fragments of rows in a tile.
// From the importing file: p with sequence, heads and scale, qkv as vectors of four, SCORE_SPACES (spaces for scores, f32) and WEIGHT_SPACES
// (spaces for what of them is multiplied next, f16).
//
// Matrices cannot be had in arrays: what there is one of for each fragment of a head's width is written out eight times, and
// what is beyond HEAD_FRAGMENTS falls away when the driver compiles.
const OWN: u32 = SUBGROUPS_M * UNIT;
const TILE: u32 = FRAGMENTS_N * UNIT;
const HEAD_FRAGMENTS: u32 = (HEAD_WIDTH + UNIT - 1u) / UNIT;
// Vectors of four in a row of a tile, zeros beyond HEAD_WIDTH; two more keep the rows of a fragment in different banks.
const VECTORS: u32 = HEAD_FRAGMENTS * UNIT / 4u;
const PITCH: u32 = VECTORS + 2u;
const WEIGHTS_PITCH: u32 = TILE / 4u + 2u;
const SCORES_PITCH: u32 = TILE + 4u;
const SUMS_PITCH: u32 = 4u * VECTORS + 4u;
// Two tiles, side by side in this order, then what is multiplied with them.
const FIRST_TILE: u32 = 0u;
const SECOND_TILE: u32 = TILE * PITCH;
const WEIGHTS: u32 = 2u * TILE * PITCH;
const WEIGHTS_SPACE: u32 = OWN * WEIGHTS_PITCH;
const SCORES_SPACE: u32 = OWN * SCORES_PITCH;
// Lanes that go over the scores of a row together, every so many vectors each.
const ROW_LANES: u32 = SUBGROUP / UNIT;
const LOWEST: f32 = -3.4028234e38;

var<workgroup> staged: array<StagedSlot, (WEIGHTS + WEIGHT_SPACES * WEIGHTS_SPACE) * STAGED_SLOTS>;
// Scores, and in the end the sums of one subgroup after the other.
var<workgroup> space: array<f32, max(SCORE_SPACES * SCORES_SPACE, UNIT * SUMS_PITCH)>;

fn space_at(at: u32) -> vec4<f32> {
    return vec4(space[at], space[at + 1u], space[at + 2u], space[at + 3u]);
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
fn own_fragment(subgroup: u32, l: u32) -> UnitA {
    let column = min(l, HEAD_FRAGMENTS - 1u) * UNIT / 4u;
    return coopLoadT<UnitA>(&staged[(subgroup * UNIT * PITCH + column) * STAGED_SLOTS], PITCH * STAGED_SLOTS);
}

// Rows of a tile from `row` on as columns: for sums over the width.
fn along_width(tile: u32, row: u32, l: u32) -> UnitB {
    return coopLoad<UnitB>(&staged[(tile + row * PITCH + l * UNIT / 4u) * STAGED_SLOTS], PITCH * STAGED_SLOTS);
}

// Rows of a tile from `row` on as they are: for sums over rows.
fn along_rows(tile: u32, row: u32, l: u32) -> UnitB {
    return coopLoadT<UnitB>(&staged[(tile + row * PITCH + l * UNIT / 4u) * STAGED_SLOTS], PITCH * STAGED_SLOTS);
}

// The subgroup's weights of rows of a tile from `row` on.
fn weights_fragment(weights: u32, subgroup: u32, row: u32) -> UnitA {
    return coopLoadT<UnitA>(&staged[(weights + subgroup * UNIT * WEIGHTS_PITCH + row / 4u) * STAGED_SLOTS], WEIGHTS_PITCH * STAGED_SLOTS);
}

// Products of the subgroup's own rows and all rows of a tile, to a space for scores.
fn put_scores(
    a0: UnitA, a1: UnitA, a2: UnitA, a3: UnitA, a4: UnitA, a5: UnitA, a6: UnitA, a7: UnitA,
    tile: u32, scores: u32, subgroup: u32,
) {
    for (var row = 0u; row < TILE; row += UNIT) {
        var c = coopMultiplyAdd(a0, along_width(tile, row, 0u), UnitC());
        if HEAD_FRAGMENTS > 1u { c = coopMultiplyAdd(a1, along_width(tile, row, 1u), c); }
        if HEAD_FRAGMENTS > 2u { c = coopMultiplyAdd(a2, along_width(tile, row, 2u), c); }
        if HEAD_FRAGMENTS > 3u { c = coopMultiplyAdd(a3, along_width(tile, row, 3u), c); }
        if HEAD_FRAGMENTS > 4u { c = coopMultiplyAdd(a4, along_width(tile, row, 4u), c); }
        if HEAD_FRAGMENTS > 5u { c = coopMultiplyAdd(a5, along_width(tile, row, 5u), c); }
        if HEAD_FRAGMENTS > 6u { c = coopMultiplyAdd(a6, along_width(tile, row, 6u), c); }
        if HEAD_FRAGMENTS > 7u { c = coopMultiplyAdd(a7, along_width(tile, row, 7u), c); }
        let sums = c;
        let at = scores + subgroup * UNIT * SCORES_PITCH + row;
        let pitch = SCORES_PITCH;
        coopStoreT(sums, &space[at], pitch);
    }
}

// The sums of a subgroup, UNIT rows of the width, to the beginning of the space, if it is its turn. (A loop that ends at once, since naga
// takes no `if` around matrices whose condition is not the same for all subgroups.)
fn put_sums(
    c0: UnitC, c1: UnitC, c2: UnitC, c3: UnitC, c4: UnitC, c5: UnitC, c6: UnitC, c7: UnitC,
    subgroup: u32, turn: u32,
) {
    let pitch = SUMS_PITCH;
    for (var own = subgroup == turn; own; own = false) {
        let at0 = 0u;
        let s0 = c0;
        coopStoreT(s0, &space[at0], pitch);
        if HEAD_FRAGMENTS > 1u {
            let at1 = UNIT;
            let s1 = c1;
            coopStoreT(s1, &space[at1], pitch);
        }
        if HEAD_FRAGMENTS > 2u {
            let at2 = 2u * UNIT;
            let s2 = c2;
            coopStoreT(s2, &space[at2], pitch);
        }
        if HEAD_FRAGMENTS > 3u {
            let at3 = 3u * UNIT;
            let s3 = c3;
            coopStoreT(s3, &space[at3], pitch);
        }
        if HEAD_FRAGMENTS > 4u {
            let at4 = 4u * UNIT;
            let s4 = c4;
            coopStoreT(s4, &space[at4], pitch);
        }
        if HEAD_FRAGMENTS > 5u {
            let at5 = 5u * UNIT;
            let s5 = c5;
            coopStoreT(s5, &space[at5], pitch);
        }
        if HEAD_FRAGMENTS > 6u {
            let at6 = 6u * UNIT;
            let s6 = c6;
            coopStoreT(s6, &space[at6], pitch);
        }
        if HEAD_FRAGMENTS > 7u {
            let at7 = 7u * UNIT;
            let s7 = c7;
            coopStoreT(s7, &space[at7], pitch);
        }
    }
}

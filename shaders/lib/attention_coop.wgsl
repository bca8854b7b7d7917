// What the kernels of attention on cooperative matrices share. A workgroup owns rows (queries, or keys): a fragment of them for each
// subgroup, whose scores and accumulators are its own. It goes over tiles of rows of the other kind in workgroup memory.
//
// Needs: of the prelude as lib/coop, with SUBGROUPS_M subgroups and FRAGMENTS_N fragments of rows in a tile, and HEAD_WIDTH;
//        lib/staged; of the importing file p with sequence, heads, kv_heads and scale, qkv as vectors of four, SCORE_STAGINGS (places for
//        scores, f32) and WEIGHT_STAGINGS (places for what of them is multiplied next, f16).
// Gives: the constants below, staged, staging, qkv_columns, query_at, key_at, output_at, stage_own, fetch_qkv, stage, own_fragment, along_rows, weights_fragment,
//        put_scores, staging_at, stage_accumulators.
//
// What there is one of for each fragment of a head's width is written out by #repeat, as in lib/accumulators.
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
// Lanes that go over the scores of a row together, each taking every LANES-th vector.
const ROW_LANES: u32 = SUBGROUP / FRAGMENT;
const LOWEST: f32 = -3.4028234e38;

var<workgroup> staged: array<StagedSlot, (WEIGHTS + WEIGHT_STAGINGS * WEIGHTS_STAGING) * STAGED_SLOTS>;
// Scores, and in the end the accumulators of one subgroup after the other.
var<workgroup> staging: array<f32, max(SCORE_STAGINGS * SCORES_STAGING, FRAGMENT * ACCUMULATORS_PITCH)>;

fn staging_at(at: u32) -> vec4<f32> {
    return vec4(staging[at], staging[at + 1u], staging[at + 2u], staging[at + 3u]);
}

// Columns of queries, keys and values.
fn qkv_columns() -> u32 {
    return (p.heads + 2u * p.kv_heads) * HEAD_WIDTH;
}

// First element in qkv of a query head, the y-th of all sequences, and of the keys that serve it; the values lie kv_heads further.
fn query_at(y: u32) -> u32 {
    return y / p.heads * p.sequence * qkv_columns() + y % p.heads * HEAD_WIDTH;
}

fn key_at(y: u32) -> u32 {
    return y / p.heads * p.sequence * qkv_columns() + (p.heads + y % p.heads / (p.heads / p.kv_heads)) * HEAD_WIDTH;
}

// The same of the output and its gradient.
fn output_at(y: u32) -> u32 {
    return (y / p.heads * p.sequence * p.heads + y % p.heads) * HEAD_WIDTH;
}

// Four elements of a row of the sequence, of the head in qkv whose elements begin at `at`; zeros beyond width and sequence.
fn qkv_vector(row: u32, v: u32, at: u32) -> vec4<f16> {
    if row < p.sequence && 4u * v < HEAD_WIDTH {
        return qkv[(at + row * qkv_columns()) / 4u + v];
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

// Fragment l of the width of the subgroup's own rows, which were staged from the first tile on.
fn own_fragment(subgroup: u32, l: u32) -> CoopA {
    let column = l * FRAGMENT / 4u;
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

// The products of the subgroup's own rows with all rows of a tile, to a place for scores.
fn put_scores(
#repeat i HEAD_FRAGMENTS
    a$i: CoopA,
#end
    tile: u32, scores: u32, subgroup: u32,
) {
    for (var row = 0u; row < TILE; row += FRAGMENT) {
        var c = CoopC();
#repeat i HEAD_FRAGMENTS
        c = coopMultiplyAdd(a$i, along_width(tile, row, $iu), c);
#end
        let accumulator = c;
        let at = scores + subgroup * FRAGMENT * SCORES_PITCH + row;
        let pitch = SCORES_PITCH;
        coopStoreT(accumulator, &staging[at], pitch);
    }
}

// The accumulators of a subgroup, FRAGMENT rows of the width, to the beginning of the staging, if it is its turn. (A loop that ends at
// once, since naga takes no `if` around matrices whose condition is not the same for all subgroups.)
fn stage_accumulators(
#repeat i HEAD_FRAGMENTS
    c$i: CoopC,
#end
    subgroup: u32, turn: u32,
) {
    let pitch = ACCUMULATORS_PITCH;
    for (var own = subgroup == turn; own; own = false) {
#repeat i HEAD_FRAGMENTS
        let at$i = $iu * FRAGMENT;
        let accumulator$i = c$i;
        coopStoreT(accumulator$i, &staging[at$i], pitch);
#end
    }
}

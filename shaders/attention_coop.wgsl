// Causal self-attention of training on cooperative matrices; formulas and shapes as in attention.wgsl.
//
// Twice over the keys: first each row's largest score and sum, then the products with values of weights that are already
// divided by it. The sums stay in registers, since none is ever scaled anew: that would take each through workgroup memory.
//
// Dispatch: (ceil(sequence / OWN), batch * heads) workgroups of LANES. HEAD_WIDTH is a multiple of four, at most 8 FRAGMENT.
#import lib/staged
#import lib/attention_coop

const SCORE_STAGINGS: u32 = 1u;
const WEIGHT_STAGINGS: u32 = 1u;

struct Params {
    sequence: u32,
    heads: u32,
    scale: f32,
    qkv_at: u32,
    out_at: u32,
    lse_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;

// Of each lane's part of a row: largest score, and sum relative to it.
var<workgroup> row_parts: array<vec2<f32>, LANES>;

@compute @workgroup_size(LANES)
fn attention_forward_coop(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let d = p.heads * HEAD_WIDTH;
    let query = p.qkv_at + head_at(group.y, 3u);
    let key = query + d;
    let value = key + d;
    // The last queries see most keys: they begin first.
    let first = ((p.sequence + OWN - 1u) / OWN - 1u - group.x) * OWN;
    let end = min(first + OWN, p.sequence);
    let subgroup = lane / SUBGROUP;
    let row = lane / ROW_LANES;
    let part = lane % ROW_LANES;
    let i = first + row;

    stage_own(first, query, lane);
    workgroupBarrier();
    let a0 = own_fragment(subgroup, 0u);
    let a1 = own_fragment(subgroup, 1u);
    let a2 = own_fragment(subgroup, 2u);
    let a3 = own_fragment(subgroup, 3u);
    let a4 = own_fragment(subgroup, 4u);
    let a5 = own_fragment(subgroup, 5u);
    let a6 = own_fragment(subgroup, 6u);
    let a7 = own_fragment(subgroup, 7u);
    workgroupBarrier();

    var largest = LOWEST;
    var total = 0.0;
    var keys: Brought;
    fetch_qkv(&keys, 0u, key, lane);
    for (var start = 0u; start < end; start += TILE) {
        stage(&keys, FIRST_TILE, lane);
        workgroupBarrier();
        if start + TILE < end {
            fetch_qkv(&keys, start + TILE, key, lane);
        }
        put_scores(a0, a1, a2, a3, a4, a5, a6, a7, FIRST_TILE, 0u, subgroup);
        workgroupBarrier();
        for (var v = part; v < TILE / 4u; v += ROW_LANES) {
            let seen = vec4(start + 4u * v) + vec4(0u, 1u, 2u, 3u) <= vec4(i);
            let scores = select(vec4(LOWEST), p.scale * staging_at(row * SCORES_PITCH + 4u * v), seen);
            let larger = max(max(largest, max(scores.x, scores.y)), max(scores.z, scores.w));
            total = total * exp(largest - larger) + dot(select(vec4<f32>(), exp(scores - larger), seen), vec4(1.0));
            largest = larger;
        }
    }
    row_parts[lane] = vec2(largest, total);
    workgroupBarrier();
    let parts = row * ROW_LANES;
    for (var j = 0u; j < ROW_LANES; j++) {
        largest = max(largest, row_parts[parts + j].x);
    }
    total = 0.0;
    for (var j = 0u; j < ROW_LANES; j++) {
        total += row_parts[parts + j].y * exp(row_parts[parts + j].x - largest);
    }
    let row_lse = largest + log(total);
    if part == 0u && i < p.sequence {
        lse[p.lse_at + group.y * p.sequence + i] = row_lse;
    }

    var c0 = CoopC();
    var c1 = CoopC();
    var c2 = CoopC();
    var c3 = CoopC();
    var c4 = CoopC();
    var c5 = CoopC();
    var c6 = CoopC();
    var c7 = CoopC();
    var values: Brought;
    fetch_qkv(&keys, 0u, key, lane);
    fetch_qkv(&values, 0u, value, lane);
    for (var start = 0u; start < end; start += TILE) {
        stage(&keys, FIRST_TILE, lane);
        stage(&values, SECOND_TILE, lane);
        workgroupBarrier();
        if start + TILE < end {
            fetch_qkv(&keys, start + TILE, key, lane);
            fetch_qkv(&values, start + TILE, value, lane);
        }
        put_scores(a0, a1, a2, a3, a4, a5, a6, a7, FIRST_TILE, 0u, subgroup);
        workgroupBarrier();
        for (var v = part; v < TILE / 4u; v += ROW_LANES) {
            let seen = vec4(start + 4u * v) + vec4(0u, 1u, 2u, 3u) <= vec4(i);
            let weights = exp(p.scale * staging_at(row * SCORES_PITCH + 4u * v) - row_lse);
            put(WEIGHTS + row * WEIGHTS_PITCH + v, vec4<f16>(select(vec4<f32>(), weights, seen)));
        }
        workgroupBarrier();
        for (var l = 0u; l < TILE; l += FRAGMENT) {
            let w = weights_fragment(WEIGHTS, subgroup, l);
            c0 = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, 0u), c0);
            if HEAD_FRAGMENTS > 1u { c1 = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, 1u), c1); }
            if HEAD_FRAGMENTS > 2u { c2 = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, 2u), c2); }
            if HEAD_FRAGMENTS > 3u { c3 = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, 3u), c3); }
            if HEAD_FRAGMENTS > 4u { c4 = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, 4u), c4); }
            if HEAD_FRAGMENTS > 5u { c5 = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, 5u), c5); }
            if HEAD_FRAGMENTS > 6u { c6 = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, 6u), c6); }
            if HEAD_FRAGMENTS > 7u { c7 = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, 7u), c7); }
        }
        workgroupBarrier();
    }

    for (var turn = 0u; turn < SUBGROUPS_M; turn++) {
        stage_accumulators(c0, c1, c2, c3, c4, c5, c6, c7, subgroup, turn);
        workgroupBarrier();
        for (var j = lane; j < FRAGMENT * HEAD_WIDTH / 4u; j += LANES) {
            let y = j / (HEAD_WIDTH / 4u);
            let v = j % (HEAD_WIDTH / 4u);
            let at = first + turn * FRAGMENT + y;
            if at < p.sequence {
                out[(p.out_at + head_at(group.y, 1u) + at * d) / 4u + v] = vec4<f16>(staging_at(y * ACCUMULATORS_PITCH + 4u * v));
            }
        }
        workgroupBarrier();
    }
}

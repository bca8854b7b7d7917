// The gradients of keys and values on cooperative matrices; formulas and shapes as in attention_backward.wgsl. dk is turned back if
// `turned`; delta is what attention_backward_queries_coop left.
//
// A workgroup owns keys and goes over the queries from them on, everything transposed: scores^T = k q^T, dweights^T = v dout^T,
// dv += weights^T dout, dk += dscores^T q.
//
// Dispatch: (ceil(sequence / OWN), batch * heads) workgroups of LANES. HEAD_WIDTH is a multiple of four, if turned of eight; at most 8 FRAGMENT.
#import lib/staged
#import lib/attention_coop
#import lib/attention_gradients

const SCORE_STAGINGS: u32 = 2u;
const WEIGHT_STAGINGS: u32 = 2u;

struct Params {
    sequence: u32,
    heads: u32,
    scale: f32,
    turned: u32,
    qkv_at: u32,
    lse_at: u32,
    dout_at: u32,
    positions_at: u32,
    table_at: u32,
    delta_at: u32,
    dqkv_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> dout: array<vec4<f16>>;
@group(0) @binding(4) var<storage, read> positions: array<u32>;
@group(0) @binding(5) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
@group(0) @binding(7) var<storage, read_write> dqkv: array<vec4<f16>>;

// lse and delta of a tile's queries, of which there are no more than lanes.
var<workgroup> lse_tile: array<f32, TILE>;
var<workgroup> delta_tile: array<f32, TILE>;

fn lse_and_delta(y: u32, i: u32) -> vec2<f32> {
    let at = y * p.sequence + min(i, p.sequence - 1u);
    return vec2(lse[p.lse_at + at], delta[p.delta_at + at]);
}

@compute @workgroup_size(LANES)
fn attention_backward_keys_coop(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let d = p.heads * HEAD_WIDTH;
    let query = head_at(group.y, 3u);
    let key = query + d;
    let value = key + d;
    let output = p.dout_at + head_at(group.y, 1u);
    let first = group.x * OWN;
    let subgroup = lane / SUBGROUP;
    let row = lane / ROW_LANES;
    let part = lane % ROW_LANES;
    let j = first + row;

    stage_own(first, p.qkv_at + key, lane);
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
    stage_own(first, p.qkv_at + value, lane);
    workgroupBarrier();
    let b0 = own_fragment(subgroup, 0u);
    let b1 = own_fragment(subgroup, 1u);
    let b2 = own_fragment(subgroup, 2u);
    let b3 = own_fragment(subgroup, 3u);
    let b4 = own_fragment(subgroup, 4u);
    let b5 = own_fragment(subgroup, 5u);
    let b6 = own_fragment(subgroup, 6u);
    let b7 = own_fragment(subgroup, 7u);
    workgroupBarrier();

    var c0 = CoopC();
    var c1 = CoopC();
    var c2 = CoopC();
    var c3 = CoopC();
    var c4 = CoopC();
    var c5 = CoopC();
    var c6 = CoopC();
    var c7 = CoopC();
    var e0 = CoopC();
    var e1 = CoopC();
    var e2 = CoopC();
    var e3 = CoopC();
    var e4 = CoopC();
    var e5 = CoopC();
    var e6 = CoopC();
    var e7 = CoopC();
    var queries: Brought;
    var douts: Brought;
    var own = lse_and_delta(group.y, first + lane);
    fetch_qkv(&queries, first, p.qkv_at + query, lane);
    fetch_dout(&douts, first, output, lane);
    // Queries before the group's first key see none of its keys.
    for (var start = first; start < p.sequence; start += TILE) {
        stage(&queries, FIRST_TILE, lane);
        stage(&douts, SECOND_TILE, lane);
        if lane < TILE {
            lse_tile[lane] = own.x;
            delta_tile[lane] = own.y;
        }
        workgroupBarrier();
        if start + TILE < p.sequence {
            fetch_qkv(&queries, start + TILE, p.qkv_at + query, lane);
            fetch_dout(&douts, start + TILE, output, lane);
            own = lse_and_delta(group.y, start + TILE + lane);
        }
        put_scores(a0, a1, a2, a3, a4, a5, a6, a7, FIRST_TILE, 0u, subgroup);
        put_scores(b0, b1, b2, b3, b4, b5, b6, b7, SECOND_TILE, SCORES_STAGING, subgroup);
        workgroupBarrier();
        for (var v = part; v < TILE / 4u; v += ROW_LANES) {
            let at = row * SCORES_PITCH + 4u * v;
            let i = vec4(start + 4u * v) + vec4(0u, 1u, 2u, 3u);
            let seen = (vec4(j) <= i) & (i < vec4(p.sequence));
            let q_lse = vec4(lse_tile[4u * v], lse_tile[4u * v + 1u], lse_tile[4u * v + 2u], lse_tile[4u * v + 3u]);
            let q_delta = vec4(delta_tile[4u * v], delta_tile[4u * v + 1u], delta_tile[4u * v + 2u], delta_tile[4u * v + 3u]);
            let weights = select(vec4<f32>(), exp(p.scale * staging_at(at) - q_lse), seen);
            let dscores = weights * (staging_at(SCORES_STAGING + at) - q_delta) * p.scale;
            put(WEIGHTS + row * WEIGHTS_PITCH + v, vec4<f16>(weights));
            put(WEIGHTS + WEIGHTS_STAGING + row * WEIGHTS_PITCH + v, vec4<f16>(dscores));
        }
        workgroupBarrier();
        for (var l = 0u; l < TILE; l += FRAGMENT) {
            let w = weights_fragment(WEIGHTS, subgroup, l);
            e0 = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, 0u), e0);
            if HEAD_FRAGMENTS > 1u { e1 = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, 1u), e1); }
            if HEAD_FRAGMENTS > 2u { e2 = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, 2u), e2); }
            if HEAD_FRAGMENTS > 3u { e3 = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, 3u), e3); }
            if HEAD_FRAGMENTS > 4u { e4 = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, 4u), e4); }
            if HEAD_FRAGMENTS > 5u { e5 = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, 5u), e5); }
            if HEAD_FRAGMENTS > 6u { e6 = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, 6u), e6); }
            if HEAD_FRAGMENTS > 7u { e7 = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, 7u), e7); }
            let dw = weights_fragment(WEIGHTS + WEIGHTS_STAGING, subgroup, l);
            c0 = coopMultiplyAdd(dw, along_rows(FIRST_TILE, l, 0u), c0);
            if HEAD_FRAGMENTS > 1u { c1 = coopMultiplyAdd(dw, along_rows(FIRST_TILE, l, 1u), c1); }
            if HEAD_FRAGMENTS > 2u { c2 = coopMultiplyAdd(dw, along_rows(FIRST_TILE, l, 2u), c2); }
            if HEAD_FRAGMENTS > 3u { c3 = coopMultiplyAdd(dw, along_rows(FIRST_TILE, l, 3u), c3); }
            if HEAD_FRAGMENTS > 4u { c4 = coopMultiplyAdd(dw, along_rows(FIRST_TILE, l, 4u), c4); }
            if HEAD_FRAGMENTS > 5u { c5 = coopMultiplyAdd(dw, along_rows(FIRST_TILE, l, 5u), c5); }
            if HEAD_FRAGMENTS > 6u { c6 = coopMultiplyAdd(dw, along_rows(FIRST_TILE, l, 6u), c6); }
            if HEAD_FRAGMENTS > 7u { c7 = coopMultiplyAdd(dw, along_rows(FIRST_TILE, l, 7u), c7); }
        }
        workgroupBarrier();
    }

    for (var turn = 0u; turn < SUBGROUPS_M; turn++) {
        stage_accumulators(c0, c1, c2, c3, c4, c5, c6, c7, subgroup, turn);
        workgroupBarrier();
        write_turned_accumulators(first + turn * FRAGMENT, p.dqkv_at + key, group.y, lane);
        workgroupBarrier();
        stage_accumulators(e0, e1, e2, e3, e4, e5, e6, e7, subgroup, turn);
        workgroupBarrier();
        write_accumulators(first + turn * FRAGMENT, p.dqkv_at + value, lane);
        workgroupBarrier();
    }
}

// The gradients of keys and values on cooperative matrices; formulas and shapes as in attention_backward.wgsl. dk is turned back if
// `turned`; delta is what attention_backward_queries_coop left.
//
// A workgroup owns keys and goes over the queries from them on, of each query head that they serve, everything transposed: scores^T = k q^T, dweights^T = v dout^T,
// dv += weights^T dout, dk += dscores^T q.
//
// Dispatch: (ceil(sequence / OWN), batch * kv_heads) workgroups of LANES. HEAD_WIDTH is a multiple of four, if turned of eight; at most 8 FRAGMENT.
#import lib/staged
#import lib/attention_coop
#import lib/attention_gradients

const SCORE_STAGINGS: u32 = 2u;
const WEIGHT_STAGINGS: u32 = 2u;

struct Params {
    sequence: u32,
    heads: u32,
    kv_heads: u32,
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
    let served = p.heads / p.kv_heads;
    let key = key_at(group.y * served);
    let value = key + p.kv_heads * HEAD_WIDTH;
    let first = group.x * OWN;
    let subgroup = lane / SUBGROUP;
    let row = lane / ROW_LANES;
    let part = lane % ROW_LANES;
    let j = first + row;

    stage_own(first, p.qkv_at + key, lane);
    workgroupBarrier();
#repeat i HEAD_FRAGMENTS
    let a$i = own_fragment(subgroup, $iu);
#end
    workgroupBarrier();
    stage_own(first, p.qkv_at + value, lane);
    workgroupBarrier();
#repeat i HEAD_FRAGMENTS
    let b$i = own_fragment(subgroup, $iu);
#end
    workgroupBarrier();

#repeat i HEAD_FRAGMENTS
    var c$i = CoopC();
#end
#repeat i HEAD_FRAGMENTS
    var e$i = CoopC();
#end
    var queries: Brought;
    var douts: Brought;
    for (var y = group.y * served; y < (group.y + 1u) * served; y++) {
        let query = p.qkv_at + query_at(y);
        let output = p.dout_at + output_at(y);
        var own = lse_and_delta(y, first + lane);
        fetch_qkv(&queries, first, query, lane);
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
                fetch_qkv(&queries, start + TILE, query, lane);
                fetch_dout(&douts, start + TILE, output, lane);
                own = lse_and_delta(y, start + TILE + lane);
            }
            put_scores(
#repeat i HEAD_FRAGMENTS
                a$i,
#end
                FIRST_TILE, 0u, subgroup,
            );
            put_scores(
#repeat i HEAD_FRAGMENTS
                b$i,
#end
                SECOND_TILE, SCORES_STAGING, subgroup,
            );
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
#repeat i HEAD_FRAGMENTS
                e$i = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, $iu), e$i);
#end
                let dw = weights_fragment(WEIGHTS + WEIGHTS_STAGING, subgroup, l);
#repeat i HEAD_FRAGMENTS
                c$i = coopMultiplyAdd(dw, along_rows(FIRST_TILE, l, $iu), c$i);
#end
            }
            workgroupBarrier();
        }
    }

    for (var turn = 0u; turn < SUBGROUPS_M; turn++) {
        stage_accumulators(
#repeat i HEAD_FRAGMENTS
            c$i,
#end
            subgroup, turn,
        );
        workgroupBarrier();
        write_turned_accumulators(first + turn * FRAGMENT, p.dqkv_at + key, group.y / p.kv_heads, lane);
        workgroupBarrier();
        stage_accumulators(
#repeat i HEAD_FRAGMENTS
            e$i,
#end
            subgroup, turn,
        );
        workgroupBarrier();
        write_accumulators(first + turn * FRAGMENT, p.dqkv_at + value, lane);
        workgroupBarrier();
    }
}

// The gradient of queries on cooperative matrices; formulas and shapes as in attention_backward.wgsl. dq is turned back if `turned`. Leaves
// delta [batch, heads, sequence] for attention_backward_keys_coop.
//
// A workgroup owns queries and goes over the keys up to them: scores = q k^T, dweights = dout v^T, dq += dscores k.
//
// Dispatch: (ceil(sequence / OWN), batch * heads) workgroups of LANES. HEAD_WIDTH is a multiple of four, if turned of eight; at most 8 FRAGMENT.
#import lib/staged
#import lib/attention_coop
#import lib/attention_gradients

const SCORE_STAGINGS: u32 = 2u;
const WEIGHT_STAGINGS: u32 = 1u;

struct Params {
    sequence: u32,
    heads: u32,
    kv_heads: u32,
    scale: f32,
    turned: u32,
    qkv_at: u32,
    out_at: u32,
    lse_at: u32,
    dout_at: u32,
    positions_at: u32,
    table_at: u32,
    delta_at: u32,
    dqkv_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read> out: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> dout: array<vec4<f16>>;
@group(0) @binding(5) var<storage, read> positions: array<u32>;
@group(0) @binding(6) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> delta: array<f32>;
@group(0) @binding(8) var<storage, read_write> dqkv: array<vec4<f16>>;

@compute @workgroup_size(LANES)
fn attention_backward_queries_coop(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let d = p.heads * HEAD_WIDTH;
    let query = query_at(group.y);
    let key = p.qkv_at + key_at(group.y);
    let value = key + p.kv_heads * HEAD_WIDTH;
    let output = output_at(group.y);
    // The last queries see most keys: they begin first.
    let first = ((p.sequence + OWN - 1u) / OWN - 1u - group.x) * OWN;
    let end = min(first + OWN, p.sequence);
    let subgroup = lane / SUBGROUP;
    let row = lane / ROW_LANES;
    let part = lane % ROW_LANES;
    let i = first + row;

    stage_own(first, p.qkv_at + query, lane);
    workgroupBarrier();
#repeat i HEAD_FRAGMENTS
    let a$i = own_fragment(subgroup, $iu);
#end
    workgroupBarrier();
    stage_own_dout(first, p.dout_at + output, lane);
    workgroupBarrier();
#repeat i HEAD_FRAGMENTS
    let b$i = own_fragment(subgroup, $iu);
#end
    workgroupBarrier();

    var row_lse = 0.0;
    var row_delta = 0.0;
    if i < p.sequence {
        row_lse = lse[p.lse_at + group.y * p.sequence + i];
        for (var v = 0u; v < HEAD_WIDTH / 4u; v++) {
            let at = (output + i * d) / 4u + v;
            row_delta += dot(vec4<f32>(out[p.out_at / 4u + at]), vec4<f32>(dout[p.dout_at / 4u + at]));
        }
        if part == 0u {
            delta[p.delta_at + group.y * p.sequence + i] = row_delta;
        }
    }

#repeat i HEAD_FRAGMENTS
    var c$i = CoopC();
#end
    var keys: Brought;
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
            let seen = vec4(start + 4u * v) + vec4(0u, 1u, 2u, 3u) <= vec4(i);
            let weights = exp(p.scale * staging_at(at) - row_lse);
            let dscores = weights * (staging_at(SCORES_STAGING + at) - row_delta) * p.scale;
            put(WEIGHTS + row * WEIGHTS_PITCH + v, vec4<f16>(select(vec4<f32>(), dscores, seen)));
        }
        workgroupBarrier();
        for (var l = 0u; l < TILE; l += FRAGMENT) {
            let w = weights_fragment(WEIGHTS, subgroup, l);
#repeat i HEAD_FRAGMENTS
            c$i = coopMultiplyAdd(w, along_rows(FIRST_TILE, l, $iu), c$i);
#end
        }
        workgroupBarrier();
    }

    for (var turn = 0u; turn < SUBGROUPS_M; turn++) {
        stage_accumulators(
#repeat i HEAD_FRAGMENTS
            c$i,
#end
            subgroup, turn,
        );
        workgroupBarrier();
        write_turned_accumulators(first + turn * FRAGMENT, p.dqkv_at + query, group.y / p.heads, lane);
        workgroupBarrier();
    }
}

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
    kv_heads: u32,
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
    let query = p.qkv_at + query_at(group.y);
    let key = p.qkv_at + key_at(group.y);
    let value = key + p.kv_heads * HEAD_WIDTH;
    // The last queries see most keys: they begin first.
    let first = ((p.sequence + OWN - 1u) / OWN - 1u - group.x) * OWN;
    let end = min(first + OWN, p.sequence);
    let subgroup = lane / SUBGROUP;
    let row = lane / ROW_LANES;
    let part = lane % ROW_LANES;
    let i = first + row;

    stage_own(first, query, lane);
    workgroupBarrier();
#repeat i HEAD_FRAGMENTS
    let a$i = own_fragment(subgroup, $iu);
#end
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
        put_scores(
#repeat i HEAD_FRAGMENTS
            a$i,
#end
            FIRST_TILE, 0u, subgroup,
        );
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

#repeat i HEAD_FRAGMENTS
    var c$i = CoopC();
#end
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
        workgroupBarrier();
        for (var v = part; v < TILE / 4u; v += ROW_LANES) {
            let seen = vec4(start + 4u * v) + vec4(0u, 1u, 2u, 3u) <= vec4(i);
            let weights = exp(p.scale * staging_at(row * SCORES_PITCH + 4u * v) - row_lse);
            put(WEIGHTS + row * WEIGHTS_PITCH + v, vec4<f16>(select(vec4<f32>(), weights, seen)));
        }
        workgroupBarrier();
        for (var l = 0u; l < TILE; l += FRAGMENT) {
            let w = weights_fragment(WEIGHTS, subgroup, l);
#repeat i HEAD_FRAGMENTS
            c$i = coopMultiplyAdd(w, along_rows(SECOND_TILE, l, $iu), c$i);
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
        for (var j = lane; j < FRAGMENT * HEAD_WIDTH / 4u; j += LANES) {
            let y = j / (HEAD_WIDTH / 4u);
            let v = j % (HEAD_WIDTH / 4u);
            let at = first + turn * FRAGMENT + y;
            if at < p.sequence {
                out[(p.out_at + output_at(group.y) + at * d) / 4u + v] = vec4<f16>(staging_at(y * ACCUMULATORS_PITCH + 4u * v));
            }
        }
        workgroupBarrier();
    }
}

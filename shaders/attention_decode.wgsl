// Attention of each row's query over positions 0 to its own in its slot of the cache [slots, context, keys and values]; out [rows, d].
//
// Each lane goes over every LANES-th position with a running maximum and sum; then the lanes' sums are joined.
//
// Dispatch: rows * heads workgroups of LANES.
#import lib/store
#import lib/groups
#import lib/reduce

struct Params {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    context: u32,
    scale: f32,
    slots_at: u32,
    positions_at: u32,
    qkv_at: u32,
    cache_at: u32,
    out_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> slots: array<u32>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read> qkv: array<Stored>;
@group(0) @binding(4) var<storage, read> cache: array<Stored>;
@group(0) @binding(5) var<storage, read_write> out: array<Stored>;

const LOWEST: f32 = -3.4028234e38;
const VECTORS: u32 = (HEAD_WIDTH + 3u) / 4u;

@compute @workgroup_size(LANES)
fn attention_decode(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let task = group_index(group, groups);
    if task >= p.rows * p.heads {
        return;
    }
    let d = p.heads * HEAD_WIDTH;
    let row = task / p.heads;
    let head = task % p.heads;
    let kv = p.kv_heads * HEAD_WIDTH;
    let query = p.qkv_at + row * (d + 2u * kv) + head * HEAD_WIDTH;
    let slot = p.cache_at + slots[p.slots_at + row] * p.context * 2u * kv + head / (p.heads / p.kv_heads) * HEAD_WIDTH;

    var accumulators: array<vec4<f32>, VECTORS>;
    for (var v = 0u; v < VECTORS; v++) {
        accumulators[v] = vec4<f32>();
    }
    var largest = LOWEST;
    var total = 0.0;
    for (var j = lane; j <= positions[p.positions_at + row]; j += LANES) {
        let key = slot + j * 2u * kv;
        var score = 0.0;
        for (var i = 0u; i < HEAD_WIDTH; i++) {
            score += widen(qkv[query + i]) * widen(cache[key + i]);
        }
        score *= p.scale;
        let larger = max(largest, score);
        let keep = exp(largest - larger);
        let weight = exp(score - larger);
        largest = larger;
        total = total * keep + weight;
        for (var v = 0u; v < VECTORS; v++) {
            var value = vec4<f32>();
            for (var i = 0u; i < 4u; i++) {
                if 4u * v + i < HEAD_WIDTH {
                    value[i] = widen(cache[key + kv + 4u * v + i]);
                }
            }
            accumulators[v] = accumulators[v] * keep + weight * value;
        }
    }
    let keep = exp(largest - reduce_max(lane, largest));
    let inverse = 1.0 / reduce_sum(lane, total * keep);
    for (var v = 0u; v < VECTORS; v++) {
        let sum = reduce_sum4(lane, accumulators[v] * keep) * inverse;
        for (var i = 0u; i < 4u; i++) {
            if lane == 0u && 4u * v + i < HEAD_WIDTH {
                out[p.out_at + row * d + head * HEAD_WIDTH + 4u * v + i] = narrow(sum[i]);
            }
        }
    }
}

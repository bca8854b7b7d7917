// Decoding: keys and values of rows to the cache [slots, context, columns] at each row's slot and position.
//
// Dispatch: up to 65,535 workgroups of 256, each invocation strides over the keys and values.
#import lib/store

struct Params {
    len: u32,
    queries: u32,
    columns: u32,
    context: u32,
    slots_at: u32,
    positions_at: u32,
    qkv_at: u32,
    cache_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> slots: array<u32>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read> qkv: array<Stored>;
@group(0) @binding(4) var<storage, read_write> cache: array<Stored>;

@compute @workgroup_size(256)
fn cache_append(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.len; i += groups.x * 256u) {
        let row = i / p.columns;
        let column = i % p.columns;
        let place = slots[p.slots_at + row] * p.context + positions[p.positions_at + row];
        cache[p.cache_at + place * p.columns + column] = qkv[p.qkv_at + row * (p.queries + p.columns) + p.queries + column];
    }
}

// Turns queries and keys of qkv in place by their positions, element i of a head paired with i + width / 2 (Su et
// al., arXiv 2104.09864, in the rotate-half form of Llama). table [positions, width]: cosines, then sines.
//
// Dispatch: up to 65,535 workgroups of 256, each invocation strides over the pairs.
#import lib/store

struct Params {
    pairs: u32,
    heads: u32,
    kv_heads: u32,
    width: u32,
    positions_at: u32,
    table_at: u32,
    qkv_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> positions: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> qkv: array<Stored>;

fn turn(id: vec3<u32>, groups: vec3<u32>, direction: f32) {
    let half = p.width / 2u;
    let row_pairs = (p.heads + p.kv_heads) * half;
    let columns = (p.heads + 2u * p.kv_heads) * p.width;
    for (var pair = id.x; pair < p.pairs; pair += groups.x * 256u) {
        let row = pair / row_pairs;
        let head = pair % row_pairs / half;
        let i = pair % half;
        let angle = p.table_at + positions[p.positions_at + row] * p.width + i;
        let cosine = table[angle];
        let sine = table[angle + half] * direction;
        let first = p.qkv_at + row * columns + head * p.width + i;
        let x = widen(qkv[first]);
        let y = widen(qkv[first + half]);
        qkv[first] = narrow(x * cosine - y * sine);
        qkv[first + half] = narrow(y * cosine + x * sine);
    }
}

@compute @workgroup_size(256)
fn rope_forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    turn(id, groups, 1.0);
}

// Turns the gradients of queries and keys back.
@compute @workgroup_size(256)
fn rope_backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    turn(id, groups, -1.0);
}

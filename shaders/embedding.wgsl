// Tokens to rows of the table: out[r, :] = table[tokens[r], :], out [rows, width].
//
// Dispatch: up to 65,535 workgroups of 256, each invocation strides over out.
struct Params {
    len: u32,
    width: u32,
    tokens_at: u32,
    table_at: u32,
    out_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn embedding_forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < p.len; i += groups.x * 256u) {
        let token = tokens[p.tokens_at + i / p.width];
        out[p.out_at + i] = table[p.table_at + token * p.width + i % p.width];
    }
}

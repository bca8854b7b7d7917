// Slices in workgroup memory as scalars, four for each vector: what Metal's matrices load from.
alias StagedSlot = f16;
const STAGED_SLOTS: u32 = 4u;
fn put_a(at: u32, values: vec4<f16>) {
    a_slices[4u * at] = values.x;
    a_slices[4u * at + 1u] = values.y;
    a_slices[4u * at + 2u] = values.z;
    a_slices[4u * at + 3u] = values.w;
}
fn put_b(at: u32, values: vec4<f16>) {
    b_slices[4u * at] = values.x;
    b_slices[4u * at + 1u] = values.y;
    b_slices[4u * at + 2u] = values.z;
    b_slices[4u * at + 3u] = values.w;
}

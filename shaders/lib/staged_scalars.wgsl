// Tiles in workgroup memory as scalars, four for each vector: what Metal's matrices load from.
//
// Needs: staged, an array of StagedSlot, of the file that sizes it.
// Gives: StagedSlot, STAGED_SLOTS (of a vector), put.
alias StagedSlot = f16;
const STAGED_SLOTS: u32 = 4u;
fn put(at: u32, values: vec4<f16>) {
    staged[4u * at] = values.x;
    staged[4u * at + 1u] = values.y;
    staged[4u * at + 2u] = values.z;
    staged[4u * at + 3u] = values.w;
}

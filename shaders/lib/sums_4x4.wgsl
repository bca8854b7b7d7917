// 4 x 4 sums of UNIT x UNIT for each subgroup, as variables of their own: what naga writes for an array of matrices no driver
// takes. The same for every number of sums but for how many lines there are.
fn product(group: vec3<u32>, lane: u32, range: vec2<u32>) {
    let subgroup = lane / SUBGROUP;
    let row = subgroup / SUBGROUPS_N * FRAGMENTS_M * UNIT;
    let column = subgroup % SUBGROUPS_N * FRAGMENTS_N * UNIT;
    let first_row = group.y * TILE_M;
    let first_column = group.x * TILE_N;
    var c00 = UnitC();
    var c01 = UnitC();
    var c02 = UnitC();
    var c03 = UnitC();
    var c10 = UnitC();
    var c11 = UnitC();
    var c12 = UnitC();
    var c13 = UnitC();
    var c20 = UnitC();
    var c21 = UnitC();
    var c22 = UnitC();
    var c23 = UnitC();
    var c30 = UnitC();
    var c31 = UnitC();
    var c32 = UnitC();
    var c33 = UnitC();
    var own_a: array<vec4<f16>, A_OWN>;
    var own_b: array<vec4<f16>, B_OWN>;
    fetch_a(&own_a, first_row, range.x, range.y, lane);
    fetch_b(&own_b, first_column, range.x, range.y, lane);
    stage_a(&own_a, 0u, lane);
    stage_b(&own_b, 0u, lane);
    workgroupBarrier();
    var slice = 0u;
    for (var start = range.x; start < range.y; start += TILE_K) {
        let next = start + TILE_K;
        if next < range.y {
            fetch_a(&own_a, first_row, next, range.y, lane);
            fetch_b(&own_b, first_column, next, range.y, lane);
        }
        for (var l = 0u; l < TILE_K; l += UNIT) {
            let b0 = fragment_b(slice, column, l);
            let b1 = fragment_b(slice, column + UNIT, l);
            let b2 = fragment_b(slice, column + 2u * UNIT, l);
            let b3 = fragment_b(slice, column + 3u * UNIT, l);
            let a0 = fragment_a(slice, row, l);
            c00 = coopMultiplyAdd(a0, b0, c00);
            c01 = coopMultiplyAdd(a0, b1, c01);
            c02 = coopMultiplyAdd(a0, b2, c02);
            c03 = coopMultiplyAdd(a0, b3, c03);
            let a1 = fragment_a(slice, row + UNIT, l);
            c10 = coopMultiplyAdd(a1, b0, c10);
            c11 = coopMultiplyAdd(a1, b1, c11);
            c12 = coopMultiplyAdd(a1, b2, c12);
            c13 = coopMultiplyAdd(a1, b3, c13);
            let a2 = fragment_a(slice, row + 2u * UNIT, l);
            c20 = coopMultiplyAdd(a2, b0, c20);
            c21 = coopMultiplyAdd(a2, b1, c21);
            c22 = coopMultiplyAdd(a2, b2, c22);
            c23 = coopMultiplyAdd(a2, b3, c23);
            let a3 = fragment_a(slice, row + 3u * UNIT, l);
            c30 = coopMultiplyAdd(a3, b0, c30);
            c31 = coopMultiplyAdd(a3, b1, c31);
            c32 = coopMultiplyAdd(a3, b2, c32);
            c33 = coopMultiplyAdd(a3, b3, c33);
        }
        if next < range.y {
            stage_a(&own_a, 1u - slice, lane);
            stage_b(&own_b, 1u - slice, lane);
        }
        workgroupBarrier();
        slice = 1u - slice;
    }
    let pitch = SPACE_PITCH;
    let at0 = subgroup * SPACE;
    let at1 = subgroup * SPACE + UNIT;
    let at2 = subgroup * SPACE + 2u * UNIT;
    let at3 = subgroup * SPACE + 3u * UNIT;
    let sum00 = c00;
    coopStoreT(sum00, &sums_space[at0], pitch);
    let sum01 = c01;
    coopStoreT(sum01, &sums_space[at1], pitch);
    let sum02 = c02;
    coopStoreT(sum02, &sums_space[at2], pitch);
    let sum03 = c03;
    coopStoreT(sum03, &sums_space[at3], pitch);
    workgroupBarrier();
    finish_fragments(first_row + row, first_column + column, subgroup, lane % SUBGROUP);
    workgroupBarrier();
    let sum10 = c10;
    coopStoreT(sum10, &sums_space[at0], pitch);
    let sum11 = c11;
    coopStoreT(sum11, &sums_space[at1], pitch);
    let sum12 = c12;
    coopStoreT(sum12, &sums_space[at2], pitch);
    let sum13 = c13;
    coopStoreT(sum13, &sums_space[at3], pitch);
    workgroupBarrier();
    finish_fragments(first_row + row + UNIT, first_column + column, subgroup, lane % SUBGROUP);
    workgroupBarrier();
    let sum20 = c20;
    coopStoreT(sum20, &sums_space[at0], pitch);
    let sum21 = c21;
    coopStoreT(sum21, &sums_space[at1], pitch);
    let sum22 = c22;
    coopStoreT(sum22, &sums_space[at2], pitch);
    let sum23 = c23;
    coopStoreT(sum23, &sums_space[at3], pitch);
    workgroupBarrier();
    finish_fragments(first_row + row + 2u * UNIT, first_column + column, subgroup, lane % SUBGROUP);
    workgroupBarrier();
    let sum30 = c30;
    coopStoreT(sum30, &sums_space[at0], pitch);
    let sum31 = c31;
    coopStoreT(sum31, &sums_space[at1], pitch);
    let sum32 = c32;
    coopStoreT(sum32, &sums_space[at2], pitch);
    let sum33 = c33;
    coopStoreT(sum33, &sums_space[at3], pitch);
    workgroupBarrier();
    finish_fragments(first_row + row + 3u * UNIT, first_column + column, subgroup, lane % SUBGROUP);
}

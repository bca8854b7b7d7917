// 4 x 2 sums of UNIT x UNIT for each subgroup, as variables of their own: what naga writes for an array of matrices no driver
// takes. The same for every number of sums but for how many lines there are.
fn product(group: vec3<u32>, lane: u32, range: vec2<u32>) {
    let subgroup = lane / SUBGROUP;
    let row = subgroup / SUBGROUPS_N * FRAGMENTS_M * UNIT;
    let column = subgroup % SUBGROUPS_N * FRAGMENTS_N * UNIT;
    let first_row = group.y * TILE_M;
    let first_column = group.x * TILE_N;
    var c00 = UnitC();
    var c01 = UnitC();
    var c10 = UnitC();
    var c11 = UnitC();
    var c20 = UnitC();
    var c21 = UnitC();
    var c30 = UnitC();
    var c31 = UnitC();
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
            let a0 = fragment_a(slice, row, l);
            c00 = coopMultiplyAdd(a0, b0, c00);
            c01 = coopMultiplyAdd(a0, b1, c01);
            let a1 = fragment_a(slice, row + UNIT, l);
            c10 = coopMultiplyAdd(a1, b0, c10);
            c11 = coopMultiplyAdd(a1, b1, c11);
            let a2 = fragment_a(slice, row + 2u * UNIT, l);
            c20 = coopMultiplyAdd(a2, b0, c20);
            c21 = coopMultiplyAdd(a2, b1, c21);
            let a3 = fragment_a(slice, row + 3u * UNIT, l);
            c30 = coopMultiplyAdd(a3, b0, c30);
            c31 = coopMultiplyAdd(a3, b1, c31);
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
    let sum00 = c00;
    coopStoreT(sum00, &sums_space[at0], pitch);
    let sum01 = c01;
    coopStoreT(sum01, &sums_space[at1], pitch);
    workgroupBarrier();
    finish_fragments(first_row + row, first_column + column, subgroup, lane % SUBGROUP);
    workgroupBarrier();
    let sum10 = c10;
    coopStoreT(sum10, &sums_space[at0], pitch);
    let sum11 = c11;
    coopStoreT(sum11, &sums_space[at1], pitch);
    workgroupBarrier();
    finish_fragments(first_row + row + UNIT, first_column + column, subgroup, lane % SUBGROUP);
    workgroupBarrier();
    let sum20 = c20;
    coopStoreT(sum20, &sums_space[at0], pitch);
    let sum21 = c21;
    coopStoreT(sum21, &sums_space[at1], pitch);
    workgroupBarrier();
    finish_fragments(first_row + row + 2u * UNIT, first_column + column, subgroup, lane % SUBGROUP);
    workgroupBarrier();
    let sum30 = c30;
    coopStoreT(sum30, &sums_space[at0], pitch);
    let sum31 = c31;
    coopStoreT(sum31, &sums_space[at1], pitch);
    workgroupBarrier();
    finish_fragments(first_row + row + 3u * UNIT, first_column + column, subgroup, lane % SUBGROUP);
}

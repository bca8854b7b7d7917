// 4 x 4 sums of FRAGMENT x FRAGMENT for each subgroup, as variables of their own: what naga writes for an array of matrices no driver
// takes. The same for every number of sums but for how many lines there are.
fn matmul_tile(group: vec3<u32>, lane: u32, range: vec2<u32>) {
    let subgroup = lane / SUBGROUP;
    let row = subgroup / SUBGROUPS_N * FRAGMENTS_M * FRAGMENT;
    let column = subgroup % SUBGROUPS_N * FRAGMENTS_N * FRAGMENT;
    let first_row = group.y * TILE_M;
    let first_column = group.x * TILE_N;
    var c00 = CoopC();
    var c01 = CoopC();
    var c02 = CoopC();
    var c03 = CoopC();
    var c10 = CoopC();
    var c11 = CoopC();
    var c12 = CoopC();
    var c13 = CoopC();
    var c20 = CoopC();
    var c21 = CoopC();
    var c22 = CoopC();
    var c23 = CoopC();
    var c30 = CoopC();
    var c31 = CoopC();
    var c32 = CoopC();
    var c33 = CoopC();
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
        for (var l = 0u; l < TILE_K; l += FRAGMENT) {
            let b0 = fragment_b(slice, column, l);
            let b1 = fragment_b(slice, column + FRAGMENT, l);
            let b2 = fragment_b(slice, column + 2u * FRAGMENT, l);
            let b3 = fragment_b(slice, column + 3u * FRAGMENT, l);
            let a0 = fragment_a(slice, row, l);
            c00 = coopMultiplyAdd(a0, b0, c00);
            c01 = coopMultiplyAdd(a0, b1, c01);
            c02 = coopMultiplyAdd(a0, b2, c02);
            c03 = coopMultiplyAdd(a0, b3, c03);
            let a1 = fragment_a(slice, row + FRAGMENT, l);
            c10 = coopMultiplyAdd(a1, b0, c10);
            c11 = coopMultiplyAdd(a1, b1, c11);
            c12 = coopMultiplyAdd(a1, b2, c12);
            c13 = coopMultiplyAdd(a1, b3, c13);
            let a2 = fragment_a(slice, row + 2u * FRAGMENT, l);
            c20 = coopMultiplyAdd(a2, b0, c20);
            c21 = coopMultiplyAdd(a2, b1, c21);
            c22 = coopMultiplyAdd(a2, b2, c22);
            c23 = coopMultiplyAdd(a2, b3, c23);
            let a3 = fragment_a(slice, row + 3u * FRAGMENT, l);
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
    let pitch = STAGING_PITCH;
    let at0 = subgroup * STAGING;
    let at1 = subgroup * STAGING + FRAGMENT;
    let at2 = subgroup * STAGING + 2u * FRAGMENT;
    let at3 = subgroup * STAGING + 3u * FRAGMENT;
    let accumulator00 = c00;
    coopStoreT(accumulator00, &staging[at0], pitch);
    let accumulator01 = c01;
    coopStoreT(accumulator01, &staging[at1], pitch);
    let accumulator02 = c02;
    coopStoreT(accumulator02, &staging[at2], pitch);
    let accumulator03 = c03;
    coopStoreT(accumulator03, &staging[at3], pitch);
    workgroupBarrier();
    epilogue_fragments(first_row + row, first_column + column, subgroup, lane % SUBGROUP);
    workgroupBarrier();
    let accumulator10 = c10;
    coopStoreT(accumulator10, &staging[at0], pitch);
    let accumulator11 = c11;
    coopStoreT(accumulator11, &staging[at1], pitch);
    let accumulator12 = c12;
    coopStoreT(accumulator12, &staging[at2], pitch);
    let accumulator13 = c13;
    coopStoreT(accumulator13, &staging[at3], pitch);
    workgroupBarrier();
    epilogue_fragments(first_row + row + FRAGMENT, first_column + column, subgroup, lane % SUBGROUP);
    workgroupBarrier();
    let accumulator20 = c20;
    coopStoreT(accumulator20, &staging[at0], pitch);
    let accumulator21 = c21;
    coopStoreT(accumulator21, &staging[at1], pitch);
    let accumulator22 = c22;
    coopStoreT(accumulator22, &staging[at2], pitch);
    let accumulator23 = c23;
    coopStoreT(accumulator23, &staging[at3], pitch);
    workgroupBarrier();
    epilogue_fragments(first_row + row + 2u * FRAGMENT, first_column + column, subgroup, lane % SUBGROUP);
    workgroupBarrier();
    let accumulator30 = c30;
    coopStoreT(accumulator30, &staging[at0], pitch);
    let accumulator31 = c31;
    coopStoreT(accumulator31, &staging[at1], pitch);
    let accumulator32 = c32;
    coopStoreT(accumulator32, &staging[at2], pitch);
    let accumulator33 = c33;
    coopStoreT(accumulator33, &staging[at3], pitch);
    workgroupBarrier();
    epilogue_fragments(first_row + row + 3u * FRAGMENT, first_column + column, subgroup, lane % SUBGROUP);
}

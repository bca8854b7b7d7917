// 2 x 2 sums of FRAGMENT x FRAGMENT for each subgroup, as variables of their own: what naga writes for an array of matrices no driver
// takes. The same for every number of sums but for how many lines there are.
fn matmul_tile(group: vec3<u32>, lane: u32, range: vec2<u32>) {
    let subgroup = lane / SUBGROUP;
    let row = subgroup / SUBGROUPS_N * FRAGMENTS_M * FRAGMENT;
    let column = subgroup % SUBGROUPS_N * FRAGMENTS_N * FRAGMENT;
    let first_row = group.y * TILE_M;
    let first_column = group.x * TILE_N;
    var c00 = CoopC();
    var c01 = CoopC();
    var c10 = CoopC();
    var c11 = CoopC();
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
            let a0 = fragment_a(slice, row, l);
            c00 = coopMultiplyAdd(a0, b0, c00);
            c01 = coopMultiplyAdd(a0, b1, c01);
            let a1 = fragment_a(slice, row + FRAGMENT, l);
            c10 = coopMultiplyAdd(a1, b0, c10);
            c11 = coopMultiplyAdd(a1, b1, c11);
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
    let accumulator00 = c00;
    coopStoreT(accumulator00, &staging[at0], pitch);
    let accumulator01 = c01;
    coopStoreT(accumulator01, &staging[at1], pitch);
    workgroupBarrier();
    epilogue_fragments(first_row + row, first_column + column, subgroup, lane % SUBGROUP);
    workgroupBarrier();
    let accumulator10 = c10;
    coopStoreT(accumulator10, &staging[at0], pitch);
    let accumulator11 = c11;
    coopStoreT(accumulator11, &staging[at1], pitch);
    workgroupBarrier();
    epilogue_fragments(first_row + row + FRAGMENT, first_column + column, subgroup, lane % SUBGROUP);
}

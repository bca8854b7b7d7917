// The main loop of a matmul on cooperative matrices: FRAGMENTS_M x FRAGMENTS_N accumulators for each subgroup, then the epilogue.
// They are variables of their own, written out by #repeat, since no driver takes what naga writes for an array of matrices.
//
// Needs: lib/coop, for the operands; lib/columns or lib/pairs, for STAGING, STAGING_PITCH, staging and epilogue_fragments.
// Gives: matmul_tile(group, lane, range), the block tile of this workgroup over the l of `range`.
fn matmul_tile(group: vec3<u32>, lane: u32, range: vec2<u32>) {
    let subgroup = lane / SUBGROUP;
    let row = subgroup / SUBGROUPS_N * FRAGMENTS_M * FRAGMENT;
    let column = subgroup % SUBGROUPS_N * FRAGMENTS_N * FRAGMENT;
    let first_row = group.y * TILE_M;
    let first_column = group.x * TILE_N;
#repeat m FRAGMENTS_M
#repeat n FRAGMENTS_N
    var c$m$n = CoopC();
#end
#end
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
#repeat n FRAGMENTS_N
            let b$n = fragment_b(slice, column + $nu * FRAGMENT, l);
#end
#repeat m FRAGMENTS_M
            let a$m = fragment_a(slice, row + $mu * FRAGMENT, l);
#repeat n FRAGMENTS_N
            c$m$n = coopMultiplyAdd(a$m, b$n, c$m$n);
#end
#end
        }
        if next < range.y {
            stage_a(&own_a, 1u - slice, lane);
            stage_b(&own_b, 1u - slice, lane);
        }
        workgroupBarrier();
        slice = 1u - slice;
    }
    let pitch = STAGING_PITCH;
#repeat n FRAGMENTS_N
    let at$n = subgroup * STAGING + $nu * FRAGMENT;
#end
#repeat m FRAGMENTS_M
    // The epilogue of the row of fragments before has read the staging.
    if $mu > 0u {
        workgroupBarrier();
    }
#repeat n FRAGMENTS_N
    let accumulator$m$n = c$m$n;
    coopStoreT(accumulator$m$n, &staging[at$n], pitch);
#end
    workgroupBarrier();
    epilogue_fragments(first_row + row + $mu * FRAGMENT, first_column + column, subgroup, lane % SUBGROUP);
#end
}

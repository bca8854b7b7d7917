// Sums and maxima over a workgroup of LANES, as a tree: the order of the sums, and so the bits, are always the same.
// Every lane calls them, in uniform control flow, and gets the result.
//
// Needs: LANES of the prelude, a power of two.
// Gives: reduce_sum, reduce_max, reduce_sum4.
var<workgroup> reduce_staging: array<f32, LANES>;
var<workgroup> reduce_staging4: array<vec4<f32>, LANES>;

fn reduce_sum(lane: u32, value: f32) -> f32 {
    reduce_staging[lane] = value;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            reduce_staging[lane] += reduce_staging[lane + half];
        }
    }
    workgroupBarrier();
    let sum = reduce_staging[0];
    workgroupBarrier();
    return sum;
}

fn reduce_max(lane: u32, value: f32) -> f32 {
    reduce_staging[lane] = value;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            reduce_staging[lane] = max(reduce_staging[lane], reduce_staging[lane + half]);
        }
    }
    workgroupBarrier();
    let largest = reduce_staging[0];
    workgroupBarrier();
    return largest;
}

fn reduce_sum4(lane: u32, value: vec4<f32>) -> vec4<f32> {
    reduce_staging4[lane] = value;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            reduce_staging4[lane] += reduce_staging4[lane + half];
        }
    }
    workgroupBarrier();
    let sum = reduce_staging4[0];
    workgroupBarrier();
    return sum;
}

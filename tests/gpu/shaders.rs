//! The shaders as text: every one in every variant reads, validates and translates; planted faults are found.
use std::path::Path;
use std::process::Command;

use compute::Precision;
use compute::gpu::pipeline::{Parsed, parse};
use compute::gpu::table::{KERNELS, Kernel, Workgroup};
use compute::gpu::{Device, Options, TILES, attention_tiles};
use compute::wgsl::{CoopShape, FILES, Library, Tiles, Variant};
use libtest_mimic::{Failed, Trial};

use crate::{Bench, PRECISIONS, kernels, step, updates};

/// Every kernel's file in every precision and at several head widths.
fn each(mut f: impl FnMut(&str, Variant, Parsed) -> Result<(), String>) -> Result<(), Failed> {
    let roomy =
        wgpu::Limits { max_compute_workgroup_storage_size: 65_536, ..wgpu::Limits::defaults() };
    for kernel in KERNELS {
        for variant in variants(kernel, &roomy) {
            let what = |error: String| format!("{} as {variant:?}: {error}", kernel.name);
            let parsed = parse(&Library::Embedded, kernel.file, &variant)
                .map_err(|error| what(error.to_string()))?;
            f(kernel.name, variant, parsed).map_err(what)?;
        }
    }
    Ok(())
}

fn variants(kernel: &Kernel, limits: &wgpu::Limits) -> Vec<Variant> {
    if !kernel.on_coop() {
        let widths = PRECISIONS.map(|p| [2, 40, 64, 128].map(|w| kernel.scalar_variant(p, w)));
        return widths.concat();
    }
    let mut variants = Vec::new();
    for (side, scalars) in [(8, false), (8, true), (16, false), (16, true)] {
        let shape = CoopShape { side, subgroup: 32, scalars };
        let attention = |width| {
            let tiles = attention_tiles(shape, width, limits);
            tiles.into_iter().map(move |tiles| (width, tiles))
        };
        let cuts: Vec<(u32, Tiles)> = match kernel.workgroup {
            Workgroup::CoopAttention => {
                [8, 20, 40, 64, 128].into_iter().flat_map(attention).collect()
            }
            _ => TILES.iter().map(|tiles| (40, *tiles)).collect(),
        };
        variants.extend(
            cuts.into_iter().map(|(width, tiles)| kernel.coop_variant(width, shape, tiles)),
        );
    }
    variants
}

pub(crate) fn trials(bench: Option<&Bench>) -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("shaders::interfaces", || {
            each(|kernel, _, parsed| parsed.interface(kernel).map(drop).map_err(|e| e.to_string()))
        }),
        Trial::test("shaders::spirv", || {
            each(|_, _, Parsed { module, info, .. }| {
                let options =
                    naga::back::spv::Options { lang_version: (1, 4), ..Default::default() };
                naga::back::spv::write_vec(&module, &info, &options, None)
                    .map(drop)
                    .map_err(|e| e.to_string())
            })
        }),
        Trial::test("shaders::metal", || {
            let options = naga::back::msl::Options {
                lang_version: (3, 0),
                fake_missing_bindings: true,
                ..Default::default()
            };
            each(|_, _, Parsed { module, info, .. }| {
                naga::back::msl::write_string(&module, &info, &options, &Default::default())
                    .map(drop)
                    .map_err(|e| e.to_string())
            })
        }),
        Trial::test("shaders::hlsl", || {
            let options = naga::back::hlsl::Options {
                shader_model: naga::back::hlsl::ShaderModel::V6_2,
                fake_missing_bindings: true,
                ..Default::default()
            };
            each(|_, variant, Parsed { module, info, .. }| {
                if variant.coop.is_some() {
                    return Ok(()); // DX12 has no cooperative matrices in wgpu: the scalar kernels serve it
                }
                let mut text = String::new();
                let pipeline = naga::back::hlsl::PipelineOptions::default();
                let mut writer = naga::back::hlsl::Writer::new(&mut text, &options, &pipeline);
                writer.write(&module, &info, None).map(drop).map_err(|e| e.to_string())
            })
        }),
    ];
    let tint = Command::new("tint").arg("--version").output().is_ok();
    let kind = if tint { "" } else { "tint is not installed" };
    trials
        .push(Trial::test("shaders::tint", tint_accepts).with_ignored_flag(!tint).with_kind(kind));
    let lacks = if bench.is_none() { "no adapter" } else { "" };
    let own = bench.cloned();
    let none = move || Ok(nothing_is_found(&own.expect("ignored without one")));
    trials.push(
        Trial::test("faults::none", none).with_ignored_flag(!lacks.is_empty()).with_kind(lacks),
    );
    for fault in FAULTS {
        let lacks = match bench {
            Some(bench) if fault.on_coop && bench.device.adapter.coop().is_none() => {
                "no cooperative matrices"
            }
            _ => lacks,
        };
        let bench = bench.cloned();
        let test = move || is_found(fault, &bench.expect("ignored without one"));
        trials.push(
            Trial::test(format!("faults::{}", fault.name), test)
                .with_ignored_flag(!lacks.is_empty())
                .with_kind(lacks),
        );
    }
    trials
}

/// bf16 and cooperative matrices need extensions of naga's; the others are standard WGSL.
fn tint_accepts() -> Result<(), Failed> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    each(|kernel, variant, parsed| {
        if variant.precision == Precision::Bf16 || variant.coop.is_some() {
            return Ok(());
        }
        let path = folder.path().join(format!("{kernel}.wgsl"));
        std::fs::write(&path, &parsed.source.text).map_err(|e| e.to_string())?;
        let output = Command::new("tint")
            .args(["--format", "wgsl"])
            .arg(&path)
            .output()
            .map_err(|e| e.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    })
}

/// A mistake in a shader, and a test that has to find it.
struct Fault {
    name: &'static str,
    file: &'static str,
    right: &'static str,
    wrong: &'static str,
    test: fn(&Bench),
    /// In a kernel on cooperative matrices, which f16 alone goes on.
    on_coop: bool,
}

impl Fault {
    fn precision(&self) -> Precision {
        if self.on_coop { Precision::F16 } else { Precision::F32 }
    }
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "mask_off_by_one",
        file: "attention",
        right: "score, start + j <= row)",
        wrong: "score, start + j <= row + 1u)",
        test: kernels::attention_in_short,
        on_coop: false,
    },
    Fault {
        name: "backward_mask_off_by_one",
        file: "attention_backward",
        right: "row <= i && i < p.sequence",
        wrong: "row < i && i < p.sequence",
        test: kernels::attention_in_short,
        on_coop: false,
    },
    Fault {
        name: "part_of_a_row_left_out",
        file: "lib/heads",
        right: "i < ROW_LANES;",
        wrong: "i + 1u < ROW_LANES;",
        test: kernels::attention_in_short,
        on_coop: false,
    },
    Fault {
        name: "largest_score_of_the_tile_before",
        file: "attention",
        right: "sum[v] *= keep;",
        wrong: "sum[v] *= 1.0;",
        test: kernels::attention_in_short,
        on_coop: false,
    },
    Fault {
        name: "turned_forth",
        file: "attention_backward",
        right: "select(-y, y, i < half)",
        wrong: "select(y, -y, i < half)",
        test: kernels::attention_in_short,
        on_coop: false,
    },
    Fault {
        name: "dropped_slice_of_k",
        file: "matmul",
        right: "start < p.k; start += TILE_K",
        wrong: "start + TILE_K < p.k + 1u; start += TILE_K",
        test: kernels::products,
        on_coop: false,
    },
    Fault {
        name: "dropped_part_of_a_split_sum",
        file: "reduce_partials",
        right: "z < segment.y;",
        wrong: "z + 1u < segment.y;",
        test: kernels::split_products,
        on_coop: false,
    },
    Fault {
        name: "missing_scale",
        file: "attention",
        right: "p.scale * qkv_vector(query",
        wrong: "qkv_vector(query",
        test: kernels::attention_in_short,
        on_coop: false,
    },
    Fault {
        name: "missing_loss_scale",
        file: "cross_entropy",
        right: "p.scale * state[p.state_at + LOSS_SCALE]",
        wrong: "p.scale",
        test: kernels::cross_entropy,
        on_coop: false,
    },
    Fault {
        name: "accumulator_not_cleared",
        file: "matmul_tn",
        right: "                    out[at] = accumulators[i][j];",
        wrong: "                    out[at] += accumulators[i][j];",
        test: kernels::split_products,
        on_coop: false,
    },
    Fault {
        name: "transposed_operand",
        file: "matmul",
        right: "select(l * p.n + j, j * p.k + l, transposed)",
        wrong: "select(j * p.k + l, l * p.n + j, transposed)",
        test: kernels::products,
        on_coop: false,
    },
    Fault {
        name: "token_of_the_row_before",
        file: "embedding_backward",
        right: "order[p.order_at + at]",
        wrong: "order[p.order_at + max(at, 1u) - 1u]",
        test: kernels::embedding,
        on_coop: false,
    },
    Fault {
        name: "decay_on_everything",
        file: "adamw",
        right: "i < p.decay_len",
        wrong: "i < p.len",
        test: updates::norm_and_optimizers,
        on_coop: false,
    },
    Fault {
        name: "momentum_without_nesterov",
        file: "muon",
        right: "space[turned(i)] = p.beta * mean + (1.0 - p.beta) * g;",
        wrong: "space[turned(i)] = mean;",
        test: updates::muon,
        on_coop: false,
    },
    Fault {
        name: "tall_matrix_not_turned",
        file: "muon",
        right: "select(at, across, p.rows > p.columns)",
        wrong: "select(at, across, p.rows >= 2u * p.columns + 8u)",
        test: updates::muon,
        on_coop: false,
    },
    Fault {
        name: "matrix_of_the_layer_before",
        file: "muon",
        right: "number / p.side_by_side * p.stride",
        wrong: "max(number / p.side_by_side, 1u) * p.stride - p.stride",
        test: updates::muon,
        on_coop: false,
    },
    Fault {
        name: "incautious_decay",
        file: "muon",
        right: "p.cautious == 0u || weight * x >= 0.0",
        wrong: "true",
        test: updates::muon,
        on_coop: false,
    },
    Fault {
        name: "polynomial_of_the_first_matrix",
        file: "muon_matmul",
        right: "p.right + (matrix * p.k + l) * p.n + j",
        wrong: "p.right + l * p.n + j",
        test: updates::muon,
        on_coop: false,
    },
    Fault {
        name: "overflow_not_skipped",
        file: "loss_scale",
        right: "state[s + FACTOR] = 0.0;",
        wrong: "state[s + FACTOR] = 1.0;",
        test: step::overflow,
        on_coop: false,
    },
    Fault {
        name: "coop_edge_not_masked",
        file: "lib/columns",
        right: "first_column + x < p.n {",
        wrong: "first_column + x <= p.n {",
        test: kernels::fused_products,
        on_coop: true,
    },
    Fault {
        name: "coop_part_of_the_one_before",
        file: "matmul_tn_coop",
        right: "part = group.z;",
        wrong: "part = max(group.z, 1u) - 1u;",
        test: kernels::split_products,
        on_coop: true,
    },
    Fault {
        name: "coop_values_turned_too",
        file: "matmul_nt_rope_coop",
        right: "columns.x < p.turned",
        wrong: "columns.x < p.n",
        test: kernels::fused_products,
        on_coop: true,
    },
    Fault {
        name: "coop_residual_forgotten",
        file: "matmul_nt_residual_coop",
        right: "x[(p.x_at + at) / 4u] + values",
        wrong: "values",
        test: kernels::fused_products,
        on_coop: true,
    },
    Fault {
        name: "coop_up_for_gate",
        file: "matmul_nn_swiglu_coop",
        right: "(sigmoid + silu * (1.0 - sigmoid))",
        wrong: "(sigmoid + silu * sigmoid)",
        test: kernels::fused_products,
        on_coop: true,
    },
    Fault {
        name: "coop_mask_off_by_one_in_sums",
        file: "attention_coop",
        right: "exp(scores - larger), seen)",
        wrong: "exp(scores - larger), vec4(start + 4u * v) + vec4(0u, 1u, 2u, 3u) < vec4(i))",
        test: kernels::attention_in_short,
        on_coop: true,
    },
    Fault {
        name: "coop_mask_off_by_one",
        file: "attention_coop",
        right: "vec4<f16>(select(vec4<f32>(), weights, seen))",
        wrong: "vec4<f16>(select(vec4<f32>(), weights, vec4(start + 4u * v) + vec4(0u, 1u, 2u, 3u) < vec4(i)))",
        test: kernels::attention_in_short,
        on_coop: true,
    },
    Fault {
        name: "coop_mask_off_by_one_in_queries",
        file: "attention_backward_queries_coop",
        right: "vec4(0u, 1u, 2u, 3u) <= vec4(i);",
        wrong: "vec4(0u, 1u, 2u, 3u) <= vec4(i + 1u);",
        test: kernels::attention_in_short,
        on_coop: true,
    },
    Fault {
        name: "coop_mask_off_by_one_in_keys",
        file: "attention_backward_keys_coop",
        right: "(vec4(j) <= i)",
        wrong: "(vec4(j) < i)",
        test: kernels::attention_in_short,
        on_coop: true,
    },
    Fault {
        name: "coop_padding_not_zero",
        file: "lib/attention_coop",
        right: "row < p.sequence && 4u * v < HEAD_WIDTH",
        wrong: "row < p.sequence",
        test: kernels::attention_in_short,
        on_coop: true,
    },
    Fault {
        name: "coop_padding_of_dout_not_zero",
        file: "lib/attention_gradients",
        right: "row < p.sequence && 4u * v < HEAD_WIDTH",
        wrong: "row + 1u < p.sequence",
        test: kernels::attention_in_short,
        on_coop: true,
    },
    Fault {
        name: "coop_subgroups_in_another_order",
        file: "lib/attention_coop",
        right: "own = subgroup == turn;",
        wrong: "own = subgroup == (turn ^ 1u);",
        test: kernels::attention_in_short,
        on_coop: true,
    },
    Fault {
        name: "coop_turned_forth",
        file: "lib/attention_gradients",
        right: "vec4<f16>(b * cosine - a * sine)",
        wrong: "vec4<f16>(b * cosine + a * sine)",
        test: kernels::attention_in_short,
        on_coop: true,
    },
    Fault {
        name: "turned_by_the_first_sequence",
        file: "attention_backward",
        right: "positions[p.positions_at + batch * p.sequence + row]",
        wrong: "positions[p.positions_at + row]",
        test: kernels::attention_in_short,
        on_coop: false,
    },
];

/// The tests that find faults find none in a faultless copy.
fn nothing_is_found(bench: &Bench) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    copy_shaders(folder.path());
    let options = Options {
        library: Library::Folder(folder.path().to_owned()),
        unprobed: true,
        ..Options::default()
    };
    let device =
        Device::open(bench.device.adapter.clone(), options).expect("the adapter opened before");
    for fault in FAULTS {
        (fault.test)(&Bench { device: device.clone(), precision: fault.precision() });
    }
}

fn is_found(fault: &Fault, bench: &Bench) -> Result<(), Failed> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    copy_shaders(folder.path());
    let path = folder.path().join(format!("{}.wgsl", fault.file));
    let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
    assert_eq!(
        text.matches(fault.right).count(),
        1,
        "{}: {} is to be there once",
        fault.file,
        fault.right
    );
    std::fs::write(&path, text.replace(fault.right, fault.wrong)).map_err(|e| e.to_string())?;
    let options = Options {
        library: Library::Folder(folder.path().to_owned()),
        unprobed: true,
        ..Options::default()
    };
    let device = Device::open(bench.device.adapter.clone(), options).map_err(|e| e.to_string())?;
    let faulty = Bench { device, precision: fault.precision() };
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (fault.test)(&faulty)));
    if found.is_err() {
        Ok(())
    } else {
        Err(format!("no test noticed {} in {}", fault.name, fault.file).into())
    }
}

/// The embedded shaders as files.
pub(crate) fn copy_shaders(folder: &Path) {
    std::fs::create_dir_all(folder.join("lib")).expect("a folder can be made");
    for (name, text) in FILES {
        std::fs::write(folder.join(format!("{name}.wgsl")), text).expect("a file can be written");
    }
}

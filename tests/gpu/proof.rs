//! A kernel that computes wrongly is found by its probe before it is used, and gives way to other tiles, at last to the scalar kernel.
//!
//! What remains in use is then run at a shape or two; with `BEDTIME_LONG=1` at all of them.
use std::sync::Arc;

use compute::gpu::{Device, Options};
use compute::wgsl::Library;
use compute::{EngineError, Gpu, Optimizer, Precision, Trainer};
use libtest_mimic::{Failed, Trial};
use model::{Config, TensorTable, initial_weights};
use tempfile::TempDir;
use tests::windows::Windows;

use crate::shaders::copy_shaders;
use crate::step::{small, step};
use crate::{Bench, kernels};

type Test = fn(&Bench) -> Result<(), Failed>;

pub(crate) fn trials(bench: Option<&Bench>) -> Vec<Trial> {
    let cases: [(&str, bool, Test); 7] = [
        ("a_wrong_subgroup_size_gives_way", true, a_wrong_subgroup_size_gives_way),
        ("without_a_right_shape_all_is_scalar", true, without_a_right_shape_all_is_scalar),
        ("one_wrong_tile_gives_way_to_the_next", true, one_wrong_tile_gives_way_to_the_next),
        ("one_wrong_kernel_alone_goes_scalar", true, one_wrong_kernel_alone_goes_scalar),
        ("overflow_that_saturates_is_refused", false, overflow_that_saturates_is_refused),
        ("what_goes_scalar_is_told_once", true, what_goes_scalar_is_told_once),
        ("an_odd_vocabulary_stays_on_the_matrices", true, an_odd_vocabulary_stays),
    ];
    let lacks = |on_coop: bool| match bench {
        None => "no adapter",
        Some(bench) if !bench.device.adapter.supports(Precision::F16) => "no f16",
        Some(bench) if on_coop && bench.device.adapter.coop().is_none() => {
            "no cooperative matrices"
        }
        Some(_) => "",
    };
    let trial = |(name, on_coop, test): (&str, bool, Test)| {
        let (own, lacks) = (bench.cloned(), lacks(on_coop));
        Trial::test(format!("proof::{name}"), move || {
            test(&Bench { precision: Precision::F16, ..own.expect("ignored without one") })
        })
        .with_ignored_flag(!lacks.is_empty())
        .with_kind(lacks)
    };
    cases.map(trial).into()
}

/// Runs the short form, or with `BEDTIME_LONG=1` the whole.
fn run(bench: &Bench, device: &Arc<Device>, short: fn(&Bench), whole: fn(&Bench)) {
    let bench = Bench { device: device.clone(), ..bench.clone() };
    if std::env::var_os("BEDTIME_LONG").is_some() { whole(&bench) } else { short(&bench) }
}

fn run_fused(bench: &Bench, device: &Arc<Device>) {
    run(bench, device, kernels::fused_products_in_short, kernels::fused_products);
}

/// The adapter opened anew, with a fault in a shader; and the folder of the shaders, which are read whenever a kernel is compiled.
fn with_fault(
    bench: &Bench,
    file: &str,
    right: &str,
    wrong: &str,
) -> Result<(Arc<Device>, TempDir), Failed> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    copy_shaders(folder.path());
    let path = folder.path().join(format!("{file}.wgsl"));
    let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
    assert_eq!(text.matches(right).count(), 1, "{file}: {right} is to be there once");
    std::fs::write(&path, text.replace(right, wrong)).map_err(|e| e.to_string())?;
    let library = Library::Folder(folder.path().to_owned());
    Ok((open(bench, Options { library, ..Options::default() })?, folder))
}

fn open(bench: &Bench, options: Options) -> Result<Arc<Device>, Failed> {
    Ok(Device::open(bench.device.adapter.clone(), options).map_err(|e| e.to_string())?)
}

/// Half the true size puts two subgroups' work on one: each has other data, so the probe sees it.
fn a_wrong_subgroup_size_gives_way(bench: &Bench) -> Result<(), Failed> {
    let right = bench.device.plan(Precision::F16).ok_or("there are matrices")?.coop;
    let subgroups = vec![right.subgroup / 2, right.subgroup];
    let device = open(bench, Options { subgroups, ..Options::default() })?;
    let before = device.plan(Precision::F16).ok_or("a plan")?;
    assert_eq!(before.coop.subgroup, right.subgroup / 2, "the first is tried first");
    run_fused(bench, &device);
    assert_eq!(device.plan(Precision::F16).map(|plan| plan.coop), Some(right));
    Ok(())
}

fn without_a_right_shape_all_is_scalar(bench: &Bench) -> Result<(), Failed> {
    let right = bench.device.plan(Precision::F16).ok_or("there are matrices")?.coop;
    let device =
        open(bench, Options { subgroups: vec![right.subgroup / 2], ..Options::default() })?;
    run_fused(bench, &device);
    assert_eq!(device.plan(Precision::F16), None);
    let told = device.notices();
    assert!(
        told.len() == 1 && told[0].contains("cooperative matrices fail their probe"),
        "{told:?}"
    );
    Ok(())
}

fn one_wrong_tile_gives_way_to_the_next(bench: &Bench) -> Result<(), Failed> {
    let (device, _shaders) = with_fault(
        bench,
        "matmul_nt_residual_coop",
        "x[(p.x_at + at) / 4u] + values",
        "x[(p.x_at + at) / 4u] + select(values, vec4<f32>(), TILE_K == 32u)",
    )?;
    run_fused(bench, &device);
    let told = device.notices();
    let line = "matmul_nt_residual_coop fails its probe with tiles of";
    assert!(!told.is_empty() && told.iter().all(|told| told.contains(line)), "{told:?}");
    assert!(!told.iter().any(|told| told.contains("the scalar kernel")), "{told:?}");
    let plan = device.plan(Precision::F16).ok_or("a plan")?;
    assert!(plan.to_string().contains("not matmul_nt_residual_coop"), "{plan}");
    let gpu = Gpu::open(&device, Precision::F16, 40).map_err(|e| e.to_string())?;
    assert!(device.take_plan(&gpu.plan()), "{}", gpu.plan());
    Ok(())
}

fn one_wrong_kernel_alone_goes_scalar(bench: &Bench) -> Result<(), Failed> {
    for (file, right, wrong, kernel) in [
        ("matmul_tn_coop", "part = group.z;", "part = max(group.z, 1u) - 1u;", "matmul_tn_coop"),
        (
            "attention_backward_keys_coop",
            "(vec4(j) <= i)",
            "(vec4(j) < i)",
            "attention_backward_keys_coop",
        ),
    ] {
        let (device, _shaders) = with_fault(bench, file, right, wrong)?;
        match file {
            "matmul_tn_coop" => {
                run(bench, &device, kernels::split_products_in_short, kernels::split_products);
            }
            _ => run(bench, &device, kernels::attention_in_short, kernels::attention_in_short),
        }
        let told = device.notices();
        assert!(told.iter().all(|told| told.contains(kernel)), "{told:?}");
        assert!(told.iter().any(|told| told.contains("instead the scalar kernel")), "{told:?}");
    }
    Ok(())
}

/// A conversion that stops at the largest number would hide overflows from the loss scale.
fn overflow_that_saturates_is_refused(bench: &Bench) -> Result<(), Failed> {
    let (device, _shaders) = with_fault(
        bench,
        "lib/store_f16",
        "return f16(x);",
        "return f16(clamp(x, -65504.0, 65504.0));",
    )?;
    let error = Gpu::open(&device, Precision::F16, 40).err().ok_or("f16 is to be refused")?;
    assert!(
        matches!(&error, EngineError::Probe(what) if what.to_string().contains("65504 in place of 70000")),
        "{error}"
    );
    Ok(())
}

/// A width that is no multiple of four keeps its matmuls off the matrices: one line each, in the first step alone.
fn what_goes_scalar_is_told_once(bench: &Bench) -> Result<(), Failed> {
    let told = told_of(bench, Config { d_mlp: 90, ..small() })?;
    for method in ["matmul_nt", "matmul_nn", "matmul_tn"] {
        let of = format!("{method} does not go on cooperative matrices");
        let lines: Vec<&String> = told.iter().filter(|told| told.starts_with(&of)).collect();
        assert!(lines.len() == 1 && lines[0].contains("90 is not a multiple of four"), "{told:?}");
    }
    assert_eq!(told.len(), 3, "{told:?}");
    Ok(())
}

/// GPT-2's has 50,257 tokens: the rows of the logits are padded.
fn an_odd_vocabulary_stays(bench: &Bench) -> Result<(), Failed> {
    let told = told_of(bench, Config { vocab_size: 509, ..small() })?;
    assert!(told.is_empty(), "{told:?}");
    Ok(())
}

/// What is told in the first two steps of a model.
fn told_of(bench: &Bench, config: Config) -> Result<Vec<String>, Failed> {
    let device = open(bench, Options::default())?;
    let kernels =
        Gpu::open(&device, Precision::F16, config.head_width()).map_err(|e| e.to_string())?;
    let weights = initial_weights(&TensorTable::new(&config), 1);
    let mut trainer =
        Trainer::new(kernels, config, Optimizer::default(), &weights, 2, config.context)
            .map_err(|e| e.to_string())?;
    let stories = Windows::new(config.vocab_size);
    for i in 0..2 {
        step(&mut trainer, &stories.batch(i, 2, config.context), 1e-3);
    }
    Ok(device.notices())
}

//! What a user can get wrong, or a machine may lack, with the real binaries where a binary says it.
use compute::gpu::{Adapter, Device, Options, adapters};
use compute::{EngineError, Gpu, Optimizer, Precision, Trainer};
use libtest_mimic::Trial;
use model::{Config, TensorTable, initial_weights};
use serde_json::Value;
use tests::{DATA_STAGES, Run};

use crate::Bench;
use crate::shaders::copy_shaders;

type Check = fn(&Bench);

const CASES: &[(&str, Check)] = &[
    ("an_unknown_gpu_is_named_beside_those_there_are", unknown_gpu),
    ("no_driver_falls_back_or_is_told", no_driver),
    ("a_broken_shader_is_told_with_its_line", broken_shader),
    ("a_wrong_product_fails_the_probe", failed_probe),
    ("memory_that_does_not_suffice_is_told_with_numbers", out_of_memory),
    ("a_lost_device_is_an_error_that_may_pass", lost),
    ("a_gpu_without_f16_or_with_small_limits_is_refused", lacking),
    ("webgpus_default_limits_suffice", default_limits),
    ("devices_are_listed", listed),
    ("the_stages_agree_with_the_cpu", stages),
];

pub(crate) fn trials(bench: Option<&Bench>) -> Vec<Trial> {
    let trial = |(name, check): &(&str, Check)| {
        let (bench, check) = (bench.cloned(), *check);
        let lacks = if bench.is_none() { "no adapter" } else { "" };
        let test = move || Ok(check(&bench.expect("ignored without one")));
        Trial::test(format!("stages::{name}"), test)
            .with_ignored_flag(!lacks.is_empty())
            .with_kind(lacks)
    };
    CASES.iter().map(trial).collect()
}

/// The first adapter, whatever it is, by its number.
const DEVICE: [&str; 2] = ["--device", "gpu:0"];

fn with_data() -> Run {
    let run = Run::new();
    run.through(&DATA_STAGES);
    run
}

fn unknown_gpu(bench: &Bench) {
    let run = with_data();
    let name = &bench.device.adapter.info.name;
    run.run("train", &["--device", "gpu:9"]).code(2).says(&[
        "there is no gpu:9",
        "gpu:0",
        name,
        "remedy",
        "--list-devices",
    ]);
    run.run("train", &["--device", "gpu:one"]).code(2).says(&["gpu:one", "gpu:N"]);
    run.run("train", &["--precision", "f64"]).code(2).says(&["f64", "bf16"]);
    run.run("train", &["--device", "cpu", "--precision", "f16"])
        .code(2)
        .says(&["the CPU engine computes in f32", "remedy"]);
    run.run("train", &["--device", "cpu", "--profile"]).code(2).says(&["--profile", "GPU"]);
    run.run("train", &["--device", "cpu", "--tune"]).code(2).says(&[
        "--tune",
        "cooperative matrices",
        "--precision f16",
    ]);
    assert!(!run.path("run").exists(), "nothing was begun");
    if bench.device.adapter.is_software() {
        run.run("train", &["--device", "gpu"]).code(2).says(&[
            "no GPU was found",
            "software",
            "gpu:0",
            "--device cpu",
        ]);
    }
}

fn no_driver(_: &Bench) {
    let run = with_data();
    let without = |stage: &str, args: &[&str]| {
        let mut command = run.command(stage);
        command
            .args(args)
            .env("VK_DRIVER_FILES", "/nowhere.json")
            .env("VK_ICD_FILENAMES", "/nowhere.json");
        tests::Ended::of(command.output().unwrap(), stage)
    };
    without("train", &["--device", "gpu"]).code(2).says(&[
        "no GPU was found",
        "no adapter",
        "--device cpu",
    ]);
    without("train", &["--device", "auto"])
        .ok()
        .says(&["device auto: the CPU engine, since no GPU was found"]);
    let listed = without("train", &["--list-devices"]).ok();
    assert!(
        listed.stdout.contains("cpu ") && listed.stdout.contains("no GPU was found"),
        "{}",
        listed.stdout
    );
}

fn broken_shader(_: &Bench) {
    let run = with_data();
    let folder = run.input("shaders");
    let train =
        || run.run("train", &[&DEVICE[..], &["--shaders", folder.to_str().unwrap()]].concat());
    train().code(3).says(&["matmul.wgsl is not there", "remedy"]);
    copy_shaders(&folder);
    let path = folder.join("swiglu.wgsl");
    let right = std::fs::read_to_string(&path).unwrap();
    let line = right.lines().position(|line| line.contains("let gate = ")).unwrap() + 1;
    for (wrong, why) in [
        ("let gate = widen(gate_up[at]", "expected"),
        ("let gate = widdn(gate_up[at]);", "widdn"),
        ("let gate: u32 = widen(gate_up[at]);", "u32"),
    ] {
        std::fs::write(&path, right.replace("let gate = widen(gate_up[at]);", wrong)).unwrap();
        let ended = train().code(3).says(&["swiglu.wgsl:", why, "remedy"]);
        let near = [line, line + 1]
            .iter()
            .any(|line| ended.stderr.contains(&format!("swiglu.wgsl:{line}:")));
        assert!(near, "line {line} in {}", ended.stderr);
    }
    std::fs::write(&path, right.replace("#import lib/store", "#import lib/stroe")).unwrap();
    train().code(3).says(&["swiglu.wgsl:", "lib/stroe", "lib/store"]);
    assert!(!run.path("run").exists(), "nothing was begun");
    std::fs::write(&path, right).unwrap();
    train().ok();
}

fn failed_probe(_: &Bench) {
    let run = with_data();
    let folder = run.input("shaders");
    copy_shaders(&folder);
    let path = folder.join("matmul.wgsl");
    let text =
        std::fs::read_to_string(&path).unwrap().replace("start < p.k;", "start + TILE_K < p.k;");
    std::fs::write(&path, text).unwrap();
    let ended =
        run.run("train", &[&DEVICE[..], &["--shaders", folder.to_str().unwrap()]].concat()).code(4);
    ended.says(&[
        "matmul_nt",
        "as element",
        "expected: what the CPU engine computes",
        "remedy",
        "--device cpu",
    ]);
    assert!(!run.path("run").exists(), "nothing was begun");
}

fn out_of_memory(_: &Bench) {
    let run = with_data().set("train.batch=64");
    let with = |mib: &str, args: &[&str]| {
        let mut command = run.command("train");
        command
            .args(DEVICE)
            .args(["--precision", "f32", "--steps", "2"])
            .args(args)
            .env("BEDTIME_GPU_MEMORY_MIB", mib);
        tests::Ended::of(command.output().unwrap(), "train")
    };
    let ended = with("24", &[]).code(4).says(&[
        "memory does not suffice",
        "needed:",
        "fits: a batch of",
        "remedy: train.batch=",
    ]);
    let number = |key: &str| -> String {
        let rest = ended
            .stderr
            .split(key)
            .nth(1)
            .unwrap_or_else(|| panic!("no {key} in {}", ended.stderr));
        rest.chars().take_while(char::is_ascii_digit).collect()
    };
    let (batch, accumulate) = (number("train.batch="), number("train.accumulate="));
    assert_eq!(
        batch.parse::<u32>().unwrap() * accumulate.parse::<u32>().unwrap(),
        64,
        "the same step"
    );
    with("24", &["--batch", &batch, "--accumulate", &accumulate]).ok();
    // What cannot begin leaves the run that is there alone.
    with("4", &["--force"]).code(4).says(&["memory was full", "--device cpu"]);
    let large = ["--force", "--set", "model.d_model=256", "--set", "model.d_mlp=768"];
    with("24", &large).code(4).says(&["not even a batch of 1", "--device cpu"]);
    assert!(run.path("run/final").exists() && !run.path("run.1").exists());
}

fn small() -> Config {
    let section = stage::config::Model {
        n_layer: 1,
        n_head: 2,
        n_kv_head: None,
        d_model: 16,
        d_mlp: 24,
        context: 8,
    };
    Config::new(&section, 260)
}

fn lost(bench: &Bench) {
    let config = small();
    let device = Device::open(bench.device.adapter.clone(), Options::default()).unwrap();
    let weights = initial_weights(&TensorTable::new(&config), 1);
    let mut trainer = Trainer::new(
        Gpu::open(&device, Precision::F32, 8).unwrap(),
        config,
        Optimizer::default(),
        &weights,
        2,
        8,
    )
    .unwrap();
    let windows: Vec<u32> = (0..18).collect();
    trainer.begin();
    trainer.accumulate(&windows, 0.1);
    device.lose();
    let error = trainer.model.weights().unwrap_err();
    assert!(matches!(error, EngineError::DeviceLost(_)), "{error:?}");
    let failure = inference::failed(error);
    assert_eq!(failure.exit_code(), 4);
    assert!(
        failure.to_string().contains("last checkpoint") && failure.to_string().contains("remedy"),
        "{failure}"
    );
}

fn lacking(bench: &Bench) {
    let adapter = || bench.device.adapter.clone();
    let refused = |adapter: Adapter, precision: Precision| {
        let opened = Device::open(adapter, Options::default())
            .and_then(|device| Gpu::open(&device, precision, 8));
        match opened {
            Ok(_) => panic!("it was taken"),
            Err(error) => {
                assert!(matches!(error, EngineError::Unsupported(_)), "{error:?}");
                error.to_string()
            }
        }
    };
    let mut plain = adapter();
    plain.features.remove(wgpu::Features::SHADER_F16 | wgpu::Features::SHADER_I16);
    assert_eq!(plain.best_precision().0, Precision::F32);
    let text = refused(plain, Precision::F16);
    assert!(
        text.contains("f16") && text.contains("expected: one of f32") && text.contains("remedy"),
        "{text}"
    );

    let mut tight = adapter();
    tight.limits.max_compute_workgroup_storage_size = 8192;
    let text = refused(tight, Precision::F32);
    assert!(
        text.contains("max_compute_workgroup_storage_size")
            && text.contains("8192")
            && text.contains("remedy"),
        "{text}"
    );

    // A model whose buffers are larger than the GPU takes.
    let device =
        Device::open(adapter(), Options { default_limits: true, ..Options::default() }).unwrap();
    let section = stage::config::Model {
        n_layer: 1,
        n_head: 2,
        n_kv_head: None,
        d_model: 2048,
        d_mlp: 24,
        context: 8,
    };
    let config = Config::new(&section, 20_000);
    let error = compute::Model::new(
        Gpu::open(&device, Precision::F32, 1024).unwrap(),
        config,
        &vec![0.0; TensorTable::new(&config).len],
        1,
        8,
    );
    let text = error.err().expect("160 MB do not fit 128 MiB").to_string();
    assert!(text.contains("weights") && text.contains("128 MiB"), "{text}");
}

fn default_limits(bench: &Bench) {
    let device = Device::open(
        bench.device.adapter.clone(),
        Options { default_limits: true, ..Options::default() },
    )
    .unwrap();
    let bench = Bench { device, precision: Precision::F32 };
    crate::kernels::attention(&bench);
    crate::step::passes(&bench);
}

fn listed(bench: &Bench) {
    let run = Run::new();
    let out = run.run("train", &["--list-devices"]).ok().stdout;
    for part in [
        bench.device.adapter.info.name.as_str(),
        "gpu:0",
        "f16",
        "timestamps",
        "matrix tiles",
        "limits",
        "auto would",
        "cpu ",
    ] {
        assert!(out.contains(part), "{part} in {out}");
    }
    assert_eq!(
        adapters::list().len(),
        out.lines().filter(|line| line.starts_with("gpu:")).count(),
        "{out}"
    );
}

/// train, eval-ppl and sample on the GPU beside the CPU engine.
fn stages(bench: &Bench) {
    let cpu = with_data();
    cpu.run("train", &["--device", "cpu"]).ok();
    let last = |run: &Run| -> Value {
        let text = String::from_utf8(run.read("run/loss.jsonl")).unwrap();
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    };
    for precision in ["f32", "f16", "bf16"] {
        if !bench.device.adapter.supports(match precision {
            "f32" => Precision::F32,
            "f16" => Precision::F16,
            _ => Precision::Bf16,
        }) {
            continue;
        }
        let gpu = with_data();
        let args = [&DEVICE[..], &["--precision", precision]].concat();
        gpu.run("train", &args).ok().says(&["gpu:0", precision]);
        let (found, expected) =
            (last(&gpu)["val_loss"].as_f64().unwrap(), last(&cpu)["val_loss"].as_f64().unwrap());
        let most = if precision == "f32" { 1e-4 } else { 1e-2 };
        assert!((found / expected - 1.0).abs() < most, "{precision}: {found} for {expected}");
        assert_eq!(last(&gpu)["loss_scale"].is_number(), precision == "f16", "{}", last(&gpu));
        gpu.run("train", &args).ok().says(&["up to date"]);

        // Ended at step 5 and taken up again: the same weights, optimizer slots, losses and stories as undisturbed.
        let half = with_data();
        let fault = [&args[..], &["--set", "train.val_every=4"]].concat();
        let mut command = half.command("train");
        tests::Ended::of(
            command.args(&fault).env("BEDTIME_FAULT", "nan@5").output().unwrap(),
            "train",
        )
        .code(4)
        .says(&["step 5"]);
        half.run("train", &fault).ok().says(&["going on with step 4"]);
        for name in [
            "run/final/model.safetensors",
            "run/checkpoints/last.safetensors",
            "run/checkpoints/best.safetensors",
            "run/samples.md",
        ] {
            assert!(
                gpu.read(name) == half.read(name),
                "{precision}: {name} differs after going on"
            );
        }
        let losses = |run: &Run| -> Vec<Value> {
            let text = String::from_utf8(run.read("run/loss.jsonl")).unwrap();
            let line = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
            let mut lines: Vec<Value> = text.lines().map(line).collect();
            for line in &mut lines {
                line["elapsed_s"].take();
                line["tokens_per_second"].take();
            }
            lines
        };
        assert_eq!(losses(&gpu), losses(&half), "{precision}");

        // The same model, judged and told by both engines.
        gpu.run("eval-ppl", &["--device", "cpu", "--force"]).ok();
        let expected = gpu.json("eval.json")["loss"].as_f64().unwrap();
        gpu.run("eval-ppl", &[&args[..], &["--force"]].concat()).ok();
        let found = gpu.json("eval.json")["loss"].as_f64().unwrap();
        assert!((found / expected - 1.0).abs() < most, "{precision}: {found} for {expected}");
        if precision == "f32" {
            let greedy = |args: &[&str]| {
                gpu.run(
                    "sample",
                    &[args, &["--temperature", "0", "--max-tokens", "128", "--n", "1"]].concat(),
                )
                .ok()
                .stdout
            };
            assert_eq!(greedy(&DEVICE), greedy(&["--device", "cpu"]));
        }
    }
}

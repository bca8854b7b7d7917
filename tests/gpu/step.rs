//! The whole step on the GPU: golden values of PyTorch, a run beside the CPU engine's, overflow, repetition, decoding.
use compute::gpu::Device;
use compute::gpu::table::MATMUL_NT_COOP;
use compute::{
    Cpu, Decoder, Gpu, Kernels, Metrics, Model, Optimizer, OptimizerKind, Precision, Row, Trainer,
    state,
};
use model::{Config, TensorTable, initial_weights};
use tests::golden::{Folder, Golden};
use tests::windows::Windows;

use crate::lab::{assert_close, tokens};
use crate::{Bench, Case};

pub(crate) const CASES: &[Case] = &[
    Case { name: "golden", run: golden },
    Case { name: "golden_muon", run: golden_muon },
    Case { name: "elsewhere", run: elsewhere },
    Case { name: "training", run: training },
    Case { name: "overflow", run: overflow },
    Case { name: "same_bits", run: same_bits },
    Case { name: "passes", run: passes },
    Case { name: "decoding", run: decoding },
    Case { name: "budget", run: budget },
    Case { name: "barriers", run: barriers },
    Case { name: "plan", run: plan },
];

fn gpu(bench: &Bench, config: &Config) -> Box<dyn Kernels> {
    Gpu::open(&bench.device, bench.precision, config.head_width()).unwrap()
}

pub(crate) fn step(trainer: &mut Trainer, windows: &[u32], learning_rate: f32) -> Metrics {
    let sequence = trainer.model.sequence();
    let scale = 1.0 / (windows.len() / (sequence + 1) * sequence) as f32;
    trainer.begin();
    trainer.accumulate(windows, scale);
    let ticket = trainer.update(learning_rate, 1.0);
    trainer.metrics(ticket, scale, true).unwrap().unwrap()
}

/// Logits of models that transformers wrote: shared and untied heads, another theta and epsilon; whole windows and losses.
fn elsewhere(bench: &Bench) {
    let limit = match bench.precision {
        Precision::F32 => 1e-4,
        Precision::F16 => 2e-2,
        Precision::Bf16 => 2e-1,
    };
    for name in ["llama_plain", "llama_shared"] {
        let Folder { config, weights, tokens, logits } = Folder::open(name);
        let mut model =
            Model::new(gpu(bench, &config), config, &weights, 2, config.context).unwrap();
        let found = model.logits(&tokens).unwrap();
        let worst = found.iter().zip(&logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= limit, "{name}: {worst}");
        let mut own = Model::new(Cpu::boxed(), config, &weights, 2, config.context).unwrap();
        let targets: Vec<u32> = tokens.iter().skip(1).chain([&0]).copied().collect();
        let losses = [&mut model, &mut own].map(|model| model.losses(&tokens, &targets).unwrap());
        let worst =
            losses[0].iter().zip(&losses[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= limit, "{name}: losses {worst}");
    }
}

/// Gradients, three updates and ten losses of PyTorch.
fn golden(bench: &Bench) {
    let precision = bench.precision;
    // What a precision of two bytes rounds on the way adds up over the layers of a model with large weights.
    let (of_gradients, of_losses) = match precision {
        Precision::F32 => (1e-5, 1e-5),
        Precision::F16 => (1e-2, 1e-3),
        Precision::Bf16 => (5e-2, 5e-3),
    };
    let golden = Golden::open("small.safetensors");
    let (sequence, windows) = (16, golden.tokens("tokens"));
    let mut trainer = Trainer::new(
        gpu(bench, &golden.config),
        golden.config,
        Optimizer::default(),
        &golden.flat("weight."),
        3,
        sequence,
    )
    .unwrap();
    let scale = 1.0 / 48.0;
    trainer.begin();
    trainer.accumulate(&windows, scale);
    let loss_scale = trainer.state().unwrap()[state::LOSS_SCALE];
    assert_eq!(loss_scale, precision.initial_loss_scale());
    let gradients: Vec<f32> = trainer.gradients().unwrap().iter().map(|g| g / loss_scale).collect();
    golden.assert_close("gradient", &gradients, &golden.flat("grad."), of_gradients);
    for (i, learning_rate) in [1e-2, 2e-2, 5e-3].into_iter().enumerate() {
        let metrics = step(&mut trainer, &windows, learning_rate);
        let error = (metrics.loss / golden.floats("losses")[i] - 1.0).abs();
        assert!(
            error <= of_losses,
            "{precision}, step {i}: loss {} for {}",
            metrics.loss,
            golden.floats("losses")[i]
        );
        if precision == Precision::F32 {
            let expected = golden.flat(&format!("step{}.", i + 1));
            golden.assert_close(
                &format!("weights after update {}", i + 1),
                &trainer.model.weights().unwrap(),
                &expected,
                1e-5,
            );
        }
    }

    let golden = Golden::open("ten_losses.safetensors");
    let (all, losses) = (golden.tokens("tokens"), golden.floats("losses"));
    let (sequence, per_step) = (golden.config.context, all.len() / losses.len());
    let batch = per_step / (sequence + 1);
    let mut trainer = Trainer::new(
        gpu(bench, &golden.config),
        golden.config,
        Optimizer::default(),
        &golden.flat("weight."),
        batch,
        sequence,
    )
    .unwrap();
    for (i, windows) in all.chunks_exact(per_step).enumerate() {
        let metrics = step(&mut trainer, windows, 3e-3);
        let error = (metrics.loss / losses[i] - 1.0).abs();
        assert!(
            error <= of_losses,
            "{precision}, step {i}: loss {} for {}",
            metrics.loss,
            losses[i]
        );
    }
}

/// Three updates of PyTorch's by Muon: in f32 the weights, in two bytes the losses.
fn golden_muon(bench: &Bench) {
    let limit = match bench.precision {
        Precision::F32 => 1e-5,
        Precision::F16 => 1e-3,
        Precision::Bf16 => 5e-3,
    };
    for (name, cautious_decay) in [("muon", false), ("muon_cautious", true)] {
        let golden = Golden::open(&format!("{name}.safetensors"));
        let optimizer =
            Optimizer { weight_decay: 0.1, cautious_decay, ..Optimizer::new(OptimizerKind::Muon) };
        let (kernels, weights) = (gpu(bench, &golden.config), golden.flat("weight."));
        let mut trainer = Trainer::new(kernels, golden.config, optimizer, &weights, 3, 16).unwrap();
        let (windows, losses) = (golden.tokens("tokens"), golden.floats("losses"));
        for (i, learning_rate) in [1e-2, 2e-2, 5e-3].into_iter().enumerate() {
            let loss = step(&mut trainer, &windows, learning_rate).loss;
            let error = (loss / losses[i] - 1.0).abs();
            assert!(error <= limit, "{name}, step {i}: loss {loss} for {}", losses[i]);
            if bench.precision == Precision::F32 {
                golden.assert_close(
                    &format!("{name}: weights after update {}", i + 1),
                    &trainer.model.weights().unwrap(),
                    &golden.flat(&format!("step{}.", i + 1)),
                    limit.into(),
                );
            }
        }
    }
}

/// The small model of the issue: 2 layers, width 80, 2 heads of 40, context 64, vocabulary 512.
pub(crate) fn small() -> Config {
    Config {
        vocab_size: 512,
        n_layer: 2,
        n_head: 2,
        n_kv_head: 2,
        d_model: 80,
        d_mlp: 216,
        context: 64,
        rms_eps: Config::RMS_EPS,
        rope_base: Config::ROPE_BASE,
        tied: true,
    }
}

/// 100 steps on stories beside the CPU engine's: in f32 the same curve, in two bytes the same validation.
fn training(bench: &Bench) {
    let (config, batch, steps) = (small(), 8, 100);
    let stories = Windows::new(config.vocab_size);
    let weights = initial_weights(&TensorTable::new(&config), 1);
    let run = |kernels: Box<dyn Kernels>| {
        let mut trainer =
            Trainer::new(kernels, config, Optimizer::default(), &weights, batch, config.context)
                .unwrap();
        let curve: Vec<f32> = (0..steps)
            .map(|i| {
                let lr = 3e-3 * (0.1 + 0.9 * (1.0 - i as f32 / steps as f32));
                step(&mut trainer, &stories.batch(i as u64, batch, config.context), lr).loss
            })
            .collect();
        let (inputs, targets) = stories.held_out(16, config.context);
        let losses = inputs
            .chunks(batch * config.context)
            .zip(targets.chunks(batch * config.context))
            .flat_map(|(inputs, targets)| trainer.model.losses(inputs, targets).unwrap())
            .collect::<Vec<f32>>();
        (curve, losses.iter().sum::<f32>() / losses.len() as f32)
    };
    let (expected, expected_validation) = run(Cpu::boxed());
    let (found, validation) = run(gpu(bench, &config));
    assert!(
        expected[steps - 1] < 0.75 * expected[0],
        "it learns: {} to {}",
        expected[0],
        expected[steps - 1]
    );
    if bench.precision == Precision::F32 {
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!((found / expected - 1.0).abs() <= 1e-3, "step {i}: {found} for {expected}");
        }
    }
    let most = if bench.precision == Precision::F32 { 1e-3 } else { 1e-2 };
    assert!(
        (validation / expected_validation - 1.0).abs() <= most,
        "validation {validation} for {expected_validation}"
    );
}

/// An overflow skips exactly one update, and the run recovers.
pub(crate) fn overflow(bench: &Bench) {
    let config = small();
    let stories = Windows::new(config.vocab_size);
    let weights = initial_weights(&TensorTable::new(&config), 1);
    let mut trainer = Trainer::new(
        gpu(bench, &config),
        config,
        Optimizer::default(),
        &weights,
        2,
        config.context,
    )
    .unwrap();
    let before = step(&mut trainer, &stories.batch(0, 2, config.context), 1e-3);
    assert_eq!((before.skipped, before.loss_scale), (0, bench.precision.initial_loss_scale()));
    let (kept, slots) = (trainer.model.weights().unwrap(), trainer.slots().unwrap());

    let windows = stories.batch(1, 2, config.context);
    trainer.begin();
    trainer.accumulate(&windows, 1.0 / 128.0);
    let mut gradients = trainer.gradients().unwrap();
    gradients[1234] = f32::INFINITY;
    trainer.set_gradients(&gradients);
    let ticket = trainer.update(1e-3, 1.0);
    let metrics = trainer.metrics(ticket, 1.0 / 128.0, true).unwrap().unwrap();
    assert!(!metrics.grad_norm.is_finite() && metrics.loss.is_finite());
    let halved = if bench.precision == Precision::F16 { 0.5 } else { 1.0 };
    assert_eq!((metrics.skipped, metrics.loss_scale), (1, before.loss_scale * halved));
    assert!(
        trainer.model.weights().unwrap() == kept && trainer.slots().unwrap() == slots,
        "nothing moved"
    );

    let after = step(&mut trainer, &windows, 1e-3);
    assert_eq!(after.skipped, 1);
    assert!(
        after.grad_norm.is_finite() && trainer.model.weights().unwrap() != kept,
        "and it goes on"
    );
}

/// The same seed gives the same bits twice, and so does a run that was put down and taken up.
fn same_bits(bench: &Bench) {
    let config = small();
    let stories = Windows::new(config.vocab_size);
    let weights = initial_weights(&TensorTable::new(&config), 1);
    let fresh = || {
        Trainer::new(gpu(bench, &config), config, Optimizer::default(), &weights, 4, config.context)
            .unwrap()
    };
    let steps = |trainer: &mut Trainer, range: std::ops::Range<u64>| -> Vec<u32> {
        range
            .map(|i| step(trainer, &stories.batch(i, 4, config.context), 1e-3).loss.to_bits())
            .collect()
    };
    let bits = |trainer: &mut Trainer| -> Vec<u32> {
        let slots = trainer.slots().unwrap().into_values().flatten();
        let weights = trainer.model.weights().unwrap();
        weights.into_iter().chain(slots).map(f32::to_bits).collect()
    };
    let (mut one, mut two, mut resumed) = (fresh(), fresh(), fresh());
    let losses = steps(&mut one, 0..6);
    assert_eq!(losses, steps(&mut two, 0..6));
    let expected = bits(&mut one);
    assert!(expected == bits(&mut two), "the same run gives other bits");

    let mut half = fresh();
    steps(&mut half, 0..3);
    resumed.model.set_weights(&half.model.weights().unwrap());
    resumed.set_slots(&half.slots().unwrap()).unwrap();
    resumed.set_state(&half.state().unwrap());
    assert_eq!(losses[3..], steps(&mut resumed, 3..6), "losses after resuming");
    assert!(expected == bits(&mut resumed), "a resumed run gives other bits");
}

/// Micro-batches add up to the batch, here of a model whose two query heads share keys and values.
pub(crate) fn passes(bench: &Bench) {
    let config = Config { n_kv_head: 1, ..small() };
    let stories = Windows::new(config.vocab_size);
    let weights = initial_weights(&TensorTable::new(&config), 1);
    let windows = stories.batch(0, 6, config.context);
    let gradient = |batch: usize| {
        let mut trainer = Trainer::new(
            gpu(bench, &config),
            config,
            Optimizer::default(),
            &weights,
            batch,
            config.context,
        )
        .unwrap();
        trainer.begin();
        for windows in windows.chunks(batch * (config.context + 1)) {
            trainer.accumulate(windows, 1.0 / 384.0);
        }
        let loss_scale = trainer.state().unwrap()[state::LOSS_SCALE];
        trainer.gradients().unwrap().iter().map(|g| g / loss_scale).collect::<Vec<f32>>()
    };
    let whole = gradient(6);
    for batch in [1, 4] {
        assert_close(
            bench.precision,
            &format!("gradient of micro-batches of {batch}"),
            &gradient(batch),
            &whole,
        );
    }
}

/// Greedy text of a model whose query heads share keys and values equals the CPU engine's in f32 for 128 tokens, and stories do not touch each other.
fn decoding(bench: &Bench) {
    let config = Config { context: 160, n_kv_head: 1, ..small() };
    let stories = Windows::new(config.vocab_size);
    // A model that has learned something: the likeliest token stands out.
    let mut trainer = Trainer::new(
        Cpu::boxed(),
        config,
        Optimizer::default(),
        &initial_weights(&TensorTable::new(&config), 1),
        8,
        64,
    )
    .unwrap();
    for i in 0..60 {
        step(&mut trainer, &stories.batch(i, 8, 64), 3e-3);
    }
    let weights = trainer.model.weights().unwrap();
    let greedy = |kernels: Box<dyn Kernels>| {
        let mut decoder = Decoder::new(kernels, config, &weights, 3).unwrap();
        let prompts: Vec<Vec<u32>> =
            (0..3).map(|seed| tokens(5 + seed as usize, config.vocab_size, seed)).collect();
        let mut texts = Vec::new();
        let mut first_logits = Vec::new();
        for (slot, prompt) in prompts.iter().enumerate() {
            let row = |(position, &token): (usize, &u32)| Row {
                token,
                slot: slot as u32,
                position: position as u32,
            };
            let rows: Vec<Row> = prompt.iter().enumerate().map(row).collect();
            decoder.read(&rows[..rows.len() - 1]);
            let mut last = rows[rows.len() - 1];
            let mut text = Vec::new();
            for _ in 0..128 {
                let logits = decoder.next(&[last]).unwrap();
                if text.is_empty() {
                    first_logits.extend_from_slice(&logits);
                }
                let likeliest = (0..logits.len())
                    .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
                    .unwrap() as u32;
                text.push(likeliest);
                last = Row { token: likeliest, position: last.position + 1, ..last };
            }
            texts.push(text);
        }
        (texts, first_logits)
    };
    let (expected, expected_logits) = greedy(Cpu::boxed());
    let (found, logits) = greedy(gpu(bench, &config));
    assert_close(bench.precision, "logits", &logits, &expected_logits);
    if bench.precision == Precision::F32 {
        assert_eq!(found, expected);
        let mut model = Model::new(gpu(bench, &config), config, &weights, 1, 64).unwrap();
        let (inputs, targets) = stories.held_out(1, 64);
        let mut on_cpu = Model::new(Cpu::boxed(), config, &weights, 1, 64).unwrap();
        let expected = on_cpu.losses(&inputs, &targets).unwrap();
        assert_close(
            bench.precision,
            "losses",
            &model.losses(&inputs, &targets).unwrap(),
            &expected,
        );
    }
}

/// Per layer 7 forward and 13 backward on cooperative matrices, without them what follows products as well (and in two bytes no more than
/// that); 4 for each chunk of the loss; and what stands around the layers.
fn dispatches_of_a_step(on_coop: bool, layers: u64, chunks: u64) -> u64 {
    if on_coop { 20 * layers + 4 * chunks + 15 } else { 25 * layers + 4 * chunks + 15 }
}

/// One submit a step, dispatches within their budget, no buffer after the first step, and reports that need no wait.
fn budget(bench: &Bench) {
    let config = small();
    let stories = Windows::new(config.vocab_size);
    let weights = initial_weights(&TensorTable::new(&config), 1);
    let mut trainer = Trainer::new(
        gpu(bench, &config),
        config,
        Optimizer::default(),
        &weights,
        4,
        config.context,
    )
    .unwrap();
    let mut windows = stories.batch(0, 4, config.context);
    step(&mut trainer, &windows, 1e-3);
    let before = trainer.model.kernels.counts();
    for i in 1..=5 {
        windows = stories.batch(i, 4, config.context);
        step(&mut trainer, &windows, 1e-3);
    }
    let after = trainer.model.kernels.counts();
    assert_eq!(after.buffers, before.buffers, "buffers are allocated before the second step");
    assert_eq!(after.bind_groups, before.bind_groups, "bind groups are made in the first step");
    assert_eq!(after.submits - before.submits, 5, "one submit a step");
    let dispatches = after.dispatches - before.dispatches;
    let on_coop = bench.precision == Precision::F16 && bench.device.adapter.coop().is_some();
    assert_eq!(dispatches, 5 * dispatches_of_a_step(on_coop, config.n_layer as u64, 1));
    assert!(
        dispatches_of_a_step(true, 6, 4) <= 160,
        "the default run: 6 layers, and its loss in 4 chunks"
    );
}

/// Where weights' gradients are split, they run beside those of inputs: a layer's kernels wait 7 times forward and 8 times backward (without
/// cooperative matrices 5 more for what follows products), and once where partials are added up.
fn barriers(bench: &Bench) {
    let config = Config { n_layer: 6, ..small() };
    let weights = initial_weights(&TensorTable::new(&config), 1);
    let (batch, rows) = (8, 8 * config.context);
    assert!(rows >= 512, "enough to be split");
    let mut trainer =
        Trainer::new(gpu(bench, &config), config, Optimizer::default(), &weights, batch, 64)
            .unwrap();
    let windows = Windows::new(config.vocab_size).batch(0, batch, config.context);
    step(&mut trainer, &windows, 1e-3);
    let before = trainer.model.kernels.counts();
    step(&mut trainer, &windows, 1e-3);
    let after = trainer.model.kernels.counts();
    let found = (after.dispatches - before.dispatches, after.barriers - before.barriers);
    let on_coop = bench.precision == Precision::F16 && bench.device.adapter.coop().is_some();
    let layers = config.n_layer as u64;
    let of_layer = if on_coop { 16 } else { 21 };
    let expected = (if on_coop { 136 } else { 166 }, of_layer * layers + 11);
    assert_eq!(found, expected, "dispatches and barriers");
}

/// What a checkpoint tells of its kernels is taken up again, and gives the bits that it gave.
fn plan(bench: &Bench) {
    let config = small();
    let stories = Windows::new(config.vocab_size);
    let weights = initial_weights(&TensorTable::new(&config), 1);
    let own = Device::open(bench.device.adapter.clone(), bench.device.options.clone()).unwrap();
    let run = || {
        let kernels = Gpu::open(&own, bench.precision, config.head_width()).unwrap();
        let mut trainer =
            Trainer::new(kernels, config, Optimizer::default(), &weights, 2, config.context)
                .unwrap();
        let losses: Vec<u32> = (0..2)
            .map(|i| step(&mut trainer, &stories.batch(i, 2, config.context), 1e-3).loss.to_bits())
            .collect();
        let weights: Vec<u32> =
            trainer.model.weights().unwrap().iter().map(|value| value.to_bits()).collect();
        (trainer.model.kernels.plan(), losses, weights)
    };
    let shipped = run();
    assert!(own.take_plan(&shipped.0), "{}", shipped.0);
    assert!(
        !own.take_plan("shaders 0123456789abcdef; scalar tiles of 64"),
        "other shaders have other bits"
    );
    if let Some(mut tuned) = own.plan(bench.precision) {
        let shape = [2 * config.context, config.vocab_size, config.d_model];
        let usual = tuned.tiles(&MATMUL_NT_COOP, shape).unwrap();
        let another = tuned.candidates().into_iter().find(|tiles| *tiles != usual).unwrap();
        tuned.tuned.insert(("matmul_nt_coop".into(), shape), another);
        own.set_plan(Some(tuned));
        let other = run();
        assert_ne!(other.0, shipped.0);
        assert!(own.take_plan(&shipped.0));
        assert!(run() == shipped, "the plan that was told gives the same bits");
        assert!(own.take_plan(&other.0) && run() == other);
        assert!(!own.take_plan(&other.0.replace("of 8 lanes", "of 7 lanes")), "another shape");
    }
}

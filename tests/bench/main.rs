//! `make bench`: what the stages and kernels reach on this machine, one table on stdout.
use std::time::Instant;

use compute::{AdamW, Cpu, Kernels, Trainer};
use model::{Config, TensorTable, initial_weights};

fn main() {
    step_speed();
}

fn step_speed() {
    let config = Config::new(&stage::config::Model::default(), 8000);
    let weights = initial_weights(&TensorTable::new(&config), 1);
    let (batch, sequence) = (4, 512);
    let cpu = Cpu::new();
    eprintln!("{}", cpu.device());
    let mut trainer = Trainer::new(cpu, config, &weights, batch, sequence);
    let mut times = Vec::new();
    for step in 0..12 {
        let windows: Vec<u32> = (0..batch * (sequence + 1)).map(|i| ((i * 7919 + step * 31) % 8000) as u32).collect();
        let scale = 1.0 / (batch * sequence) as f32;
        let started = Instant::now();
        trainer.begin();
        trainer.accumulate(&windows, scale);
        trainer.update(AdamW { learning_rate: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, decay_len: trainer.model.table.decay_len, clip: 1.0, step: step as u64 + 1 });
        let metrics = trainer.metrics(scale);
        times.push(started.elapsed().as_secs_f64());
        eprintln!("{step} {metrics:?} {:.3} s", times[step]);
    }
    times.sort_by(f64::total_cmp);
    println!("step, 10 M, f32, 4 x 512 | {:.0} tokens/s", (batch * sequence) as f64 / times[times.len() / 2]);
}

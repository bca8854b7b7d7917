//! What stages leave behind when they are killed, and what they do in a bad world: the real binaries, every stage.
//!
//! `make test` runs a short form; `BEDTIME_LONG=1` (`make crash-test`) the long one: ten minutes at most, and longer in
//! proportion with more kills (`BEDTIME_KILLS`).
mod kills;
mod world;
mod worlds;

use libtest_mimic::{Arguments, Trial};
use tests::STAGES;

/// Seconds of the long form with [`kills::AT_RANDOM`] kills a stage, all stages together.
const LONG_SECONDS: f64 = 540.0;

/// Where training goes on from in late runs: shortly before a step that is a multiple of 500, up to where the powers of
/// Adam's betas are subnormal and zero.
const LATE: [(&str, u64); 6] = [
    ("train, from step 490", 490),
    ("train, from step 842", 842),
    ("train, from step 990", 990),
    ("train, from step 1,493", 1_493),
    ("train, from step 1,990", 1_990),
    ("train, from step 11,985", 11_985),
];

pub(crate) fn is_long() -> bool {
    std::env::var_os("BEDTIME_LONG").is_some()
}

fn main() -> std::process::ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1); // times are measured and aimed at
    let mut trials = Vec::new();
    for stage in STAGES {
        trials.push(Trial::test(format!("kills::{stage}"), move || {
            kills::stage(stage, world::usual(), stage)
        }));
    }
    if is_long() {
        trials.push(Trial::test("kills::pack-bin_with_buckets_on_disk", || {
            kills::stage("pack-bin", world::many_tokens(), "pack-bin, buckets on disk")
        }));
    }
    for (name, step) in LATE.into_iter().take(if is_long() { LATE.len() } else { 1 }) {
        trials.push(Trial::test(format!("kills::{name}"), move || {
            kills::stage("train", &world::late(step), name)
        }));
    }
    #[cfg(unix)]
    trials.push(Trial::test("kills::train, by signals", || kills::signals(world::usual())));
    for stage in STAGES {
        trials.push(Trial::test(format!("worlds::{stage}::no_space_at_a_write"), move || {
            worlds::no_space_at_a_write(stage)
        }));
        trials.push(Trial::test(format!("worlds::{stage}::an_error_at_a_call"), move || {
            worlds::an_error_at_a_call(stage)
        }));
        trials.push(Trial::test(format!("worlds::{stage}::an_error_at_a_read"), move || {
            worlds::an_error_at_a_read(stage)
        }));
        trials.push(Trial::test(format!("worlds::{stage}::a_small_disk"), move || {
            worlds::a_small_disk(stage)
        }));
        trials.push(Trial::test(format!("worlds::{stage}::a_folder_to_read_only"), move || {
            worlds::a_folder_to_read_only(stage)
        }));
        trials.push(Trial::test(format!("worlds::{stage}::a_damaged_file"), move || {
            worlds::a_damaged_file(stage)
        }));
        trials.push(Trial::test(format!("worlds::{stage}::a_clock_that_jumps"), move || {
            worlds::a_clock_that_jumps(stage)
        }));
    }
    trials.push(Trial::test(
        "worlds::train::an_error_at_a_checkpoint",
        worlds::an_error_at_a_checkpoint,
    ));
    let conclusion = libtest_mimic::run(&arguments, trials);
    kills::print_table();
    conclusion.exit_code()
}

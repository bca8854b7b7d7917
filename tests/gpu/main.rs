//! The GPU engine on whatever adapter there is: the first that is hardware, else software.
//!
//! Every test is listed with its precision and adapter. What cannot run (no adapter, no f16) is listed as ignored with the
//! reason as its kind; with `BEDTIME_GPU_TESTS=require` (as in CI) it fails instead. `BEDTIME_GPU_CHECKS=1` keeps the
//! bounds checks in the shaders.
mod bad_input;
mod kernels;
mod lab;
mod proof;
mod shaders;
mod step;
mod updates;

use std::process::ExitCode;
use std::sync::Arc;

use compute::Precision;
use compute::gpu::{Adapter, Device, Options, adapters};
use libtest_mimic::{Arguments, Failed, Trial};

/// A test and what it needs.
pub(crate) struct Case {
    pub name: &'static str,
    pub run: fn(&Bench),
}

/// What a test runs on.
#[derive(Clone)]
pub(crate) struct Bench {
    pub device: Arc<Device>,
    pub precision: Precision,
}

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::F16, Precision::Bf16];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let required = std::env::var("BEDTIME_GPU_TESTS").is_ok_and(|value| value == "require");
    let checks = std::env::var("BEDTIME_GPU_CHECKS").is_ok_and(|value| value == "1");
    let adapter = adapters::list().into_iter().next();
    let device = adapter.clone().map(|adapter| {
        Device::open(adapter, Options { checks, ..Options::default() })
            .unwrap_or_else(|error| panic!("the adapter cannot be opened: {error}"))
    });
    let name = adapter.as_ref().map_or("no adapter".to_owned(), Adapter::name);
    let mut trials = Vec::new();
    for (room, cases) in [("kernels", kernels::CASES), ("step", step::CASES)] {
        for case in cases {
            for precision in PRECISIONS {
                let lacks = match &adapter {
                    None => Some("no adapter".to_owned()),
                    Some(adapter) if !adapter.supports(precision) => {
                        Some(format!("no {precision}"))
                    }
                    Some(_) => None,
                };
                let (run, device) = (case.run, device.clone());
                let test = move || match device {
                    Some(device) => Ok(run(&Bench { device, precision })),
                    None => Err(Failed::from(
                        "no adapter: install a Vulkan driver (Debian: mesa-vulkan-drivers)",
                    )),
                };
                // Without two-byte types in a driver there is nothing to run; without any driver there is something to install.
                let ignored = lacks.is_some() && !(required && adapter.is_none());
                let trial = Trial::test(format!("{room}::{}::{precision}", case.name), test)
                    .with_ignored_flag(ignored);
                trials.push(trial.with_kind(lacks.unwrap_or_default()));
            }
        }
    }
    let bench = device.map(|device| Bench { device, precision: Precision::F32 });
    trials.extend(shaders::trials(bench.as_ref()));
    trials.extend(bad_input::trials(bench.as_ref()));
    trials.extend(proof::trials(bench.as_ref()));
    eprintln!("GPU tests on {name}{}", if checks { ", with bounds checks" } else { "" });
    libtest_mimic::run(&arguments, trials).exit_code()
}

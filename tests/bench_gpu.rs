//! `bench-gpu`: every figure has a value or a reason, on whatever GPU there is, in a time that is given.
use std::fs;
use std::process::{Command, Stdio};

use compute::gpu::adapters;
use serde_json::Value;
use tests::{Ended, binary};

/// Runs it small, with no PyTorch; what it wrote, too.
fn bench(args: &[&str]) -> (Ended, Value) {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("figures.json");
    let mut command = Command::new(binary("bench-gpu"));
    command
        .args(["--quick", "--python", "/no/such/python", "--json"])
        .arg(&json)
        .args(args)
        .stdin(Stdio::null());
    let ended = Ended::of(command.output().unwrap(), "bench-gpu");
    let report = fs::read(&json)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    (ended, report)
}

/// Every key there has to be.
fn keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "product_tflop_per_second",
        "memory_gb_per_second",
        "first_step_cold_s",
        "first_step_warm_s",
        "tune_s",
        "profile",
        "seconds_to_2.45_nats",
        "seconds_to_0.865_bits",
    ]
    .map(String::from)
    .into();
    for case in ["10m.b32", "10m.b128", "30m.b32", "124m.b32"] {
        for precision in ["f32", "f16", "bf16"] {
            let mut figures =
                vec!["tokens_per_second", "step_ms", "share_of_peak", "to_seed", "to_best"];
            if case == "10m.b32" {
                figures.extend(["val_loss", "skipped_updates", "memory_mib"]);
            }
            keys.extend(figures.into_iter().map(|figure| format!("{case}.{precision}.{figure}")));
        }
        for mode in ["seed", "best"] {
            keys.push(format!("{case}.{mode}.tokens_per_second"));
            if case == "10m.b32" {
                keys.push(format!("{case}.{mode}.val_loss"));
            }
        }
    }
    keys.sort();
    keys
}

#[track_caller]
fn assert_whole(report: &Value) {
    let rows = report["rows"].as_array().unwrap();
    let mut found: Vec<&str> = rows.iter().map(|row| row["key"].as_str().unwrap()).collect();
    found.sort();
    assert_eq!(found, keys());
    for row in rows {
        let value = row["value"].as_f64().is_some_and(|value| value.is_finite() && value >= 0.0)
            && row["unit"].is_string();
        let reason = row["skipped"].as_str().is_some_and(|reason| !reason.is_empty());
        assert!(value != reason, "{row}");
    }
    let ratios = rows.iter().position(|row| row["key"].as_str().unwrap().contains(".to_")).unwrap();
    assert!(
        rows[ratios..].iter().all(|row| row["key"].as_str().unwrap().contains(".to_")),
        "ratios stand last"
    );
}

#[test]
fn every_figure_is_measured_or_says_why_not() {
    if adapters::list().is_empty() {
        eprintln!("no adapter: nothing to measure on");
        return;
    }
    let (ended, report) = bench(&["--device", "gpu:0", "--minutes", "0.6"]);
    let ended = ended.ok();
    assert_whole(&report);
    let row = |key: &str| {
        report["rows"].as_array().unwrap().iter().find(|row| row["key"] == key).unwrap()
    };
    let value = |key: &str| row(key)["value"].as_f64().unwrap_or_else(|| panic!("{}", row(key)));
    assert!(value("first_step_cold_s") > 0.0 && value("memory_gb_per_second") > 0.0);
    // It trains: the loss falls from ln(500), that of knowing nothing.
    let precision = ["f16", "bf16", "f32"]
        .into_iter()
        .find(|p| row(&format!("10m.b32.{p}.val_loss"))["value"].is_f64());
    let loss = row(&format!("10m.b32.{}.val_loss", precision.unwrap()));
    let (before, after) = (loss["before"].as_f64().unwrap(), loss["value"].as_f64().unwrap());
    assert!((before - 500f64.ln()).abs() < 0.1 && after < before, "{loss}");
    assert!(
        row("10m.b32.seed.tokens_per_second")["skipped"]
            .as_str()
            .unwrap()
            .contains("/no/such/python")
    );
    assert!(row("seconds_to_2.45_nats")["skipped"].as_str().unwrap().contains("synthetic"));
    assert!(
        ended.stdout.contains("synthetic stories, --quick")
            && ended.stdout.contains("| figure | value | unit |"),
        "{}",
        ended.stdout
    );
    assert_eq!(report["date"].as_str().unwrap().len(), 10);
    assert_eq!(report["synthetic"], true);
}

#[test]
fn without_a_gpu_or_data_every_figure_says_so() {
    let (ended, report) = bench(&["--device", "gpu:99"]);
    ended.code(2).says(&["there is no gpu:99", "every figure skipped"]);
    assert_whole(&report);
    if !adapters::list().is_empty() {
        let (ended, report) = bench(&["--device", "gpu:0", "--data", "/no/such/folder"]);
        ended.code(3).says(&["/no/such/folder/train.bin.json"]);
        assert_whole(&report);
    }
    bench(&["--device", "cpu"]).0.code(2).says(&["expected gpu or gpu:N"]);
}

//! What a stage may depend on: the data stages build no engine, the stages with a model no parquet and no network.
use std::process::Command;

/// Names of all packages that are compiled into `package`.
fn dependencies(package: &str) -> Vec<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args([
        "tree",
        "--offline",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
        "-p",
        package,
    ]);
    let output = cargo.output().expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn assert_without(packages: &[&str], unwanted: &[&str]) {
    for package in packages {
        let found = dependencies(package);
        assert!(found.iter().any(|name| name == "stage"), "{package}: {found:?}");
        for name in unwanted {
            assert!(!found.iter().any(|found| found == name), "{package} depends on {name}");
        }
    }
}

#[test]
fn data_stages_build_no_engine() {
    assert_without(
        &["fetch-parquet", "train-tokenizer", "tokenize", "pack-bin"],
        &["compute", "inference", "training", "model", "wgpu", "naga"],
    );
}

#[test]
fn stages_with_a_model_build_no_parquet_and_no_network() {
    assert_without(
        &["train", "eval-ppl", "sample"],
        &["parquet", "arrow", "reqwest", "hyper", "object_store", "tokio"],
    );
}

#[test]
fn telling_and_evaluating_draw_no_plots_and_write_no_protobuf() {
    assert_without(
        &["inference", "sample", "eval-ppl"],
        &["training", "plotters", "prost", "maud", "png", "epaint_default_fonts"],
    );
}

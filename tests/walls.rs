//! What may depend on what: the data stages build no engine, the stages with a model no parquet and no network, and no two
//! files import each other.
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::imports::{Imports, circles};
use tests::strings::strings;

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

/// How a user types something is for the programs and for `stage::Action` to say.
#[test]
fn texts_below_the_programs_name_no_flag_no_target_and_no_folder_of_theirs() {
    const TARGETS: [&str; 12] = [
        "all",
        "build",
        "data",
        "fetch",
        "tokenizer",
        "tokenize",
        "pack",
        "train",
        "eval",
        "sample",
        "clean",
        "help",
    ];
    let has_flag = |text: &str| {
        text.split("--").skip(1).any(|behind| behind.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    let has_target = |text: &str| {
        text.split("make ").skip(1).any(|behind| {
            let word = behind.split(|c: char| !c.is_ascii_alphanumeric()).next();
            word.is_some_and(|word| TARGETS.contains(&word))
        })
    };
    let mut found = Vec::new();
    for room in ["grammar", "corpus", "model", "compute", "inference", "training"] {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(room).join("src");
        let texts = strings(&src);
        assert!(!texts.is_empty(), "{room} has no texts at all");
        let bad = |text: &str| has_flag(text) || has_target(text) || text.contains("OUT/");
        found.extend(texts.into_iter().filter(|(_, text)| bad(text)));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_crate_says_what_it_is_and_keeps_the_lints() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["metadata", "--offline", "--no-deps"]);
    let output = cargo.args(["--format-version", "1"]).output().expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let version = &packages[0]["version"];
    for package in packages {
        let manifest = package["manifest_path"].as_str().expect("a path");
        for key in ["description", "license", "rust_version"] {
            assert!(package[key].is_string(), "{manifest}: no {key}");
        }
        for key in ["keywords", "categories"] {
            let words = package[key].as_array().map_or(0, Vec::len);
            assert!((1..=5).contains(&words), "{manifest}: {words} {key}, expected 1 to 5");
        }
        assert_eq!(&package["version"], version, "{manifest}");
        let text = fs::read_to_string(manifest).expect("the manifest can be read");
        assert!(text.contains("[lints]\nworkspace = true\n"), "{manifest}: not the lints of all");
    }
}

/// The crates of others that a call of cargo compiles for the target, and those that macros are made of, with their
/// features.
fn compiled(packages: &[&str]) -> BTreeSet<String> {
    let is_of_macros = |line: &String| ["syn ", "quote "].iter().any(|name| line.starts_with(name));
    let mut all = tree(packages, "normal,no-proc-macro");
    all.extend(tree(packages, "normal,build").into_iter().filter(is_of_macros));
    all
}

fn tree(packages: &[&str], edges: &str) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["tree", "--offline", "--prefix", "none"]);
    cargo.args(["--edges", edges, "--format", "{p} {f}"]).args(packages);
    let output = cargo.output().expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let others = text.lines().filter(|line| !line.contains(" (/") && !line.contains(":\\"));
    others.map(|line| line.trim_end_matches(" (*)").trim_end().to_owned()).collect()
}

/// The calls of the Makefile. A crate that one of them compiles with other features than `make test` is compiled twice.
#[test]
fn every_call_of_cargo_compiles_a_crate_with_the_same_features() {
    let all = compiled(&["--workspace"]);
    let calls: [&[&str]; 3] = [
        &["-p", "fetch-parquet", "-p", "train-tokenizer", "-p", "tokenize", "-p", "pack-bin"],
        &["-p", "train", "-p", "eval-ppl", "-p", "sample"],
        &["-p", "bedtime"],
    ];
    for call in calls {
        let others: Vec<String> = compiled(call).difference(&all).cloned().collect();
        assert!(
            others.is_empty(),
            "{call:?} compiles these with other features than --workspace: {others:#?}\n\
             the workspace has them as in `cargo tree --workspace -f '{{p}} {{f}}'`; ask for the same where the crate is \
             used, or in shared/features/Cargo.toml"
        );
    }
}

/// What counts as an import: `tests::imports`.
#[test]
fn no_two_files_import_each_other_on_whatever_way_round() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut found, mut explained) = (BTreeSet::new(), String::new());
    for folder in ["shared", "bins"] {
        let crates = fs::read_dir(root.join(folder)).expect("the project's folders are there");
        for package in crates.map(|entry| entry.expect("the folder can be read").path()) {
            if !package.join("src").is_dir() {
                continue;
            }
            let edges = Imports::read(&package.join("src")).edges();
            let name = |path: &Path| {
                let path = path.strip_prefix(&root).unwrap_or(path);
                path.to_string_lossy().replace('\\', "/").replace("/src/", "/")
            };
            for circle in circles(&edges) {
                found.insert(circle.iter().map(|file| name(file)).collect::<Vec<String>>());
                for ((from, to), names) in edges.iter() {
                    if circle.contains(from) && circle.contains(to) {
                        explained += &format!("  {} imports {names} of {}\n", name(from), name(to));
                    }
                }
            }
        }
    }
    assert!(found.is_empty(), "circles of files: {found:#?}\nall that is found:\n{explained}");
}

/// Files of the user's are opened by `stage::open`, which neither waits for a pipe nor reads from a device.
#[test]
fn files_are_opened_in_one_place() {
    const OWN: [&str; 9] = [
        "shared/stage/src/input.rs",
        "shared/stage/src/lock.rs",            // its own file
        "shared/stage/src/platform/host.rs",   // /proc
        "shared/stage/src/platform/memory.rs", // /proc
        "shared/stage/src/platform/unix.rs",   // folders, to sync them
        "shared/compute/src/wgsl.rs",          // shaders of the source tree
        "shared/compute/src/gpu/adapters.rs",  // /proc
        "shared/compute/src/gpu/device.rs",    // caches
        "shared/compute/src/gpu/device_plan.rs",
    ];
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut seen = 0;
    for path in ["shared", "bins"].iter().flat_map(|room| tests::files_below(&root.join(room))) {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        if !name.ends_with(".rs") || !name.contains("/src/") || OWN.contains(&&*name) {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for call in ["File::open(", "fs::read(", "fs::read_to_string("] {
            assert!(
                !code.contains(call),
                "{name}: {call}..) in place of stage::open or stage::read"
            );
        }
    }
    assert!(seen > 100, "{seen} files");
}

/// Limits of length, without exceptions: what is longer has a wall in it that should be a border.
const MOST_LINES: usize = 600;
const MOST_LINES_OF_A_FUNCTION: usize = 80;

/// The functions of a file with their lines. rustfmt closes a body with a brace at the column where `fn` begins its line.
fn functions(text: &str) -> Vec<(usize, usize)> {
    const BEFORE: [&str; 9] =
        ["pub", "(crate)", "(super)", "(in", "const", "async", "unsafe", "extern", "\""];
    let lines: Vec<&str> = text.lines().collect();
    let is_function = |line: &str| {
        let (before, found) = line.split_once("fn ").map_or((line, false), |(b, _)| (b, true));
        let mut words = before.split_whitespace();
        found && words.all(|word| BEFORE.iter().any(|known| word.starts_with(known)))
    };
    let body = |(start, line): (usize, &&str)| {
        let indent = &line[..line.len() - line.trim_start().len()];
        let head = lines[start..].iter().position(|line| line.ends_with(['{', '}', ';']))?;
        let opens = lines[start + head].ends_with('{');
        let end = lines[start..].iter().position(|line| *line == format!("{indent}}}"))?;
        opens.then_some((start + 1, end + 1))
    };
    lines.iter().enumerate().filter(|(_, line)| is_function(line)).filter_map(body).collect()
}

#[test]
fn files_and_functions_are_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut files, mut measured, mut long) = (0, 0, Vec::new());
    let rooms = ["shared", "bins", "tests"];
    for path in rooms.iter().flat_map(|room| tests::files_below(&root.join(room))) {
        let name = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        if !name.ends_with(".rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file");
        let lines = text.lines().count();
        if lines > MOST_LINES {
            long.push(format!("{name}: {lines} lines, at most {MOST_LINES}"));
        }
        let found = functions(&text);
        (files, measured) = (files + 1, measured + found.len());
        for (line, lines) in found.into_iter().filter(|(_, n)| *n > MOST_LINES_OF_A_FUNCTION) {
            let most = MOST_LINES_OF_A_FUNCTION;
            long.push(format!("{name}:{line}: a function of {lines} lines, at most {most}"));
        }
    }
    assert!(files > 200 && measured > 2000, "{files} files, {measured} functions");
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn a_function_is_measured_from_its_head_to_its_brace() {
    let text = "impl A {\n    pub(crate) fn a(\n        b: u8,\n    ) -> u8 {\n        if b > 0 {\n        }\n        b\n    }\n}\n\
                trait T {\n    fn none(&self);\n    fn one() {}\n}\nunsafe fn c() {\n    let fn_pointer = 1;\n}\n";
    assert_eq!(functions(text), [(2, 7), (14, 3)]);
}

/// Which system this is, is asked in `stage::platform`.
#[test]
fn systems_differ_in_one_place() {
    const PLATFORM: &str = "shared/stage/src/platform";
    /// With what they do that the room of the platform has no business with.
    const OWN: [(&str, &str); 3] = [
        ("shared/compute/src/cpu/matmul/amx.rs", "a processor's units that Linux gives on request"),
        ("shared/compute/src/gpu/adapters.rs", "advice where Linux has no Vulkan loader"),
        ("bins/bedtime/src/programs.rs", "signals to a child, by the crate that waits for it"),
    ];
    const MARKS: [&str; 12] = [
        "cfg(unix",
        "cfg(windows",
        "cfg(not(unix",
        "cfg(not(windows",
        "target_os",
        "target_family",
        "std::os::unix",
        "std::os::windows",
        "libc::",
        "nix::",
        "rustix::",
        "windows_sys::",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut found, mut asking, mut seen) = (Vec::new(), BTreeSet::new(), 0);
    for path in ["shared", "bins"].iter().flat_map(|room| tests::files_below(&root.join(room))) {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        if !name.ends_with(".rs") || !name.contains("/src/") || name.starts_with(PLATFORM) {
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_comment = |line: &str| line.trim_start().starts_with("//");
        for (number, line) in code.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
            if MARKS.iter().any(|mark| line.contains(mark)) {
                asking.insert(name.clone());
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(seen > 100, "{seen} files");
    found.retain(|place| !OWN.iter().any(|(own, _)| place.starts_with(own)));
    assert!(found.is_empty(), "what systems differ in belongs into {PLATFORM}: {found:#?}");
    for (own, why) in OWN {
        assert!(asking.contains(own), "{own} ({why}) asks no more: take it from the list");
    }
}

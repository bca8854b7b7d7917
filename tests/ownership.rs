//! What is not ours stays: files in the way of every stage, and live second attempts.
mod story_files;

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use story_files::{parquet, plain, story, wait_until};
use tests::{DATA_STAGES, Ended, Run, binary, data::with_data, files_below};

const CHOICE: [&str; 3] = ["in the way", "expected", "--force"];

/// A run over a folder with 600 stories.
fn with_stories() -> Run {
    let run = plain()
        .set("fetch.source=in")
        .set("tokenizer.vocab_size=400")
        .set("tokenizer.max_stories=200")
        .set("tokenize.shards=3");
    parquet(&run.input("in/train-a.parquet"), 0, 600);
    parquet(&run.input("in/validation-a.parquet"), 1_000_000, 1_000_300);
    run
}

/// Somebody's file where `stage` is about to write: refused, then set aside with --force, the bytes the same.
fn stays(run: &Run, stage: &str, name: &str) {
    let path = run.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "mine").unwrap();
    run.run(stage, &[]).code(3).says(&CHOICE).says(&[name]);
    assert_eq!(fs::read(&path).unwrap(), b"mine", "{name}");
    run.run(stage, &["--force"]).ok().says(&["set aside as", &format!("{name}.1")]);
    assert_eq!(run.read(&format!("{name}.1")), b"mine");
    assert_ne!(fs::read(&path).unwrap(), b"mine", "{name}");
    run.run(stage, &[]).ok().says(&["up to date"]);
}

#[test]
fn a_file_in_the_way_of_a_data_stage_stays_or_is_set_aside() {
    let run = with_stories();
    stays(&run, "fetch-parquet", "raw/train-00000-of-00001.parquet");
    stays(&run, "train-tokenizer", "tokenizer.json");
    stays(&run, "tokenize", "tokens/train-00001-of-00003.arrow");
    stays(&run, "pack-bin", "train.bin");
    // What was ours until somebody wrote to it.
    stays(&run, "pack-bin", "val.bin");
    stays(&run, "fetch-parquet", "raw/manifest.json");
}

#[test]
fn files_of_other_numbers_of_parts_that_are_not_ours_are_not_tidied_away() {
    let run = with_stories();
    let foreign = [
        "raw/train-00000-of-00004.parquet",
        "raw/train-00003-of-00004.parquet",
        "raw/.parts/mynotes.parquet",
        "raw/.parts/mynotes.parquet.json",
        "tokens/train-00000-of-00007.arrow",
    ];
    for name in foreign {
        fs::create_dir_all(run.path(name).parent().unwrap()).unwrap();
        fs::write(run.path(name), "mine").unwrap();
    }
    run.through(&DATA_STAGES[..3]);
    run.run("pack-bin", &[]).code(3).says(&["train-00000-of-00007.arrow", "move it away"]);
    run.run("tokenize", &["--force"]).ok();
    for name in foreign {
        assert_eq!(run.read(name), b"mine", "{name}");
    }
    // Ours of before go.
    run.run("tokenize", &["--shards", "2"]).ok();
    assert!(!run.path("tokens/train-00000-of-00003.arrow").exists());
    assert!(run.path("tokens/train-00000-of-00007.arrow").exists());
}

/// A carried bin and tokenizer, which no stage here made.
#[test]
fn carried_bins_are_trained_on_and_never_packed_over() {
    let run = with_data(with_stories());
    let carried = ["train.bin", "train.bin.json", "val.bin", "tokenizer.json"];
    let before = carried.map(|name| run.read(name));
    run.through(&["fetch-parquet"]);
    run.run("train-tokenizer", &[]).code(3).says(&CHOICE).says(&["tokenizer.json"]);
    run.through(&["tokenize"]);
    run.run("pack-bin", &[]).code(3).says(&CHOICE).says(&["train.bin"]);
    assert!(carried.map(|name| run.read(name)) == before);
}

#[test]
#[cfg(unix)]
fn behind_a_link_nothing_is_written_over() {
    use std::os::unix::fs::symlink;
    let run = with_stories();
    let theirs = run.input("theirs");
    parquet(&theirs.join("train-00000-of-00001.parquet"), 0, 300);
    let before = fs::read(theirs.join("train-00000-of-00001.parquet")).unwrap();
    fs::create_dir_all(run.path("")).unwrap();
    symlink(&theirs, run.path("raw")).unwrap();
    run.run("fetch-parquet", &[]).code(3).says(&CHOICE);
    assert!(fs::read(theirs.join("train-00000-of-00001.parquet")).unwrap() == before);
    // Links to a source, by its own name and by that of temporary files of before.
    fs::remove_file(run.path("raw")).unwrap();
    fs::create_dir(run.path("raw")).unwrap();
    let source = run.input("in/train-a.parquet");
    let before = fs::read(&source).unwrap();
    let name = "raw/train-00000-of-00001.parquet";
    fs::hard_link(&source, run.path(&format!("{name}.partial"))).unwrap();
    symlink(&source, run.path(name)).unwrap();
    run.run("fetch-parquet", &["--max-stories", "50"]).code(3).says(&CHOICE);
    run.run("fetch-parquet", &["--max-stories", "50", "--force"]).ok();
    assert!(fs::read(&source).unwrap() == before);
}

#[test]
fn export_and_training_write_over_nothing() {
    let run = with_data(Run::new());
    fs::create_dir_all(run.path("run")).unwrap();
    fs::write(run.path("run/thesis.txt"), "mine").unwrap();
    // The name of a checkpoint makes it none.
    let weights = run.path("run/checkpoints/best.safetensors");
    fs::create_dir_all(weights.parent().unwrap()).unwrap();
    let header = b"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    let theirs = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat();
    fs::write(&weights, &theirs).unwrap();
    run.run("train", &[]).code(3).says(&["settings.json", "--force", "run"]);
    assert!(fs::read(&weights).unwrap() == theirs && !run.path("run/settings.json").exists());
    run.run("train", &["--force"]).ok().says(&["run.1"]);
    assert_eq!(run.read("run.1/thesis.txt"), b"mine");
    assert!(run.read("run.1/checkpoints/best.safetensors") == theirs);
    // One of its own does, whatever became of the settings.
    fs::remove_file(run.path("run/settings.json")).unwrap();
    run.run("train", &[]).ok();
    assert!(!run.path("run.2").exists());
    fs::write(run.path("model.gguf"), "mine").unwrap();
    let model = run.path("model.gguf");
    let export = |more: &[&str]| {
        let mut args = vec!["export"];
        args.extend(more);
        let mut command = Command::new(binary("sample"));
        command.args(&args).args(["--config", "tiny.toml", "--out"]).arg(run.path(""));
        command.current_dir(run.input("")).arg(&model);
        Ended::of(command.output().unwrap(), "sample export")
    };
    export(&[]).code(3).says(&CHOICE);
    assert_eq!(run.read("model.gguf"), b"mine");
    export(&["--force"]).ok().says(&["model.gguf.1"]);
    assert!(run.read("model.gguf").starts_with(b"GGUF"));
    assert_eq!(run.read("model.gguf.1"), b"mine");
    fs::write(run.path("eval.json"), "mine").unwrap();
    run.run("eval-ppl", &[]).code(3).says(&CHOICE);
    run.run("eval-ppl", &["--force"]).ok();
    assert_eq!(run.read("eval.json.1"), b"mine");
}

// Two attempts.

#[cfg(unix)]
fn signal(child: &Child, signal: &str) {
    Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
}

/// Every output is what the manifest of its folder says.
fn fits_its_manifest(run: &Run, manifest: &str) {
    let path = run.path(manifest);
    let folder = path.parent().unwrap();
    for output in stage::Manifest::read(&path).unwrap().outputs {
        let found = stage::hash_file(&folder.join(&output.name)).unwrap();
        assert_eq!(found.sha256, output.sha256, "{}", output.name);
    }
}

/// One is stopped in the middle, another does the work, the first goes on: whatever it says, the files fit.
#[test]
#[cfg(target_os = "linux")]
fn an_attempt_that_was_stopped_and_goes_on_publishes_nothing_with_holes() {
    let undisturbed = with_stories();
    undisturbed.through(&DATA_STAGES);
    let run = with_stories();
    let stages = [
        ("fetch-parquet", "raw/manifest.json", "raw"),
        ("train-tokenizer", "tokenizer.manifest.json", ""),
        ("tokenize", "tokens/manifest.json", "tokens"),
        ("pack-bin", "pack.manifest.json", ""),
    ];
    for (stage, manifest, folder) in stages {
        let first = run.start(stage, &["--force", "--threads", "1"]);
        let folder = run.path(folder);
        // As soon as a temporary of it is there, or it has ended.
        let begun = || {
            !run.partials().is_empty()
                || files_below(&folder).iter().any(|path| path.ends_with(manifest))
                || run.path(manifest).exists()
        };
        wait_until("a file on its way", begun);
        signal(&first, "-STOP");
        let second = run.start(stage, &["--force"]);
        // Where a lock keeps the second waiting, the first has to go on.
        std::thread::sleep(std::time::Duration::from_millis(400));
        signal(&first, "-CONT");
        for child in [first, second] {
            Ended::of(child.wait_with_output().unwrap(), stage).ok();
        }
        fits_its_manifest(&run, manifest);
        run.run(stage, &[]).ok().says(&["up to date"]);
        assert_eq!(run.partials(), [] as [&Path; 0], "{stage}");
    }
    for name in ["train.bin", "val.bin", "tokenizer.json", "tokens/manifest.json"] {
        assert!(run.read(name) == undisturbed.read(name), "{name}");
    }
}

/// The content of a shard changed behind its time: pack-bin names the one command that mends it.
#[test]
fn pack_bin_and_tokenize_do_not_point_at_one_another_for_ever() {
    let run = with_stories();
    run.through(&DATA_STAGES[..3]);
    let shard = run.path("tokens/train-00001-of-00003.arrow");
    let (mut bytes, time) =
        (fs::read(&shard).unwrap(), fs::metadata(&shard).unwrap().modified().unwrap());
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&shard, &bytes).unwrap();
    fs::File::options().write(true).open(&shard).unwrap().set_modified(time).unwrap();
    run.run("pack-bin", &[]).code(3).says(&["make tokenize FORCE=1"]);
    run.run("tokenize", &["--force"]).ok();
    run.run("pack-bin", &[]).ok();
}

/// What was read before and behind the change would be of two files.
#[test]
fn a_text_that_is_shortened_while_it_is_read_is_told() {
    let run = plain().set("fetch.source=long.txt").set("fetch.validation_fraction=0.1");
    let text: String = (0..150_000).map(|i| story(i) + "\n<|endoftext|>\n").collect();
    fs::write(run.input("long.txt"), text).unwrap();
    let child = run.start("fetch-parquet", &[]);
    let started = std::time::Instant::now();
    while run.partials().is_empty() {
        assert!(started.elapsed().as_secs() < 60, "nothing is written");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    fs::File::options().write(true).open(run.input("long.txt")).unwrap().set_len(5000).unwrap();
    Ended::of(child.wait_with_output().unwrap(), "fetch-parquet")
        .code(3)
        .says(&["long.txt: it changed while it was read: 5000 bytes now", "remedy"]);
    assert!(!run.path("raw/manifest.json").exists());
    assert!(run.run("fetch-parquet", &[]).ok().stdout.contains("stories"));
}

/// What the system refuses is no fault of the file.
#[cfg(unix)]
#[test]
fn too_few_descriptors_are_no_damaged_parquet() {
    let run = with_stories();
    run.through(&["fetch-parquet", "train-tokenizer"]);
    let mut refused = 0;
    for limit in 8..16 {
        let command = run.command("tokenize");
        let mut limited = std::process::Command::new("sh");
        limited.args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh"]);
        limited.arg(command.get_program()).args(command.get_args()).arg("--force");
        limited.current_dir(run.input(""));
        let ended = Ended::of(limited.output().unwrap(), "tokenize");
        assert!(matches!(ended.code, 0 | 2 | 4), "{limit}: {}", ended.stderr);
        assert!(!ended.stderr.contains("cannot be decoded"), "{limit}: {}", ended.stderr);
        refused += usize::from(ended.code != 0);
    }
    assert!(refused > 0, "eight descriptors are enough");
}

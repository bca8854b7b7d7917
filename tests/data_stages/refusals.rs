//! What the data stages refuse, and what they say of it.
use std::fs;

use stage::FileRecord;
use tests::{DATA_STAGES, Ended, Run, edit_manifest};

use super::story_files::{not_utf8, parquet, plain, story, write_row_group};
use super::{
    BEFORE_PACK, BEFORE_TOKENIZE, bins, modified, name, rewrite_shard, shards, unpacked,
    with_stories,
};

#[test]
fn a_missing_input_is_named_with_the_target_that_makes_it() {
    let run = with_stories(300);
    for stage in ["train-tokenizer", "tokenize"] {
        run.run(stage, &[]).code(3).says(&["raw/manifest.json", "not found", "make fetch"]);
    }
    run.run("pack-bin", &[]).code(3).says(&["tokens/manifest.json", "not found", "make tokenize"]);
    run.through(&["fetch-parquet"]);
    run.run("tokenize", &[]).code(3).says(&["tokenizer.json", "not found", "make tokenizer"]);
    run.through(&["train-tokenizer", "tokenize"]);
    fs::remove_file(run.path("tokenizer.json")).unwrap();
    run.run("pack-bin", &[]).code(3).says(&["tokenizer.json", "not found", "make tokenizer"]);
    run.run("train-tokenizer", &["--file", "absent.json"])
        .code(3)
        .says(&["absent.json", "not found"]);
}

#[test]
fn wrong_settings_are_told_before_anything_is_done() {
    let run = with_stories(300);
    run.run("train-tokenizer", &["--vocab-size", "257"]).code(2).says(&["vocab_size", "258"]);
    run.run("train-tokenizer", &["--max-stories", "0"]).code(2).says(&["max_stories"]);
    run.run("tokenize", &["--shards", "0"]).code(2).says(&["tokenize.shards"]);
    run.run("tokenize", &["--shard", "3/2"]).code(2).says(&["I from 1 to N"]);
    run.run("pack-bin", &["--order", "alphabetical"])
        .code(2)
        .says(&["alphabetical", "as-published"]);
    run.run("pack-bin", &["--set", "pack.sed=1"]).code(2).says(&["nearest known key: pack.seed"]);
}

#[test]
fn a_tokenizer_without_eos_is_refused_by_all() {
    let run = with_stories(300);
    run.through(&BEFORE_PACK);
    let other =
        String::from_utf8(run.read("tokenizer.json")).unwrap().replace("<|endoftext|>", "<|end|>");
    fs::write(run.input("own.json"), &other).unwrap();
    run.run("train-tokenizer", &["--file", "own.json"]).code(3).says(&[
        "own.json",
        "no token <|endoftext|>",
        "tokenizer.file",
    ]);
    fs::write(run.input("own.json"), "{").unwrap();
    run.run("train-tokenizer", &["--file", "own.json"])
        .code(3)
        .says(&["own.json", "cannot be read"]);
    fs::write(run.path("tokenizer.json"), &other).unwrap();
    for stage in ["tokenize", "pack-bin"] {
        run.run(stage, &[]).code(3).says(&["tokenizer.json", "no token <|endoftext|>"]);
    }
}

#[test]
fn another_tokenizer_than_that_of_the_shards_is_refused() {
    let run = with_stories(600);
    run.through(&DATA_STAGES);
    run.run("train-tokenizer", &["--vocab-size", "350"]).ok();
    run.run("pack-bin", &[]).code(3).says(&[
        "tokens/manifest.json",
        "vocabulary of 400",
        "tokenizer.json",
        "vocabulary of 350",
        "make tokenize",
    ]);
    // Two jobs, the tokenizer changed between them.
    run.run("tokenize", &["--shard", "1/2"]).ok();
    run.run("train-tokenizer", &["--vocab-size", "380"]).ok();
    run.run("tokenize", &["--shard", "2/2"]).ok();
    run.run("pack-bin", &[]).code(3).says(&[
        "manifest-2-of-2.json",
        "its input tokenizer.json has SHA-256",
        "that of job 1",
    ]);
    run.run("tokenize", &["--shard", "1/2"]).ok();
    run.run("pack-bin", &[]).ok();
}

#[test]
fn jobs_with_different_settings_are_refused() {
    let run = with_stories(600);
    run.through(&BEFORE_TOKENIZE);
    run.run("tokenize", &["--shard", "1/2"]).ok();
    run.run("tokenize", &["--shard", "2/2", "--shards", "4"]).ok();
    run.run("pack-bin", &[]).code(3).says(&["manifest-2-of-2.json", "tokenize.shards 3 -> 4"]);
}

#[test]
fn an_id_outside_the_vocabulary_is_named_with_file_and_row() {
    let run = with_stories(600);
    run.through(&BEFORE_PACK);
    rewrite_shard(&run, "train-00001-of-00003.arrow", |_, stories| stories[17][3] = 400);
    run.run("pack-bin", &[]).code(3).says(&[
        "train-00001-of-00003.arrow",
        "row 17",
        "the id 400",
        "vocabulary of 400",
    ]);
    assert!(!run.path("train.bin").exists() && run.partials().is_empty());
    rewrite_shard(&run, "train-00001-of-00003.arrow", |origin, stories| {
        stories[17][3] = 1;
        origin.tokenizer.sha256 = "f".repeat(64);
    });
    run.run("pack-bin", &[]).code(3).says(&[
        "train-00001-of-00003.arrow",
        "ffffffff",
        "one tokenizer",
    ]);
}

#[test]
fn missing_foreign_and_damaged_shards_are_refused_and_made_again() {
    let run = with_stories(600);
    run.through(&DATA_STAGES);
    let (packed, shard) = (bins(&run), run.path("tokens/train-00001-of-00003.arrow"));
    let good = fs::read(&shard).unwrap();
    let refused = |words: &[&str]| drop(run.run("pack-bin", &[]).code(3).says(words));

    fs::remove_file(&shard).unwrap();
    refused(&["train-00001-of-00003.arrow", "not found", "make tokenize"]);
    fs::write(&shard, &good[..good.len() - 100]).unwrap();
    refused(&["train-00001-of-00003.arrow", "foreign or damaged", "make tokenize"]);
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    fs::write(&shard, &flipped).unwrap();
    refused(&[
        "train-00001-of-00003.arrow",
        "foreign or damaged",
        &FileRecord::clone(&stage::hash_file(&shard).unwrap()).sha256,
    ]);
    fs::copy(run.path("tokens/train-00000-of-00003.arrow"), &shard).unwrap();
    refused(&["train-00001-of-00003.arrow", "foreign or damaged"]);
    fs::write(run.path("tokens/train-00003-of-00004.arrow"), &good).unwrap();
    refused(&["train-00003-of-00004.arrow", "foreign", "move it away"]);

    fs::remove_file(run.path("tokens/train-00003-of-00004.arrow")).unwrap();
    fs::remove_file(&shard).unwrap();
    let other = modified(&run.path("tokens/train-00000-of-00003.arrow"));
    let ended = run.run("tokenize", &[]).ok();
    assert!(ended.stdout.contains("5 shards kept"), "{}", ended.stdout);
    assert_eq!(modified(&run.path("tokens/train-00000-of-00003.arrow")), other);
    run.run("pack-bin", &[]).ok();
    assert!(bins(&run) == packed && fs::read(&shard).unwrap() == good);
}

/// `BEDTIME_LONG=1` makes it 300 MB.
#[test]
fn a_story_of_many_megabytes_goes_through_all_stages() {
    let run =
        plain().set("fetch.source=in").set("tokenizer.vocab_size=500").set("tokenize.shards=2");
    let bytes = if std::env::var_os("BEDTIME_LONG").is_some() { 300_000_000 } else { 10_000_000 };
    let mut long = String::with_capacity(bytes + 1000);
    for i in 0.. {
        long.push_str(&story(i));
        if long.len() >= bytes {
            break;
        }
    }
    write_row_group(
        &run.input("in/train-a.parquet"),
        &["Before.".to_owned(), long.clone(), "After.".to_owned()],
    );
    parquet(&run.input("in/validation-a.parquet"), 0, 100);
    run.through(&DATA_STAGES);
    let tokenizer = corpus::tokenizer::Tokenizer::load(&run.path("tokenizer.json")).unwrap();
    let mut stories = unpacked(&run.read("train.bin"));
    stories.sort_by_key(Vec::len);
    assert_eq!(stories.len(), 3);
    assert!(tokenizer.decode(&stories[2]) == long);
}

#[test]
fn text_that_is_no_utf8_is_refused_with_file_and_row() {
    let run = with_stories(300);
    not_utf8(&run.input("in/train-b.parquet"), 250, 217);
    run.run("fetch-parquet", &[]).code(3).says(&["train-b.parquet", "row group 2", "UTF-8"]);
    // The same behind fetch's back: the bytes of a stage before are checked by hash, and its rows are still looked at.
    let run = with_stories(300);
    run.through(&BEFORE_TOKENIZE);
    let raw = run.path("raw/train-00000-of-00001.parquet");
    not_utf8(&raw, 300, 217);
    let record = stage::hash_file(&raw).unwrap();
    edit_manifest(&run.path("raw/manifest.json"), |manifest| {
        let outputs = manifest["outputs"].as_array_mut().unwrap();
        *outputs.iter_mut().find(|output| output["name"] == record.name).unwrap() =
            serde_json::to_value(&record).unwrap();
    });
    for stage in ["train-tokenizer", "tokenize"] {
        let args = ["--force", "--set", "tokenizer.max_stories=300"];
        run.run(stage, &args).code(3).says(&[
            "train-00000-of-00001.parquet",
            "row group 2",
            "UTF-8",
        ]);
        assert!(run.partials().is_empty());
    }
    // Shards that were whole by then are kept.
    assert!(shards(&run).iter().any(|path| name(path).starts_with("train-00000")));
}

#[test]
fn stories_that_are_not_as_fetched_are_refused() {
    let run = with_stories(300);
    run.through(&["fetch-parquet"]);
    let raw = run.path("raw/train-00000-of-00001.parquet");
    let mut bytes = fs::read(&raw).unwrap();
    bytes[1000] ^= 1;
    fs::write(&raw, bytes).unwrap();
    run.run("train-tokenizer", &[]).code(3).says(&[
        "train-00000-of-00001.parquet",
        "hash",
        "make fetch",
    ]);
}

#[test]
fn output_that_cannot_be_written_is_said() {
    let run = with_stories(300);
    run.through(&BEFORE_TOKENIZE);
    fs::write(run.path("tokens"), "").unwrap();
    run.run("tokenize", &[]).code(2).says(&["tokens", "cannot be written", "--out"]);
    fs::remove_file(run.path("tokens")).unwrap();
    run.through(&["tokenize"]);
    // Names that versions before took: a folder, and a link to what is not ours.
    fs::create_dir(run.path("train.bin.partial")).unwrap();
    fs::write(run.input("mine"), "mine").unwrap();
    fs::hard_link(run.input("mine"), run.path("tokenizer.json.partial")).unwrap();
    run.run("train-tokenizer", &["--force"]).ok();
    run.through(&["pack-bin"]);
    assert_eq!(fs::read(run.input("mine")).unwrap(), b"mine");
}

#[test]
fn help_says_what_is_read_written_and_returned() {
    for stage in ["train-tokenizer", "tokenize", "pack-bin"] {
        let help = Run::new().run(stage, &["--help"]).ok().stdout;
        for word in [
            "Reads OUT/",
            "writes OUT/",
            "Examples:",
            "Exit codes:",
            "130",
            "--set",
            "--config",
            "--force",
        ] {
            assert!(help.contains(word), "{stage} --help says nothing of {word}");
        }
    }
}

/// macOS allows 256 descriptors, and some systems less; files and shards are more.
#[cfg(unix)]
#[test]
fn few_descriptors_are_enough_for_many_files() {
    let run = Run::new().set("tokenize.shards=300").set("fetch.validation_fraction=0.2");
    let folder = run.input("many");
    fs::create_dir(&folder).unwrap();
    for i in 0..300 {
        fs::write(folder.join(format!("part-{i:03}.txt")), format!("{}\n", story(i))).unwrap();
    }
    let run = run.set(format!("fetch.source={}", folder.display()));
    for stage in DATA_STAGES {
        let command = run.command(stage);
        let mut limited = std::process::Command::new("sh");
        limited.current_dir(run.input("")).args(["-c", "ulimit -n 48; exec \"$0\" \"$@\""]);
        limited.arg(command.get_program()).args(command.get_args());
        Ended::of(limited.output().unwrap(), stage).ok();
    }
}

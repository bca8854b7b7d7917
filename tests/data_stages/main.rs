//! train-tokenizer, tokenize and pack-bin: what they make, that it repeats, what a kill leaves.
mod refusals;
#[path = "../story_files.rs"]
mod story_files;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use corpus::bin::Dtype;
use corpus::shards::{ShardOrigin, ShardReader, ShardWriter};
use serde_json::Value;
use story_files::{interrupt, many, parquet, plain, stories, story, wait_until, write_row_group};
use tests::disk::SmallDisk;
use tests::{DATA_STAGES, Ended, Run, edit_manifest};

const BEFORE_TOKENIZE: [&str; 2] = ["fetch-parquet", "train-tokenizer"];
const BEFORE_PACK: [&str; 3] = ["fetch-parquet", "train-tokenizer", "tokenize"];

/// A run over a folder with `n` training stories in row groups of 100, and 300 of validation.
fn with_stories(n: u64) -> Run {
    let run = plain()
        .set("fetch.source=in")
        .set("tokenizer.vocab_size=400")
        .set("tokenizer.max_stories=200")
        .set("tokenize.shards=3");
    parquet(&run.input("in/train-a.parquet"), 0, n);
    parquet(&run.input("in/validation-a.parquet"), 1_000_000, 1_000_300);
    run
}

/// Rows of the shards of a split, in order.
fn rows(run: &Run, split: &str) -> Vec<Vec<u32>> {
    let mut rows = Vec::new();
    for path in shards(run).iter().filter(|path| name(path).starts_with(split)) {
        ShardReader::open(path).unwrap().read(|_, ids| Ok(rows.push(ids.to_vec()))).unwrap();
    }
    rows
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// The shards under their final names.
fn shards(run: &Run) -> Vec<PathBuf> {
    tests::files_below(&run.path("tokens"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "arrow"))
        .collect()
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

/// Everything that tokenize left, with its bytes.
fn token_files(run: &Run) -> Vec<(String, Vec<u8>)> {
    let seen = |path: &PathBuf| !name(path).starts_with('.');
    tests::files_below(&run.path("tokens"))
        .into_iter()
        .filter(seen)
        .map(|path| (name(&path), fs::read(&path).unwrap()))
        .collect()
}

fn bins(run: &Run) -> [Vec<u8>; 4] {
    ["train.bin", "train.bin.json", "val.bin", "val.bin.json"].map(|name| run.read(name))
}

fn ids(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))).collect()
}

/// The stories of a bin, without the EOS (0) that ends each.
fn unpacked(bytes: &[u8]) -> Vec<Vec<u32>> {
    let ids = ids(bytes);
    assert_eq!(ids.last(), Some(&0));
    ids[..ids.len() - 1].split(|&id| id == 0).map(<[u32]>::to_vec).collect()
}

/// Starts a stage, sends Ctrl-C once it said `when`, and waits for its end.
fn interrupted(run: &Run, stage: &str, args: &[&str], when: &str) -> Ended {
    let mut child = run.start(stage, args);
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut stderr = String::new();
    while !stderr.contains(when) {
        assert!(said.read_line(&mut stderr).unwrap() > 0, "{stage} never said {when:?}:\n{stderr}");
    }
    interrupt(&child);
    said.read_to_string(&mut stderr).unwrap();
    Ended { stderr, ..Ended::of(child.wait_with_output().unwrap(), stage) }
}

/// Lets `change` rewrite a shard and makes the manifest agree with it: a shard made wrongly, not a damaged one.
fn rewrite_shard(run: &Run, shard: &str, change: impl Fn(&mut ShardOrigin, &mut Vec<Vec<u32>>)) {
    let path = run.path(&format!("tokens/{shard}"));
    let reader = ShardReader::open(&path).unwrap();
    let (mut origin, mut stories) = (reader.origin().clone(), Vec::new());
    reader.read(|_, ids| Ok(stories.push(ids.to_vec()))).unwrap();
    change(&mut origin, &mut stories);
    let mut writer = ShardWriter::create(&path, &origin).unwrap();
    stories.iter().for_each(|ids| writer.push(ids, 1).unwrap());
    let (record, _) = writer.finish().unwrap();
    edit_manifest(&run.path("tokens/manifest.json"), |manifest| {
        let outputs = manifest["outputs"].as_array_mut().unwrap();
        *outputs.iter_mut().find(|output| output["name"] == shard).unwrap() =
            serde_json::to_value(&record).unwrap();
    });
}

// What they make.

#[test]
fn ids_are_those_of_crate_tokenizers_and_the_bin_is_these_with_eos() {
    let synthetic = Run::new(); // one row group, so shards without a story
    for run in [synthetic, with_stories(1000)].map(|run| run.set("pack.order=as-published")) {
        run.through(&DATA_STAGES);
        let tokenizer = tokenizers::Tokenizer::from_file(run.path("tokenizer.json")).unwrap();
        for (split, bin) in [("train", "train.bin"), ("validation", "val.bin")] {
            let texts = stories(&run, split);
            let expected: Vec<Vec<u32>> = texts
                .iter()
                .map(|text| tokenizer.encode(text.as_str(), false).unwrap().get_ids().to_vec())
                .collect();
            assert!(
                rows(&run, split) == expected && unpacked(&run.read(bin)) == expected,
                "{split}"
            );
            assert!(
                expected
                    .iter()
                    .zip(&texts)
                    .all(|(ids, text)| tokenizer.decode(ids, true).unwrap() == *text)
            );
            let bytes: usize = texts.iter().map(String::len).sum();
            let tokens = expected.iter().map(|ids| ids.len() + 1).sum::<usize>();
            let counts =
                serde_json::json!({ "bytes": bytes, "stories": texts.len(), "tokens": tokens });
            assert_eq!(run.json(&format!("{bin}.json"))["counts"], counts);
        }
    }
}

#[test]
fn hard_text_survives() {
    let run = plain()
        .set("fetch.source=hard.jsonl")
        .set("fetch.validation_fraction=0.3")
        .set("tokenizer.vocab_size=300");
    let hard = [
        "\u{0}\u{1}\u{7f}",
        " \t\r\n  x\u{a0}\u{3000}",
        "e\u{301}\u{323}",
        "👩‍🚀🏳️‍🌈",
        "\u{202e}عربي עברית",
        "你好，世界",
        "\u{10ffff}\u{fffd}",
        "don't I'LL 'Tis",
        "a  b   c    d",
    ];
    let lines: Vec<String> = (0..60)
        .map(|i| serde_json::json!({ "text": format!("{}{i}", hard[i % 9]) }).to_string())
        .collect();
    fs::write(run.input("hard.jsonl"), lines.join("\n")).unwrap();
    run.through(&DATA_STAGES);
    let tokenizer = tokenizers::Tokenizer::from_file(run.path("tokenizer.json")).unwrap();
    let (texts, rows) = (stories(&run, "train"), rows(&run, "train"));
    assert!(texts.len() > 30 && texts.len() == rows.len());
    for (text, ids) in texts.iter().zip(rows) {
        assert_eq!(tokenizer.encode(text.as_str(), false).unwrap().get_ids(), ids);
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), *text);
    }
}

#[test]
fn the_tokenizer_has_its_tokens_and_its_manifest_says_how_much_a_token_holds() {
    let run = with_stories(300);
    run.through(&BEFORE_TOKENIZE);
    let tokenizer = tokenizers::Tokenizer::from_file(run.path("tokenizer.json")).unwrap();
    assert_eq!(
        (tokenizer.token_to_id("<|endoftext|>"), tokenizer.token_to_id("<|pad|>")),
        (Some(0), Some(1))
    );
    assert_eq!(
        (
            tokenizer.get_vocab_size(true),
            run.json("tokenizer.manifest.json")["tokenizer"]["vocab_size"].as_u64()
        ),
        (400, Some(400))
    );
    let texts = stories(&run, "train");
    let tokens: usize =
        texts.iter().map(|text| tokenizer.encode(text.as_str(), false).unwrap().len()).sum();
    let expected = texts.iter().map(String::len).sum::<usize>() as f64 / tokens as f64;
    let manifest = run.json("tokenizer.manifest.json");
    assert!(
        (manifest["facts"]["bytes_per_token"].as_f64().unwrap() - expected).abs() < 0.2,
        "{manifest} {expected}"
    );
    assert_eq!(manifest["counts"]["stories"], 200);
}

/// The look at what a tokenizer does takes 32 MiB of text at most: of stories of many megabytes only the first.
#[test]
fn long_stories_do_not_make_the_look_at_a_tokenizer_long() {
    let run = plain().set("fetch.source=texts").set("tokenizer.vocab_size=300");
    fs::create_dir(run.input("texts")).unwrap();
    let long = |words: &str, bytes: usize| words.repeat(bytes / words.len());
    let first = vec![long("The cat sat and the cat sat. ", 17 << 20); 2];
    let rest = vec![long("7q$0zx~", 17 << 20); 2];
    let all = [first, rest].concat().join("<|endoftext|>");
    fs::write(run.input("texts/train.txt"), all).unwrap();
    fs::write(run.input("texts/valid.txt"), "The cat sat.").unwrap();
    run.run("fetch-parquet", &[]).ok();
    run.run("train-tokenizer", &[]).ok();
    let manifest = run.json("tokenizer.manifest.json");
    assert_eq!(manifest["counts"]["stories"], 4);
    let tokenizer = tokenizers::Tokenizer::from_file(run.path("tokenizer.json")).unwrap();
    let once = tokenizer.encode(" The cat sat and the cat sat.", false).unwrap().len();
    let expected = 29.0 / once as f64;
    let found = manifest["facts"]["bytes_per_token"].as_f64().unwrap();
    assert!((found - expected).abs() < 0.05, "{found} {expected}");
}

#[test]
fn too_little_text_gives_the_tokens_it_has_and_says_so() {
    let run = plain()
        .set("fetch.source=a.txt")
        .set("fetch.validation_fraction=0.5")
        .set("tokenizer.vocab_size=9000");
    fs::write(
        run.input("a.txt"),
        (0..40).map(|i| format!("Tom has {i} cats.")).collect::<Vec<_>>().join("<|endoftext|>"),
    )
    .unwrap();
    run.run("fetch-parquet", &[]).ok();
    run.run("train-tokenizer", &[]).ok().says(&["hold only enough for", "of 9000 tokens"]);
    let size = run.json("tokenizer.manifest.json")["tokenizer"]["vocab_size"].as_u64().unwrap();
    assert!((258..400).contains(&size), "{size}");
    run.through(&["tokenize", "pack-bin"]);
    assert_eq!(run.json("train.bin.json")["tokenizer"]["vocab_size"], size);
}

#[test]
fn a_tokenizer_of_ones_own_is_taken_and_above_65536_ids_are_uint32() {
    let run = with_stories(300);
    run.through(&BEFORE_TOKENIZE);
    let mut own: Value = run.json("tokenizer.json");
    own["model"]["vocab"]["Story 0"] = 70_000.into(); // an added token has the id that the model gives it
    let added = serde_json::json!({ "id": 70_000, "content": "Story 0", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": false });
    own["added_tokens"].as_array_mut().unwrap().push(added);
    fs::write(run.input("own.json"), own.to_string()).unwrap();
    let run = run.set("tokenizer.file=own.json").set("pack.order=as-published");
    run.through(&["train-tokenizer", "tokenize", "pack-bin"]);
    assert_eq!(run.read("tokenizer.json"), fs::read(run.input("own.json")).unwrap());
    let (sidecar, bytes) = (run.json("train.bin.json"), run.read("train.bin"));
    assert_eq!(
        (&sidecar["facts"]["dtype"], &sidecar["tokenizer"]["vocab_size"]),
        (&"uint32".into(), &70_001.into())
    );
    let mut expected = Vec::new();
    rows(&run, "train")
        .iter()
        .for_each(|ids| Dtype::U32.append(&[ids, &[0][..]].concat(), &mut expected));
    assert!(bytes == expected && bytes[..4] == 70_000u32.to_le_bytes());
    run.run("train-tokenizer", &[]).ok().says(&["up to date"]);
}

// That it repeats.

#[test]
fn bytes_depend_neither_on_threads_nor_on_jobs_nor_on_shards() {
    let run = with_stories(2500);
    run.through(&BEFORE_TOKENIZE);
    let make = |threads: &str| {
        run.run("tokenize", &["--force", "--threads", threads]).ok();
        run.run("pack-bin", &["--force", "--threads", threads]).ok();
        (token_files(&run), bins(&run))
    };
    let (files, packed) = make("1");
    assert_eq!(files.len(), 7);
    assert!(
        make("2") == (files.clone(), packed.clone())
            && make("8") == (files.clone(), packed.clone())
    );
    let tokenizer = run.read("tokenizer.json");
    for threads in ["1", "8"] {
        run.run("train-tokenizer", &["--force", "--threads", threads]).ok();
        assert!(run.read("tokenizer.json") == tokenizer);
    }

    fs::remove_dir_all(run.path("tokens")).unwrap();
    ["1/4", "2/4", "4/4"]
        .iter()
        .for_each(|job| drop(run.run("tokenize", &["--shard", job, "--threads", "2"]).ok()));
    run.run("pack-bin", &[]).code(3).says(&["manifest-3-of-4.json", "not found", "--shard 3/4"]);
    run.run("tokenize", &["--shard", "3/4"]).ok();
    run.run("tokenize", &["--shard", "3/4"]).ok().says(&["up to date"]);
    run.run("pack-bin", &["--force"]).ok();
    assert!(bins(&run) == packed);
    let arrow = |files: &[(String, Vec<u8>)]| {
        files.iter().filter(|(name, _)| name.ends_with(".arrow")).cloned().collect::<Vec<_>>()
    };
    assert!(arrow(&token_files(&run)) == arrow(&files));

    run.run("tokenize", &["--shards", "7"]).ok();
    assert_eq!(shards(&run).len(), 14, "those of another number are gone");
    run.run("pack-bin", &["--set", "tokenize.shards=7"]).ok();
    assert!(bins(&run) == packed);
}

#[test]
fn a_file_of_one_large_row_group_gives_the_same_bytes_for_any_number_of_threads() {
    let run = plain()
        .set("fetch.source=in")
        .set("tokenizer.vocab_size=600")
        .set("tokenize.shards=2")
        .set("pack.order=as-published");
    many(&run.input("in/validation-a.parquet"), 100);
    let texts: Vec<String> = (0..30_000).map(story).collect();
    write_row_group(&run.input("in/train-a.parquet"), &texts);
    run.through(&BEFORE_TOKENIZE);
    let make = |threads: &str| {
        run.run("tokenize", &["--force", "--threads", threads]).ok();
        token_files(&run)
    };
    let one = make("1");
    assert!(make("2") == one && make("8") == one);
    run.through(&["pack-bin"]);
    let tokenizer = corpus::tokenizer::Tokenizer::load(&run.path("tokenizer.json")).unwrap();
    let stories = unpacked(&run.read("train.bin"));
    assert!(
        stories.len() == texts.len()
            && stories.iter().zip(&texts).all(|(ids, text)| tokenizer.decode(ids) == *text)
    );
}

#[test]
fn the_order_is_a_permutation_that_the_seed_decides() {
    let run = Run::new();
    run.through(&DATA_STAGES);
    let order = |args: &[&str]| {
        run.run("pack-bin", args).ok();
        unpacked(&run.read("train.bin"))
    };
    let (one, two, published) =
        (order(&["--seed", "1"]), order(&["--seed", "2"]), order(&["--order", "as-published"]));
    assert_eq!(published, rows(&run, "train"));
    assert!(one != two && one != published);
    let sorted = |mut stories: Vec<Vec<u32>>| {
        stories.sort();
        stories
    };
    assert_eq!(sorted(one.clone()), sorted(published.clone()));
    assert_eq!(sorted(two), sorted(published));
    assert_eq!(order(&["--seed", "1"]), one);
}

#[test]
fn a_second_run_does_nothing_at_once_and_a_change_redoes_what_is_behind_it() {
    let run = with_stories(1000);
    run.through(&DATA_STAGES);
    let stages = ["train-tokenizer", "tokenize", "pack-bin"];
    for stage in stages {
        let time = |_| {
            let start = Instant::now();
            let ended = run.run(stage, &[]).ok().says(&["up to date"]);
            assert_eq!(ended.stderr.lines().count(), 1);
            start.elapsed().as_secs_f64()
        };
        let seconds = (0..5).map(time).fold(f64::MAX, f64::min);
        assert!(seconds < 0.1, "{stage} took {seconds} s to do nothing");
    }
    let redone = |settings: &[&str]| {
        let args: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let done = |stage: &&&str| !run.run(stage, &args).ok().stderr.contains("up to date");
        stages.iter().filter(done).copied().collect::<Vec<_>>()
    };
    assert_eq!(redone(&["train.lr=1e-3", "pack.order=shuffled"]), [""; 0]);
    assert_eq!(redone(&["pack.seed=7"]), ["pack-bin"]);
    assert_eq!(redone(&["pack.seed=7", "tokenize.shards=2"]), ["tokenize", "pack-bin"]);
    assert_eq!(redone(&["pack.seed=7", "tokenize.shards=2", "tokenizer.vocab_size=350"]), stages);
    assert_eq!(redone(&["pack.seed=7", "tokenize.shards=2", "tokenizer.vocab_size=350"]), [""; 0]);
    run.run("pack-bin", &["--force", "--set", "pack.seed=7"]).ok().says(&["--force"]);
    // Other validation stories: the tokenizer never saw them, and the training shards stay.
    let train = modified(&run.path("tokens/train-00000-of-00002.arrow"));
    parquet(&run.input("in/validation-a.parquet"), 2_000_000, 2_000_300);
    run.run("fetch-parquet", &[]).ok();
    assert_eq!(
        redone(&["pack.seed=7", "tokenize.shards=2", "tokenizer.vocab_size=350"]),
        ["tokenize", "pack-bin"]
    );
    assert_eq!(modified(&run.path("tokens/train-00000-of-00002.arrow")), train);
}

// What a kill leaves.

#[test]
fn a_killed_tokenize_keeps_its_finished_shards() {
    let make = || with_stories(12_000).set("tokenize.shards=40");
    let (broken, undisturbed) = (make(), make());
    broken.through(&BEFORE_TOKENIZE);
    undisturbed.through(&BEFORE_PACK);
    for signal in ["-INT", "-KILL"] {
        let before = shards(&broken).len();
        let mut child = broken.start("tokenize", &["--threads", "1"]);
        wait_until("three more shards", || shards(&broken).len() >= before + 3);
        std::process::Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), if signal == "-INT" { Some(130) } else { None });
        assert!(!broken.path("tokens/manifest.json").exists());
        assert!(signal == "-KILL" || broken.partials().is_empty());
    }
    let finished: Vec<(PathBuf, SystemTime)> =
        shards(&broken).into_iter().map(|path| (path.clone(), modified(&path))).collect();
    assert!(finished.len() >= 5 && finished.len() < 79);
    let ended = broken.run("tokenize", &[]).ok();
    assert!(ended.stdout.contains("shards kept"), "{}", ended.stdout);
    for (path, time) in finished {
        assert_eq!(modified(&path), time, "{} was made again", path.display());
    }
    assert_eq!(token_files(&broken), token_files(&undisturbed));
    assert_eq!(broken.partials(), Vec::<PathBuf>::new());
}

#[test]
fn ctrl_c_ends_each_stage_with_130_and_keeps_what_was() {
    let run = with_stories(8000).set("tokenizer.max_stories=8000").set("tokenizer.vocab_size=3000");
    run.through(&["fetch-parquet"]);
    interrupted(&run, "train-tokenizer", &[], "training").code(130).says(&["interrupted"]);
    assert!(!run.path("tokenizer.json").exists() && run.partials().is_empty());
    run.through(&["train-tokenizer"]);
    interrupted(&run, "tokenize", &[], "tokenizing").code(130).says(&["interrupted", "kept"]);
    assert!(!run.path("tokens/manifest.json").exists() && run.partials().is_empty());
    run.through(&["tokenize", "pack-bin"]);
    let packed = bins(&run);
    interrupted(&run, "pack-bin", &["--seed", "2", "--threads", "1"], "packing")
        .code(130)
        .says(&["interrupted", "as they were"]);
    assert!(bins(&run) == packed && run.partials().is_empty());
    let hidden = |path: &PathBuf| path.to_string_lossy().contains(".buckets");
    assert!(!tests::files_below(&run.path("")).iter().any(hidden));
    run.run("pack-bin", &[]).ok().says(&["up to date"]);
}

#[test]
fn a_full_disk_leaves_nothing_half_written_and_more_space_is_enough() {
    let run = with_stories(3000);
    run.through(&BEFORE_TOKENIZE);
    let Some(disk) = SmallDisk::mount(&run.path("tokens"), 256) else { return };
    run.run("tokenize", &[]).code(4).says(&["the disk is full", "free space"]);
    assert_eq!(run.partials(), Vec::<PathBuf>::new());
    drop(disk);
    run.through(&["tokenize"]);

    let elsewhere = with_stories(3000);
    let disk = SmallDisk::mount(&elsewhere.path(""), 2048).expect("mounted before");
    for file in tests::files_below(&run.path("")) {
        let copy = elsewhere.path(file.strip_prefix(run.path("")).unwrap().to_str().unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(&file, copy).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
    elsewhere.run("pack-bin", &[]).code(4).says(&["train.bin", "the disk is full"]);
    assert!(elsewhere.partials().is_empty() && !elsewhere.path("train.bin").exists());
    drop(disk);
}

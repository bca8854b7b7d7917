//! fetch-parquet over the grammar and local files: what it takes, what it keeps, what it refuses and in which words.
mod story_files;

use std::fs;
use std::time::Instant;

use corpus::fetched::raw_files;
use story_files::*;
use tests::disk::SmallDisk;
use tests::{Ended, Run};

/// A run over a folder `in` with two training files and one of validation stories.
fn with_folder() -> Run {
    let run = plain().set("fetch.source=in");
    parquet(&run.input("in/train-a.parquet"), 0, 250);
    parquet(&run.input("in/train-b.parquet"), 250, 400);
    parquet(&run.input("in/validation-a.parquet"), 1000, 1050);
    run
}

fn ended(child: std::process::Child) -> Ended {
    Ended::of(child.wait_with_output().unwrap(), "fetch-parquet")
}

#[test]
fn parquet_of_a_folder_is_kept_byte_for_byte() {
    let run = with_folder();
    fs::write(run.input("in/README.txt"), "no story").unwrap();
    run.run("fetch-parquet", &[]).ok().says(&["own \"validation\""]);
    assert_eq!(
        run.read("raw/train-00001-of-00002.parquet"),
        fs::read(run.input("in/train-b.parquet")).unwrap()
    );
    assert_eq!(
        (stories(&run, "train").len(), stories(&run, "validation")[0].clone()),
        (400, story(1000))
    );
    let manifest = run.json("raw/manifest.json");
    assert_eq!(
        (&manifest["counts"]["train_stories"], &manifest["counts"]["validation_stories"]),
        (&400.into(), &50.into())
    );
    assert_eq!(
        manifest["counts"]["validation_bytes"],
        (1000..1050).map(|i| story(i).len()).sum::<usize>()
    );
    assert!(
        !manifest.to_string().contains(run.input("").to_str().unwrap()),
        "a manifest names no absolute path"
    );
}

#[test]
fn a_second_run_is_up_to_date_at_once_and_force_does_it_again() {
    let run = with_folder();
    run.through(&["fetch-parquet"]);
    let mut seconds = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        run.run("fetch-parquet", &[]).ok().says(&["up to date"]);
        seconds.push(start.elapsed().as_secs_f64());
    }
    assert!(seconds.iter().any(|&s| s < 0.1), "{seconds:?} s");
    let again = run.run("fetch-parquet", &["--force"]).ok();
    assert!(!again.stderr.contains("up to date"));
}

#[test]
fn a_changed_file_is_fetched_again_and_what_is_no_longer_of_it_goes() {
    let run = with_folder();
    run.through(&["fetch-parquet"]);
    fs::write(run.path("raw/mine.parquet"), "kept").unwrap();
    fs::remove_file(run.input("in/train-b.parquet")).unwrap();
    run.run("fetch-parquet", &[]).ok().says(&["its inputs are other files"]);
    let names: Vec<String> = final_files(&run).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["mine.parquet", "train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"]
    );
    assert!(!run.path("raw/.parts").exists());
}

#[test]
fn synthetic_stories_are_labelled_and_the_same_for_any_number_of_threads() {
    let (one, two) = (Run::new(), Run::new());
    one.run("fetch-parquet", &["--threads", "1"]).ok().says(&["synthetic"]);
    let said = two.run("fetch-parquet", &["--threads", "2"]).ok();
    assert!(said.stdout.contains("(synthetic)"), "{}", said.stdout);
    assert_eq!(one.json("raw/manifest.json")["facts"]["synthetic"], true);
    assert_eq!(final_files(&one), final_files(&two));
    assert_eq!(one.read("raw/manifest.json"), two.read("raw/manifest.json"));
    assert_eq!(stories(&one, "train").len() + stories(&one, "validation").len(), 600);
}

#[test]
fn files_are_the_same_for_any_number_of_threads() {
    let make = |threads: &str| {
        let run = with_folder().set("fetch.validation_fraction=0.2");
        run.run("fetch-parquet", &["--threads", threads]).ok();
        final_files(&run)
    };
    assert_eq!(make("1"), make("2"));
}

/// A file `in/NAME` and one of another story for validation beside it.
fn with_texts(name: &str, content: &[u8]) -> Run {
    let run = plain().set("fetch.source=in");
    fs::create_dir_all(run.input("in")).unwrap();
    fs::write(run.input("in").join(name), content).unwrap();
    let (_, kind) = name.split_once('.').unwrap();
    let other: &[u8] = if kind.contains("txt") { b"Other." } else { b"{\"text\": \"Other.\"}" };
    fs::write(
        run.input(&format!("in/valid.{}", &kind[..kind.find('.').unwrap_or(kind.len())])),
        other,
    )
    .unwrap();
    run
}

#[test]
fn json_and_separated_text_become_parquet() {
    let lines = b"{\"text\": \"One\\nline\"}\n\n{\"id\": 2, \"text\": \"\"}\n{\"text\": \"Two\"}\n";
    let array =
        b"[{\"text\": \"One\\nline\"},\n {\"id\": [2], \"text\": \"\"}, {\"text\": \"Two\"}]";
    let text = b"One\nline\n<|endoftext|>\n<|endoftext|>Two";
    for (name, content) in [
        ("train.jsonl", &lines[..]),
        ("train.ndjson", lines),
        ("train.json", array),
        ("train.json", lines),
        ("train.txt", text),
        ("train.TXT", text),
        ("train.txt", b"\xef\xbb\xbfOne\r\nline\r\n<|endoftext|>Two\r\n"),
    ] {
        let run = with_texts(name, content);
        if name.ends_with("ndjson") || name.ends_with("TXT") {
            fs::remove_file(run.input("in").join(name.replace("train", "valid"))).unwrap();
            run.run("fetch-parquet", &[]).ok();
            assert_eq!(all_stories(&run), ["One\nline", "Two"], "{name}");
            continue;
        }
        run.through(&["fetch-parquet"]);
        assert_eq!(stories(&run, "train"), ["One\nline", "Two"], "an empty text is no story");
    }
    let run = with_texts(
        "train.jsonl",
        &String::from_utf8_lossy(lines).replace("text", "story").into_bytes(),
    );
    run.run("fetch-parquet", &["--column", "story", "--source", "in/train.jsonl"]).ok();
    assert_eq!(all_stories(&run), ["One\nline", "Two"]);
}

#[test]
fn packed_texts_are_read_as_they_are_and_damaged_ones_named() {
    let content: String = (0..500).map(|i| story(i) + "<|endoftext|>").collect();
    let plain_run = with_texts("train.txt", content.as_bytes());
    plain_run.through(&["fetch-parquet"]);
    for (name, program) in [("train.txt.gz", "gzip"), ("train.txt.zst", "zstd")] {
        let run = with_texts("train.txt", content.as_bytes());
        let packed =
            std::process::Command::new(program).arg("-c").arg(run.input("in/train.txt")).output();
        let Ok(packed) = packed else {
            assert_eq!(program, "zstd", "gzip is everywhere"); // crate corpus packs zstd in its own tests
            continue;
        };
        fs::remove_file(run.input("in/train.txt")).unwrap();
        let path = run.input("in").join(name);
        fs::write(&path, &packed.stdout).unwrap();
        run.through(&["fetch-parquet"]);
        assert_eq!(final_files(&run), final_files(&plain_run), "{name}");
        fs::write(&path, &packed.stdout[..packed.stdout.len() / 2]).unwrap();
        run.run("fetch-parquet", &[]).code(3).says(&[name, "cannot be unpacked", program]);
    }
}

#[test]
fn what_stands_between_stories_can_be_said() {
    for (separator, text) in [
        ("blank-line", "One\nline.\n\n  \nTwo.\n"),
        ("\\n---\\n", "One\nline.\n---\nTwo."),
        ("###", "One\nline.###Two.###"),
    ] {
        let run = with_texts("train.txt", text.as_bytes());
        run.run("fetch-parquet", &[]).ok().says(&[
            "train.txt: one story",
            "<|endoftext|>",
            "fetch.separator=blank-line",
        ]);
        assert_eq!(stories(&run, "train").len(), 1);
        let said = run.run("fetch-parquet", &["--separator", separator]).ok();
        assert_eq!(stories(&run, "train"), ["One\nline.", "Two."], "{separator}\n{}", said.stderr);
        run.run("fetch-parquet", &["--separator", separator]).ok().says(&["up to date"]);
    }
    plain().run("fetch-parquet", &["--separator", ""]).code(2).says(&["must not be empty"]);
}

#[test]
fn an_end_of_text_in_a_text_of_parquet_or_json_ends_a_story() {
    let texts =
        ["One.<|endoftext|>", "<|endoftext|>Two.\n<|endoftext|>\n", "Three.<|endoftext|>Four."];
    let expected = ["One.", "Two.", "Three.", "Four."];
    let write = |run: &Run, name: &str| {
        let column: arrow::array::ArrayRef =
            std::sync::Arc::new(arrow::array::StringArray::from(texts.to_vec()));
        write_column(&run.input(name), "text", column);
    };
    let run = plain().set("fetch.source=in");
    write(&run, "in/train.parquet");
    write(&run, "in/valid.parquet");
    let said = ["4 texts had <|endoftext|> at an end", "2 texts had <|endoftext|> inside"];
    run.run("fetch-parquet", &[]).ok().says(&said);
    assert_eq!(
        (stories(&run, "train"), stories(&run, "validation")),
        (expected.map(String::from).to_vec(), expected.map(String::from).to_vec())
    );
    assert_eq!(run.json("raw/manifest.json")["counts"]["train_stories"], 4);
    run.run("fetch-parquet", &[]).ok().says(&["up to date"]);
    run.run("fetch-parquet", &["--max-stories", "3"]).ok();
    assert_eq!(stories(&run, "train"), expected[..3]);
    let lines: String =
        texts.iter().map(|text| serde_json::json!({ "text": text }).to_string() + "\n").collect();
    let run = with_texts("train.jsonl", lines.as_bytes());
    run.run("fetch-parquet", &[])
        .ok()
        .says(&["2 texts had <|endoftext|> at an end", "1 texts had"]);
    assert_eq!(stories(&run, "train"), expected);
}

#[test]
fn of_few_stories_each_side_has_at_least_one() {
    for n in 2..=10u64 {
        for fraction in ["0.01", "0.99"] {
            let text: Vec<String> = (0..n).map(story).collect();
            let run =
                plain().set("fetch.source=in").set(format!("fetch.validation_fraction={fraction}"));
            fs::create_dir_all(run.input("in")).unwrap();
            let (first, second) = text.split_at(n as usize / 2);
            fs::write(run.input("in/a.txt"), first.join("<|endoftext|>")).unwrap();
            fs::write(run.input("in/b.txt"), second.join("<|endoftext|>") + "<|endoftext|>")
                .unwrap();
            run.through(&["fetch-parquet"]);
            let sides = [stories(&run, "train").len(), stories(&run, "validation").len()];
            assert!(
                sides[0] > 0 && sides[1] > 0 && sides[0] + sides[1] == n as usize,
                "{sides:?} of {n}"
            );
            assert_eq!(run.json("raw/manifest.json")["counts"]["validation_stories"], sides[1]);
            run.run("fetch-parquet", &[]).ok().says(&["up to date"]);
        }
    }
    let run = plain().set("fetch.source=a.txt");
    fs::write(run.input("a.txt"), "One.<|endoftext|>").unwrap();
    run.run("fetch-parquet", &[]).ok().says(&["one story in all", "none is left for validation"]);
    fs::write(run.input("a.txt"), "One.<|endoftext|>One.").unwrap();
    run.run("fetch-parquet", &[]).ok().says(&["no validation story"]);
}

#[test]
fn a_file_s_address_is_decoded() {
    let run = plain();
    fs::create_dir_all(run.input("a b")).unwrap();
    fs::write(run.input("a b/\u{e4}#1.txt"), "One.<|endoftext|>Two.").unwrap();
    let folder = run.input("a b").canonicalize().unwrap();
    let address = format!("file://{}/%C3%A4%231.txt", folder.to_str().unwrap().replace(' ', "%20"));
    run.run("fetch-parquet", &["--source", &address]).ok();
    assert_eq!(all_stories(&run), ["One.", "Two."]);
    run.run("fetch-parquet", &["--source", "file://a/b.txt"]).code(2).says(&["file:///PATH"]);
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let run = plain();
    let made = std::process::Command::new("mkfifo").arg(run.input("pipe.txt")).status().unwrap();
    assert!(made.success());
    std::os::unix::fs::symlink("/dev/zero", run.input("zero.txt")).unwrap();
    let start = Instant::now();
    for (name, kind) in [("pipe.txt", "a pipe"), ("zero.txt", "a device")] {
        run.run("fetch-parquet", &["--source", name]).code(3).says(&[name, kind, "remedy"]);
        let mut command = std::process::Command::new(tests::binary("fetch-parquet"));
        command.current_dir(run.input("")).args(["--config", name]);
        Ended::of(command.output().unwrap(), "fetch-parquet").code(2).says(&[name, kind]);
    }
    assert!(start.elapsed().as_secs() < 20);
}

#[test]
fn names_do_not_steer_the_terminal() {
    let run = plain().set("fetch.source=in");
    fs::create_dir_all(run.input("in")).unwrap();
    for name in ["a\u{1b}[31m\u{9b}2J.txt", "b.txt"] {
        fs::write(run.input("in").join(name), "One.<|endoftext|>Two.").unwrap();
    }
    let said = run.run("fetch-parquet", &[]).ok().says(&["a\\u{1b}[31m\\u{9b}2J.txt"]);
    assert!(!said.stderr.contains(['\u{1b}', '\u{9b}']));
    let said = run.run("fetch-parquet", &["--source", "\u{1b}]0;x\u{7}.txt"]).code(3);
    assert!(!said.stderr.contains(['\u{1b}', '\u{7}']), "{}", said.stderr);
}

#[test]
fn validation_files_are_known_by_the_words_of_their_names_and_folders() {
    let text = |from: u64, to: u64| (from..to).map(story).collect::<Vec<_>>().join("<|endoftext|>");
    let named = [
        ("in/TinyStoriesV2-GPT4-train.txt", "in/TinyStoriesV2-GPT4-valid.txt"),
        ("in/train/0.txt", "in/validation/0.txt"),
        ("in/my-train.txt", "in/test/my-dev.txt"),
    ];
    for ((train, validation), source) in
        named.iter().flat_map(|pair| [(pair, "in"), (pair, "in/*")])
    {
        let run = plain().set(format!("fetch.source={source}"));
        for (name, content) in [(train, text(0, 90)), (validation, text(100, 110))] {
            fs::create_dir_all(run.input(name).parent().unwrap()).unwrap();
            fs::write(run.input(name), content).unwrap();
        }
        let (train, validation) = (train.trim_start_matches("in/"), &validation[3..]);
        run.run("fetch-parquet", &[])
            .ok()
            .says(&[&format!("for training: {train}; for validation: {validation}")]);
        assert_eq!(stories(&run, "train"), (0..90).map(story).collect::<Vec<_>>());
        assert_eq!(stories(&run, "validation"), (100..110).map(story).collect::<Vec<_>>());
        // A share is of the training stories, and still nobody trains on the others.
        run.run("fetch-parquet", &["--validation-fraction", "0.3"])
            .ok()
            .says(&[&format!("not used: {validation}")]);
        assert_eq!(stories(&run, "train").len() + stories(&run, "validation").len(), 90);
    }
}

#[test]
fn a_file_called_for_validation_or_testing_is_trained_on_only_when_asked_for() {
    for name in ["valid.txt", "x-validation.txt", "dev/a.txt", "my_test.txt"] {
        let run = plain().set("fetch.source=in");
        fs::create_dir_all(run.input("in").join(name).parent().unwrap()).unwrap();
        fs::write(run.input("in").join(name), "One.<|endoftext|>Two.<|endoftext|>Three.").unwrap();
        let refused = run.run("fetch-parquet", &[]).code(3);
        let refused = refused.says(&["validation or testing", name, "--set fetch.train_split="]);
        assert!(!run.path("raw").exists());
        let (_, after) = refused.stderr.split_once("fetch.train_split=").unwrap();
        let word = after.split_whitespace().next().unwrap();
        run.run("fetch-parquet", &["--train-split", word]).ok();
        let file = format!("in/{name}");
        run.run("fetch-parquet", &["--source", &file]).ok();
    }
}

#[test]
fn a_column_of_another_name_is_found_by_that_name_after_rewriting_too() {
    let run = plain().set("fetch.column=body").set("fetch.source=in");
    write_column(&run.input("in/train.parquet"), "body", strings("large"));
    // One of the two is for validation.
    run.run("fetch-parquet", &["--max-stories", "2"]).ok();
    let files = raw_files(&run.path("raw"), "train").unwrap();
    assert_eq!(corpus::stories::ParquetStories::open(&files[0], "body").unwrap().stories(), 1);
}

#[test]
fn bad_files_are_named_with_what_is_wrong_and_what_to_do() {
    let run = plain();
    let good = parquet(&run.input("good.parquet"), 0, 300);
    let mut flipped = good.clone();
    flipped[4..2000].fill(0xff);
    for (name, bytes) in [
        ("cut.parquet", &good[..good.len() / 2]),
        ("empty.parquet", &[]),
        ("other.parquet", &[b'x'; 100]),
        ("flipped.parquet", &flipped),
        ("none.txt", b"\n"),
    ] {
        fs::write(run.input(name), bytes).unwrap();
    }
    fs::write(run.input("bad.jsonl"), "{\"text\": \"A\"}\n{\"text\": 7}\n").unwrap();
    fs::write(run.input("worse.jsonl"), "{\"text\": \"A\"}\n\n{\"text\": \n").unwrap();
    for kind in ["nulls", "numbers"] {
        write_column(&run.input(&format!("{kind}.parquet")), "text", strings(kind));
    }
    let binary = |i| if i == 101 { b"Once \xff".to_vec() } else { story(i).into_bytes() };
    let binary = arrow::array::BinaryArray::from_iter_values((0..200).map(binary));
    write_column(&run.input("bytes.parquet"), "text", std::sync::Arc::new(binary));
    two_columns(&run.input("twice.parquet"));
    // An encrypted footer, and a footer that says how columns are encrypted: field 8, a union of an empty struct.
    let (body, footer) = good.split_at(good.len() - 8);
    let body = body.strip_suffix(b"\0").unwrap();
    let length = u32::from_le_bytes(footer[..4].try_into().unwrap()) + 4;
    let said = [body, b"\x1c\x1c\0\0\0", &length.to_le_bytes(), b"PAR1"].concat();
    fs::write(run.input("hidden.parquet"), said).unwrap();
    fs::write(run.input("sealed.parquet"), [b"PARE", &[7; 64][..], b"PARE"].concat()).unwrap();
    fs::write(run.input("utf16.txt"), b"\xff\xfeO\0n\0e\0").unwrap();
    write_column(&run.input("column.parquet"), "story", strings("large"));
    write_column(&run.input("rowless.parquet"), "text", strings("large").slice(0, 0));
    let cases: [(&str, &[&str]); 17] = [
        ("cut.parquet", &["truncated"]),
        ("empty.parquet", &["an empty file"]),
        ("other.parquet", &["not parquet"]),
        ("flipped.parquet", &["row group 0", "cannot be decoded"]),
        ("nulls.parquet", &["row 2 (from 0): null"]),
        ("numbers.parquet", &["column \"text\" holds Int64", "--set fetch.column"]),
        ("column.parquet", &["no column \"text\"; its columns are story"]),
        ("rowless.parquet", &["no training story"]),
        ("none.txt", &["no training story"]),
        ("bad.jsonl", &["line 2", "integer `7`, expected a string in \"text\""]),
        ("bytes.parquet", &["row 101 (from 0): bytes that are not UTF-8"]),
        ("twice.parquet", &["2 columns \"text\""]),
        ("sealed.parquet", &["encrypted parquet", "decrypt it"]),
        ("hidden.parquet", &["encrypted parquet"]),
        ("utf16.txt", &["text in UTF-16", "iconv -f UTF-16 -t UTF-8"]),
        ("worse.jsonl", &["line 3", "not JSON"]),
        ("missing.parquet", &["not found"]),
    ];
    for (name, words) in cases {
        run.run("fetch-parquet", &["--source", name])
            .code(3)
            .says(&[&[name, "remedy"], words].concat());
        assert_eq!((final_files(&run), run.partials()), (vec![], vec![]), "{name}");
        assert!(!run.path("raw/manifest.json").exists());
    }
    for whole in ["in/train-nulls.parquet", "in/validation-ok.parquet"] {
        let kind = if whole.contains("nulls") { "nulls" } else { "large" };
        write_column(&run.input(whole), "text", strings(kind));
    }
    run.run("fetch-parquet", &["--source", "in"])
        .code(3)
        .says(&["train-nulls.parquet", "row 2 (from 0): null"]);
    assert!(!run.path("raw/train-00000-of-00001.parquet").exists());
}

#[test]
fn wrong_settings_are_told_before_anything_is_done() {
    let cases: [(&[&str], &[&str]); 8] = [
        (&["--set", "fetch.sorce=x"], &["unknown key fetch.sorce", "fetch.source"]),
        (&["--source", "ftp://x/y"], &["ftp: is no kind of source", "hf://datasets/"]),
        (&["--source", "https://127.0.0.1/x.zip"], &["not a .parquet file"]),
        (&["--validation-fraction", "1.5"], &["between 0 and 1"]),
        (
            &["--validation-fraction", "0.5", "--validation-split", "validation"],
            &["exclude each other"],
        ),
        (&["--validation-split", "validation"], &["stories: has no splits"]),
        (&["--max-stories", "0"], &["at least 1"]),
        (&["--shard", "3/2"], &["I from 1 to N"]),
    ];
    for (args, words) in cases {
        let run = plain();
        run.run("fetch-parquet", args).code(2).says(words);
        assert!(!run.path("raw").exists());
    }
    let run = with_folder();
    run.through(&["fetch-parquet"]);
    run.run("fetch-parquet", &["--source", "out/raw"])
        .code(2)
        .says(&["the folder that this stage writes to"]);
    run.run("fetch-parquet", &["--validation-split", "test"]).code(3).says(&[
        "\"test\"",
        "train-a.parquet",
        "fetch.validation_fraction",
    ]);
}

#[test]
fn output_that_cannot_be_written_is_said() {
    let run = with_folder();
    fs::write(run.path("").with_extension("file"), "").unwrap();
    let mut command = std::process::Command::new(tests::binary("fetch-parquet"));
    command.current_dir(run.input("")).args([
        "--config",
        "tiny.toml",
        "--source",
        "in",
        "--out",
        "out.file/below",
    ]);
    Ended::of(command.output().unwrap(), "fetch-parquet").code(2).says(&[
        "out.file",
        "cannot be written",
        "--out",
    ]);
}

#[test]
fn a_full_disk_leaves_nothing_half_written_and_more_space_is_enough() {
    let run = plain().set("fetch.source=big.parquet").set("fetch.validation_fraction=0.1");
    many(&run.input("big.parquet"), 4000);
    let Some(disk) = SmallDisk::mount(&run.path("raw"), 256) else { return };
    run.run("fetch-parquet", &[]).code(4).says(&["the disk is full", "free space"]);
    assert_eq!((final_files(&run), run.partials()), (vec![], vec![]));
    drop(disk);
    run.through(&["fetch-parquet"]);
    assert_eq!(stories(&run, "train").len() + stories(&run, "validation").len(), 4000);
}

#[test]
fn ctrl_c_keeps_what_is_whole_and_the_next_run_ends_with_the_same_bytes() {
    let make = || {
        let run = plain().set("fetch.source=in").set("fetch.validation_fraction=0.1");
        fs::create_dir_all(run.input("in")).unwrap();
        for file in 0..60 {
            let texts: Vec<String> = (0..3000).map(|i| story(file * 3000 + i)).collect();
            fs::write(run.input(&format!("in/{file:02}.txt")), texts.join("<|endoftext|>"))
                .unwrap();
        }
        run
    };
    let (broken, undisturbed) = (make(), make());
    let child = broken.start("fetch-parquet", &["--threads", "1"]);
    wait_until("two parts", || {
        broken.path("raw/.parts/train-00001-of-00060.parquet.json").exists()
    });
    interrupt(&child);
    ended(child).code(130).says(&["interrupted", "of 60 parts are whole and kept"]);
    assert_eq!(broken.partials(), Vec::<std::path::PathBuf>::new());
    assert!(!broken.path("raw/manifest.json").exists());
    let first = broken.path("raw/train-00000-of-00060.parquet");
    let made = fs::metadata(&first).unwrap().modified().unwrap();
    broken.through(&["fetch-parquet"]);
    assert_eq!(fs::metadata(&first).unwrap().modified().unwrap(), made, "what was whole is kept");
    undisturbed.through(&["fetch-parquet"]);
    assert_eq!(final_files(&broken), final_files(&undisturbed));
    assert_eq!(broken.read("raw/manifest.json"), undisturbed.read("raw/manifest.json"));
}

#[test]
fn shards_make_together_what_one_run_makes() {
    for setting in ["fetch.validation_fraction=0.2", "fetch.validation_split=validation"] {
        let (whole, shards) = (with_folder().set(setting), with_folder().set(setting));
        whole.through(&["fetch-parquet"]);
        shards.run("fetch-parquet", &["--shard", "2/2"]).ok();
        let error = raw_files(&shards.path("raw"), "train").unwrap_err().to_string();
        assert!(
            error.contains("manifest-1-of-2.json: not found") && error.contains("--shard 1/2"),
            "{error}"
        );
        shards.run("fetch-parquet", &["--shard", "1/2"]).ok();
        assert_eq!(final_files(&shards), final_files(&whole));
        let names = |run: &Run| {
            raw_files(&run.path("raw"), "train")
                .unwrap()
                .iter()
                .map(|p| p.file_name().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&shards), names(&whole));
        shards.run("fetch-parquet", &["--shard", "1/2"]).ok().says(&["up to date"]);
        // A whole fetch takes the place of the shards.
        shards.through(&["fetch-parquet"]);
        assert!(!shards.path("raw/manifest-1-of-2.json").exists());
        assert_eq!(shards.read("raw/manifest.json"), whole.read("raw/manifest.json"));
    }
}

#[test]
fn shards_of_different_fetches_are_refused() {
    let run = with_folder();
    run.run("fetch-parquet", &["--shard", "1/2", "--validation-fraction", "0.2"]).ok();
    run.run("fetch-parquet", &["--shard", "2/2", "--validation-fraction", "0.3"]).ok();
    let error = raw_files(&run.path("raw"), "train").unwrap_err().to_string();
    assert!(error.contains("other settings"), "{error}");
}

#[test]
fn a_story_told_twice_is_on_one_side() {
    let run = plain().set("fetch.source=in").set("fetch.validation_fraction=0.3");
    parquet(&run.input("in/a.parquet"), 0, 500);
    parquet(&run.input("in/b.parquet"), 250, 750);
    run.through(&["fetch-parquet"]);
    let (train, validation) = (stories(&run, "train"), stories(&run, "validation"));
    assert_eq!(train.len() + validation.len(), 1000);
    assert!((200..400).contains(&validation.len()), "{}", validation.len());
    let train: std::collections::HashSet<String> = train.into_iter().collect();
    assert!(validation.iter().all(|text| !train.contains(text)));
}

#[test]
fn limits_take_the_first_stories_and_no_file_more_than_needed() {
    let run = with_folder();
    run.run("fetch-parquet", &["--max-stories", "120"]).ok();
    assert_eq!(stories(&run, "train"), (0..120).map(story).collect::<Vec<_>>());
    assert_eq!(stories(&run, "validation").len(), 50);
    run.run("fetch-parquet", &["--max-stories", "260"]).ok();
    assert_eq!(stories(&run, "train").len(), 260);
    // A story is about 350 bytes, so 3,000 tokens of 4 bytes are in the first row group of 100.
    run.run("fetch-parquet", &["--max-tokens-hint", "3000"]).ok();
    assert_eq!(stories(&run, "train").len(), 100);
    fs::write(run.input("a.txt"), (0..50).map(story).collect::<Vec<_>>().join("<|endoftext|>"))
        .unwrap();
    run.run(
        "fetch-parquet",
        &["--source", "a.txt", "--max-stories", "7", "--validation-fraction", "1e-9"],
    )
    .ok();
    assert_eq!(all_stories(&run), (0..7).map(story).collect::<Vec<_>>());
    run.run("fetch-parquet", &["--source", "stories:", "--max-tokens-hint", "20000"]).ok();
    let bytes = run.json("raw/manifest.json")["counts"]["train_bytes"].as_u64().unwrap();
    assert!((60_000..100_000).contains(&bytes), "{bytes}");
}

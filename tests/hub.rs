//! fetch-parquet over HTTP: the Hub, single files, buckets and proxies, all played by a server on loopback that fails in
//! every way a network can.
mod server;
mod story_files;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use server::{Reply, Request, Server};
use story_files::*;
use tests::disk::SmallDisk;
use tests::{Ended, Run};

const NAME: &str = "raw/train-00000-of-00001.parquet";
/// The dataset that [`hub`] plays: a split for training and one for validation, so files are taken as they are.
const HUB: &str = "hf://datasets/owner/name";

/// The stage with an environment of its own: loopback only, short pauses.
fn command(run: &Run, environment: &[(&str, &str)], args: &[&str]) -> Command {
    let mut command = run.command("fetch-parquet");
    for name in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "no_proxy",
        "NO_PROXY",
        "HF_TOKEN",
        "HF_ENDPOINT",
    ] {
        command.env_remove(name);
    }
    command.env("BEDTIME_RETRY_BASE_MS", "5").envs(environment.iter().copied()).args(args);
    command
}

fn fetch_with(run: &Run, environment: &[(&str, &str)], args: &[&str]) -> Ended {
    Ended::of(command(run, environment, args).output().unwrap(), "fetch-parquet")
}

fn fetch(run: &Run, server: &Server, args: &[&str]) -> Ended {
    fetch_with(run, &[("HF_ENDPOINT", &server.address)], args)
}

/// The bytes of a parquet file of 2,000 stories, about 700 kB.
fn bytes() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    parquet(&folder.path().join("x.parquet"), 0, 2000)
}

fn sha256(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    stage::hash_file(file.path()).unwrap().sha256
}

/// A hub whose dataset has one file in each split; `answer` gives the training file.
fn hub(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
    let validation = bytes();
    Server::start(move |request| match request.target.as_str() {
        "/api/datasets/owner/name/parquet" => {
            let url = |split: &str| format!("https://huggingface.co/files/{split}/0.parquet");
            Reply::new(200, json!({ "default": { "train": [url("train")], "validation": [url("validation")] } }).to_string())
        }
        "/files/train/0.parquet" => answer(request),
        "/files/validation/0.parquet" => Reply::file(request, &validation, "\"v\""),
        _ => Reply::new(404, "not here"),
    })
}

fn nothing_is_published(run: &Run) {
    assert!(!run.path(NAME).exists() && !run.path("raw/manifest.json").exists());
}

#[test]
fn the_hubs_listing_redirects_and_hashes_are_followed_and_the_token_stays_with_the_hub() {
    let content = bytes();
    let (cdn_bytes, digest) = (content.clone(), sha256(&content));
    let cdn = Server::start(move |request| Reply::file(request, &cdn_bytes, "\"cdn\""));
    let there = cdn.url("/blob");
    let hub = hub(move |_| {
        Reply::redirect(there.clone()).header("X-Linked-Etag", format!("\"{digest}\""))
    });
    let run = plain();
    fetch_with(&run, &[("HF_ENDPOINT", &hub.address), ("HF_TOKEN", "secret")], &["--source", HUB])
        .ok()
        .says(&["own \"validation\""]);
    assert_eq!(run.read(NAME), content);
    assert_eq!(stories(&run, "validation").len(), 2000);
    assert!(
        hub.seen("").iter().all(|request| request.header("authorization") == Some("Bearer secret"))
    );
    assert!(cdn.seen("").iter().all(|request| request.header("authorization").is_none()));
    assert_eq!(run.partials(), Vec::<std::path::PathBuf>::new());
    let asked = hub.seen("").len();
    fetch(&run, &hub, &["--source", HUB]).ok().says(&["up to date"]);
    assert_eq!(hub.seen("").len(), asked, "up to date without a request");
}

#[test]
fn a_revision_is_listed_from_its_tree_page_by_page_with_length_and_hash() {
    let content = bytes();
    let (digest, length) = (sha256(&content), content.len());
    let serve = move |wrong: bool| {
        let (content, digest) =
            (content.clone(), if wrong { "0".repeat(64) } else { digest.clone() });
        Server::start(move |request| {
            let file = |path: &str| json!({ "type": "file", "path": path, "size": length, "lfs": { "oid": digest, "size": length } });
            match request.target.as_str() {
                "/api/datasets/owner/name/tree/v%2F1?recursive=true" => {
                    Reply::new(200, json!([file("data/train-0.parquet"), { "type": "file", "path": "README.md", "size": 3 }]).to_string())
                        .header("Link", "</page2>; rel=\"next\"")
                }
                "/page2" => Reply::new(200, json!([file("data/validation-0.parquet"), file("data/training.parquet")]).to_string()),
                path if path.starts_with("/datasets/owner/name/resolve/v%2F1/data/") => Reply::file(request, &content, "\"x\""),
                _ => Reply::new(404, ""),
            }
        })
    };
    let run = plain();
    fetch(&run, &serve(false), &["--source", "hf://datasets/owner/name@v/1"]).ok();
    assert_eq!(final_files(&run).len(), 2);
    let run = plain();
    fetch(&run, &serve(true), &["--source", "hf://datasets/owner/name@v/1"])
        .code(3)
        .says(&["SHA-256", "0000000000"]);
}

#[test]
fn a_dataset_without_conversion_is_taken_from_its_repository_and_one_without_parquet_says_what_it_has()
 {
    let content = bytes();
    let server = Server::start(move |request| match request.target.as_str() {
        "/api/datasets/owner/name/tree/main?recursive=true" => {
            Reply::new(200, json!([{ "type": "file", "path": "train.parquet" }]).to_string())
        }
        "/api/datasets/owner/texts/parquet" => Reply::new(200, "{}"),
        "/api/datasets/owner/texts/tree/main?recursive=true" => {
            Reply::new(200, json!([{ "type": "file", "path": "TinyStories.txt" }]).to_string())
        }
        "/datasets/owner/name/resolve/main/train.parquet" => {
            Reply::file(request, &content, "\"x\"")
        }
        _ => Reply::new(404, ""),
    });
    let run = plain();
    fetch(&run, &server, &["--source", HUB]).ok().says(&["0.01 of all"]);
    assert_eq!(stories(&run, "train").len() + stories(&run, "validation").len(), 2000);
    fetch(&run, &server, &["--source", "hf://datasets/owner/texts"])
        .code(3)
        .says(&["no parquet file", "TinyStories.txt"]);
    fetch(&run, &server, &["--source", HUB, "--train-split", "test"]).ok(); // a lone file is for training, whatever its name
}

#[test]
fn a_missing_split_a_missing_dataset_and_a_gated_one_are_told_apart() {
    let server = hub(|_| Reply::new(401, ""));
    fetch(&plain(), &server, &["--source", HUB, "--train-split", "tests"])
        .code(3)
        .says(&["\"tests\"", "there are train, validation"]);
    fetch(&plain(), &server, &["--source", "hf://datasets/owner/other"])
        .code(3)
        .says(&["HTTP 404", "owner/other"]);
    fetch(&plain(), &server, &["--source", HUB]).code(3).says(&["HTTP 401", "HF_TOKEN"]);
    assert_eq!(server.seen("/files/train").len(), 1, "what cannot work is not tried again");
}

#[test]
fn one_file_at_an_address_is_fetched_and_split_by_hash() {
    let content = bytes();
    let server = Server::start(move |request| Reply::file(request, &content, "\"x\""));
    let run = plain();
    fetch(
        &run,
        &server,
        &["--source", &server.url("/a/b.parquet?download=true"), "--validation-fraction", "0.1"],
    )
    .ok();
    assert_eq!(stories(&run, "train").len() + stories(&run, "validation").len(), 2000);
    assert_eq!(run.partials(), Vec::<std::path::PathBuf>::new());
    assert!(!run.path("raw/.parts").exists());
}

#[test]
fn a_server_that_asks_for_patience_gets_it() {
    let content = bytes();
    for (status, pause) in [(429, 1), (503, 0), (408, 0)] {
        let file = content.clone();
        let server = hub(move |request| match request.earlier {
            0 => Reply::new(status, "").header("Retry-After", pause.to_string()),
            _ => Reply::file(request, &file, "\"x\""),
        });
        let (run, start) = (plain(), Instant::now());
        fetch(&run, &server, &["--source", HUB])
            .ok()
            .says(&[&format!("HTTP {status}"), "trying again"]);
        assert_eq!(run.read(NAME), content);
        assert!(start.elapsed() >= Duration::from_secs(pause), "Retry-After is honoured");
    }
}

#[test]
fn patience_ends() {
    let server = hub(|_| Reply::new(503, ""));
    let run = plain();
    fetch(&run, &server, &["--source", HUB]).code(4).says(&[
        "HTTP 503",
        "(5 tries)",
        "run the same command again",
    ]);
    assert_eq!(server.seen("/files/train").len(), 5);
    nothing_is_published(&run);
}

#[test]
fn a_cut_connection_goes_on_where_it_broke() {
    let content = bytes();
    let (file, half) = (content.clone(), content.len() / 2);
    let server = hub(move |request| match request.earlier {
        0 => Reply::file(request, &file, "\"x\"").cut(half),
        _ => Reply::file(request, &file, "\"x\""),
    });
    let run = plain();
    fetch(&run, &server, &["--source", HUB]).ok();
    assert_eq!(run.read(NAME), content);
    let requests = server.seen("/files/train");
    assert_eq!((requests.len(), requests[1].header("if-range")), (2, Some("\"x\"")));
    assert_eq!(requests[1].header("range"), Some(format!("bytes={half}-").as_str()));
}

/// A first run that ends in the middle; what `then` answers decides the second.
fn in_two_runs(
    then: impl Fn(&Request, &[u8]) -> Reply + Send + Sync + 'static,
) -> (Run, Server, Vec<u8>) {
    let content = bytes();
    let file = content.clone();
    let server = hub(move |request| match request.earlier {
        0 => Reply::file(request, &file, "\"x\"").cut(300_000),
        _ => then(request, &file),
    });
    let run = plain();
    fetch_with(
        &run,
        &[("HF_ENDPOINT", &server.address), ("BEDTIME_RETRIES", "1")],
        &["--source", HUB],
    )
    .code(4)
    .says(&["the connection broke"]);
    nothing_is_published(&run);
    assert_eq!(fs::metadata(run.arriving(NAME).unwrap()).unwrap().len(), 300_000);
    (run, server, content)
}

#[test]
fn a_download_goes_on_in_the_next_run() {
    let (run, server, content) = in_two_runs(|request, file| Reply::file(request, file, "\"x\""));
    fetch(&run, &server, &["--source", HUB]).ok();
    assert_eq!(run.read(NAME), content);
    assert_eq!(server.seen("/files/train")[1].header("range"), Some("bytes=300000-"));
}

#[test]
fn a_file_that_changed_in_between_starts_over() {
    let (run, server, content) = in_two_runs(|request, file| Reply::file(request, file, "\"y\""));
    fetch(&run, &server, &["--source", HUB]).ok().says(&["it has changed"]);
    assert_eq!(run.read(NAME), content);
    assert_eq!(server.seen("/files/train").len(), 2);
}

#[test]
fn a_file_that_became_shorter_starts_over() {
    let folder = tempfile::tempdir().unwrap();
    let short = parquet(&folder.path().join("x.parquet"), 0, 100);
    let file = short.clone();
    let (run, server, _) = in_two_runs(move |request, _| match request.header("range") {
        Some(_) => Reply::new(416, ""),
        None => Reply::file(request, &file, "\"y\""),
    });
    fetch(&run, &server, &["--source", HUB]).ok().says(&["starting over"]);
    assert_eq!(run.read(NAME), short);
}

#[test]
fn a_server_without_ranges_starts_over() {
    let (run, server, content) = in_two_runs(|_, file| Reply::new(200, file));
    fetch(&run, &server, &["--source", HUB]).ok();
    assert_eq!(run.read(NAME), content);
}

#[test]
fn a_body_shorter_than_announced_is_never_published() {
    let content = bytes();
    let server = hub(move |_| Reply::new(200, content.clone()).cut(content.len() - 1)); // no tag: nothing to resume by
    let run = plain();
    fetch(&run, &server, &["--source", HUB]).code(4).says(&["the connection broke", "(5 tries)"]);
    // What a client gets of the last bytes before a connection breaks is up to the network: a try that got a little further
    // than all before it renews the patience, so there may be a few more than five.
    let tries = server.seen("/files/train").len();
    assert!(
        (5..=9).contains(&tries),
        "{tries} tries, expected five that got no further after at most a few that did"
    );
    nothing_is_published(&run);
}

#[test]
fn a_wrong_hash_is_never_published() {
    let content = bytes();
    let server = hub(move |request| {
        Reply::file(request, &content, "\"x\"")
            .header("X-Linked-Etag", format!("\"{}\"", "ab".repeat(32)))
    });
    let run = plain();
    fetch(&run, &server, &["--source", HUB]).code(3).says(&[
        "its SHA-256 is",
        "abababab",
        "remedy",
    ]);
    nothing_is_published(&run);
    assert_eq!(run.arriving(NAME), None, "a wrong file is not resumed");
    assert_eq!(server.seen("/files/train").len(), 1);
}

#[test]
fn parts_of_two_files_are_noticed_by_the_hash_and_fetched_once_more() {
    let content = bytes();
    let digest = sha256(&content);
    let file = content.clone();
    let server = hub(move |request| {
        let mut wrong = file.clone();
        wrong[1000] ^= 1;
        let reply = if request.earlier == 0 {
            Reply::file(request, &wrong, "\"x\"").cut(300_000)
        } else {
            Reply::file(request, &file, "\"x\"")
        };
        reply.header("X-Linked-Etag", digest.clone())
    });
    let run = plain();
    fetch(&run, &server, &["--source", HUB]).ok().says(&["once more from the start"]);
    assert_eq!(run.read(NAME), content);
}

#[test]
fn a_download_that_is_no_good_parquet_is_told_by_its_address() {
    let content = bytes();
    let server = hub(move |request| Reply::file(request, &content[..content.len() / 2], "\"x\""));
    let run = plain();
    fetch(&run, &server, &["--source", HUB]).code(3).says(&["/files/train/0.parquet", "truncated"]);
    nothing_is_published(&run);
    assert_eq!(run.arriving(NAME), None);
}

#[test]
fn no_network_may_work_later() {
    for endpoint in ["http://127.0.0.1:1", "http://nowhere.invalid"] {
        let run = plain();
        fetch_with(&run, &[("HF_ENDPOINT", endpoint)], &["--source", HUB])
            .code(4)
            .says(&["no connection", "check the network"]);
        nothing_is_published(&run);
    }
}

#[test]
fn a_proxy_is_asked_for_everything() {
    let content = bytes();
    let file = content.clone();
    let proxy = Server::start(move |request| Reply::file(request, &file, "\"x\""));
    let run = plain();
    fetch_with(
        &run,
        &[("http_proxy", &proxy.address)],
        &["--source", "http://stories.invalid/x.parquet", "--validation-fraction", "1e-9"],
    )
    .ok();
    assert_eq!(stories(&run, "train").len(), 1999, "and one for validation");
    assert!(!proxy.seen("http://stories.invalid/x.parquet").is_empty());
}

#[test]
fn a_limit_fetches_only_the_row_groups_it_needs() {
    let content = bytes();
    let (file, length) = (content.clone(), content.len() as u64);
    let server = Server::start(move |request| Reply::file(request, &file, "\"x\""));
    let run = plain().set("fetch.validation_fraction=0.1");
    fetch(&run, &server, &["--source", &server.url("/x.parquet"), "--max-stories", "150"]).ok();
    let (mut all, mut expected) = (
        [stories(&run, "train"), stories(&run, "validation")].concat(),
        (0..150).map(story).collect::<Vec<_>>(),
    );
    all.sort();
    expected.sort();
    assert_eq!(all, expected);
    assert!(server.served() < length / 3, "{} of {length} bytes", server.served());
    let before = server.served();
    fetch(&run, &server, &["--source", &server.url("/x.parquet"), "--max-tokens-hint", "20000"])
        .ok();
    assert!(
        (200..500).contains(&(stories(&run, "train").len() + stories(&run, "validation").len()))
    );
    assert!(server.served() - before < length / 2);
}

#[test]
fn a_limit_works_without_ranges_too() {
    let content = bytes();
    let server = Server::start(move |_| Reply::new(200, content.clone()));
    let run = plain();
    fetch(&run, &server, &["--source", &server.url("/x.parquet"), "--max-stories", "150"])
        .ok()
        .says(&["only whole files"]);
    assert_eq!(stories(&run, "train").len() + stories(&run, "validation").len(), 150);
    assert!(!run.path("raw/.parts").exists());
}

#[test]
fn buckets_are_listed_and_read() {
    let content = bytes();
    let file = content.clone();
    let server = Server::start(move |request| match request.target.as_str() {
        target if target.contains("list-type=2") => {
            let object = |name: &str| {
                format!(
                    "<Contents><Key>dir/{name}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>\"x\"</ETag><Size>{}</Size></Contents>",
                    file.len()
                )
            };
            let objects =
                [object("train-0.parquet"), object("validation-0.parquet"), object("notes.md")]
                    .concat();
            Reply::new(
                200,
                format!(
                    "<?xml version=\"1.0\"?><ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>{objects}</ListBucketResult>"
                ),
            )
        }
        "/bucket/dir/train-0.parquet" if request.earlier == 0 => Reply::new(503, ""),
        "/bucket/dir/train-0.parquet" | "/bucket/dir/validation-0.parquet" => {
            Reply::file(request, &file, "\"x\"")
                .header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        }
        _ => Reply::new(404, ""),
    });
    let environment = [
        ("AWS_ENDPOINT", server.address.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    let run = plain();
    fetch_with(&run, &environment, &["--source", "s3://bucket/dir"])
        .ok()
        .says(&["own \"validation\"", "trying again"]);
    assert_eq!(run.read(NAME), content);
    fetch_with(&run, &environment, &["--source", "s3://bucket/other.parquet"])
        .code(3)
        .says(&["s3://bucket/other.parquet", "remedy"]);
}

/// Answers the training file slowly enough for a signal to meet it.
fn slow(content: Vec<u8>) -> Server {
    hub(move |request| match request.earlier {
        0 => Reply::file(request, &content, "\"x\"").slowly(Duration::from_millis(20)),
        _ => Reply::file(request, &content, "\"x\""),
    })
}

fn start(run: &Run, server: &Server) -> Child {
    let mut command = command(run, &[("HF_ENDPOINT", &server.address)], &["--source", HUB]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn ctrl_c_keeps_what_arrived_and_the_next_run_goes_on() {
    let content = bytes();
    let server = slow(content.clone());
    let run = plain();
    let child = start(&run, &server);
    let arrived = || run.arriving(NAME).and_then(|path| Some(fs::metadata(path).ok()?.len()));
    wait_until("some bytes and the other file", || {
        arrived().is_some_and(|bytes| bytes > 50_000)
            && run.path("raw/.parts/validation-00000-of-00001.parquet.json").exists()
    });
    interrupt(&child);
    Ended::of(child.wait_with_output().unwrap(), "fetch-parquet")
        .code(130)
        .says(&["interrupted: 1 of 2 parts are whole and kept"]);
    nothing_is_published(&run);
    let kept = arrived().unwrap();
    fetch(&run, &server, &["--source", HUB]).ok();
    assert_eq!(run.read(NAME), content);
    assert_eq!(
        server.seen("/files/train")[1].header("range"),
        Some(format!("bytes={kept}-").as_str())
    );
    assert_eq!(server.seen("/files/validation").len(), 1, "what was whole is not fetched again");
    let undisturbed = plain();
    fetch(&undisturbed, &server, &["--source", HUB]).ok();
    assert_eq!(final_files(&run), final_files(&undisturbed));
    assert_eq!(run.read("raw/manifest.json"), undisturbed.read("raw/manifest.json"));
}

#[test]
fn ctrl_c_does_not_wait_for_a_server_that_says_nothing() {
    let server = hub(|_| {
        std::thread::sleep(Duration::from_secs(30));
        Reply::new(503, "")
    });
    let run = plain();
    let child = start(&run, &server);
    wait_until("the request", || !server.seen("/files/train").is_empty());
    let since = Instant::now();
    interrupt(&child);
    Ended::of(child.wait_with_output().unwrap(), "fetch-parquet").code(130);
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
}

#[test]
fn a_full_disk_keeps_the_download_for_more_space() {
    let content = bytes();
    let file = content.clone();
    let server = Server::start(move |request| Reply::file(request, &file, "\"x\""));
    let run = plain().set("fetch.validation_fraction=0.5");
    let url = server.url("/x.parquet");
    {
        let Some(_disk) = SmallDisk::mount(&run.path("raw"), 256) else { return };
        fetch(&run, &server, &["--source", &url]).code(4).says(&["the disk is full", "free space"]);
        nothing_is_published(&run);
    }
    fetch(&run, &server, &["--source", &url]).ok();
    assert_eq!(stories(&run, "train").len() + stories(&run, "validation").len(), 2000);
}

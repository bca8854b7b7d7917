//! Servers that mean harm or are broken: endless, slow, lying, or sending what a terminal would obey.
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use tests::Run;

use crate::probe;

/// One request at a hostile server.
struct Asked<'a> {
    path: &'a str,
    range: Option<&'a str>,
    /// From 0, of this path.
    time: usize,
    host: &'a str,
    good: &'a [u8],
    to: &'a TcpStream,
}

impl Asked<'_> {
    fn send(&self, bytes: impl AsRef<[u8]>) -> bool {
        let mut to = self.to;
        to.write_all(bytes.as_ref()).is_ok()
    }

    fn reply(&self, status: &str, headers: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
            body.len()
        );
        let _ = self.send(head) && self.send(body);
    }

    fn is_conversion(&self) -> bool {
        self.path.ends_with("/parquet")
    }

    fn is_listing(&self) -> bool {
        self.path.starts_with("/api/")
    }

    /// Whatever is there, until the client has had enough.
    fn for_ever(&self, head: &str, piece: &[u8]) {
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        let mut on =
            self.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{head}\r\n"));
        while on {
            on = self.send(&chunk);
        }
    }

    /// A byte, and again a byte.
    fn drip(&self, bytes: &[u8]) {
        let mut on =
            self.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len()));
        for byte in bytes {
            on = on && self.send([*byte]);
            if !on {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The listing of the Hub's conversion with one file.
    fn listed(&self) -> String {
        format!(r#"{{"default":{{"train":["{}/f.parquet"]}}}}"#, self.host)
    }

    fn serve(&self) {
        match self.range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) {
            Some((from, to)) => {
                let from = from.parse().unwrap_or(0).min(self.good.len());
                let last = to.parse().unwrap_or(usize::MAX).min(self.good.len() - 1);
                let range = format!("Content-Range: bytes {from}-{last}/{}\r\n", self.good.len());
                let body = self.good.get(from..=last).unwrap_or_default();
                self.reply("206 Partial Content", &format!("{range}ETag: \"e\"\r\n"), body);
            }
            None => self.reply("200 OK", "ETag: \"e\"\r\n", self.good),
        }
    }

    /// The listing, and else what `file` does.
    fn file(&self, file: impl FnOnce(&Self)) {
        if self.is_conversion() { self.reply("200 OK", "", self.listed()) } else { file(self) }
    }

    /// A tree of the repository with these entries, and else the file.
    fn tree(&self, entries: impl AsRef<[u8]>) {
        match (self.is_conversion(), self.is_listing()) {
            (true, _) => self.reply("404 Not Found", "", ""),
            (_, true) => self.reply("200 OK", "", entries),
            _ => self.serve(),
        }
    }

    fn status(&self, status: &str) {
        self.file(|a| a.reply(status, "", ""));
    }

    fn range_header(&self, text: &str) {
        self.file(|a| {
            a.reply("206 Partial Content", &format!("Content-Range: {text}\r\n"), &a.good[..4])
        });
    }

    fn redirect(&self, to: &str) {
        self.file(|a| a.reply("302 Found", &format!("Location: {to}\r\n"), ""));
    }

    fn oid(&self, oid: &str) {
        let size = self.good.len();
        self.tree(format!(r#"[{{"path":"train.parquet","size":{size},"lfs":{{"oid":{oid}}}}}]"#));
    }

    fn size(&self, size: &str) {
        self.tree(format!(r#"[{{"path":"train.parquet","size":{size}}}]"#));
    }
}

type Play = fn(&Asked);

#[rustfmt::skip]
const CASES: &[(&str, Play)] = &[
    ("listing_without_end", |a| a.for_ever("", &[b'['; 1 << 16])),
    ("listing_string_without_end", |a| if a.time == 0 { a.for_ever("", &[b'"'; 1 << 16]) }),
    ("listing_slow", |a| if a.is_listing() { a.drip(a.listed().as_bytes()) }),
    ("listing_announced_huge", |a| { a.send("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n[1"); }),
    ("listing_deep", |a| a.reply("200 OK", "", "[".repeat(1_000_000))),
    ("listing_many_numbers", |a| a.reply("200 OK", "", format!("{{\"default\":[{}0]}}", "0,".repeat(20_000_000)))),
    ("listing_numbers_below_the_limit", |a| a.reply("200 OK", "", format!("{{\"default\":[{}0]}}", "0,".repeat(4_000_000)))),
    ("listing_arrays_below_the_limit", |a| a.reply("200 OK", "", format!("{{\"default\":[{}0]}}", "[0],".repeat(2_000_000)))),
    ("listing_many_files", |a| if a.is_listing() { a.reply("200 OK", "", format!("{{\"default\":{{\"train\":[{}\"x\"]}}}}", "\"x\",".repeat(150_000))) }),
    ("listing_of_numbers", |a| a.reply("200 OK", "", r#"{"default":{"train":[1,2]}}"#)),
    ("listing_bad_addresses", |a| a.reply("200 OK", "", r#"{"default":{"train":["ftp://x/y","",":"]}}"#)),
    ("listing_file_address", |a| a.reply("200 OK", "", r#"{"default":{"train":["file:///etc/passwd"]}}"#)),
    ("listing_null", |a| a.reply("200 OK", "", "null")),
    ("listing_empty", |a| a.reply("200 OK", "", "")),
    ("listing_no_json", |a| a.reply("200 OK", "", "<html>\x1b[2J")),
    ("listing_no_utf8", |a| a.reply("200 OK", "", b"{\"\xff\":1}")),
    ("listing_escapes", |a| a.reply("200 OK", "", "{\"default\":{\"x\\u001b]0;owned\\u0007\\u202e\":[\"http://h/\"]},\"\\u001b[31m\":{}}")),
    ("listing_redirects_to_itself", |a| a.reply("302 Found", &format!("Location: {}\r\n", a.path), "")),
    ("tree_next_is_itself", |a| if a.is_conversion() { a.reply("404 Not Found", "", "") } else { a.reply("200 OK", &format!("Link: <{}{}>; rel=\"next\"\r\n", a.host, a.path), "[]") }),
    ("tree_next_without_end", |a| if a.is_conversion() { a.reply("404 Not Found", "", "") } else { a.reply("200 OK", &format!("Link: <{}{}1>; rel=\"next\"\r\n", a.host, a.path), "[]") }),
    ("tree_next_to_a_file_scheme", |a| if a.is_conversion() { a.reply("404 Not Found", "", "") } else { a.reply("200 OK", "Link: <file:///etc/passwd>; rel=\"next\"\r\n", "[]") }),
    ("tree_climbs", |a| a.tree(r#"[{"path":"../../../../x/train.parquet","size":4}]"#)),
    ("tree_absolute", |a| a.tree(r#"[{"path":"/etc/train.parquet","size":4}]"#)),
    ("tree_nul", |a| a.tree("[{\"path\":\"a\\u0000b/train.parquet\",\"size\":4}]")),
    ("tree_escapes", |a| a.tree("[{\"path\":\"train\\u001b[31mRED\\u0007\\u202e.parquet\",\"size\":4}]")),
    ("tree_twice_the_same", |a| a.tree(format!("[{0},{0},{0}]", r#"{"path":"train.parquet","size":4}"#))),
    ("tree_is_an_object", |a| a.tree("{}")),
    ("tree_empty", |a| a.tree("[]")),
    ("tree_no_parquet", |a| a.tree("[{\"path\":\"\\u001b[2J.txt\"}]")),
    ("size_negative", |a| a.size("-5")),
    ("size_fraction", |a| a.size("1.5")),
    ("size_most", |a| a.size("18446744073709551615")),
    ("size_beyond", |a| a.size("18446744073709551616")),
    ("size_one_less", |a| a.size("3")),
    ("oid_short", |a| a.oid("\"abc\"")),
    ("oid_of_something_else", |a| a.oid("\"0000000000000000000000000000000000000000000000000000000000000000\"")),
    ("oid_number", |a| a.oid("7")),
    ("file_without_end", |a| if a.is_listing() { a.size("1000") } else { a.for_ever("", &[b'P'; 1 << 16]) }),
    ("file_slow", |a| a.file(|a| a.drip(a.good))),
    ("file_silent", |a| a.file(|a| { a.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"); std::thread::sleep(Duration::from_secs(5)); })),
    ("file_no_answer", |a| a.file(|_| std::thread::sleep(Duration::from_secs(5)))),
    ("file_hangs_up", |a| a.file(|_| ())),
    ("file_cut_always", |a| a.file(|a| { a.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", a.good.len())); a.send(&a.good[..100]); })),
    ("file_empty", |a| a.file(|a| a.reply("200 OK", "", ""))),
    ("file_is_html", |a| a.file(|a| a.reply("200 OK", "", "<html>please log in</html>"))),
    ("file_half", |a| a.file(|a| a.reply("200 OK", "", &a.good[..a.good.len() / 2]))),
    ("file_no_http", |a| a.file(|a| { a.send("SSH-2.0-OpenSSH\r\n\r\n"); })),
    ("file_chunks_garbage", |a| a.file(|a| { a.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n\0garbage"); })),
    ("file_chunk_huge", |a| a.file(|a| { a.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc"); })),
    ("file_two_lengths", |a| a.file(|a| { a.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: {}\r\n\r\n", a.good.len())); a.send(a.good); })),
    ("file_length_most", |a| a.file(|a| { a.send("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nPAR1"); })),
    ("header_without_end", |a| { let mut on = a.send("HTTP/1.1 200 OK\r\nX: "); while on { on = a.send([b'a'; 1 << 16]); } }),
    ("headers_without_end", |a| { let mut on = a.send("HTTP/1.1 200 OK\r\n"); while on { on = a.send("X: a\r\n"); } }),
    ("redirect_loop", |a| a.redirect("/f.parquet")),
    ("redirect_to_file", |a| a.redirect("file:///etc/passwd")),
    ("redirect_nowhere", |a| a.redirect("http://")),
    ("redirect_escapes", |a| a.redirect("/\t?\u{9b}2J")),
    ("status_403", |a| a.status("403 \x1b[2J")),
    ("status_429", |a| a.file(|a| a.reply("429 Slow Down", "Retry-After: 0\r\n", ""))),
    ("status_500", |a| a.status("500 Oh")),
    ("status_206_unasked", |a| a.status("206 Partial Content")),
    ("status_204", |a| a.status("204 No Content")),
    ("status_999", |a| a.status("999 Odd")),
    ("range_beyond", |a| a.range_header("bytes 18446744073709551615-18446744073709551615/18446744073709551615")),
    ("range_backwards", |a| a.range_header("bytes 9-1/5")),
    ("range_text", |a| a.range_header("bytes x-y/z")),
    ("gzip_bomb", |a| a.file(|a| a.reply("200 OK", "Content-Encoding: gzip\r\n", [0x1f, 0x8b, 8, 0, 0]))),
];

fn serve(play: Play, good: Arc<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let host = format!("http://{}", listener.local_addr().expect("a bound port"));
    let (address, times) = (host.clone(), Arc::new(Mutex::new(HashMap::<String, usize>::new())));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (host, good, times) = (host.clone(), good.clone(), times.clone());
            std::thread::spawn(move || {
                let (mut head, mut piece) = (Vec::new(), [0; 4096]);
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    match (&stream).read(&mut piece) {
                        Ok(read) if read > 0 => head.extend_from_slice(&piece[..read]),
                        _ => return,
                    }
                }
                let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
                let path = head.split(' ').nth(1).unwrap_or_default();
                let time = {
                    let mut times = times.lock().unwrap();
                    let time = times.entry(path.to_owned()).or_default();
                    *time += 1;
                    *time - 1
                };
                let range = head.lines().find_map(|line| line.strip_prefix("range: "));
                play(&Asked { path, range, time, host: &host, good: &good, to: &stream });
            });
        }
    });
    address
}

fn good() -> Vec<u8> {
    let run = Run::new();
    run.through(&["fetch-parquet"]);
    run.read("raw/train-00000-of-00001.parquet")
}

fn check(name: &str, play: Play, good: Arc<Vec<u8>>) -> Result<(), Failed> {
    let address = serve(play, good);
    for whole in [true, false] {
        let run = Run::new().set("fetch.source=hf://datasets/o/d");
        if whole {
            // Else a limit makes it read ranges.
            let file = "[fetch]\nvalidation_fraction = 0.1\n";
            std::fs::write(run.input("tiny.toml"), file).expect("a pipeline file can be written");
        }
        let mut command = run.command("fetch-parquet");
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(proxy);
        }
        command
            .env("HF_ENDPOINT", &address)
            .env("BEDTIME_RETRIES", "2")
            .env("BEDTIME_RETRY_BASE_MS", "5")
            .env("BEDTIME_STALL_S", "1");
        let ended = probe::run(command);
        let what = format!("{name} ({})", if whole { "whole" } else { "a part" });
        ended.check(&what, &[0, 2, 3, 4])?;
        if ended.stderr.contains(['\x1b', '\x07', '\u{202e}', '\u{9b}']) {
            return Err(format!("{what}: a terminal would obey {:?}", ended.stderr).into());
        }
    }
    Ok(())
}

/// A page of a bucket's listing.
fn page(objects: usize, next: &str) -> String {
    let object = |i: usize| {
        format!(
            "<Contents><Key>train-{i}.parquet</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>9</Size></Contents>"
        )
    };
    let objects: String = (0..objects).map(object).collect();
    format!("<?xml version=\"1.0\"?><ListBucketResult>{objects}{next}</ListBucketResult>")
}

const MORE: &str =
    "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>";

/// Servers that play S3 and GCS. With each the words that have to be in the error.
#[rustfmt::skip]
const BUCKETS: &[(&str, &str, Play)] = &[
    ("listing_without_end", "without an end", |a| a.for_ever("", b"<ListBucketResult><Contents><Key>aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa</Key></Contents>")),
    ("listing_announced_huge", "", |a| { a.send("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n<List"); }),
    ("listing_slow", "", |a| a.drip(page(10, "").as_bytes())),
    ("listing_deep", "", |a| a.reply("200 OK", "", "<a>".repeat(2_000_000))),
    ("listing_of_many_entities", "", |a| a.reply("200 OK", "", format!("<!DOCTYPE x [<!ENTITY a \"aaaaaaaa\">{}]><ListBucketResult>&b;</ListBucketResult>", "<!ENTITY b \"&a;&a;\">".repeat(100_000)))),
    ("listing_page_for_ever", "more than 100000 objects", |a| a.reply("200 OK", "", page(1000, MORE))),
    ("listing_of_nothing_for_ever", "", |a| a.reply("200 OK", "", page(0, MORE))),
    ("listing_empty", "", |a| a.reply("200 OK", "", "")),
    ("listing_is_html", "", |a| a.reply("200 OK", "", "<html>please log in\x1b[2J</html>")),
    ("listing_size_beyond", "", |a| a.reply("200 OK", "", page(1, "").replace("<Size>9", "<Size>99999999999999999999"))),
    ("listing_climbs", "", |a| a.reply("200 OK", "", page(1, "").replace("train-", "../../train-"))),
    ("listing_escapes", "", |a| a.reply("200 OK", "", page(1, "").replace("train-", "train\u{1b}[31m\u{202e}-"))),
    ("error_without_end", "without an end", |a| { let mut on = a.send("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n"); while on { on = a.send([b'x'; 1 << 16]); } }),
    ("object_without_end", "", |a| if a.path.contains("list-type") { a.reply("200 OK", "", page(1, "")) } else { a.for_ever("ETag: \"e\"\r\n", &[b'P'; 1 << 16]) }),
];

fn check_bucket(name: &str, words: &str, play: Play, good: Arc<Vec<u8>>) -> Result<(), Failed> {
    let address = serve(play, good);
    for scheme in ["s3", "gs"] {
        let run = Run::new().set(format!("fetch.source={scheme}://bucket/stories"));
        let account = run.input("account.json");
        let text = format!(
            r#"{{"gcs_base_url":"{address}","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}}"#
        );
        std::fs::write(&account, text)?;
        let mut command = run.command("fetch-parquet");
        let set = [
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "b"),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ENDPOINT", &address),
            ("GOOGLE_SERVICE_ACCOUNT", &account.to_string_lossy()),
            ("BEDTIME_RETRIES", "2"),
            ("BEDTIME_RETRY_BASE_MS", "5"),
            ("BEDTIME_STALL_S", "3"),
        ];
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(proxy);
        }
        let ended = probe::run({
            command.envs(set);
            command
        });
        let what = format!("{name} ({scheme})");
        ended.check(&what, &[2, 3, 4])?;
        if ended.stderr.contains(['\x1b', '\x07', '\u{202e}', '\u{9b}']) {
            return Err(format!("{what}: a terminal would obey {:?}", ended.stderr).into());
        }
        if !ended.stderr.contains(words) {
            return Err(format!("{what} does not say {words:?}: {}", ended.stderr).into());
        }
    }
    Ok(())
}

/// What is no number in its range is told with the range, and not clamped.
fn patience_out_of_range() -> Result<(), Failed> {
    for (name, value) in [
        ("BEDTIME_RETRIES", "0"),
        ("BEDTIME_RETRIES", "101"),
        ("BEDTIME_RETRIES", "18446744073709551616"),
        ("BEDTIME_RETRIES", "-1"),
        ("BEDTIME_RETRIES", ""),
        ("BEDTIME_STALL_S", "0"),
        ("BEDTIME_RETRY_BASE_MS", "3600001"),
        ("BEDTIME_UNANNOUNCED_GIB", "1e3"),
        ("BEDTIME_RETRIES", SECRET),
    ] {
        let run = Run::new().set("fetch.source=hf://datasets/o/d");
        let mut command = run.command("fetch-parquet");
        command.env("HF_ENDPOINT", "http://127.0.0.1:9").env(name, value);
        let ended = probe::run(command);
        ended.check(&format!("{name}={value}"), &[2])?;
        for words in [name, "expected a whole number from", "remedy"] {
            if !ended.stderr.contains(words) || ended.stderr.contains(SECRET) {
                return Err(format!("{name}={value} does not say {words}: {}", ended.stderr).into());
            }
        }
    }
    Ok(())
}

/// clap repeats an argument that it does not understand, an address with its password too.
fn secrets_in_usage_errors() -> Result<(), Failed> {
    let address = format!("https://user:{SECRET}@host/f.parquet?sig={SECRET}");
    for stage in tests::STAGES {
        for args in [
            vec![address.clone()],
            vec![format!("--sorce={address}")],
            vec!["--threads".to_owned(), address.clone()],
            vec!["--log".to_owned(), address.clone()],
            vec!["--sahrd".to_owned(), address.clone()],
        ] {
            let run = Run::new();
            let mut command = std::process::Command::new(tests::binary(stage));
            command.current_dir(run.input("")).args(&args);
            let ended = probe::run(command);
            ended.check(&format!("{stage} {args:?}"), &[2])?;
            if ended.stderr.contains(SECRET) {
                return Err(format!("{stage} {args:?} tells {}", ended.stderr).into());
            }
        }
    }
    Ok(())
}

/// An endpoint that is no address is a usage error.
fn endpoints() -> Result<(), Failed> {
    for endpoint in ["localhost:9000", "minio", "", "http://", "::bad", "ftp://x"] {
        let run = Run::new().set("fetch.source=s3://b/p/x.parquet");
        let mut command = run.command("fetch-parquet");
        for (name, value) in [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")] {
            command.env(name, value);
        }
        command.env("AWS_ENDPOINT", endpoint).env("AWS_ALLOW_HTTP", "true");
        probe::run(command).check(&format!("AWS_ENDPOINT={endpoint}"), &[2])?;
    }
    Ok(())
}

const SECRET: &str = "PlantedSecret";

/// No secret of an address in any word or file of any stage.
fn secrets(good: Arc<Vec<u8>>) -> Result<(), Failed> {
    let ok = serve(|a| a.file(Asked::serve), good.clone());
    let refused = serve(|a| a.reply("403 Forbidden", "", ""), good.clone());
    let moved = serve(|a| a.redirect("/elsewhere?X-Amz-Signature=PlantedSecret"), good);
    let with_password = |address: &str| address.replace("//", &format!("//user:{SECRET}@"));
    let mut sources = vec![(format!("{moved}/f.parquet"), None)];
    for host in [&ok, &refused] {
        sources.push((format!("{}/f.parquet", with_password(host)), None));
        for field in ["X-Amz-Signature", "sig", "X-Goog-Signature", "token", "access_token"] {
            sources.push((format!("{host}/f.parquet?a=b&{field}={SECRET}"), None));
        }
        sources.push(("hf://datasets/o/d".into(), Some(with_password(host))));
    }
    sources.push(("hf://datasets/o/d".into(), Some(format!("http//user:{SECRET}@h:x"))));
    for (index, (source, endpoint)) in sources.into_iter().enumerate() {
        let run = Run::new().set(format!("fetch.source={source}"));
        // The whole pipeline once: settings travel into config.toml and report.html.
        let stages: &[&str] = if index == 1 { &tests::STAGES } else { &tests::STAGES[..1] };
        for stage in stages {
            for log in ["text", "json"] {
                let mut command = run.command(stage);
                command.args(["--force", "--log", log]).env("BEDTIME_RETRIES", "2");
                command
                    .env("BEDTIME_RETRY_BASE_MS", "5")
                    .envs(endpoint.iter().map(|e| ("HF_ENDPOINT", e)));
                let output = command.output().expect("the program starts");
                let words = [output.stdout, output.stderr].concat();
                if String::from_utf8_lossy(&words).contains(SECRET) {
                    return Err(format!(
                        "{stage} {source} tells {}",
                        String::from_utf8_lossy(&words)
                    )
                    .into());
                }
                if stages.len() > 1 && !output.status.success() {
                    return Err(format!("{stage}: {}", String::from_utf8_lossy(&words)).into());
                }
            }
        }
        for file in tests::files_below(&run.path("")) {
            let bytes = std::fs::read(&file).unwrap_or_default();
            if bytes.windows(SECRET.len()).any(|word| word == SECRET.as_bytes()) {
                return Err(format!("{} holds the secret of {source}", file.display()).into());
            }
        }
    }
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    let made = Arc::new(std::sync::OnceLock::new());
    let get = move || made.get_or_init(|| Arc::new(good())).clone();
    let mut trials: Vec<Trial> = CASES
        .iter()
        .map(|&(name, play)| {
            let get = get.clone();
            Trial::test(format!("http::{name}"), move || check(name, play, get()))
        })
        .collect();
    trials.extend(BUCKETS.iter().map(|&(name, words, play)| {
        let get = get.clone();
        let name = format!("http::bucket_{name}");
        Trial::test(name.clone(), move || check_bucket(&name, words, play, get()))
    }));
    trials.push(Trial::test("http::endpoints_that_are_no_address", endpoints));
    trials.push(Trial::test("http::patience_out_of_range", patience_out_of_range));
    trials.push(Trial::test("http::secrets_in_usage_errors", secrets_in_usage_errors));
    trials.push(Trial::test("http::secrets_of_addresses", move || secrets(get())));
    trials
}

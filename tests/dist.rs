//! `make dist` packs the same bytes from any folder and at any time. `make test-long` runs it: it takes two minutes.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Ended, STAGES, binary, files_below};

/// Packs what is built from a copy of the checkout, and gives the archive.
fn packed(checkout: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let list = Command::new("git").current_dir(root).args(["ls-files", "-z"]).output().unwrap();
    for name in list.stdout.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let name = Path::new(std::str::from_utf8(name).unwrap());
        if root.join(name).is_file() {
            fs::create_dir_all(checkout.join(name).parent().unwrap()).unwrap();
            fs::copy(root.join(name), checkout.join(name)).unwrap();
        }
    }
    let mut command = Command::new(checkout.join(".ci/dist"));
    command.env("BIN", binary("bedtime").parent().unwrap());
    command.env("XZ_LEVEL", "-0").env("SOURCE_DATE_EPOCH", "1700000000");
    Ended::of(command.output().unwrap(), "dist").ok();
    let mut archives = files_below(&checkout.join("target/dist"));
    archives.retain(|path| path.extension().is_some_and(|end| end == "xz"));
    archives.pop().expect("an archive")
}

#[test]
#[ignore = "takes two minutes: make test-long"]
fn two_checkouts_at_different_paths_give_the_same_archive_and_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let one = packed(&folder.path().join("one"));
    let other = packed(&folder.path().join("a longer path, with spaces"));
    assert_eq!(one.file_name(), other.file_name());
    assert!(fs::read(&one).unwrap() == fs::read(&other).unwrap(), "the archives differ");
    let check = Command::new("sha256sum")
        .current_dir(one.parent().unwrap())
        .arg("-c")
        .arg(one.with_extension("xz.sha256"))
        .output();
    Ended::of(check.unwrap(), "sha256sum -c").ok();

    let unpacked = folder.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let tar = Command::new("tar").arg("-xJf").arg(&one).arg("-C").arg(&unpacked).output();
    Ended::of(tar.unwrap(), "tar").ok();
    let top = fs::read_dir(&unpacked).unwrap().next().unwrap().unwrap().path();
    let ended = Command::new(top.join("bin/bedtime")).args(["all", "--dry-run"]).output();
    let ended = Ended::of(ended.unwrap(), "bedtime").ok();
    // Its own programs, not those on PATH.
    assert_eq!(ended.stdout.matches(top.join("bin").to_str().unwrap()).count(), STAGES.len());
    for program in STAGES.iter().chain(&["bedtime"]) {
        for file in [
            format!("share/man/man1/{program}.1"),
            format!("share/completions/bash/{program}"),
            format!("share/completions/zsh/_{program}"),
            format!("share/completions/fish/{program}.fish"),
        ] {
            assert!(fs::metadata(top.join(&file)).is_ok_and(|file| file.len() > 100), "{file}");
        }
    }
    let list = fs::read(top.join("sbom.cdx.json")).unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
    let named = |name: &str| {
        let components = list["components"].as_array().unwrap();
        components.iter().any(|component| component["name"] == name)
    };
    assert!(named("wgpu") && named("parquet") && named("clap") && !named("libtest-mimic"));
    let texts = fs::read_to_string(top.join("THIRD-PARTY-LICENSES.txt")).unwrap();
    assert!(texts.contains("Oniguruma") && texts.contains("Apache License"));
}

//! The tokens that are trained on: those that are given, or synthetic ones made by the data stages.
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corpus::bin::{Dtype, sidecar};
use stage::{Failure, Manifest, Result, create_dir, hash_file};

/// What a run of `train` reads.
const FILES: [&str; 5] =
    ["train.bin", "train.bin.json", "val.bin", "val.bin.json", "tokenizer.json"];

/// The data as it is, and with the first tokens of `val.bin` only: a run that is timed ends with scoring all of them.
#[derive(Default)]
pub(crate) struct Data {
    pub whole: PathBuf,
    pub short: PathBuf,
    pub vocab: u64,
    pub synthetic: bool,
    /// Tokens of all of `val.bin`, and bytes of their text.
    pub val_tokens: u64,
    pub val_bytes: u64,
}

impl Data {
    /// Opens `given`, or makes some in `scratch`; `most` is how many tokens of `val.bin` the short form keeps.
    pub(crate) fn open(
        given: Option<&Path>,
        programs: &Path,
        scratch: &Path,
        quick: bool,
        most: u64,
    ) -> Result<Self> {
        let whole = match given {
            Some(folder) => folder.to_owned(),
            None => make(programs, scratch, quick)?,
        };
        let train = Manifest::read(&whole.join("train.bin.json"))?;
        let mut validation = Manifest::read(&whole.join("val.bin.json"))?;
        let vocab = train.tokenizer.as_ref().map_or(0, |tokenizer| tokenizer.vocab_size);
        let (val_tokens, val_bytes) = (validation.count("tokens"), validation.count("bytes"));
        let short = scratch.join("short");
        link(&whole, &short)?;
        if val_tokens > most {
            let (from, to) = (whole.join("val.bin"), short.join("val.bin"));
            let mut content = Vec::new();
            let length = most * Dtype::of(vocab).width() as u64;
            fs::File::open(&from)
                .and_then(|file| file.take(length).read_to_end(&mut content))
                .map_err(Failure::reading(&from))?;
            // Links to the whole file go first: nothing is written through them.
            for file in [&to, &sidecar(&to)] {
                stage::remove_if_present(file)?;
            }
            fs::write(&to, &content).map_err(Failure::writing(&to))?;
            validation.outputs = vec![hash_file(&to)?];
            validation.counts.insert("tokens".into(), most);
            validation.counts.insert("bytes".into(), val_bytes * most / val_tokens); // about
            validation.write(&sidecar(&to))?;
        }
        Ok(Data { synthetic: train.is_synthetic(), whole, short, vocab, val_tokens, val_bytes })
    }
}

/// A folder with links to the data of another one.
pub(crate) fn link(from: &Path, to: &Path) -> Result<()> {
    create_dir(to)?;
    for name in FILES {
        let (file, place) = (from.join(name), to.join(name));
        let file = fs::canonicalize(&file).map_err(Failure::reading(&file))?;
        #[cfg(unix)]
        let linked = std::os::unix::fs::symlink(&file, &place);
        #[cfg(not(unix))]
        let linked = fs::hard_link(&file, &place).or_else(|_| fs::copy(&file, &place).map(drop));
        linked.map_err(Failure::writing(&place))?;
    }
    Ok(())
}

/// A program of this project that reads nothing from the terminal.
pub(crate) fn program(programs: &Path, name: &str) -> Command {
    let mut command =
        Command::new(programs.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)));
    command.stdin(Stdio::null());
    command
}

fn make(programs: &Path, scratch: &Path, quick: bool) -> Result<PathBuf> {
    let (folder, config) = (scratch.join("data"), scratch.join("data.toml"));
    let (stories, vocab, share) = if quick { (600, 500, 0.05) } else { (20_000, 8000, 0.02) };
    let text = format!(
        "[fetch]\nmax_stories = {stories}\nvalidation_fraction = {share}\n[tokenizer]\nvocab_size = {vocab}\n[tokenize]\nshards = 2\n"
    );
    fs::write(&config, text).map_err(Failure::writing(&config))?;
    eprintln!("no --data: making {stories} synthetic stories");
    for stage in ["fetch-parquet", "train-tokenizer", "tokenize", "pack-bin"] {
        let output = program(programs, stage)
            .arg("--config")
            .arg(&config)
            .arg("--out")
            .arg(&folder)
            .output()
            .map_err(|error| {
                let place = programs.display();
                Failure::usage(format_args!("{stage} cannot be started: {error}"))
                    .expected(format_args!("the data stages in {place}"))
                    .remedy("--data DIR")
            })?;
        if !output.status.success() {
            return Err(
                Failure::try_again(String::from_utf8_lossy(&output.stderr).trim()).at(stage)
            );
        }
    }
    Ok(folder)
}

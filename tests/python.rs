//! What `pipelines/` says to those who have Python: the snippets of its README and the notebook, run in a virtual environment
//! that pip fills. `make test-long` runs them: they need python3 and a package index.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Ended, Run, STAGES, binary};

const PACKAGES: [&str; 6] =
    ["numpy", "polars", "transformers", "nbformat", "nbconvert", "ipykernel"];

fn pipelines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines")
}

fn ended(command: &mut Command, what: &str) -> Ended {
    Ended::of(command.output().unwrap_or_else(|error| panic!("{what}: {error}")), what)
}

/// A virtual environment with the packages; gives its Python.
fn python(folder: &Path) -> PathBuf {
    ended(Command::new("python3").args(["-m", "venv"]).arg(folder), "python3 -m venv").ok();
    let python = folder.join("bin/python");
    let mut pip = Command::new(&python);
    ended(pip.args(["-m", "pip", "install", "--quiet"]).args(PACKAGES), "pip install").ok();
    python
}

/// What stands between ```python and ```.
fn snippets(text: &str) -> Vec<&str> {
    let after = text.split("```python\n").skip(1);
    after.map(|text| text.split("```").next().unwrap_or_default()).collect()
}

#[test]
#[ignore = "needs python3 and a package index: make test-long"]
fn the_snippets_of_the_readme_and_the_notebook_run() {
    let run = Run::new().set("tokenize.shards=4");
    run.through(&STAGES);
    let here = run.input("here");
    fs::create_dir_all(here.join("out")).unwrap();
    fs::rename(run.path(""), here.join("out/quickstart")).unwrap();
    let python = python(&run.input("venv"));

    let readme = fs::read_to_string(pipelines().join("README.md")).unwrap();
    let snippets = snippets(&readme);
    assert_eq!(snippets.len(), 3);
    for snippet in snippets {
        let mut command = Command::new(&python);
        let ended = ended(command.current_dir(&here).args(["-c", snippet]), snippet).ok();
        assert!(!ended.stdout.is_empty(), "{snippet} prints nothing");
    }

    let notebook = pipelines().join("colab.ipynb");
    let check = "import nbformat, sys; nbformat.validate(nbformat.read(sys.argv[1], as_version=4))";
    ended(Command::new(&python).args(["-c", check]).arg(&notebook), "nbformat").ok();
    let programs = binary("bedtime").parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&path)));
    let done = here.join("done.ipynb");
    let mut command = Command::new(&python);
    command.current_dir(&here).args(["-m", "nbconvert", "--to", "notebook", "--execute"]);
    command.arg("--output").arg(&done).arg(&notebook).env("PATH", path.unwrap());
    command
        .env("BEDTIME_PIPELINE", run.input("tiny.toml"))
        .env("BEDTIME_DRIVE", here.join("drive"));
    ended(&mut command, "nbconvert --execute").ok();
    let done = fs::read_to_string(done).unwrap();
    // The curve, the stories, and the reason of what was left out.
    for part in ["image/png", "Once upon a time", "skipped: this is not Colab"] {
        assert!(done.contains(part), "{part} is not in the notebook that ran");
    }
}

//! PyTorch beside it: `torch_step.py`, which is part of this program, kept running and asked for some steps at a time.
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::runs::{Bench, Case};

const SCRIPT: &str = include_str!("../torch_step.py");

pub(crate) struct Peer {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
    log: PathBuf,
}

/// What PyTorch there is: `{"torch": "2.9", "gpu": NAME or null}`. An error says why there is none.
pub(crate) fn probe(python: &str, folder: &Path) -> Result<Value, String> {
    let script = folder.join("torch_step.py");
    std::fs::write(&script, SCRIPT).map_err(|error| format!("{}: {error}", script.display()))?;
    let output = Command::new(python)
        .arg(&script)
        .args(["--data", "-", "--vocab", "1", "--probe"])
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| format!("{python} cannot be started: {error}"))?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).map_err(|_| {
        format!(
            "{python} has no PyTorch: {}",
            error.trim().lines().last().unwrap_or("it printed nothing")
        )
    })
}

impl Peer {
    pub(crate) fn start(bench: &Bench, case: &Case, val_windows: u64) -> Result<Self, String> {
        let (shape, log) = (&case.shape, bench.folder().join("torch.log"));
        let words =
            std::fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let mut command = Command::new(&bench.python);
        command.arg(bench.folder().join("torch_step.py")).arg("--data").arg(&bench.data.short);
        let sizes = [
            ("--vocab", bench.data.vocab),
            ("--layers", shape.layers),
            ("--heads", shape.heads),
            ("--dim", shape.width),
            ("--mlp", shape.mlp),
            ("--seq", shape.context),
            ("--batch", case.batch),
            ("--val-windows", val_windows),
            ("--window", bench.pace.log_every),
        ];
        for (flag, size) in sizes {
            command.arg(flag).arg(size.to_string());
        }
        if let Some(device) = &bench.peer_device {
            command.args(["--device", device]);
        }
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(words).spawn();
        let mut child =
            started.map_err(|error| format!("{} cannot be started: {error}", bench.python))?;
        let (Some(requests), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipe to python".into());
        };
        let (send, answers) = channel();
        std::thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| send.send(line))
        });
        Ok(Peer { child, requests, answers, log })
    }

    /// Trains on for a number of steps in one mode; an error says why that did not work.
    pub(crate) fn steps(
        &mut self,
        mode: &str,
        steps: u64,
        validate: bool,
        most: Duration,
    ) -> Result<Value, String> {
        let request = json!({ "mode": mode, "steps": steps, "validate": validate });
        writeln!(self.requests, "{request}")
            .and_then(|()| self.requests.flush())
            .map_err(|_| self.ended())?;
        let line = self.answers.recv_timeout(most).map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                format!("no answer of mode {mode} within {:.0} s", most.as_secs_f64())
            }
            RecvTimeoutError::Disconnected => self.ended(),
        })?;
        let answer: Value =
            serde_json::from_str(&line).map_err(|_| format!("torch_step.py said {line:?}"))?;
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer),
        }
    }
}

impl Peer {
    fn ended(&self) -> String {
        let words = std::fs::read_to_string(&self.log).unwrap_or_default();
        format!(
            "torch_step.py ended early: {}",
            words.trim().lines().last().unwrap_or("it said nothing")
        )
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! One program on one hostile input: how it ended, how long it took, and how much memory it had at most.
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

/// Nothing hostile takes longer.
const LIMIT: Duration = Duration::from_secs(60);
/// Peak of resident memory, MiB.
const MOST_MIB: u64 = 1024;

pub(crate) struct Ended {
    pub code: Option<i32>,
    pub stderr: String,
    pub peak_mib: u64,
    pub time: Duration,
}

/// Runs a command to its end, or kills it after a minute.
pub(crate) fn run(command: Command) -> Ended {
    run_with(command, Stdio::null())
}

/// As [`run`], with a reader of stdout that leaves after 64 KiB, as `head` does.
pub(crate) fn run_head(command: Command) -> Ended {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let head = std::thread::spawn(move || {
        let (mut buffer, mut left) = ([0; 4096], 1 << 16);
        while left > 0 {
            match std::io::Read::read(&mut reader, &mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(read) => left -= read.min(left),
            }
        }
    });
    let ended = run_with(command, Stdio::from(writer));
    head.join().expect("the reader ends");
    ended
}

fn run_with(mut command: Command, stdout: Stdio) -> Ended {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let stderr = folder.path().join("stderr");
    let file = std::fs::File::create(&stderr).expect("a file for stderr");
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(file)
        .spawn()
        .expect("the program starts");
    drop(command); // with it goes this process's end of the pipe
    let mut peak_mib = 0;
    let status = loop {
        peak_mib = peak_mib.max(peak_of(child.id()).unwrap_or(0));
        match child.try_wait().expect("a child can be waited for") {
            Some(status) => break Some(status),
            None if started.elapsed() > LIMIT => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let stderr = std::fs::read(&stderr).unwrap_or_default();
    Ended {
        code: status.and_then(|status| status.code()),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        peak_mib,
        time: started.elapsed(),
    }
}

/// Peak of resident memory so far, where the system tells it.
fn peak_of(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib >> 10)
}

impl Ended {
    /// What is wrong with this end, in words; `codes` are those allowed.
    pub(crate) fn check(&self, what: &str, codes: &[i32]) -> Result<(), Failed> {
        let mut wrong = Vec::new();
        match self.code {
            None => wrong.push(format!("killed after {:?}, or ended by a signal", self.time)),
            Some(code) if !codes.contains(&code) => wrong.push(format!("ended with {code}")),
            _ => {}
        }
        if self.stderr.contains("panicked") {
            wrong.push("panicked".into());
        }
        if self.peak_mib > MOST_MIB {
            wrong.push(format!("had {} MiB", self.peak_mib));
        }
        if self.code.is_some_and(|code| code != 0) && !self.stderr.contains("error") {
            wrong.push("said nothing".into());
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(format!("{what}: {}\n{}", wrong.join(", "), self.stderr).into()),
        }
    }
}

//! Stages that are killed or meet a fault at a chosen call: `tests/crash/faults.c`, preloaded into the real binary.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const SOURCE: &str = include_str!("../crash/faults.c");

/// The shared object, compiled once per content. None where there is no `LD_PRELOAD`: a test then says that it is skipped.
pub fn shim() -> Option<&'static Path> {
    static SHIM: OnceLock<Option<PathBuf>> = OnceLock::new();
    SHIM.get_or_init(|| {
        if !cfg!(target_os = "linux") {
            eprintln!("SKIPPED: faults at chosen calls are made with LD_PRELOAD, which this system has not");
            return None;
        }
        let folder = crate::binary("train").parent()?.join("deps");
        let path = folder.join(format!("faults-{}.so", &stage::sha256(SOURCE.as_bytes())[..16]));
        if !path.exists() {
            let (code, object) = (folder.join(format!("faults-{}.c", std::process::id())), path.with_extension("partial"));
            fs::write(&code, SOURCE).expect("the target folder can be written");
            let built = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).args([&object, &code]).arg("-ldl").status();
            assert!(built.is_ok_and(|status| status.success()), "cc cannot compile tests/crash/faults.c: is a C compiler there?");
            let _ = fs::remove_file(&code);
            fs::rename(&object, &path).expect("the target folder can be written");
        }
        Some(path)
    })
    .as_deref()
}

/// What the shim saw of a process that ended by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// fsync and fdatasync.
    pub sync: u64,
    /// rename, link and unlink.
    pub change: u64,
    /// Writes.
    pub write: u64,
    /// Reads.
    pub read: u64,
    /// Looks at the clock.
    pub clock: u64,
    /// Peak of the resident memory.
    pub peak_kib: u64,
    /// The fault was met.
    pub hit: bool,
}

impl Calls {
    /// The report that the shim left; None where the process was killed before.
    pub fn read_from(report: &Path) -> Option<Self> {
        let text = fs::read_to_string(report).ok()?;
        let number = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        };
        Some(Calls {
            sync: number("sync ")?,
            change: number("change ")?,
            write: number("write ")?,
            read: number("read ")?,
            clock: number("clock ")?,
            peak_kib: number("peak_kib ")?,
            hit: number("hit ")? == 1,
        })
    }

    /// The number of calls of a kind, by the field's name.
    pub fn of(&self, kind: &str) -> u64 {
        match kind {
            "sync" => self.sync,
            "change" => self.change,
            "write" => self.write,
            "read" => self.read,
            "clock" => self.clock,
            other => panic!("no kind of call {other}"),
        }
    }
}

/// Preloads the shim: calls on files below a folder are counted into `report`, and `fault` ("eio read 3") happens.
pub fn preload(
    command: &mut Command,
    shim: &Path,
    below: &Path,
    fault: Option<&str>,
    report: &Path,
) {
    let below = below.canonicalize().unwrap_or_else(|_| below.to_owned());
    command
        .env("LD_PRELOAD", shim)
        .env("BEDTIME_FAULT_BELOW", below)
        .env("BEDTIME_FAULT_REPORT", report);
    if let Some(fault) = fault {
        command.env("BEDTIME_FAULT", fault);
    }
}

//! `bedtime doctor`: what this machine has, what `auto` chooses, what is missing and how to get it.
use std::path::Path;

use serde_json::{Value, json};
use stage::{Failure, Result, Stage, memory, print};

use crate::programs::Program;
use crate::stages::all;

const AFTER_HELP: &str = "\
Looks at the programs, the devices and their drivers, memory, and the disk that
OUT is on. Writes nothing.

Exit codes: 0 every stage can run here; 2 a program is missing.";

/// Disk that a pipeline should find free: raw, tokens, bins and checkpoints of tinystories-3m.
const DISK_BYTES: u64 = 2 << 30;
/// Memory with which a small model trains.
const MEMORY_BYTES: u64 = 1 << 30;

/// What this machine has, what `auto` takes and why, what is missing
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Doctor {
    #[command(flatten)]
    common: stage::Common,
    /// As JSON on stdout
    #[arg(long)]
    json: bool,
}

/// Something missing, and how to get it.
struct Missing {
    what: String,
    remedy: String,
}

impl Doctor {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let stage = self.common.open("bedtime", "train", &json!({}))?;
        let mut missing = Vec::new();
        let programs = programs(&mut missing);
        let devices = devices(&mut missing)?;
        let memory_bytes = memory::available();
        if memory_bytes < MEMORY_BYTES {
            missing.push(Missing {
                what: format!("memory: only {} can be had", memory::mib(memory_bytes)),
                remedy: "close other programs, or set a smaller train.batch".into(),
            });
        }
        let disk_bytes = free_bytes(&stage.out);
        if disk_bytes.is_some_and(|free| free < DISK_BYTES) {
            missing.push(Missing {
                what: format!("disk: little space where {} is", stage.out.display()),
                remedy: "free some, or put OUT elsewhere with --out DIR".into(),
            });
        }
        let found = Found { stage: &stage, programs, devices, memory_bytes, disk_bytes };
        match self.json {
            true => print(&format!("{:#}\n", found.as_json(&missing)))?,
            false => print(&found.as_text(&missing))?,
        };
        let absent: Vec<&str> = found
            .programs
            .iter()
            .filter(|(_, path)| path.is_none())
            .map(|(name, _)| *name)
            .collect();
        match absent.is_empty() {
            true => Ok(()),
            false => Err(Failure::usage(format_args!("missing: {}", absent.join(", "))).into()),
        }
    }
}

/// The stages, and where each is.
fn programs(missing: &mut Vec<Missing>) -> Vec<(&'static str, Option<String>)> {
    let find = |name| match Program::find(name, Vec::new()) {
        Ok(program) => (name, Some(program.path().display().to_string())),
        Err(_) => {
            let remedy = "put it beside bedtime; in a checkout: make build".to_owned();
            missing.push(Missing { what: format!("program {name}"), remedy });
            (name, None)
        }
    };
    all().map(find).collect()
}

/// What `train --list-devices` says; null where there is no `train`.
fn devices(missing: &mut Vec<Missing>) -> Result<Value> {
    let Ok(train) = Program::find("train", vec!["--list-devices".into(), "--json".into()]) else {
        return Ok(Value::Null);
    };
    let devices = train.json()?;
    if let Some(text) = devices["missing"].as_str() {
        let (what, remedy) = text.split_once("remedy: ").unwrap_or((text, "none known"));
        let what = what.lines().map(str::trim).filter(|line| !line.is_empty());
        missing.push(Missing {
            what: format!("{} (the CPU computes)", what.collect::<Vec<_>>().join("; ")),
            remedy: remedy.to_owned(),
        });
    }
    Ok(devices)
}

/// Space for this user where the folder is, or will be.
fn free_bytes(folder: &Path) -> Option<u64> {
    let absolute = std::path::absolute(folder).ok()?;
    let there = absolute.ancestors().find(|path| path.is_dir())?;
    fs4::available_space(there).ok()
}

struct Found<'a> {
    stage: &'a Stage,
    programs: Vec<(&'static str, Option<String>)>,
    devices: Value,
    memory_bytes: u64,
    disk_bytes: Option<u64>,
}

impl Found<'_> {
    fn as_json(&self, missing: &[Missing]) -> Value {
        let programs = self.programs.iter().map(|(name, path)| (*name, path));
        let missing = missing.iter();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "programs": programs.collect::<std::collections::BTreeMap<_, _>>(),
            "devices": self.devices["devices"],
            "auto": self.devices["auto"],
            "memory_bytes": Some(self.memory_bytes).filter(|bytes| *bytes < u64::MAX),
            "out": self.stage.out.display().to_string(),
            "disk_bytes": self.disk_bytes,
            "missing": missing.map(|m| json!({ "what": m.what, "remedy": m.remedy })).collect::<Vec<_>>(),
        })
    }

    fn as_text(&self, missing: &[Missing]) -> String {
        let there = self.programs.iter().filter(|(_, path)| path.is_some()).count();
        let mut text = format!("programs  {there} of {} stages are here\n", self.programs.len());
        for device in self.devices["devices"].as_array().into_iter().flatten() {
            let word = |key: &str| device[key].as_str().unwrap_or_default().to_owned();
            let note = match device["is_software"].as_bool() {
                Some(true) => ", software, for tests",
                _ => "",
            };
            text += &format!("device    {}: {}{note}\n", word("device"), word("name"));
        }
        let auto = &self.devices["auto"];
        if let (Some(device), Some(why)) = (auto["device"].as_str(), auto["why"].as_str()) {
            text += &format!("auto      takes {device}: {why}\n");
        }
        let free = self.disk_bytes.map_or("unknown".into(), |bytes| memory::mib(bytes) + " free");
        text += &format!("memory    {} can be had\n", memory::mib(self.memory_bytes));
        text += &format!("disk      {free} where {} is\n", self.stage.out.display());
        for Missing { what, remedy } in missing {
            text += &format!("missing   {what}\n          remedy: {remedy}\n");
        }
        let is_ready = there == self.programs.len();
        text + if is_ready { "\nEvery stage can run here: bedtime all\n" } else { "" }
    }
}

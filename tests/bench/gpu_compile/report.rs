//! The rows of all chips as one table, and what is not to be.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Registers of a matmul on NVIDIA at most: 65,536 of them serve two workgroups of 128 then, and more than 255 spill.
const MOST_REGISTERS: f64 = 208.0;
/// Spills of a kernel at heads of 128 or more; none at narrower ones.
const MOST_SPILLS: f64 = 16.0;

/// A driver's own names for what is compared.
const REGISTERS: [&str; 3] = ["VGPRs", "Number of GPRs", "GPRs"];
const SPILLS: [&str; 3] = ["Spilled VGPRs", "Spills to memory", "Spills"];
const INSTRUCTIONS: [&str; 2] = ["Instructions", "Instruction count"];

fn figure(row: &Value, names: &[&str]) -> f64 {
    names.iter().find_map(|name| row["figures"][name].as_f64()).unwrap_or(0.0)
}

/// What is wrong with a row, if anything.
fn fault(row: &Value) -> Option<String> {
    if let Some(refused) = row["refused"].as_str() {
        return Some(format!("refused: {refused}"));
    }
    let spills = figure(row, &SPILLS);
    let most = if row["head"].as_u64().is_some_and(|head| head > 64) { MOST_SPILLS } else { 0.0 };
    if spills > most {
        return Some(format!("{spills} spills, expected at most {most}"));
    }
    let nvidia = row["figures"]["Number of GPRs"].as_f64();
    let matmul = row["kernel"].as_str().is_some_and(|kernel| kernel.starts_with("matmul"));
    nvidia
        .filter(|&registers| matmul && registers > MOST_REGISTERS)
        .map(|registers| format!("{registers} registers, expected at most {MOST_REGISTERS}"))
}

/// Prints the table; an error where a row is not what it has to be.
pub(crate) fn print(files: &[PathBuf]) -> Result<()> {
    let (mut table, mut chips, mut faults) =
        (BTreeMap::<_, BTreeMap<String, String>>::new(), Vec::new(), Vec::new());
    // Of the shader's text, so that it differs from chip to chip only with the lanes of a subgroup.
    let mut bytes = BTreeMap::<_, BTreeSet<u64>>::new();
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        for line in text.lines() {
            let row: Value = serde_json::from_str(line)?;
            let word = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
            let head = row["head"].as_u64().map_or("-".to_owned(), |head| head.to_string());
            let of = [word("kernel"), word("precision"), head, word("tiles")];
            let chip = word("chip");
            if let Some(what) = fault(&row) {
                faults.push(format!("{chip}: {}: {what}", of.join(" ")));
            }
            if !chips.contains(&chip) {
                chips.push(chip.clone());
            }
            let cell = format!(
                "{} / {} / {}",
                figure(&row, &REGISTERS),
                figure(&row, &SPILLS),
                figure(&row, &INSTRUCTIONS)
            );
            bytes.entry(of.clone()).or_default().extend(row["workgroup_bytes"].as_u64());
            table.entry(of).or_default().insert(chip, cell);
        }
    }
    println!("# Every kernel on the compilers of GPUs\n");
    println!(
        "`make gpu-compile` writes this: registers / spills / instructions of each kernel that a plan can use, and bytes of workgroup memory. Nothing was executed. Registers are of 32 bits, on M1 of 16. It fails on any spill at heads of up to 64, on more than {MOST_SPILLS} at wider ones, on more than {MOST_REGISTERS} registers in a matmul on NVIDIA, and on a refused pipeline.\n"
    );
    println!("| kernel | precision | head | tiles | bytes | {} |", chips.join(" | "));
    println!("|---|---|---|---|---|{}", "---|".repeat(chips.len()));
    for (of, cells) in &table {
        let cells: Vec<&str> =
            chips.iter().map(|chip| cells.get(chip).map_or("", String::as_str)).collect();
        let bytes: Vec<String> = bytes[of].iter().map(u64::to_string).collect();
        println!("| {} | {} | {} |", of.join(" | "), bytes.join(", "), cells.join(" | "));
    }
    let compiled = |chip: &String| table.values().filter(|cells| cells.contains_key(chip)).count();
    let counts: Vec<String> =
        chips.iter().map(|chip| format!("{chip} {}", compiled(chip))).collect();
    println!("\nPipelines: {}.", counts.join(", "));
    if faults.is_empty() {
        return Ok(());
    }
    println!("\nFaults:\n\n- {}", faults.join("\n- "));
    bail!("{} kernels are not what they have to be:\n{}", faults.len(), faults.join("\n"))
}

//! The files of an OUT folder: copied, compared, and looked at for what is half written.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use model::Checkpoint;
use serde_json::Value;

/// Content by path below OUT, with `/` between folders.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// Every file but those that may differ between two equal runs: stamps, locks, plots, event files, the report. Of `loss.jsonl`
/// what the clock decides is left out.
pub fn tree(out: &Path) -> Tree {
    let mut tree = all(out);
    tree.retain(|name, _| !may_differ(name));
    if let Some(log) = tree.get_mut("run/loss.jsonl") {
        *log = String::from_utf8_lossy(log)
            .split_inclusive('\n')
            .map(timeless)
            .collect::<String>()
            .into_bytes();
    }
    tree
}

fn all(out: &Path) -> Tree {
    let name =
        |path: &Path| path.strip_prefix(out).unwrap_or(path).to_string_lossy().replace('\\', "/");
    crate::files_below(out)
        .into_iter()
        .map(|path| (name(&path), fs::read(&path).unwrap_or_default()))
        .collect()
}

fn may_differ(name: &str) -> bool {
    name.ends_with(".stamp")
        || name.ends_with(".lock") // names the process that had it
        || name.starts_with("run/tb/")
        || ["run/loss.png", "run/report.html"].contains(&name)
}

/// A line of `loss.jsonl` without what depends on the clock; what is no line stays as it is.
fn timeless(line: &str) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else { return line.to_owned() };
    for key in ["elapsed_s", "tokens_per_second"] {
        fields.shift_remove(key);
    }
    format!("{}\n", Value::Object(fields))
}

/// In words, one line a file.
pub fn differences(expected: &Tree, found: &Tree) -> Vec<String> {
    let missing = expected
        .keys()
        .filter(|name| !found.contains_key(*name))
        .map(|name| format!("{name} is missing"));
    let other = found.iter().filter_map(|(name, bytes)| match expected.get(name) {
        None => Some(format!("{name} is left over")),
        Some(right) if right != bytes => {
            let at = right.iter().zip(bytes).take_while(|(a, b)| a == b).count();
            Some(format!(
                "{name} differs from byte {at} on ({} bytes, expected {})",
                bytes.len(),
                right.len()
            ))
        }
        Some(_) => None,
    });
    missing.chain(other).collect()
}

/// The name of what is on its way to a final name, or of the folder or note that belongs to it.
pub fn is_temporary(name: &str) -> bool {
    let name = name.strip_suffix(".etag").unwrap_or(name);
    name.ends_with(".partial") || name.ends_with(".download")
}

/// What is only on its way to a final name, and other hidden files and folders.
pub fn is_hidden(name: &str) -> bool {
    is_temporary(name) || name.split('/').any(|part| part.starts_with('.'))
}

/// Files under final names that are neither as they were before a stage nor as they are after it, nor a whole state in
/// between. One line each.
pub fn half_written(before: &Tree, after: &Tree, out: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, bytes) in
        all(out).into_iter().filter(|(name, _)| !is_hidden(name) && name != crate::disk::FILLER)
    {
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        let whole = match name.as_str() {
            "run/loss.png" => bytes.starts_with(b"\x89PNG") && bytes.ends_with(b"IEND\xaeB`\x82"),
            "run/report.html" => text().trim_end().ends_with("</html>"),
            "run/loss.jsonl" => is_begun_log(&text(), after.get(&name)),
            _ if name.starts_with("run/tb/")
                || [before.get(&name), after.get(&name)].contains(&Some(&bytes)) =>
            {
                true
            }
            // Written anew as a whole, a line longer each time.
            "run/stories.jsonl" => {
                bytes.ends_with(b"\n")
                    && after.get(&name).is_some_and(|right| right.starts_with(&bytes))
            }
            "run/samples.md" => text().starts_with("# ") && text().ends_with('\n'),
            _ if name.starts_with("run/checkpoints/") && name.ends_with(".safetensors") => {
                is_checkpoint(&out.join(&name), &bytes, after)
            }
            _ => false,
        };
        if !whole {
            wrong.push(format!(
                "{name} ({} bytes) is neither as before the stage nor as after it",
                bytes.len()
            ));
        }
    }
    wrong
}

/// The lines of an undisturbed run, in order, the last perhaps cut.
fn is_begun_log(text: &str, after: Option<&Vec<u8>>) -> bool {
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let after = after.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    whole.zip(after.split_inclusive('\n')).all(|(line, right)| timeless(line) == right)
}

/// It reads, and is the one that an undisturbed run has at its step.
fn is_checkpoint(path: &Path, bytes: &[u8], after: &Tree) -> bool {
    let Ok(checkpoint) = Checkpoint::load(path) else { return false };
    let numbered =
        after.get(&format!("run/checkpoints/step_{:08}.safetensors", checkpoint.state.step));
    path.file_name().is_some_and(|name| name == "best.safetensors")
        || numbered.is_none_or(|right| right == bytes)
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy(&path, &copied),
            false => {
                fs::copy(&path, &copied).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            }
        }
    }
}

//! `samples.md`: the same stories before training and now, side by side.
use std::fmt::Write;
use std::path::Path;

use stage::{AtomicFile, Result};

use crate::Story;

/// Writes the file anew; `note` says what the data is, where that matters.
pub fn write(path: &Path, step: u64, note: Option<&str>, before: &[Story], now: &[Story]) -> Result<()> {
    let mut text = format!("# Stories before training and after {step} steps\n\n");
    if let Some(note) = note {
        let _ = writeln!(text, "{note}\n");
    }
    let _ = writeln!(text, "| | before | after {step} steps |\n|---|---|---|");
    for (i, (before, now)) in before.iter().zip(now).enumerate() {
        let _ = writeln!(text, "| {} | {} | {} |", i + 1, cell(before), cell(now));
    }
    AtomicFile::write(path, text.as_bytes()).map(drop)
}

/// The prompt in bold, the continuation after it, fit for one cell of a table.
fn cell(story: &Story) -> String {
    let told = story.text.strip_prefix(&story.prompt).unwrap_or(&story.text);
    let escape = |text: &str| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('|', "\\|").replace('*', "\\*").replace('`', "\\`");
        let visible: String = text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect();
        visible.replace('\n', "<br>")
    };
    format!("**{}**{}{}", escape(&story.prompt), escape(told), if story.ended { "" } else { " …" })
}

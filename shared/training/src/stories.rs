//! The stories that a run generates at one checkpoint.
use inference::Story;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoriesAt {
    /// Updates done.
    pub step: u64,
    pub stories: Vec<Story>,
}

impl StoriesAt {
    /// As a list in Markdown.
    pub(crate) fn markdown(&self) -> String {
        self.stories.iter().map(|story| format!("- {}\n", cell(story))).collect()
    }
}

/// The prompt in bold and the continuation, escaped for a cell of a Markdown table.
pub(crate) fn cell(story: &Story) -> String {
    let escape = |text: &str| {
        let text = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('|', "\\|")
            .replace('*', "\\*")
            .replace('`', "\\`");
        let visible: String = text
            .chars()
            .map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c })
            .collect();
        visible.replace('\n', "<br>")
    };
    format!(
        "**{}**{}{}",
        escape(&story.prompt),
        escape(story.continuation()),
        if story.ended { "" } else { " …" }
    )
}

//! What the manifest of `raw/` says of the row groups of its files, so that a job that needs a few of them reads no others.
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Fact of a manifest: of each file the list of its row groups.
pub const ROW_GROUPS: &str = "row_groups";

/// One row group: its stories, and the SHA-256 of the text column's bytes as they lie in the file. As text "1000 89ab...".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RowGroup {
    /// Number of its stories.
    pub stories: u64,
    /// Of the column, as it is stored.
    pub sha256: String,
}

impl From<RowGroup> for String {
    fn from(row_group: RowGroup) -> Self {
        format!("{} {}", row_group.stories, row_group.sha256)
    }
}

impl TryFrom<String> for RowGroup {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for RowGroup {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once(' ').and_then(|(stories, sha256)| {
            Some(RowGroup { stories: stories.parse().ok()?, sha256: sha256.to_owned() })
        });
        parsed.ok_or_else(|| format!("{text:?}: expected a number of stories and a SHA-256"))
    }
}

//! What went wrong, as data: where, what was found and expected, what is kept, what to do.
use std::fmt::{self, Display};
use std::path::PathBuf;

use serde_json::{Map, Value};

/// Printed as `FILE: PLACE: FOUND`, then a line for each of the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// The file it is about.
    pub file: Option<PathBuf>,
    /// The place in the file (a row, a line, a tensor); without a file a setting, an address or a device.
    pub place: Option<String>,
    /// What is there.
    pub found: String,
    /// Further named lines: `needed`, `fits`, `missing`.
    pub notes: Vec<(&'static str, String)>,
    /// What should be there.
    pub expected: Option<String>,
    /// What is not lost.
    pub kept: Option<String>,
    /// What to do.
    pub remedy: Option<String>,
}

impl Problem {
    /// Only what was found; the rest is added.
    pub fn new(found: impl Display) -> Self {
        Problem { found: found.to_string(), ..Problem::default() }
    }

    /// Adds the file.
    pub fn file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Adds the place.
    pub fn at(mut self, place: impl Display) -> Self {
        self.place = Some(place.to_string());
        self
    }

    /// Adds a line of another name.
    pub fn note(mut self, name: &'static str, text: impl Display) -> Self {
        self.notes.push((name, text.to_string()));
        self
    }

    /// Adds what was expected.
    pub fn expected(mut self, expected: impl Display) -> Self {
        self.expected = Some(expected.to_string());
        self
    }

    /// Adds what is kept.
    pub fn kept(mut self, kept: impl Display) -> Self {
        self.kept = Some(kept.to_string());
        self
    }

    /// Adds what to do.
    pub fn remedy(mut self, remedy: impl Display) -> Self {
        self.remedy = Some(remedy.to_string());
        self
    }

    /// The first line of its text: where and what.
    pub fn headline(&self) -> String {
        let file = self.file.as_ref().map(|file| file.display().to_string());
        let parts = file.iter().chain(&self.place).chain([&self.found]);
        parts.map(String::as_str).collect::<Vec<&str>>().join(": ")
    }

    fn lines(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let notes = self.notes.iter().map(|(name, text)| (*name, text.as_str()));
        let rest = [("expected", &self.expected), ("kept", &self.kept), ("remedy", &self.remedy)];
        let rest = rest.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
        notes.chain(rest)
    }

    /// The fields of a JSON line, without those that are empty.
    pub fn fields(&self) -> Map<String, Value> {
        let file = self.file.as_ref().map(|file| file.display().to_string());
        let places = [("file", file.as_deref()), ("place", self.place.as_deref())];
        let places = places.into_iter().filter_map(|(name, text)| Some((name, text?)));
        let all = places.chain([("found", self.found.as_str())]).chain(self.lines());
        all.map(|(name, text)| (name.replace(' ', "_"), text.into())).collect()
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.headline())?;
        self.lines().try_for_each(|(name, text)| write!(f, "\n  {name}: {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_and_the_fields_say_the_same() {
        let problem = Problem::new("holds 7 columns")
            .file("/a/b.parquet")
            .at("row 3")
            .note("fits", "one")
            .expected("1 column")
            .remedy("name another file");
        assert_eq!(
            problem.to_string(),
            "/a/b.parquet: row 3: holds 7 columns\n  fits: one\n  expected: 1 column\n  remedy: name another file"
        );
        let fields = serde_json::json!({ "file": "/a/b.parquet", "place": "row 3", "found": "holds 7 columns",
            "fits": "one", "expected": "1 column", "remedy": "name another file" });
        assert_eq!(Value::Object(problem.fields()), fields);
        assert_eq!(Problem::new("x").to_string(), "x");
    }
}

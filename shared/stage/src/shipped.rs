//! The pipelines embedded in the program. Named without a path, they need no checkout.
use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::{Failure, Result};

/// The default.
pub const DEFAULT: &str = "quickstart";

macro_rules! shipped {
    ($($name:literal)*) => {
        /// Name and text of every file of `pipelines/`.
        const SHIPPED: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../pipelines/", $name, ".toml"))),)*];
    };
}
shipped! { "quickstart" "tinystories-3m" "tinystories-10m" "chapter" }

/// Names of the shipped pipelines, the smallest first.
pub fn names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}

/// The text of the shipped pipeline of this name.
pub(crate) fn text(name: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(of, _)| *of == name).map(|(_, text)| *text)
}

/// The text of a pipeline, and the path for messages. A name means `pipelines/NAME.toml` if that exists, as in a checkout,
/// else the shipped pipeline.
pub(crate) fn read(pipeline: &Path) -> Result<(PathBuf, Cow<'static, str>)> {
    let named = SHIPPED.iter().find(|(name, _)| Path::new(name) == pipeline);
    let mut path = pipeline.to_owned();
    if let Some((name, text)) = named.filter(|_| !pipeline.is_file()) {
        path = Path::new("pipelines").join(format!("{name}.toml"));
        if !path.is_file() {
            return Ok((pipeline.to_owned(), Cow::Borrowed(text)));
        }
    }
    let text = crate::read_text(&path).map_err(|error| {
        Failure::usage(error.problem.found)
            .file(&path)
            .expected(format_args!(
                "a pipeline file, or one that comes with the program: {}",
                names().collect::<Vec<_>>().join(", ")
            ))
            .remedy("name one with --config FILE.toml")
    })?;
    Ok((path, Cow::Owned(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pipeline;

    #[test]
    fn every_file_of_pipelines_is_shipped_and_can_be_loaded_by_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut there: Vec<String> = files
            .filter(|path| path.extension().is_some_and(|end| end == "toml"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        there.sort();
        let mut shipped: Vec<String> = names().map(str::to_owned).collect();
        shipped.sort();
        assert_eq!(there, shipped);
        for name in names() {
            let pipeline = Pipeline::load(Path::new(name), &["train.seed=9".into()]).unwrap();
            assert_eq!(pipeline.shipped_name(), Some(name));
            let other = Pipeline::load(Path::new(name), &["train.lr=0.9".into()]).unwrap();
            assert_eq!(other.shipped_name(), None);
        }
    }

    #[test]
    fn a_name_that_is_none_is_answered_with_those_there_are() {
        let error = read(Path::new("tinystories-5m")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("tinystories-5m: not found"), "{text}");
        assert!(text.contains("quickstart, tinystories-3m, tinystories-10m"), "{text}");
    }
}

//! What is evaluated: the packed validation stories, their text in another model's tokens, and text files.
use std::path::{Path, PathBuf};

use corpus::bin::Bin;
use corpus::text_files::{Mended, Separator, separated_text};
use corpus::tokenizer::{Scratch, Tokenizer};
use inference::Ids;
use stage::{Failure, Result};

/// Stories in one tokenizer's ids, in memory. An end-of-story token follows each, and precedes the first unless the tokenizer has
/// a prefix of its own. So every token is evaluated.
pub(crate) struct Text {
    path: PathBuf,
    ids: Vec<u32>,
    /// Of each story.
    pub bytes: Vec<u64>,
}

impl Ids for Text {
    fn len(&self) -> u64 {
        self.ids.len() as u64
    }

    fn copy(&self, start: u64, out: &mut [u32]) -> Result<()> {
        out.copy_from_slice(&self.ids[start as usize..][..out.len()]);
        Ok(())
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Text {
    fn new(path: &Path, tokenizer: &Tokenizer) -> Self {
        let before = if tokenizer.prefix().is_empty() {
            vec![tokenizer.eos()]
        } else {
            tokenizer.prefix().to_vec()
        };
        Text { path: path.to_owned(), ids: before, bytes: Vec::new() }
    }

    fn push(&mut self, story: &str, tokenizer: &Tokenizer, scratch: &mut Scratch) -> Result<()> {
        tokenizer.append(story, scratch, &mut self.ids)?;
        self.ids.push(tokenizer.eos());
        Ok(self.bytes.push(story.len() as u64))
    }

    /// A text file, with `<|endoftext|>` between its stories where it has several.
    ///
    /// # Errors
    /// Exit code 3: not there, not UTF-8, or nothing in it.
    pub(crate) fn of_file(path: &Path, tokenizer: &Tokenizer) -> Result<Self> {
        let (mut text, mut scratch) = (Text::new(path, tokenizer), Scratch::default());
        let push = |story: &str| text.push(story, tokenizer, &mut scratch);
        separated_text(path, &Separator::of(None), &mut Mended::default(), push)?;
        match text.bytes.is_empty() {
            true => {
                Err(Failure::input(path, "no text in it", "text in UTF-8", "name another file"))
            }
            false => Ok(text),
        }
    }

    /// The stories of a bin that `from` made, in the ids of `to`.
    ///
    /// # Errors
    /// Exit code 3 for a text that `to` cannot encode; 130 when interrupted.
    pub(crate) fn of_bin(bin: &Bin, from: &Tokenizer, to: &Tokenizer) -> Result<Self> {
        const PIECE: u64 = 1 << 16;
        let (mut text, mut scratch, mut story, mut piece) =
            (Text::new(bin.path(), to), Scratch::default(), Vec::new(), Vec::new());
        for start in (0..bin.len()).step_by(PIECE as usize) {
            stage::interrupt::check("nothing was written; run the same command again")?;
            piece.resize(PIECE.min(bin.len() - start) as usize, 0);
            bin.copy(start, &mut piece)?;
            for &id in &piece {
                if id == bin.eos() {
                    text.push(&from.decode(&story), to, &mut scratch)?;
                    story.clear();
                } else {
                    story.push(id);
                }
            }
        }
        Ok(text)
    }
}

/// The texts of the first stories of a bin, at most `most`.
///
/// # Errors
/// Exit code 3 when another tokenizer made it; 130 when interrupted.
pub(crate) fn stories_of(bin: &Bin, made_with: &Tokenizer, most: usize) -> Result<Vec<String>> {
    if !is_own(bin, made_with) {
        return Err(Failure::input(
            made_with.path(),
            "another tokenizer",
            format_args!("the one that {} was made with", bin.path().display()),
            "bring that tokenizer.json, or run `make tokenize pack`",
        ));
    }
    const PIECE: usize = 1 << 12;
    let (mut stories, mut story, mut piece) = (Vec::new(), Vec::new(), Vec::new());
    for start in (0..bin.len()).step_by(PIECE) {
        stage::interrupt::check("nothing was written; run the same command again")?;
        piece.resize((PIECE as u64).min(bin.len() - start) as usize, 0);
        bin.copy(start, &mut piece)?;
        for &id in &piece {
            if stories.len() == most {
                return Ok(stories);
            }
            if id != bin.eos() {
                story.push(id);
            } else if !story.is_empty() {
                stories.push(made_with.decode(&story));
                story.clear();
            }
        }
    }
    Ok(stories)
}

/// Whether the bin's ids are this tokenizer's.
pub(crate) fn is_own(bin: &Bin, tokenizer: &Tokenizer) -> bool {
    bin.manifest()
        .tokenizer
        .as_ref()
        .is_some_and(|made_with| made_with.sha256 == tokenizer.sha256())
}

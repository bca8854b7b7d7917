//! Lines from a person: edited on a terminal, verbatim from a pipe.
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use stage::{Failure, Result};

pub(crate) enum Answer {
    Text(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    End,
}

/// The editor of a terminal, or a pipe.
pub(crate) struct Lines {
    editor: Option<Box<Editor<(), FileHistory>>>,
    history: Option<PathBuf>,
}

impl Lines {
    /// `history`: the file where earlier lines are kept.
    pub(crate) fn open(history: Option<PathBuf>) -> Result<Self> {
        if !std::io::stdin().is_terminal() {
            return Ok(Lines { editor: None, history: None });
        }
        let config = Config::builder().auto_add_history(history.is_some()).build();
        let mut editor = Editor::with_config(config).map_err(failed)?;
        if let Some(history) = &history {
            let _ = editor.load_history(history); // there is none the first time
        }
        Ok(Lines { editor: Some(Box::new(editor)), history })
    }

    /// Asks for a line. The prompt is shown on a terminal only.
    pub(crate) fn ask(&mut self, prompt: &str) -> Result<Answer> {
        let Some(editor) = &mut self.editor else {
            let mut line = Vec::new();
            let read = std::io::stdin().lock().read_until(b'\n', &mut line);
            if read.map_err(|error| Failure::try_again(error).at("stdin"))? == 0 {
                return Ok(Answer::End);
            }
            let text = String::from_utf8(line).map_err(|_| {
                Failure::bad_input("a line that is not UTF-8")
                    .at("stdin")
                    .expected("text")
                    .remedy("iconv -f LATIN1 -t UTF-8")
            })?;
            return Ok(Answer::Text(text.trim_end_matches(['\n', '\r']).to_owned()));
        };
        match editor.readline(prompt) {
            Ok(text) => {
                if let Some(history) = &self.history {
                    // A lost history is no reason to end.
                    let _ = history.parent().map(std::fs::create_dir_all);
                    let _ = editor.save_history(history);
                }
                Ok(Answer::Text(text))
            }
            Err(ReadlineError::Interrupted) => Ok(Answer::Interrupted),
            Err(ReadlineError::Eof) => Ok(Answer::End),
            Err(error) => Err(failed(error)),
        }
    }
}

fn failed(error: ReadlineError) -> Failure {
    Failure::try_again(format_args!("the terminal cannot be read: {error}"))
}

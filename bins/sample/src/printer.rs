//! Stories on stdout, in order. On a terminal the first unfinished story grows token by token.
use std::collections::BTreeMap;
use std::io::IsTerminal;

use corpus::tokenizer::Tokenizer;
use inference::{GenerationEvent, Pieces, Story};
use stage::{Failure, Result, print};

pub(crate) struct Printer<'a> {
    tokenizer: &'a Tokenizer,
    json: bool,
    live: bool,
    /// The next story to print, and how much of it is on the terminal.
    next: usize,
    pieces: Pieces<'a>,
    /// Stories that finished before earlier ones.
    waiting: BTreeMap<usize, Story>,
}

impl<'a> Printer<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer, json: bool) -> Self {
        let live = !json && std::io::stdout().is_terminal();
        Printer {
            tokenizer,
            json,
            live,
            next: 0,
            pieces: Pieces::new(tokenizer),
            waiting: BTreeMap::new(),
        }
    }

    /// False when stdout was closed.
    pub(crate) fn on_event(&mut self, event: GenerationEvent) -> Result<bool> {
        match event {
            GenerationEvent::Token { index, prompt, generated }
                if self.live && index == self.next =>
            {
                let had = self.pieces.len();
                let new = match had.checked_sub(prompt.len()) {
                    None => [prompt, generated].concat(),
                    Some(had) => generated[had..].to_vec(),
                };
                print(&self.pieces.push(&new))
            }
            GenerationEvent::Token { .. } => Ok(true),
            GenerationEvent::Finished { index, story } => {
                self.waiting.insert(index, story);
                while let Some(story) = self.waiting.remove(&self.next) {
                    if !self.print(&story)? {
                        return Ok(false);
                    }
                    self.next += 1;
                    self.pieces = Pieces::new(self.tokenizer);
                }
                Ok(true)
            }
        }
    }

    fn print(&self, story: &Story) -> Result<bool> {
        if self.json {
            let line = serde_json::to_string(story)
                .map_err(|error| Failure::try_again(error.to_string()))?;
            return print(&format!("{line}\n"));
        }
        // The last token may already be on the terminal, or hold the first bytes of a character.
        let rest = if self.pieces.is_empty() { &story.text } else { &self.pieces.rest() };
        print(&format!("{rest}{}\n\n", if story.ended { "" } else { " …" }))
    }

    /// After an interrupt: ends the line of a story begun on a terminal.
    pub(crate) fn finish(&self) -> Result<()> {
        if self.live && !self.pieces.is_empty() {
            print(" …\n")?;
        }
        Ok(())
    }
}

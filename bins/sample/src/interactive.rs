//! Prompts from a person, one after the other.
use inference::{Prompts, SamplingParams, cache_folder, generate_each};
use stage::{Result, Stage, interrupt};

use crate::lines::{Answer, Lines};
use crate::printer::Printer;
use crate::ready_model::ReadyModel;

pub(crate) fn run(
    model: &mut ReadyModel,
    stage: &Stage,
    n: u32,
    params: SamplingParams,
) -> Result<()> {
    stage.log.say("how does the story begin? Ctrl-C ends a story, Ctrl-D the program");
    let mut lines = Lines::open(cache_folder().map(|folder| folder.join("prompts.history")))?;
    let mut told = 0;
    loop {
        let prompt = match lines.ask("> ")? {
            Answer::Text(prompt) => prompt,
            Answer::Interrupted => continue,
            Answer::End => return Ok(()),
        };
        let prompts = Prompts::new(vec![prompt], n as usize);
        model.warn_of_long(stage, prompts.texts())?;
        let mut printer = Printer::new(&model.tokenizer, false);
        let mut listening = true;
        // Stories of a session are numbered consecutively, so the same prompt gives another story.
        generate_each(&mut model.decoder, &model.tokenizer, &prompts, told, params, |event| {
            listening = printer.on_event(event)?;
            Ok(listening)
        })?;
        printer.finish()?;
        if !listening {
            return Ok(());
        }
        if interrupt::requested() {
            if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
                interrupt::check("the stories that are printed are whole")?;
            }
            interrupt::clear();
        }
        told += prompts.len();
    }
}

//! Stories of two models in mixed order, rated by a person who is not told whose they are.
use std::path::Path;

use inference::{Average, Prompts, Rating, Ratings, SamplingParams, Story, averages, generate};
use stage::{Failure, Random, Result, Stage, interrupt, print};

use crate::lines::{Answer, Lines};
use crate::ready_model::ReadyModel;

struct Shown {
    /// 0 or 1
    model: usize,
    story: Story,
    /// SHA-256 of its text
    hash: String,
}

/// `models` as given on the command line. None is the run's own.
pub(crate) fn run(
    stage: &Stage,
    models: [Option<&Path>; 2],
    prompts: &Prompts,
    params: SamplingParams,
    ratings: &Path,
) -> Result<()> {
    let (mut names, mut shown) = (Vec::new(), Vec::new());
    for (model, named) in models.into_iter().enumerate() {
        let mut ready = ReadyModel::open(stage, named, prompts.len())?;
        names.push((
            named.map_or_else(|| "run/final".to_owned(), |path| path.display().to_string()),
            weights_hash(&ready)?,
        ));
        for story in generate(&mut ready.decoder, &ready.tokenizer, prompts, params)? {
            let hash = stage::sha256(story.text.as_bytes());
            shown.push(Shown { model, story, hash });
        }
        interrupt::check("no story was rated")?;
    }
    if names[0].1 == names[1].1 {
        return Err(Failure::usage(format_args!(
            "--model and --against are the same model: {} and {}",
            names[0].0, names[1].0
        )));
    }
    Random::new(params.seed, "rate", 0).shuffle(&mut shown);

    let mut kept = Ratings::open(ratings)?;
    let rated = kept.rated();
    let open: Vec<&Shown> = shown
        .iter()
        .filter(|shown| !rated.contains(&(names[shown.model].1.clone(), shown.hash.clone())))
        .collect();
    if open.len() < shown.len() {
        stage.log.say(format!(
            "{} of {} stories are rated already ({})",
            shown.len() - open.len(),
            shown.len(),
            ratings.display()
        ));
    }
    eprintln!(
        "Grammar, coherence and fun, 0 to 5 each, for example: 4 3 5. Ctrl-D or q ends it; what is rated is kept.\n"
    );
    let mut lines = Lines::open(None)?;
    let mut stopped = false;
    for (number, shown) in open.iter().enumerate() {
        eprintln!(
            "Story {} of {}\n\n{}{}\n",
            number + 1,
            open.len(),
            shown.story.text,
            if shown.story.ended { "" } else { " …" }
        );
        let Some([grammar, coherence, fun]) = scores(&mut lines)? else {
            stopped = true;
            break;
        };
        let (name, model) = names[shown.model].clone();
        kept.add(Rating { model, story: shown.hash.clone(), name, grammar, coherence, fun })?;
    }
    let now: std::collections::HashSet<&str> =
        shown.iter().map(|shown| shown.hash.as_str()).collect();
    print(&table(&averages(&kept.all, &names, |rating| now.contains(rating.story.as_str()))))?;
    interrupt::check(&format!(
        "all ratings given so far are in {}; the same command goes on",
        ratings.display()
    ))?;
    if stopped {
        stage
            .log
            .say(format!("the ratings are in {}; the same command goes on", ratings.display()));
    }
    Ok(())
}

/// Asks until there are three numbers. None when the person ends it.
fn scores(lines: &mut Lines) -> Result<Option<[u8; 3]>> {
    loop {
        match lines.ask("grammar coherence fun> ")? {
            Answer::End | Answer::Interrupted => return Ok(None),
            Answer::Text(text) if text.trim() == "q" => return Ok(None),
            Answer::Text(text) => match Rating::scores(&text) {
                Some(scores) => return Ok(Some(scores)),
                None => eprintln!("expected three numbers from 0 to 5, for example: 4 3 5"),
            },
        }
        if interrupt::requested() {
            return Ok(None);
        }
    }
}

/// Identifies a model: the hash of its weight files.
fn weights_hash(ready: &ReadyModel) -> Result<String> {
    let mut hashes = String::new();
    for (_, path) in ready
        .files
        .iter()
        .filter(|(_, path)| path.extension().is_some_and(|extension| extension == "safetensors"))
    {
        hashes += &stage::sha256(&stage::read(path)?);
    }
    Ok(stage::sha256(hashes.as_bytes()))
}

fn table(averages: &[Average]) -> String {
    let mut text =
        "| model | stories | grammar | coherence | fun | mean |\n|---|---:|---:|---:|---:|---:|\n"
            .to_owned();
    for Average { name, stories, grammar, coherence, fun } in averages {
        let cell = |value: f64| if *stories == 0 { "-".to_owned() } else { format!("{value:.2}") };
        let [g, c, f, mean] =
            [*grammar, *coherence, *fun, (grammar + coherence + fun) / 3.0].map(cell);
        text += &format!("| {name} | {stories} | {g} | {c} | {f} | {mean} |\n");
    }
    text
}

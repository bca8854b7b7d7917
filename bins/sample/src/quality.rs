//! Quality figures of stories, as a table: at one temperature or several, beside the stories of val.bin.
use crate::ready_model::ReadyModel;
use corpus::bin::{Bin, sidecar};
use inference::{Continuation, Prompts, Quality, SamplingParams, Story, generate};
use serde_json::json;
use stage::{Failure, Result, Stage, interrupt, print};

/// Generates the stories at every temperature and prints them, unless `table_only`, then the table.
pub(crate) fn run(
    model: &mut ReadyModel,
    stage: &Stage,
    prompts: &Prompts,
    params: SamplingParams,
    as_json: bool,
    table_only: bool,
) -> Result<()> {
    let temperatures = match &stage.pipeline.sample.temperatures[..] {
        [] => &[params.sampler.temperature],
        some => some,
    };
    let train = bin(model, stage, "train.bin")?;
    if train.is_none() {
        stage
            .log
            .say("copies are not searched for: OUT has no train.bin with this model's vocabulary");
    }
    let mut columns = Vec::new();
    for &temperature in temperatures {
        let mut params = params;
        params.sampler.temperature = temperature;
        let stories = generate(&mut model.decoder, &model.tokenizer, prompts, params)?;
        interrupt::check("no table was printed")?;
        if !table_only {
            let text: Result<Vec<String>> =
                stories.iter().map(|story| shown(story, temperature, as_json)).collect();
            let head =
                if as_json { String::new() } else { format!("Temperature {temperature}\n\n") };
            if !print(&(head + &text?.concat()))? {
                return Ok(());
            }
        }
        let continuations: Vec<Continuation> = stories.into_iter().map(continuation).collect();
        columns.push((format!("T {temperature}"), Quality::of(&continuations, train.as_ref())?));
    }
    if let Some(val) = bin(model, stage, "val.bin")? {
        let written = written(model, &val, prompts.len(), params.max_tokens)?;
        columns.push(("val.bin".to_owned(), Quality::of(&written, train.as_ref())?));
    }
    if as_json {
        for (name, quality) in &columns {
            let line = json!({ "of": name, "quality": quality });
            print(&format!("{line}\n"))?;
        }
        return Ok(());
    }
    print(&Quality::table(&columns)).map(drop)
}

fn shown(story: &Story, temperature: f32, as_json: bool) -> Result<String> {
    if !as_json {
        return Ok(format!("{}{}\n\n", story.text, if story.ended { "" } else { " …" }));
    }
    let mut value =
        serde_json::to_value(story).map_err(|error| Failure::try_again(error.to_string()))?;
    value["temperature"] = json!(temperature);
    Ok(format!("{value}\n"))
}

fn continuation(story: Story) -> Continuation {
    let text = story.text.strip_prefix(&story.prompt).unwrap_or(&story.text).to_owned();
    Continuation { text, tokens: story.tokens, ended: story.ended }
}

/// A bin of OUT, if it exists and was made with this model's tokenizer.
fn bin(model: &ReadyModel, stage: &Stage, name: &str) -> Result<Option<Bin>> {
    let path = stage.path(name);
    if !path.is_file() || !sidecar(&path).is_file() {
        return Ok(None);
    }
    let bin = Bin::open(&path)?;
    let same = bin
        .manifest()
        .tokenizer
        .as_ref()
        .is_some_and(|record| record.sha256 == model.tokenizer.sha256());
    Ok(Some(bin).filter(|_| same))
}

/// The first stories of a bin, cut to the length of the model's, for comparison.
fn written(
    model: &ReadyModel,
    bin: &Bin,
    stories: usize,
    max_tokens: usize,
) -> Result<Vec<Continuation>> {
    let mut all = Vec::new();
    let (mut ids, mut whole) = (Vec::new(), 0);
    let mut piece = [0; 256];
    let mut at = 0;
    while at < bin.len() && all.len() < stories {
        let here = &mut piece[..(bin.len() - at).min(256) as usize];
        bin.copy(at, here)?;
        at += here.len() as u64;
        for &id in here.iter() {
            if id != bin.eos() {
                whole += 1;
                if ids.len() < max_tokens {
                    ids.push(id);
                }
                continue;
            }
            let tokens = std::mem::take(&mut ids);
            all.push(Continuation {
                text: model.tokenizer.decode(&tokens),
                ended: whole <= tokens.len(),
                tokens,
            });
            whole = 0;
            if all.len() == stories {
                break;
            }
        }
    }
    Ok(all)
}

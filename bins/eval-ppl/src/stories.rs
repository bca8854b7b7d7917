//! `--stories`: how good a storyteller a model is, beside real stories.
use std::path::PathBuf;

use corpus::bin::Bin;
use corpus::tokenizer::Tokenizer;
use inference::{
    Choice, Continuation, Engine, Figure, LAST_WORD_OPTIONS, LoadedModel, Prompts, SamplingParams,
    StoryFigures, bits_by_reference, chosen, generate, last_word, markdown, own_pairs, read_pairs,
    who,
};
use serde_json::{Map, Value, json};
use stage::{Failure, Progress, Result, Stage, Unit, interrupt};

use crate::evaluate::{KEPT, engine};
use crate::sources::stories_of;

/// What is evaluated.
pub(crate) struct Evaluation<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) models: &'a [LoadedModel],
    pub(crate) tokenizers: &'a [Tokenizer],
    pub(crate) reference: Option<&'a LoadedModel>,
    /// Files of grammar pairs.
    pub(crate) pairs: &'a [PathBuf],
    /// Stories of each model.
    pub(crate) stories: usize,
}

/// One column of the table.
struct Column {
    of: String,
    figures: StoryFigures,
    reference: Option<Figure>,
    /// Share of right answers of each kind of question; None for real stories.
    answers: Option<Vec<(String, usize, Figure)>>,
    tokens_per_second: Option<f64>,
}

impl Evaluation<'_> {
    /// What stories.json says.
    ///
    /// # Errors
    /// Exit code 3: val.bin was made with another tokenizer than OUT's, or has too few stories.
    pub(crate) fn run(&self, val: &Bin) -> Result<Value> {
        let path = self.stage.path("tokenizer.json");
        let made_with = Tokenizer::load(&path)?;
        let written = stories_of(val, &made_with, self.stories.saturating_mul(4).max(400))?;
        let params = SamplingParams::new(&self.stage.pipeline.sample);
        let opened: Vec<(String, String)> =
            written.iter().filter_map(|story| opening(story)).take(self.stories).collect();
        if opened.is_empty() {
            return Err(Failure::input(
                val.path(),
                "no story of more than one sentence",
                "stories whose first sentence can be a prompt",
                "take more validation stories (fetch.validation_fraction)",
            ));
        }
        let judge = match self.reference {
            None => None,
            Some(model) => Some((engine(self.stage, model)?, model, model.tokenizer()?)),
        };
        let train = self.train_bin(val)?;
        let measures = Measures { made_with, most: params.max_tokens, train, judge };
        let questions = self.questions(&written)?;

        let mut columns = Vec::new();
        for (model, tokenizer) in self.models.iter().zip(self.tokenizers) {
            let engine = engine(self.stage, model)?;
            let (told, speed) = self.told(&engine, model, tokenizer, &opened, params)?;
            let mut column = self.column(model.path.display().to_string(), &told, &measures)?;
            column.tokens_per_second = Some(speed);
            column.answers = Some(self.answers(&engine, model, tokenizer, &questions)?);
            columns.push(column);
        }
        let real: Vec<Told> = opened
            .iter()
            .map(|(prompt, rest)| {
                let (tokens, whole) = measures.ids(rest)?;
                let text = if whole { rest.clone() } else { measures.made_with.decode(&tokens) };
                Ok(Told { prompt: prompt.clone(), text, ended: whole })
            })
            .collect::<Result<_>>()?;
        columns.push(self.column("real stories".to_owned(), &real, &measures)?);
        Ok(self.json(&columns, opened.len(), params))
    }

    /// The training stories, if they have the ids of the validation stories.
    fn train_bin(&self, val: &Bin) -> Result<Option<Bin>> {
        let path = self.stage.path("train.bin");
        if !path.is_file() || !corpus::bin::sidecar(&path).is_file() {
            self.stage.log.say("copies are not searched for: OUT has no train.bin");
            return Ok(None);
        }
        let train = Bin::open(&path)?;
        let made_with = |bin: &Bin| bin.manifest().tokenizer.as_ref().map(|t| t.sha256.clone());
        Ok(Some(train).filter(|train| made_with(train) == made_with(val)))
    }

    /// The same questions for every model.
    fn questions(&self, stories: &[String]) -> Result<Vec<Choice>> {
        let mut questions: Vec<Choice> = stories.iter().flat_map(|story| who(story)).collect();
        let last = stories.iter().enumerate();
        questions.extend(last.filter_map(|(index, story)| last_word(story, index as u64)));
        let pairs = |group: &str, pairs: Vec<Choice>| {
            pairs
                .into_iter()
                .map(move |mut pair| {
                    pair.group = format!("{group}: {}", pair.group);
                    pair
                })
                .collect::<Vec<_>>()
        };
        questions.extend(pairs("grammar", own_pairs()));
        for path in self.pairs {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            questions.extend(pairs(&name, read_pairs(path)?));
        }
        Ok(questions)
    }

    fn told(
        &self,
        engine: &Engine,
        model: &LoadedModel,
        tokenizer: &Tokenizer,
        opened: &[(String, String)],
        params: SamplingParams,
    ) -> Result<(Vec<Told>, f64)> {
        let slots = params.slots.min(opened.len()).max(1);
        let mut decoder = engine.decoder(model.config, model.weights.clone(), slots)?;
        let texts = opened.iter().map(|(prompt, _)| prompt.clone()).collect();
        let started = std::time::Instant::now();
        let stories = generate(&mut decoder, tokenizer, &Prompts::new(texts, 1), params)?;
        interrupt::check(KEPT)?;
        let tokens: usize = stories.iter().map(|story| story.tokens.len()).sum();
        let speed = tokens as f64 / started.elapsed().as_secs_f64();
        let told = stories.into_iter().map(|story| Told {
            text: story.continuation().to_owned(),
            prompt: story.prompt,
            ended: story.ended,
        });
        Ok((told.collect(), speed))
    }

    fn column(&self, of: String, told: &[Told], measures: &Measures) -> Result<Column> {
        let stories = told
            .iter()
            .map(|told| {
                let (tokens, _) = measures.ids(&told.text)?;
                Ok(Continuation { text: told.text.clone(), tokens, ended: told.ended })
            })
            .collect::<Result<Vec<_>>>()?;
        let figures = StoryFigures::of(&stories, measures.train.as_ref())?;
        let reference = match &measures.judge {
            None => None,
            Some((engine, model, tokenizer)) => {
                let texts: Vec<(String, String)> = told
                    .iter()
                    .filter(|told| !told.text.is_empty())
                    .map(|told| (told.prompt.clone(), told.text.clone()))
                    .collect();
                let progress = self.progress("reference", texts.len());
                let each = |n| progress.add(n);
                let bits = bits_by_reference(engine, model, tokenizer, &texts, each)?;
                progress.finish();
                bits
            }
        };
        Ok(Column { of, figures, reference, answers: None, tokens_per_second: None })
    }

    fn progress(&self, name: &'static str, items: usize) -> Progress {
        self.stage.log.progress(name, Unit::Texts, Some(items as u64))
    }

    /// The share of right answers of each group, in the order of the questions.
    fn answers(
        &self,
        engine: &Engine,
        model: &LoadedModel,
        tokenizer: &Tokenizer,
        questions: &[Choice],
    ) -> Result<Vec<(String, usize, Figure)>> {
        let texts = questions.iter().map(|question| question.texts.len()).sum();
        let progress = self.progress("questions", texts);
        let right = chosen(engine, model, tokenizer, questions, |n| progress.add(n))?;
        progress.finish();
        let mut groups: Vec<(String, Vec<bool>)> = Vec::new();
        for (question, right) in questions.iter().zip(right) {
            match groups.iter_mut().find(|(name, _)| *name == question.group) {
                Some((_, all)) => all.push(right),
                None => groups.push((question.group.clone(), vec![right])),
            }
        }
        let own: Vec<bool> = groups
            .iter()
            .filter(|(name, _)| name.starts_with("grammar: "))
            .flat_map(|(_, all)| all.clone())
            .collect();
        groups.push(("grammar, all".to_owned(), own));
        let share = |(name, all): (String, Vec<bool>)| {
            let asked = all.len();
            Some((name, asked, Figure::share(all)?))
        };
        Ok(groups.into_iter().filter_map(share).collect())
    }

    fn json(&self, columns: &[Column], stories: usize, params: SamplingParams) -> Value {
        json!({
            "stories": stories,
            "max_tokens": params.max_tokens,
            "temperature": params.sampler.temperature,
            "top_k": params.sampler.top_k,
            "seed": params.seed,
            "reference": self.reference.map(|judge| judge.path.display().to_string()),
            "columns": columns.iter().map(Column::json).collect::<Vec<_>>(),
        })
    }
}

/// A prompt and what was told after it.
struct Told {
    prompt: String,
    text: String,
    ended: bool,
}

/// What every column is measured with.
struct Measures<'a> {
    /// The tokenizer of the bins.
    made_with: Tokenizer,
    /// Longest continuation, in its tokens.
    most: usize,
    train: Option<Bin>,
    /// The model of --reference.
    judge: Option<(Engine, &'a LoadedModel, Tokenizer)>,
}

impl Measures<'_> {
    /// The first ids of a text, and whether these are all.
    fn ids(&self, text: &str) -> Result<(Vec<u32>, bool)> {
        let mut ids = self.made_with.try_encode(text)?;
        let whole = ids.len() <= self.most;
        ids.truncate(self.most);
        Ok((ids, whole))
    }
}

/// Words that a prompt has at least.
const SHORTEST_PROMPT: usize = 5;

/// The first sentence of a story, and the rest.
fn opening(story: &str) -> Option<(String, String)> {
    let ends = story.match_indices(['.', '!', '?']).map(|(at, _)| at + 1);
    let (prompt, rest) = ends
        .filter_map(|end| story.split_at_checked(end))
        .find(|(prompt, _)| prompt.split_whitespace().count() >= SHORTEST_PROMPT)?;
    (!rest.trim().is_empty()).then(|| (prompt.to_owned(), rest.to_owned()))
}

impl Column {
    fn json(&self) -> Value {
        let mut keys = Map::new();
        keys.insert("of".into(), self.of.as_str().into());
        for row in ROWS {
            if let Some(figure) = (row.figure)(self) {
                keys.insert(row.key.into(), json!(figure));
            }
        }
        if let Some(answers) = &self.answers {
            let groups = answers.iter().map(|(name, asked, figure)| {
                let mut value = json!(figure);
                value["questions"] = (*asked).into();
                (name.clone(), value)
            });
            keys.insert("answers".into(), Value::Object(groups.collect()));
        }
        if let Some(speed) = self.tokens_per_second {
            keys.insert("tokens_per_second".into(), speed.round().into());
        }
        Value::Object(keys)
    }
}

/// A figure of stories: its key in stories.json, its name in the table, how it is shown, and what it means.
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) name: &'static str,
    pub(crate) percent: bool,
    pub(crate) meaning: &'static str,
    figure: fn(&Column) -> Option<Figure>,
}

pub(crate) const ROWS: [Row; 8] = [
    Row {
        key: "ended",
        name: "end by themselves",
        percent: true,
        meaning: "stories that the model itself ended before the limit of tokens",
        figure: |column| column.figures.ended,
    },
    Row {
        key: "words",
        name: "words",
        percent: false,
        meaning: "length of what follows the prompt",
        figure: |column| column.figures.words,
    },
    Row {
        key: "distinct_1",
        name: "distinct words",
        percent: true,
        meaning: "different words over all words; more text gives less, so only columns of equal length compare",
        figure: |column| column.figures.distinct[0],
    },
    Row {
        key: "distinct_2",
        name: "distinct pairs",
        percent: true,
        meaning: "the same for two words in a row",
        figure: |column| column.figures.distinct[1],
    },
    Row {
        key: "distinct_3",
        name: "distinct triples",
        percent: true,
        meaning: "the same for three",
        figure: |column| column.figures.distinct[2],
    },
    Row {
        key: "repeated",
        name: "repeated",
        percent: true,
        meaning: "four words in a row that the same story had before",
        figure: |column| column.figures.repeated,
    },
    Row {
        key: "copied",
        name: "copied",
        percent: true,
        meaning: "tokens in long runs that stand in the training stories word for word",
        figure: |column| column.figures.copied,
    },
    Row {
        key: "reference_bits_per_byte",
        name: "bits per byte by the reference",
        percent: false,
        meaning: "how unlikely the model given by --reference finds the stories: lower reads more like its own training stories",
        figure: |column| column.reference,
    },
];

/// What a kind of question asks.
pub(crate) fn question_meaning(group: &str) -> String {
    match group {
        "name" => "a name late in a real story is preferred to the other character's name there (chance 50 %)".to_owned(),
        "pronoun" => "he or she late in a real story is preferred to the other one (chance 50 %)".to_owned(),
        "last word" => format!(
            "the word that ends a sentence late in a real story is preferred to {} other words of the story (chance {:.0} %)",
            LAST_WORD_OPTIONS - 1,
            100.0 / LAST_WORD_OPTIONS as f64
        ),
        "grammar, all" => "a right sentence is preferred to the same one with a fault, all phenomena (chance 50 %)".to_owned(),
        _ => String::new(),
    }
}

/// The table of stories.json, in Markdown, and one sentence on each row.
pub(crate) fn table(json: &Value) -> String {
    let columns = json["columns"].as_array().cloned().unwrap_or_default();
    let shown = |value: &Value, percent: bool| {
        let number = |key: &str| value[key].as_f64();
        let (Some(value), Some(low), Some(high)) = (number("value"), number("low"), number("high"))
        else {
            return "-".to_owned();
        };
        let half = (high - low) / 2.0;
        match percent {
            true => format!("{:.1} ± {:.1} %", 100.0 * value, 100.0 * half),
            false if value < 10.0 => format!("{value:.3} ± {half:.3}"),
            false => format!("{value:.0} ± {half:.0}"),
        }
    };
    let mut rows = vec![
        [String::new()]
            .into_iter()
            .chain(columns.iter().map(|column| crate::report::end(&column["of"], 20)))
            .collect::<Vec<_>>(),
    ];
    let mut meanings = Vec::new();
    let mut push = |name: &str, meaning: String, cells: Vec<String>| {
        if cells.iter().all(|cell| cell == "-") {
            return;
        }
        if !meaning.is_empty() {
            meanings.push(format!("{name}: {meaning}."));
        }
        rows.push([name.to_owned()].into_iter().chain(cells).collect());
    };
    for row in &ROWS {
        let cells = columns.iter().map(|column| shown(&column[row.key], row.percent)).collect();
        push(row.name, row.meaning.to_owned(), cells);
    }
    let groups = columns.first().and_then(|column| column["answers"].as_object());
    for (group, _) in groups.into_iter().flatten() {
        let cells = columns.iter().map(|column| shown(&column["answers"][group], true)).collect();
        push(group, question_meaning(group), cells);
    }
    markdown(&rows)
        + "\n"
        + &meanings.join("\n")
        + "\nBehind ±: half the width of the middle 95 % over stories or questions.\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_the_first_sentence_that_is_long_enough() {
        let split = |story: &str| opening(story);
        assert_eq!(
            split("Hi! One day Tom saw a dog. It ran."),
            Some(("Hi! One day Tom saw a dog.".into(), " It ran.".into()))
        );
        assert_eq!(split("One day Tom saw a dog."), None);
        assert_eq!(split("no end here at all"), None);
    }

    #[test]
    fn every_row_of_the_table_has_a_sentence() {
        let figure = json!({ "value": 0.5, "low": 0.25, "high": 1.0, "questions": 3 });
        let mut column = json!({ "of": "a", "answers": { "name": figure, "grammar: x": figure } });
        for row in &ROWS {
            column[row.key] = figure.clone();
        }
        let text =
            table(&json!({ "columns": [column, { "of": "real stories", "ended": figure }] }));
        for row in &ROWS {
            assert!(text.contains(&format!("\n{}: {}.", row.name, row.meaning)), "{text}");
        }
        assert!(text.contains("50.0 ± 37.5 %") && text.contains(" - |"), "{text}");
        assert!(text.contains("\nname: a name late"), "{text}");
    }
}

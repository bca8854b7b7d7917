//! Reads the rule files into [`Grammar`]. A fault names its file, line and rule.
use crate::cast::KINDS;
use crate::rules::{FRIEND, Grammar, Guard, Op, Plot, Role, Rule, Sequence, Target, Word};
use std::collections::{HashMap, HashSet};

/// The files of `rules/`. `names.txt` and `plots.txt` hold lists, the others rules.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub names: &'a str,
    pub plots: &'a str,
    pub rules: &'a [(&'a str, &'a str)],
}

pub(crate) const SOURCES: Sources<'static> = Sources {
    names: include_str!("../rules/names.txt"),
    plots: include_str!("../rules/plots.txt"),
    rules: &[
        ("cast.txt", include_str!("../rules/cast.txt")),
        ("words.txt", include_str!("../rules/words.txt")),
        ("scenes.txt", include_str!("../rules/scenes.txt")),
        ("plots_home.txt", include_str!("../rules/plots_home.txt")),
        ("plots_outdoors.txt", include_str!("../rules/plots_outdoors.txt")),
        ("plots_friends.txt", include_str!("../rules/plots_friends.txt")),
    ],
};

/// What is wrong with a rule, and where.
type Parsed<T> = Result<T, String>;

/// One alternative as it stands in a file.
#[derive(Clone, Copy)]
struct Line {
    file: &'static str,
    number: usize,
    text: &'static str,
}

impl Line {
    fn fault<T>(self, what: impl std::fmt::Display) -> Parsed<T> {
        Err(format!("rules/{}:{}: {what}: `{}`", self.file, self.number, self.text.trim()))
    }
}

/// Rules by name, each with its alternatives, in the order of the files.
type Texts = Vec<(&'static str, Vec<Line>)>;

/// The whole grammar.
pub(crate) fn grammar(sources: Sources<'static>) -> Parsed<Grammar> {
    let plots = plots(sources.plots)?;
    let names = names(sources.names)?;
    let mut texts = Texts::new();
    for (file, source) in sources.rules {
        texts.extend(definitions(file, source)?);
    }
    let ids: HashMap<_, _> = texts.iter().enumerate().map(|(id, (name, _))| (*name, id)).collect();
    if let Some((_, (name, _))) = texts.iter().enumerate().find(|(id, (name, _))| ids[name] != *id)
    {
        return Err(format!("rule `{name}` is defined twice"));
    }
    let mut parser = Parser {
        plots: &plots,
        ids,
        variables: HashMap::new(),
        bound: HashSet::new(),
        choices: 0,
        rule: "",
        line: Line { file: "", number: 0, text: "" },
    };
    let rules = texts
        .iter()
        .map(|(name, lines)| parser.rule(name, lines, &texts))
        .collect::<Parsed<Vec<_>>>()?;
    if let Some(name) = parser.variables.keys().find(|name| !parser.bound.contains(*name)) {
        return Err(format!("no rule binds `{name}`"));
    }
    let start = Line { file: "", number: 0, text: "the rules that a story starts from" };
    (parser.rule, parser.line) = ("(start)", start);
    let mut grownup = [[0; 2]; 3];
    let mut species = [0; 3];
    for (at, kind) in KINDS.iter().enumerate() {
        species[at] = parser.id(&format!("species.{kind}"))?;
        for (to, who) in ["he", "she"].iter().enumerate() {
            grownup[at][to] = parser.id(&format!("grownup.{kind}.{who}"))?;
        }
    }
    let (story, stray) = (parser.id("story")?, parser.id("stray")?);
    let (variables, choices) = (parser.variables.len(), parser.choices);
    Ok(Grammar { rules, plots, names, variables, choices, story, species, stray, grownup })
}

/// The definitions of a file: `name = first | second`, or an alternative to each indented line.
fn definitions(file: &'static str, source: &'static str) -> Parsed<Texts> {
    let mut texts = Texts::new();
    for (at, text) in source.lines().enumerate() {
        let line = Line { file, number: at + 1, text };
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let body = if text.starts_with(' ') {
            text
        } else {
            let Some((name, body)) = text.split_once(" =") else {
                return line.fault("expected `name = ...`");
            };
            texts.push((name, Vec::new()));
            body
        };
        let Some((_, lines)) = texts.last_mut() else {
            return line.fault("an alternative before any rule");
        };
        if !body.trim().is_empty() {
            lines.extend(
                split(body, '|').into_iter().map(|text| Line { text: text.trim(), ..line }),
            );
        }
    }
    Ok(texts)
}

/// Names of girls, boys, animals and toys that are `she`, and that are `he`.
fn names(source: &'static str) -> Parsed<[Vec<&'static str>; 4]> {
    let lists = definitions("names.txt", source)?;
    let found: Vec<&str> = lists.iter().map(|(name, _)| *name).collect();
    let expected = ["girls", "boys", "animals.she", "animals.he"];
    if found != expected {
        return Err(format!("rules/names.txt: expected the lists {expected:?}, found {found:?}"));
    }
    let mut all = lists.iter().map(|(_, lines)| {
        lines.iter().flat_map(|line| line.text.split_ascii_whitespace()).collect()
    });
    Ok(std::array::from_fn(|_| all.next().unwrap_or_default()))
}

/// `name = heroes / marks`.
fn plots(source: &'static str) -> Parsed<Vec<Plot>> {
    let mut plots = Vec::new();
    for (name, lines) in definitions("plots.txt", source)? {
        for line in lines {
            let mut plot = Plot { name, ..Default::default() };
            let (heroes, marks) = line.text.split_once('/').unwrap_or((line.text, ""));
            for hero in heroes.split_ascii_whitespace() {
                let Some(kind) = KINDS.iter().position(|kind| *kind == hero) else {
                    return line.fault(format_args!("`{hero}` is none of {KINDS:?}"));
                };
                plot.heroes[kind] = true;
            }
            for mark in marks.split_ascii_whitespace() {
                match mark {
                    "evening" => plot.evening = true,
                    "finding" => plot.finding = true,
                    "meets" => plot.meets = true,
                    _ => return line.fault(format_args!("no mark is called `{mark}`")),
                }
            }
            plots.push(plot);
        }
    }
    Ok(plots)
}

struct Parser<'a> {
    plots: &'a [Plot],
    ids: HashMap<&'static str, usize>,
    variables: HashMap<&'static str, usize>,
    bound: HashSet<&'static str>,
    choices: usize,
    /// What is being read.
    rule: &'static str,
    line: Line,
}

impl Parser<'_> {
    fn fault<T>(&self, what: impl std::fmt::Display) -> Parsed<T> {
        self.line.fault(format_args!("rule `{}`: {what}", self.rule))
    }

    fn rule(&mut self, name: &'static str, lines: &[Line], texts: &Texts) -> Parsed<Rule> {
        self.rule = name;
        let mut rule = Rule::default();
        for line in lines {
            // `@rule` as an alternative stands for all the alternatives of a rule.
            let included = match line.text.strip_prefix('@') {
                Some(name) => {
                    self.line = *line;
                    &texts[self.id(name)?].1[..]
                }
                None => std::slice::from_ref(line),
            };
            for line in included {
                self.line = *line;
                self.alternative(&mut rule, line.text)?;
            }
        }
        if rule.weights.is_empty() {
            return Err(format!("rule `{name}` has no alternative"));
        }
        Ok(rule)
    }

    fn alternative(&mut self, rule: &mut Rule, text: &'static str) -> Parsed<()> {
        let (weight, text) = match text.strip_prefix('%').and_then(|rest| rest.split_once(' ')) {
            Some((weight, text)) => match weight.parse() {
                Ok(weight) => (weight, text),
                Err(_) => return self.fault("expected a small number after `%`"),
            },
            None => (1, text),
        };
        let at = rule.alternatives.len() as u16;
        rule.weights.extend(std::iter::repeat_n(at, weight));
        let (guard, text) = self.guard(text);
        let fields = split(text, '/').into_iter().map(|field| self.sequence(field.trim()));
        rule.alternatives.push((guard, fields.collect::<Parsed<_>>()?));
        Ok(())
    }

    fn guard(&self, text: &'static str) -> (Guard, &'static str) {
        for (mark, guard) in [
            ("{?f}", Guard::FriendSeen),
            ("{?n}", Guard::FriendNew),
            ("{?k}", Guard::FriendKnown),
            ("{?o}", Guard::Finding),
            ("{?d}", Guard::Day),
            ("{?e}", Guard::Evening),
        ] {
            if let Some(rest) = text.strip_prefix(mark) {
                return (guard, rest);
            }
        }
        // An ending looks back, so it speaks of a friend only where there was one.
        let looks_back =
            self.rule == "close" || self.rule.ends_with(".moral") || self.rule.ends_with(".lesson");
        let guard =
            if looks_back && text.contains("{f") { Guard::FriendSeen } else { Guard::Always };
        (guard, text)
    }

    fn sequence(&mut self, text: &'static str) -> Parsed<Sequence> {
        let mut ops = Vec::new();
        // A whole sentence starts with a capital even after `?"`, where the polish could not know.
        if text.ends_with(['.', '"']) {
            ops.push(Op::Text("^"));
        }
        let mut rest = text;
        while let Some(start) = rest.find(['(', '<', '{']) {
            if start > 0 {
                ops.push(Op::Text(&rest[..start]));
            }
            let Some(length) = closing(&rest[start..]) else {
                return self.fault(format_args!("no end to `{}`", &rest[start..]));
            };
            let inner = &rest[start + 1..start + length];
            ops.push(match rest.as_bytes()[start] {
                b'(' => {
                    let options = split(inner, '|').into_iter().map(|option| self.sequence(option));
                    let options = options.collect::<Parsed<_>>()?;
                    self.choices += 1;
                    Op::Choice { id: self.choices - 1, options }
                }
                b'<' => self.call(inner)?,
                _ => self.slot(inner)?,
            });
            rest = &rest[start + length + 1..];
        }
        if !rest.is_empty() {
            ops.push(Op::Text(rest));
        }
        Ok(ops.into())
    }

    /// `<rule:speaker,listener>`.
    fn call(&self, inner: &str) -> Parsed<Op> {
        let (name, actors) = inner.split_once(':').unwrap_or((inner, ""));
        let mut roles = [None; 2];
        for (role, actor) in roles.iter_mut().zip(actors.split(',')) {
            *role = self::role(actor);
            if role.is_none() && !actor.is_empty() {
                return self.fault(format_args!("nobody is called `{actor}`"));
            }
        }
        Ok(Op::Call { target: self.target(name)?, actors: roles })
    }

    /// `{=variable rule}`, `{person.word}`, `{word}`, `{variable.field}`.
    fn slot(&mut self, inner: &'static str) -> Parsed<Op> {
        if let Some(binding) = inner.strip_prefix('=') {
            let Some((name, rule)) = binding.split_once(' ') else {
                return self.fault("a binding names a variable and a rule");
            };
            self.bound.insert(name);
            return Ok(Op::Bind { target: self.target(rule)?, variable: self.variable(name) });
        }
        let (owner, field) = inner.split_once('.').unwrap_or((inner, ""));
        if let Some(role) = role(owner) {
            return match word(field) {
                Some(word) => Ok(Op::Person { role, word }),
                None => self.fault(format_args!("a person has no `{field}`")),
            };
        }
        if ["he", "him", "his", "himself"].contains(&inner)
            && let Some(word) = word(inner)
        {
            return Ok(Op::Person { role: Role::Speaker, word });
        }
        let field = match field {
            "" => 0,
            _ => match field.parse() {
                Ok(field) => field,
                Err(_) => return self.fault(format_args!("`{field}` is no number of a field")),
            },
        };
        Ok(Op::Bound { variable: self.variable(owner), field })
    }

    fn id(&self, name: &str) -> Parsed<usize> {
        match self.ids.get(name) {
            Some(id) => Ok(*id),
            None => self.fault(format_args!("no rule is called `{name}`")),
        }
    }

    fn target(&self, name: &str) -> Parsed<Target> {
        if let Some(name) = name.strip_suffix('*') {
            // A plot without toys needs no rule for them; a test writes every plot for each kind.
            let rules = KINDS.map(|kind| self.ids.get(format!("{name}.{kind}").as_str()).copied());
            if rules.iter().all(Option::is_none) {
                return self.fault(format_args!("no rule is called `{name}.KIND`"));
            }
            return Ok(Target::OfKind(rules.map(|rule| rule.unwrap_or(usize::MAX))));
        }
        if let Some(name) = name.strip_suffix('!') {
            let [named, unnamed] =
                ["named", "unnamed"].map(|end| self.id(&format!("{name}.{end}")));
            return Ok(Target::OfName([named?, unnamed?]));
        }
        if let Some(name) = name.strip_prefix('+') {
            let rules = self.plots.iter().map(|plot| self.id(&format!("{}.{name}", plot.name)));
            return Ok(Target::OfPlot(rules.collect::<Parsed<_>>()?));
        }
        Ok(Target::Rule(self.id(name)?))
    }

    fn variable(&mut self, name: &'static str) -> usize {
        let next = self.variables.len();
        *self.variables.entry(name).or_insert(next)
    }
}

fn role(name: &str) -> Option<Role> {
    Some(match name {
        "h" => Role::Cast(0),
        "f" => Role::Cast(FRIEND),
        "g" => Role::Cast(2),
        "x" => Role::Cast(3),
        "s" => Role::Speaker,
        "t" => Role::Listener,
        _ => return None,
    })
}

fn word(name: &str) -> Option<Word> {
    Some(match name {
        "" => Word::Name,
        "he" => Word::He,
        "him" => Word::Him,
        "his" => Word::His,
        "himself" => Word::Himself,
        "intro" => Word::Intro,
        "known" => Word::Known,
        "full" => Word::Full,
        "call" => Word::Call,
        "noun" => Word::Noun,
        "look" => Word::Look,
        "home" => Word::Trait(2),
        "food" => Word::Food,
        "joy" => Word::Trait(4),
        "moved" => Word::Trait(5),
        _ => return None,
    })
}

/// Splits at a mark that stands in no bracket.
fn split(text: &'static str, mark: char) -> Vec<&'static str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' | '<' | '{' => depth += 1,
            ')' | '>' | '}' => depth -= 1,
            _ if c == mark && depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Where the bracket that opens a text is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match c {
            '(' | '<' | '{' => depth += 1,
            ')' | '>' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(i);
        }
    }
    None
}

/// The names of all rules, in the order of their ids.
#[cfg(test)]
pub(crate) fn rule_names(sources: Sources<'static>) -> Vec<&'static str> {
    let files = sources.rules.iter();
    files
        .flat_map(|(file, source)| definitions(file, source).unwrap_or_default())
        .map(|(name, _)| name)
        .collect()
}

//! The rules, read once into operations, and the teller that walks them for one story.
use super::cast::{Character, Kind};
use stage::Random;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// The plots, and for which heroes: `c` children, `a` animals, `t` toys.
const PLOTS: &[(&str, &str)] = &[
    ("lost", "cat"),
    ("broken", "ca"),
    ("fear", "ca"),
    ("share", "cat"),
    ("storm", "ca"),
    ("alone", "cat"),
    ("promise", "ca"),
    ("skill", "ca"),
    ("hungry", "ca"),
    ("mistake", "ca"),
    ("surprise", "cat"),
    ("build", "cat"),
    ("astray", "cat"),
    ("contest", "cat"),
    ("sick", "ca"),
    ("plant", "ca"),
    ("found", "ca"),
    ("stuck", "ca"),
    ("bake", "ca"),
    ("sleep", "cat"),
    ("brave", "at"),
    ("baby", "c"),
    ("map", "ca"),
    ("tidy", "ct"),
];

/// The friend's place in the cast, after the hero and before the grown-up and the stray animal.
const FRIEND: usize = 1;

/// One field of an alternative.
type Sequence = Box<[Op]>;

enum Op {
    Text(&'static str),
    Choice { id: usize, options: Box<[Sequence]> },
    Call { target: Target, actors: [Option<Role>; 2] },
    Bind { variable: usize, target: Target },
    Bound { variable: usize, field: usize },
    Person { role: Role, word: Word },
}

/// Which rule is meant, where that depends on the story.
enum Target {
    Rule(usize),
    OfKind([usize; 3]),
    OfName([usize; 2]),
    OfPlot(Box<[usize]>),
}

/// A part in the story: a place in the cast, or who the present rule is about and whom they face.
#[derive(Clone, Copy)]
enum Role {
    Cast(usize),
    Speaker,
    Listener,
}

/// A word for a person.
#[derive(Clone, Copy)]
enum Word {
    Name,
    He,
    Him,
    His,
    Himself,
    Intro,
    Known,
    Full,
    Call,
    Noun,
    Look,
    Food,
    /// A field of the species' record.
    Trait(usize),
}

/// When an alternative may be taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    Always,
    /// `{?f}`: the friend has come into the story.
    FriendSeen,
    /// `{?n}`: not yet.
    FriendNew,
    /// `{?k}`: in this plot the friend is not someone whom the hero will only get to know.
    FriendKnown,
    /// `{?o}`: only in the plot where something big is found, which likes to begin with that.
    Finding,
    /// `{?d}` and `{?e}`: by day, and in the evening, as the plots about sleep need it.
    Day,
    Evening,
}

/// Alternatives, each a record of one or more fields; `weights` repeats the frequent ones.
#[derive(Default)]
struct Rule {
    alternatives: Vec<(Guard, Box<[Sequence]>)>,
    weights: Vec<u16>,
}

/// The compiled rules.
pub(super) struct Grammar {
    rules: Vec<Rule>,
    variables: usize,
    choices: usize,
    story: usize,
    /// Rules of the species, by kind.
    species: [usize; 3],
    stray: usize,
    /// Rules of the grown-ups, by kind, he and she.
    grownup: [[usize; 2]; 3],
}

pub(super) static GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| {
    use super::{cast, plots_friends, plots_home, plots_outdoors, scenes, words};
    Compiler::compile(&[
        cast::RULES,
        words::RULES,
        scenes::RULES,
        plots_home::RULES,
        plots_outdoors::RULES,
        plots_friends::RULES,
    ])
});

/// Reads the rules. A fault in them is a fault of this crate, so it panics and names the rule; a test compiles everything.
struct Compiler {
    ids: HashMap<&'static str, usize>,
    variables: HashMap<&'static str, usize>,
    bound: HashSet<&'static str>,
    choices: usize,
    rule: &'static str,
}

impl Compiler {
    /// `@rule` as an alternative stands for all the alternatives of a rule.
    fn included<'a>(
        texts: &'a [(&'static str, Vec<&'static str>)],
        alternative: &'a &'static str,
    ) -> &'a [&'static str] {
        match alternative.strip_prefix('@') {
            Some(name) => texts
                .iter()
                .find(|(rule, _)| *rule == name)
                .map(|(_, body)| &body[..])
                .unwrap_or_else(|| panic!("no rule `{name}`")),
            None => std::slice::from_ref(alternative),
        }
    }

    fn compile(sources: &[&'static str]) -> Grammar {
        let mut texts: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in sources.iter().flat_map(|source| source.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let body = if line.starts_with(' ') {
                line
            } else {
                let (name, body) = line
                    .split_once(" =")
                    .unwrap_or_else(|| panic!("a rule has the form `name = ...`, found `{line}`"));
                texts.push((name, Vec::new()));
                body
            };
            let last = texts.last_mut().expect("the first line of a source names a rule");
            if !body.trim().is_empty() {
                last.1.extend(split(body, '|').into_iter().map(str::trim));
            }
        }
        let ids: HashMap<_, _> =
            texts.iter().enumerate().map(|(id, (name, _))| (*name, id)).collect();
        assert_eq!(ids.len(), texts.len(), "a rule is defined twice");
        let mut compiler = Compiler {
            ids,
            variables: HashMap::new(),
            bound: HashSet::new(),
            choices: 0,
            rule: "",
        };
        let rules = texts
            .iter()
            .map(|(name, alternatives)| {
                compiler.rule = name;
                let mut rule = Rule::default();
                for text in alternatives.iter().flat_map(|text| Self::included(&texts, text)) {
                    let (weight, text) =
                        match text.strip_prefix('%').and_then(|rest| rest.split_once(' ')) {
                            Some((weight, text)) => {
                                (weight.parse().expect("a weight is a small number"), text)
                            }
                            None => (1, *text),
                        };
                    rule.weights
                        .extend(std::iter::repeat_n(rule.alternatives.len() as u16, weight));
                    let (guard, text) = compiler.guard(text);
                    let fields = split(text, '/')
                        .into_iter()
                        .map(|field| compiler.sequence(field.trim()))
                        .collect();
                    rule.alternatives.push((guard, fields));
                }
                assert!(!rule.weights.is_empty(), "rule `{name}` has no alternative");
                rule
            })
            .collect();
        for name in compiler.variables.keys() {
            assert!(compiler.bound.contains(name), "no rule binds `{name}`");
        }
        compiler.rule = "(engine)";
        Grammar {
            rules,
            story: compiler.id("story"),
            species: ["species.child", "species.animal", "species.toy"]
                .map(|name| compiler.id(name)),
            stray: compiler.id("stray"),
            grownup: ["child", "animal", "toy"]
                .map(|kind| ["he", "she"].map(|who| compiler.id(&format!("grownup.{kind}.{who}")))),
            variables: compiler.variables.len(),
            choices: compiler.choices,
        }
    }

    fn id(&self, name: &str) -> usize {
        *self
            .ids
            .get(name)
            .unwrap_or_else(|| panic!("rule `{}` calls `{name}`, which there is not", self.rule))
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

    fn target(&self, name: &str) -> Target {
        if let Some(name) = name.strip_suffix('*') {
            // A plot with no toys in it needs no rule for them; a test tells every plot for each of its kinds.
            let rules = ["child", "animal", "toy"]
                .map(|kind| self.ids.get(format!("{name}.{kind}").as_str()).copied());
            assert!(
                rules.iter().any(Option::is_some),
                "rule `{}` calls `{name}*`, which there is not",
                self.rule
            );
            Target::OfKind(rules.map(|rule| rule.unwrap_or(usize::MAX)))
        } else if let Some(name) = name.strip_suffix('!') {
            Target::OfName(["named", "unnamed"].map(|named| self.id(&format!("{name}.{named}"))))
        } else if let Some(name) = name.strip_prefix('+') {
            Target::OfPlot(
                PLOTS.iter().map(|(plot, _)| self.id(&format!("{plot}.{name}"))).collect(),
            )
        } else {
            Target::Rule(self.id(name))
        }
    }

    fn variable(&mut self, name: &'static str) -> usize {
        let next = self.variables.len();
        *self.variables.entry(name).or_insert(next)
    }

    fn sequence(&mut self, text: &'static str) -> Sequence {
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
            let end = start
                + closing(&rest[start..]).unwrap_or_else(|| {
                    panic!("rule `{}`: no end to `{}`", self.rule, &rest[start..])
                });
            let inner = &rest[start + 1..end];
            ops.push(match rest.as_bytes()[start] {
                b'(' => {
                    let options =
                        split(inner, '|').into_iter().map(|option| self.sequence(option)).collect();
                    self.choices += 1;
                    Op::Choice { id: self.choices - 1, options }
                }
                b'<' => {
                    let (name, actors) = inner.split_once(':').unwrap_or((inner, ""));
                    let mut actors = actors.split(',').map(|actor| self.role(actor));
                    let actors = [actors.next().flatten(), actors.next().flatten()];
                    Op::Call { target: self.target(name), actors }
                }
                _ => self.slot(inner),
            });
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            ops.push(Op::Text(rest));
        }
        ops.into()
    }

    fn slot(&mut self, inner: &'static str) -> Op {
        if let Some(binding) = inner.strip_prefix('=') {
            let (variable, rule) =
                binding.split_once(' ').expect("a binding names a variable and a rule");
            self.bound.insert(variable);
            return Op::Bind { target: self.target(rule), variable: self.variable(variable) };
        }
        let (owner, field) = inner.split_once('.').unwrap_or((inner, ""));
        if let Some(role) = self.role(owner) {
            return Op::Person { role, word: self.word(field) };
        }
        if ["he", "him", "his", "himself"].contains(&inner) {
            return Op::Person { role: Role::Speaker, word: self.word(inner) };
        }
        let variable = self.variable(owner);
        Op::Bound { variable, field: field.parse().unwrap_or(0) }
    }

    fn role(&self, name: &str) -> Option<Role> {
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

    fn word(&self, name: &str) -> Word {
        match name {
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
            _ => panic!("rule `{}` asks a person for `{name}`", self.rule),
        }
    }
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

/// One story on its way: who is in it, what is bound, and the text so far.
pub(super) struct Teller {
    grammar: &'static Grammar,
    random: Random,
    bits: u64,
    bits_left: u32,
    plot: usize,
    cast: [Character; 4],
    actors: [usize; 2],
    bound: Vec<(usize, usize)>,
    /// The last alternative of each rule plus one: a rule does not say the same thing twice running.
    last: Vec<u16>,
    /// The last two options of each inline choice.
    chosen: Vec<[u8; 2]>,
    friend_seen: bool,
    pub out: String,
}

impl Teller {
    pub fn new(random: Random) -> Self {
        let grammar = &*GRAMMAR;
        Teller {
            grammar,
            random,
            bits: 0,
            bits_left: 0,
            plot: 0,
            cast: Default::default(),
            actors: [0, 1],
            bound: vec![(0, 0); grammar.variables],
            last: vec![0; grammar.rules.len()],
            chosen: vec![[u8::MAX; 2]; grammar.choices],
            friend_seen: false,
            out: String::with_capacity(2048),
        }
    }

    /// A number below `n`, from 16 bits: one draw of the generator serves four choices, and a bias of n/65,536 does no harm here.
    pub fn pick(&mut self, n: usize) -> usize {
        if self.bits_left == 0 {
            (self.bits, self.bits_left) = (self.random.u64(), 4);
        }
        let low = (self.bits & 0xffff) as usize;
        self.bits >>= 16;
        self.bits_left -= 1;
        (low * n) >> 16
    }

    pub fn tell(&mut self) {
        self.plot = self.pick(PLOTS.len());
        let (plot, kinds) = PLOTS[self.plot];
        let kind = loop {
            let kind =
                [Kind::Child, Kind::Child, Kind::Child, Kind::Animal, Kind::Animal, Kind::Toy]
                    [self.pick(6)];
            if kinds.contains(kind.letter()) {
                break kind;
            }
        };
        self.cast = Character::cast(self, kind, plot);
        // The grown-up's name may hold the hero's pronoun or species, so the hero must be there first.
        let rules = self.grammar.grownup[kind as usize];
        let she = self.pick(2) == 0;
        let rule = rules[usize::from(she)];
        let record = (rule, self.alternative(rule));
        let (name, call) = (self.trait_text(record, 0), self.trait_text(record, 1));
        self.cast[2] = Character::grownup(kind, she, name, call);
        self.rule(self.grammar.story);
    }

    /// The people of the story that was told.
    #[cfg(test)]
    pub fn into_cast(self) -> [Character; 4] {
        self.cast
    }

    /// An alternative of the species of a kind; of the strays for `None`.
    pub fn species(&mut self, kind: Option<Kind>) -> (usize, usize) {
        let rule = kind.map_or(self.grammar.stray, |kind| self.grammar.species[kind as usize]);
        (rule, self.alternative(rule))
    }

    /// A field of a species' record, as text of its own.
    pub fn trait_text(&mut self, species: (usize, usize), field: usize) -> String {
        let before = std::mem::take(&mut self.out);
        self.field(species, field);
        std::mem::replace(&mut self.out, before)
    }

    fn alternative(&mut self, rule: usize) -> usize {
        let weights = &self.grammar.rules[rule].weights;
        let mut at = self.pick(weights.len());
        for tries in 0..32 {
            let repeated = self.last[rule] == weights[at] + 1 && tries < 4;
            if !repeated
                && self.allowed(self.grammar.rules[rule].alternatives[usize::from(weights[at])].0)
            {
                break;
            }
            at = self.pick(weights.len());
        }
        self.last[rule] = weights[at] + 1;
        usize::from(weights[at])
    }

    fn allowed(&self, guard: Guard) -> bool {
        match guard {
            Guard::Always => true,
            Guard::FriendSeen => self.friend_seen,
            Guard::FriendNew => !self.friend_seen,
            Guard::Finding => PLOTS[self.plot].0 == "found",
            Guard::Day => PLOTS[self.plot].0 != "sleep",
            Guard::Evening => PLOTS[self.plot].0 == "sleep",
            Guard::FriendKnown => !["alone", "astray"].contains(&PLOTS[self.plot].0),
        }
    }

    fn rule(&mut self, rule: usize) {
        let alternative = self.alternative(rule);
        self.field((rule, alternative), 0);
    }

    fn field(&mut self, (rule, alternative): (usize, usize), field: usize) {
        let fields = &self.grammar.rules[rule].alternatives[alternative].1;
        match fields.get(field) {
            Some(sequence) => self.sequence(sequence),
            None => unreachable!("a record has too few fields for `{field}`: {}", self.out),
        }
    }

    fn sequence(&mut self, ops: &'static [Op]) {
        for op in ops {
            match op {
                Op::Text(text) => self.out.push_str(text),
                Op::Choice { id, options } => {
                    let mut at = self.pick(options.len());
                    // Where there are many options, neither of the last two: nobody looks twice behind the same shed.
                    for _ in 0..4 {
                        if options.len() >= 5 && self.chosen[*id].contains(&(at as u8)) {
                            at = self.pick(options.len());
                        }
                    }
                    self.chosen[*id] = [at as u8, self.chosen[*id][0]];
                    self.sequence(&options[at]);
                }
                Op::Call { target, actors } => {
                    let before = self.actors;
                    let rule = self.target(target);
                    // Both are read before either is set: `<rule:t,s>` exchanges them.
                    let now = [
                        actors[0].map_or(before[0], |role| self.at(role)),
                        actors[1].map_or(before[1], |role| self.at(role)),
                    ];
                    self.actors = now;
                    self.rule(rule);
                    self.actors = before;
                }
                Op::Bind { variable, target } => {
                    let rule = self.target(target);
                    self.bound[*variable] = (rule, self.alternative(rule));
                }
                Op::Bound { variable, field } => self.field(self.bound[*variable], *field),
                Op::Person { role, word } => self.person(self.at(*role), *word),
            }
        }
    }

    fn target(&self, target: &Target) -> usize {
        match target {
            Target::Rule(rule) => *rule,
            Target::OfKind(rules) => rules[self.cast[0].kind as usize],
            Target::OfName(rules) => rules[usize::from(!self.cast[0].named)],
            Target::OfPlot(rules) => rules[self.plot],
        }
    }

    fn at(&self, role: Role) -> usize {
        match role {
            Role::Cast(at) => at,
            Role::Speaker => self.actors[0],
            Role::Listener => self.actors[1],
        }
    }

    fn person(&mut self, at: usize, word: Word) {
        let person = &self.cast[at];
        let first = at == FRIEND
            && !self.friend_seen
            && matches!(word, Word::Name | Word::Full | Word::Intro);
        self.friend_seen |= first;
        // Who comes into the story is named in full: `Max the dog`.
        let word = if first && matches!(word, Word::Name) { Word::Full } else { word };
        let pronoun = |three: [&'static str; 3]| three[person.gender as usize];
        let out = &mut self.out;
        match word {
            Word::Name => out.push_str(&person.name),
            Word::He => out.push_str(pronoun(["he", "she", "it"])),
            Word::Him => out.push_str(pronoun(["him", "her", "it"])),
            Word::His => out.push_str(pronoun(["his", "her", "its"])),
            Word::Himself => out.push_str(pronoun(["himself", "herself", "itself"])),
            Word::Call => out.push_str(&person.call),
            Word::Noun => out.push_str(&person.noun),
            Word::Food => out.push_str(&person.food),
            Word::Look => out.push_str(&person.look),
            Word::Intro => {
                out.extend(["a ", &person.look, " ", &person.noun]);
                self.person(at, Word::Known);
            }
            Word::Known if person.named => out.extend([" named ", &person.name]),
            Word::Known => {}
            Word::Full => {
                out.push_str(&person.name);
                if person.named && person.kind != Kind::Child {
                    out.extend([" the ", &person.noun]);
                }
            }
            Word::Trait(field) => {
                let (species, before) = (person.species, self.actors);
                self.actors[0] = at;
                self.field(species, field);
                self.actors = before;
            }
        }
    }
}

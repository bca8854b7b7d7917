//! The walk through the rules that makes one story.
use crate::cast::{Character, Kind};
use crate::rules::{FRIEND, Grammar, Guard, Op, Role, Target, Word};
use stage::Random;

/// One story on its way: who is in it, what is bound, and the text so far.
pub(crate) struct Generator<'a> {
    pub grammar: &'a Grammar,
    random: Random,
    bits: u64,
    bits_left: u32,
    pub plot: usize,
    pub cast: [Character; 4],
    actors: [usize; 2],
    bound: Vec<(usize, usize)>,
    /// The last alternative of each rule plus one: a rule does not say the same thing twice running.
    last: Vec<u16>,
    /// The last two options of each inline choice.
    chosen: Vec<[u8; 2]>,
    friend_seen: bool,
    pub out: String,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(grammar: &'a Grammar, random: Random) -> Self {
        Generator {
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

    /// A number below `n`, from 16 bits: one draw of the generator serves four choices, and a bias
    /// of n/65,536 does no harm here.
    pub(crate) fn pick(&mut self, n: usize) -> usize {
        if self.bits_left == 0 {
            (self.bits, self.bits_left) = (self.random.u64(), 4);
        }
        let low = (self.bits & 0xffff) as usize;
        self.bits >>= 16;
        self.bits_left -= 1;
        (low * n) >> 16
    }

    /// Writes the whole story, unpolished, to `out`.
    pub(crate) fn write_story(&mut self) {
        self.rule(self.grammar.story);
    }

    /// A rule with one of its alternatives.
    pub(crate) fn record(&mut self, rule: usize) -> (usize, usize) {
        (rule, self.alternative(rule))
    }

    /// A field of a record, as text of its own.
    pub(crate) fn field_text(&mut self, record: (usize, usize), field: usize) -> String {
        let before = std::mem::take(&mut self.out);
        self.field(record, field);
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
        let plot = &self.grammar.plots[self.plot];
        match guard {
            Guard::Always => true,
            Guard::FriendSeen => self.friend_seen,
            Guard::FriendNew => !self.friend_seen,
            Guard::Finding => plot.finding,
            Guard::Day => !plot.evening,
            Guard::Evening => plot.evening,
            Guard::FriendKnown => !plot.meets,
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

    fn sequence(&mut self, ops: &'a [Op]) {
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

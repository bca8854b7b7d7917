//! The rules as the generator walks them.

/// The friend's place in the cast, after the hero and before the grown-up and the stray animal.
pub(crate) const FRIEND: usize = 1;

/// All rules, plots and names.
pub(crate) struct Grammar {
    pub rules: Vec<Rule>,
    pub plots: Vec<Plot>,
    /// Names of girls, boys, and animals and toys of either gender.
    pub names: [Vec<&'static str>; 4],
    /// How many variables and inline choices the rules have.
    pub variables: usize,
    pub choices: usize,
    pub story: usize,
    /// Rules of the species, by kind.
    pub species: [usize; 3],
    pub stray: usize,
    /// Rules of the grown-ups, by kind, he and she.
    pub grownup: [[usize; 2]; 3],
}

/// What a story is about.
#[derive(Debug, Default)]
pub(crate) struct Plot {
    pub name: &'static str,
    /// The kinds of heroes it may have.
    pub heroes: [bool; 3],
    /// It ends in bed.
    pub evening: bool,
    /// Something big is found.
    pub finding: bool,
    /// The friend is one whom the hero will only get to know.
    pub meets: bool,
}

/// Alternatives, each a record of one or more fields; `weights` repeats the frequent ones.
#[derive(Default)]
pub(crate) struct Rule {
    pub alternatives: Vec<(Guard, Box<[Sequence]>)>,
    pub weights: Vec<u16>,
}

/// One field of an alternative.
pub(crate) type Sequence = Box<[Op]>;

pub(crate) enum Op {
    Text(&'static str),
    Choice { id: usize, options: Box<[Sequence]> },
    Call { target: Target, actors: [Option<Role>; 2] },
    Bind { variable: usize, target: Target },
    Bound { variable: usize, field: usize },
    Person { role: Role, word: Word },
}

/// Which rule is meant, where that depends on the story.
pub(crate) enum Target {
    Rule(usize),
    OfKind([usize; 3]),
    OfName([usize; 2]),
    OfPlot(Box<[usize]>),
}

/// A part in the story: a place in the cast, or who the present rule is about and whom they face.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Cast(usize),
    Speaker,
    Listener,
}

/// A word for a person.
#[derive(Clone, Copy)]
pub(crate) enum Word {
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
pub(crate) enum Guard {
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

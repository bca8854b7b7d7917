//! Who may be in a story: children, animals and toys.

/// What a hero is. The order is that of `Grammar::species` and of rules `NAME.child`, ...
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Child,
    Animal,
    Toy,
}

/// The names of the kinds in the rules, in the order of [`Kind`].
pub(crate) const KINDS: [&str; 3] = ["child", "animal", "toy"];

/// Which pronouns a character has.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Gender {
    #[default]
    He,
    She,
    It,
}

/// A person of one story.
#[derive(Default)]
pub(crate) struct Character {
    /// As the story names them: `Lily`, `the little dog`, `her mom`.
    pub name: String,
    /// As others speak to them.
    pub call: String,
    pub noun: String,
    pub look: String,
    /// What they like to eat, the same all through the story.
    pub food: String,
    pub kind: Kind,
    pub gender: Gender,
    pub named: bool,
    /// The rule and alternative with what goes with their species.
    pub species: (usize, usize),
}

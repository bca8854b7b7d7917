//! Chooses the plot of a story and who is in it: hero, friend, grown-up and a stray animal.
use crate::cast::{Character, Gender, Kind};
use crate::generator::Generator;

/// Sets the plot and the cast. Whatever is drawn later depends on the order of the draws here.
pub(crate) fn cast(generator: &mut Generator) {
    generator.plot = generator.pick(generator.grammar.plots.len());
    let plot = &generator.grammar.plots[generator.plot];
    let kind = loop {
        let kind = [Kind::Child, Kind::Child, Kind::Child, Kind::Animal, Kind::Animal, Kind::Toy]
            [generator.pick(6)];
        if plot.heroes[kind as usize] {
            break kind;
        }
    };
    let hero = hero(generator, kind, plot.finding);
    let friend = loop {
        let friend = named(generator, kind, Some(hero.gender));
        if friend.name != hero.name && (kind == Kind::Child || friend.noun != hero.noun) {
            break friend;
        }
    };
    let stray = stray(generator, &hero, &friend);
    generator.cast = [hero, friend, Character::default(), stray];
    // The grown-up's name may hold the hero's pronoun or species, so the hero must be there first.
    generator.cast[2] = grownup(generator, kind);
}

fn hero(generator: &mut Generator, kind: Kind, finding: bool) -> Character {
    let mut hero = named(generator, kind, None);
    if kind == Kind::Animal && generator.pick(4) == 0 {
        hero.call = format!("little {}", hero.noun);
        hero.name = format!("the {} {}", hero.look, hero.noun);
        hero.named = false;
        // Without a name most animals are `it`.
        if generator.pick(3) > 0 {
            hero.gender = Gender::It;
        }
    }
    // "Lily found a big ..." is a usual way for a story to begin.
    if finding && kind == Kind::Child && hero.gender == Gender::She && generator.pick(2) == 0 {
        hero.name = "Lily".to_owned();
        hero.call = "Lily".to_owned();
    }
    hero
}

/// An animal without a home, of another species than hero and friend.
fn stray(generator: &mut Generator, hero: &Character, friend: &Character) -> Character {
    let (species, noun) = loop {
        let species = generator.record(generator.grammar.stray);
        let noun = generator.field_text(species, 0);
        if noun != hero.noun && noun != friend.noun {
            break (species, noun);
        }
    };
    let food = generator.field_text(species, 3);
    let look = generator.field_text(species, 1);
    Character {
        name: format!("the {noun}"),
        call: format!("little {noun}"),
        noun,
        look,
        food,
        kind: Kind::Animal,
        gender: Gender::It,
        named: false,
        species,
    }
}

fn grownup(generator: &mut Generator, kind: Kind) -> Character {
    let she = generator.pick(2) == 0;
    let record = generator.record(generator.grammar.grownup[kind as usize][usize::from(she)]);
    let name = generator.field_text(record, 0);
    let call = generator.field_text(record, 1);
    let gender = if she { Gender::She } else { Gender::He };
    Character { name, call, gender, named: true, kind, ..Default::default() }
}

/// A character with a name. `beside` is who they are to be told apart from: two of a story are more
/// often not of one gender.
fn named(generator: &mut Generator, kind: Kind, beside: Option<Gender>) -> Character {
    let she = match beside {
        Some(Gender::She) => generator.pick(5) == 0,
        Some(Gender::He) => generator.pick(5) > 0,
        _ => generator.pick(2) == 0,
    };
    let animal = kind != Kind::Child && generator.pick(5) > 0;
    let list = &generator.grammar.names[usize::from(!she) + 2 * usize::from(animal)];
    // The first names of the children's lists are the frequent ones, as in life.
    let at = if list.len() > 40 && generator.pick(3) == 0 {
        generator.pick(12) * generator.pick(12) / 11
    } else {
        generator.pick(list.len())
    };
    let name = list[at];
    let species = generator.record(generator.grammar.species[kind as usize]);
    let noun = match kind {
        Kind::Child => if she { "girl" } else { "boy" }.to_owned(),
        _ => generator.field_text(species, 0),
    };
    Character {
        name: name.to_owned(),
        call: name.to_owned(),
        noun,
        look: generator.field_text(species, 1),
        food: generator.field_text(species, 3),
        kind,
        gender: if she { Gender::She } else { Gender::He },
        named: true,
        species,
    }
}

//! Who is in a story: children, animals and toys, with their names, their pronouns and what is theirs.
use super::engine::Teller;
use std::sync::LazyLock;

const GIRLS: &str = "Lily Mia Anna Emma Sara Lucy Ella Zoe Molly Nora Ruby Sophie Chloe Amy Kate Jane Polly Clara Maya Lola Nina Eva Tess Alice Betty \
Carla Dora Edith Fiona Gina Hannah Irene Julia Karen Laura Maria Nelly Olga Paula Rita Sally Tara Una Vera Wendy Yara Zara Abby Bella Cora Della Elsa Freya \
Greta Heidi Isla Josie Kitty Leah Mabel Naomi Orla Priya Rachel Susie Tilly Violet Willa Yuki Amina Leila Rosa Ines Mei Anika";
const BOYS: &str = "Tom Ben Max Sam Jack Leo Tim Noah Finn Oscar Billy Jake Luke Adam Peter Harry Oliver Charlie Danny Eric Fred George Henry Ivan Joe \
Kevin Liam Mike Nick Omar Paul Quinn Ryan Simon Toby Victor Walter Xavier Zack Alex Bobby Carlos David Eddie Felix Gus Hugo Isaac Jamal Kenji Larry Mateo Nate \
Otto Pedro Ravi Scott Theo Umar Vince Wyatt Yusuf Arthur Bruno Cody Diego Elliot Frank Gary Howard Jonas Kurt Louis Milo Ned";
const SHE_ANIMALS: &str = "Fluffy Bubbles Cookie Coco Dotty Honey Luna Nibbles Pepper Poppy Snowy Twinkle Velvet Willow Mimi Pearl Pinky Tulip Muffin \
Ginger Hazel Bonnie Tansy Clover Maple Olive Peaches Pebbles Sugar Lulu";
const HE_ANIMALS: &str = "Buddy Spot Rex Rusty Barney Biscuit Bouncer Chip Duke Fuzzy Grumbles Hopper Jumper Nutty Patch Pip Rocky Scruffy Shadow \
Skipper Sparky Teddy Tiger Waffles Whiskers Ziggy Bingo Cosmo Dusty Mossy";

/// `noun / look / home / food / a happy gesture / moved`; of a name that is not known, the look and the noun make one.
pub(super) const RULES: &str = r#"
species.child =
  child / <child_look> / house / (cookies|pancakes|noodles|strawberries|apple pie|pizza|cherries|muffins|grapes|soup|popcorn|peaches) / (clapped {his} hands|jumped up and down|danced around|smiled from ear to ear|laughed out loud|twirled around|cheered|gave a big grin) / (ran|walked|hurried|skipped|raced)

species.animal =
  %6 dog / (little|little|little|brown|spotted|small white|fluffy) / doghouse / (bones|meat|biscuits) / (wagged {his} tail|barked happily|ran around in circles|licked {his} nose) / (ran|trotted|raced)
  %4 cat / (little|black|gray|striped|soft white|orange) / basket / (fish|milk|cream) / (purred softly|purred and purred|stretched {his} paws|swished {his} tail) / (crept|walked|padded)
  %4 rabbit / (little|white|brown|fluffy|gray) / burrow / (carrots|lettuce|clover) / (hopped up and down|wiggled {his} nose|flapped {his} long ears|twitched {his} whiskers) / (hopped|bounced|ran)
  %3 bear / (little|brown|big|furry|round) / cave / (honey|berries|blackberries) / (danced on two legs|rubbed {his} tummy|gave a happy growl|rolled on {his} back) / (walked|plodded|ran)
  %3 mouse / (little|tiny|gray|brown|shy) / mouse hole / (cheese|crumbs|seeds) / (squeaked with joy|twirled {his} tail|rubbed {his} tiny paws|wiggled {his} whiskers) / (scurried|ran|tiptoed)
  %2 fox / (little|red|clever|fluffy) / den / (plums|berries|eggs) / (swished {his} bushy tail|pranced around|leaped in the air|grinned a wide grin) / (ran|trotted|sneaked)
  %2 duck / (little|yellow|white|brown) / nest / (bread|pond weed|corn) / (flapped {his} wings|quacked loudly|shook {his} tail feathers|splashed about) / (waddled|paddled|hurried)
  %2 squirrel / (little|red|gray|bushy) / tree house / (nuts|acorns|walnuts) / (flicked {his} tail|did a somersault|chattered happily|spun around) / (scampered|dashed|ran)
  %2 frog / (little|green|small|spotted) / lily pad / (flies|bugs|beetles) / (croaked loudly|leaped high|kicked {his} legs|puffed up {his} cheeks) / (hopped|jumped|leaped)
  %2 pig / (little|pink|muddy|round) / pigpen / (corn|turnips|potatoes) / (oinked happily|curled {his} tail|rolled in the mud|kicked up {his} heels) / (trotted|ran|rushed)
  hedgehog / (little|brown|prickly|shy) / pile of leaves / (mushrooms|worms|apples) / (rolled into a happy ball|shook {his} spines|snuffled happily|tapped {his} feet) / (shuffled|hurried|crawled)
  turtle / (little|green|old|slow) / shell / (leaves|lettuce|melon) / (stretched out {his} neck|nodded {his} head|tapped {his} shell|blinked happily) / (plodded|crawled|walked)
  elephant / (little|gray|big|gentle) / grassy valley / (bananas|leaves|peanuts) / (lifted {his} trunk|flapped {his} big ears|stamped {his} feet|trumpeted loudly) / (marched|walked|stomped)
  monkey / (little|brown|funny|cheeky) / tall tree / (bananas|mangoes|coconuts) / (swung from a branch|chattered with joy|clapped {his} paws|did a flip) / (ran|climbed|jumped)
  lamb / (little|white|woolly|soft) / barn / (grass|clover|oats) / (skipped in the grass|bleated happily|kicked {his} legs|shook {his} wool) / (skipped|trotted|ran)
  pony / (little|brown|white|gentle|spotted) / stable / (hay|carrots|oats|apples) / (tossed {his} mane|stamped {his} hooves|swished {his} tail|neighed happily) / (trotted|galloped|cantered)
  owl / (little|gray|white|fluffy) / hollow tree / (beetles|worms|moths) / (hooted softly|blinked {his} round eyes|puffed up {his} feathers|turned {his} head around) / (flew|glided|fluttered)
  penguin / (little|black and white|round|small) / igloo / (fish|shrimp|squid) / (flapped {his} flippers|slid on {his} belly|spun on the ice|bobbed up and down) / (waddled|slid|hurried)
  raccoon / (little|gray|striped|clever) / hollow log / (eggs|berries|corn) / (rubbed {his} paws|danced on {his} back legs|waved {his} striped tail|grinned) / (crept|ran|climbed)
  beaver / (little|brown|busy|strong) / lodge / (bark|twigs|roots) / (slapped {his} flat tail|showed {his} big teeth|splashed around|gave a little hop) / (paddled|waddled|hurried)
  deer / (little|brown|shy|graceful) / thicket / (leaves|grass|acorns) / (leaped in the air|flicked {his} ears|pranced around|bounced on {his} thin legs) / (ran|galloped|stepped)
  dragon / (little|green|purple|friendly|tiny) / cave / (hot soup|roasted nuts|marshmallows) / (puffed a ring of smoke|flapped {his} wings|wiggled {his} long tail|glowed with joy) / (flew|stomped|ran)

species.toy =
  robot / (shiny|silver|little|tin) / shelf / (oil|buttons|batteries) / (beeped and blinked|spun {his} wheels|waved {his} metal arms|flashed {his} lights) / (rolled|marched|clanked)
  teddy bear / (soft|brown|old|fuzzy) / toy box / (honey|cake|pretend tea) / (clapped {his} soft paws|hugged {himself}|rolled over and over|bounced on the rug) / (walked|tumbled|shuffled)
  doll / (pretty|little|rag|wooden) / dollhouse / (pretend tea|cupcakes|tiny cakes) / (twirled in a circle|clapped {his} tiny hands|gave a little bow|danced on {his} toes) / (walked|tiptoed|danced)
  toy train / (red|little|shiny|wooden) / train set / (coal|toast|pretend cake) / (tooted {his} horn|puffed around the track|spun {his} wheels|rang {his} bell) / (rolled|chugged|puffed)
  toy soldier / (brave|tin|little|smart) / toy box / (crumbs|pretend soup|toffee) / (tapped {his} drum|gave a salute|marched in place|raised {his} hat) / (marched|stepped|strode)
  toy dinosaur / (green|little|friendly|rubber) / shelf / (leaves|crumbs|pretend eggs) / (swung {his} tail|stamped {his} feet|gave a happy roar|shook {his} head) / (stomped|walked|ran)
  rocking horse / (wooden|white|old|painted) / corner / (pretend hay|sugar cubes|pretend apples) / (rocked back and forth|shook {his} mane|clicked {his} hooves|neighed) / (rocked|rolled|galloped)
  puppet / (funny|wooden|little|colorful) / trunk / (buttons|pretend cookies|jelly beans) / (danced on {his} strings|kicked {his} legs|waved both arms|took a bow) / (danced|skipped|wobbled)

stray =
  kitten / (small|gray|thin|wet|orange) / basket / warm milk / purred / crept
  puppy / (small|brown|thin|muddy|spotted) / basket / some bread / wagged its tail / limped
  bird / (small|blue|tiny|brown|yellow) / nest / some seeds / sang a little song / hopped
  squirrel / (small|red|thin|gray) / tree / some nuts / flicked its tail / crept
  duckling / (small|yellow|fluffy|lost) / pond / some oats / quacked / waddled
  bunny / (small|white|brown|thin) / hutch / some carrots / wiggled its nose / hopped
  hedgehog / (small|prickly|brown|cold) / garden / some apple slices / snuffled softly / crawled
  goat / (small|white|thin|spotted) / shed / some hay / said baa / trotted
  baby fox / (thin|red|small|tiny) / den / some berries / swished its tail / crept
  turtle / (small|green|old|tiny) / pond / some lettuce / blinked its eyes / crawled
  parrot / (green|bright|small|red) / cage / a banana / whistled / fluttered
  mouse / (tiny|gray|brown|thin) / hole / some cheese / squeaked / tiptoed
  lamb / (small|white|woolly|thin) / field / some clover / said baa / stumbled

child_look = %6 little|young|%5 kind|happy|brave|clever|shy|funny|quiet|curious|cheerful|gentle|silly|friendly|small|%2 nice|helpful|polite|lively|sweet|playful|bright|careful|smart|merry|busy

# What the grown-up of a story is called by others, then to their face.
grownup.child.she = Mom / Mom | Mommy / Mommy | Mama / Mama | Grandma / Grandma | Granny / Granny | Nana / Nana | {h.his} mom / Mom | {h.his} mother / Mommy | {h.his} grandma / Grandma | {h.his} grandmother / Grandma | {h.his} aunt / Auntie | {h.his} mommy / Mommy
grownup.child.he = Dad / Dad | Daddy / Daddy | Papa / Papa | Grandpa / Grandpa | {h.his} dad / Dad | {h.his} father / Daddy | {h.his} grandpa / Grandpa | {h.his} grandfather / Grandpa | {h.his} uncle / Uncle | {h.his} daddy / Daddy
grownup.animal.she = Mama ^{h.noun} / Mama | Mother ^{h.noun} / Mother | Grandma ^{h.noun} / Grandma | Aunt ^{h.noun} / Aunt ^{h.noun} | {h.his} mother / Mother | {h.his} mom / Mom | {h.his} grandmother / Grandma
grownup.animal.he = Papa ^{h.noun} / Papa | Father ^{h.noun} / Father | Grandpa ^{h.noun} / Grandpa | Uncle ^{h.noun} / Uncle ^{h.noun} | {h.his} father / Father | {h.his} dad / Dad | {h.his} grandfather / Grandpa
grownup.toy.she = the old doll / Old Doll | the wise music box / Music Box | the old rag doll / Rag Doll | the big stuffed hen / Hen | the china teapot / Teapot
grownup.toy.he = the old clock / Clock | the wise old bear / Old Bear | the big nutcracker / Nutcracker | the old tin king / King | the gray stuffed elephant / Elephant
"#;

/// Names of girls, boys, and animals and toys of either gender.
pub(super) static LISTS: LazyLock<[Vec<&str>; 4]> = LazyLock::new(|| {
    [GIRLS, BOYS, SHE_ANIMALS, HE_ANIMALS].map(|names| names.split_ascii_whitespace().collect())
});

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Child,
    Animal,
    Toy,
}

impl Kind {
    pub fn letter(self) -> char {
        ['c', 'a', 't'][self as usize]
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Gender {
    #[default]
    He,
    She,
    It,
}

#[derive(Default)]
pub(super) struct Character {
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

impl Character {
    /// Hero, friend, grown-up and a stray animal, for a hero of this kind.
    pub fn cast(teller: &mut Teller, kind: Kind, plot: &str) -> [Character; 4] {
        let mut hero = Character::named(teller, kind, None);
        if kind == Kind::Animal && teller.pick(4) == 0 {
            hero.call = format!("little {}", hero.noun);
            hero.name = format!("the {} {}", hero.look, hero.noun);
            hero.named = false;
            // Without a name most animals are `it`.
            if teller.pick(3) > 0 {
                hero.gender = Gender::It;
            }
        }
        // "Lily found a big ..." is a usual way for a story to begin.
        if plot == "found"
            && kind == Kind::Child
            && hero.gender == Gender::She
            && teller.pick(2) == 0
        {
            hero.name = "Lily".to_owned();
            hero.call = "Lily".to_owned();
        }
        let friend = loop {
            let friend = Character::named(teller, kind, Some(hero.gender));
            if friend.name != hero.name && (kind == Kind::Child || friend.noun != hero.noun) {
                break friend;
            }
        };
        let mut stray = Character { gender: Gender::It, kind: Kind::Animal, ..Default::default() };
        loop {
            stray.species = teller.species(None);
            stray.noun = teller.trait_text(stray.species, 0);
            if stray.noun != hero.noun && stray.noun != friend.noun {
                break;
            }
        }
        stray.food = teller.trait_text(stray.species, 3);
        stray.look = teller.trait_text(stray.species, 1);
        stray.name = format!("the {}", stray.noun);
        stray.call = format!("little {}", stray.noun);
        [hero, friend, Character::default(), stray]
    }

    pub fn grownup(kind: Kind, she: bool, name: String, call: String) -> Character {
        let gender = if she { Gender::She } else { Gender::He };
        Character { name, call, gender, named: true, kind, ..Default::default() }
    }

    /// `beside` is who they are to be told apart from: two of a story are more often not of one gender.
    fn named(teller: &mut Teller, kind: Kind, beside: Option<Gender>) -> Character {
        let she = match beside {
            Some(Gender::She) => teller.pick(5) == 0,
            Some(Gender::He) => teller.pick(5) > 0,
            _ => teller.pick(2) == 0,
        };
        let animal = kind != Kind::Child && teller.pick(5) > 0;
        let list = &LISTS[usize::from(!she) + 2 * usize::from(animal)];
        let count = list.len();
        // The first names of the children's lists are the frequent ones, as in life.
        let at = if count > 40 && teller.pick(3) == 0 {
            teller.pick(12) * teller.pick(12) / 11
        } else {
            teller.pick(count)
        };
        let name = list[at];
        let species = teller.species(Some(kind));
        let noun = match kind {
            Kind::Child => if she { "girl" } else { "boy" }.to_owned(),
            _ => teller.trait_text(species, 0),
        };
        Character {
            name: name.to_owned(),
            call: name.to_owned(),
            noun,
            look: teller.trait_text(species, 1),
            food: teller.trait_text(species, 3),
            kind,
            gender: if she { Gender::She } else { Gender::He },
            named: true,
            species,
        }
    }
}

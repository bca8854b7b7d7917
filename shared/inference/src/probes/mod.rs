//! Probes: questions to a model of which the answer is known. No story is generated for them.
mod choices;
mod pairs;
mod stories;
mod words;

pub use choices::{Choice, chosen};
pub(crate) use choices::{Scored, nats, story_ids};
pub use pairs::{own_pairs, read_pairs};
pub use stories::{LAST_WORD_OPTIONS, last_word, who};

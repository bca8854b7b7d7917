//! What a trained model is used for: open it, decode, sample, evaluate, compare.
mod compare;
mod engine;
mod evaluate;
mod figures;
mod generate;
mod loaded_model;
mod markdown;
mod probes;
mod quality;
mod rating;
mod reference;
mod story_figures;

pub use compare::{Bucket, Interval, StoryLoss, Tally, bootstrap};
pub use engine::{Engine, EngineOptions, cache_folder, devices_as_json, failed, list_devices};
pub use evaluate::{Ids, LossSum, TokenLoss, check_ids, evaluate, evaluate_each};
pub use figures::Figure;
pub use generate::{
    GenerationEvent, Pieces, Prompts, SamplingParams, Story, generate, generate_each,
};
pub use loaded_model::{LoadedModel, open_model};
pub use markdown::markdown;
pub use probes::{Choice, LAST_WORD_OPTIONS, chosen, last_word, own_pairs, read_pairs, who};
pub use quality::{Continuation, Quality};
pub use rating::{Average, Rating, Ratings, averages};
pub use reference::bits_by_reference;
pub use story_figures::StoryFigures;

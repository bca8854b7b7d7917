//! What a trained model is used for: open it, decode, sample, evaluate, compare.
mod engine;
mod judge;
mod opened;
mod quality;
mod rating;
mod score;
mod storyteller;

pub use engine::{Engine, Wanted, cache_folder, failed, list_devices, print, print_bytes};
pub use judge::{Bucket, Interval, StoryScore, Tally, bootstrap};
pub use opened::{Opened, open_model};
pub use quality::{Quality, Told};
pub use rating::{Average, Rating, Ratings, averages};
pub use score::{Ids, Score, Scored, check_ids, score, score_each};
pub use storyteller::{Heard, Manner, Pieces, Story, tell, tell_each};

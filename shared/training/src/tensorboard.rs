//! TensorBoard's event files: records of protocol buffers, each with two masked CRC-32C
//! (tensorflow/core/util/event.proto and lib/io/record_writer.h, of which this is the part that is needed).
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use stage::{Failure, Result, create_dir};

use crate::log_line::LogLine;
use crate::observer::{RunObserver, Status};
use crate::stories::StoriesAt;

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    /// 1: START, which discards this step and later ones of earlier files.
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "8")]
    tensor: Option<Tensor>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    /// 7: DT_STRING
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    string_val: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "2")]
    dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, tag = "1")]
    size: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin_data: Option<PluginData>,
}

#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(string, tag = "1")]
    plugin_name: String,
}

/// The observer: event files in one folder, a new one where the run begins or goes back.
pub(crate) struct TensorBoard {
    folder: PathBuf,
    /// None where a file could not be begun.
    file: Option<EventFile>,
}

impl TensorBoard {
    pub(crate) fn open(folder: &Path, step: u64) -> Result<Self> {
        Ok(TensorBoard { folder: folder.to_owned(), file: Some(EventFile::create(folder, step)?) })
    }
}

// A failed write is ignored: loss.jsonl has the same figures and reports it.
impl RunObserver for TensorBoard {
    fn line(&mut self, line: &LogLine, _: &Status) -> Result<()> {
        if let Some(file) = &mut self.file {
            let _ = file.line(line);
        }
        Ok(())
    }

    fn stories(&mut self, stories: &StoriesAt) -> Result<()> {
        if let Some(file) = &mut self.file {
            let _ = file.text(stories.step, "stories", &stories.markdown());
        }
        Ok(())
    }

    fn back_to(&mut self, step: u64) -> Result<()> {
        Ok(self.file = EventFile::create(&self.folder, step).ok())
    }
}

/// An event file that is being written.
struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file for a run that resumes at `step`.
    fn create(folder: &Path, step: u64) -> Result<Self> {
        create_dir(folder)?;
        let seconds = now() as u64;
        // TensorBoard reads a folder's files in the order of their names.
        let free = (0..).map(|n| {
            folder.join(format!(
                "events.out.tfevents.{seconds:010}.bedtime.{}.{n}",
                std::process::id()
            ))
        });
        let mut last = None;
        for path in free.take(1000) {
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut events = EventFile { path, file };
                    events.write(0, What::FileVersion("brain.Event:2".into()))?;
                    events.write(step, What::SessionLog(SessionLog { status: 1 }))?;
                    return Ok(events);
                }
                Err(error) => last = Some(Failure::writing(&path)(error)),
            }
        }
        Err(last.unwrap_or_else(|| Failure::usage("no free name").file(folder)))
    }

    /// The figures of a line of the log.
    fn line(&mut self, line: &LogLine) -> Result<()> {
        let scalar = |tag: &str, value: f64| Value {
            tag: tag.into(),
            simple_value: Some(value as f32),
            ..Default::default()
        };
        let mut value = vec![
            scalar("loss/train", f64::from(line.loss)),
            scalar("optimizer/lr", line.lr),
            scalar("speed/tokens_per_second", line.tokens_per_second),
        ];
        value.extend(line.val_loss.map(|loss| scalar("loss/validation", loss)));
        value.extend(line.grad_norm.map(|norm| scalar("optimizer/grad_norm", f64::from(norm))));
        value.extend(line.loss_scale.map(|scale| scalar("optimizer/loss_scale", f64::from(scale))));
        self.write(line.step, What::Summary(Summary { value }))
    }

    /// A text in Markdown.
    fn text(&mut self, step: u64, tag: &str, markdown: &str) -> Result<()> {
        let tensor = Tensor {
            dtype: 7,
            shape: Some(Shape { dim: vec![Dim { size: 1 }] }),
            string_val: vec![markdown.into()],
        };
        let metadata = Metadata { plugin_data: Some(PluginData { plugin_name: "text".into() }) };
        let value = Value {
            tag: tag.into(),
            tensor: Some(tensor),
            metadata: Some(metadata),
            ..Default::default()
        };
        self.write(step, What::Summary(Summary { value: vec![value] }))
    }

    fn write(&mut self, step: u64, what: What) -> Result<()> {
        let record = record(
            &Event { wall_time: now(), step: step as i64, what: Some(what) }.encode_to_vec(),
        );
        self.file.write_all(&record).map_err(Failure::writing(&self.path))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Length, its CRC, content, its CRC; all little-endian.
fn record(content: &[u8]) -> Vec<u8> {
    let masked = |bytes: &[u8]| {
        crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
    };
    let length = (content.len() as u64).to_le_bytes();
    [&length, &masked(&length)[..], content, &masked(content)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that TensorFlow 2 writes for the first record of a file at time 0.
    #[test]
    fn a_record_is_what_tensorflow_writes() {
        let event = Event {
            wall_time: 0.0,
            step: 0,
            what: Some(What::FileVersion("brain.Event:2".into())),
        }
        .encode_to_vec();
        assert_eq!(event, b"\x1a\x0dbrain.Event:2");
        // The mask of record_writer.h on the CRC-32C of "123456789", 0xe3069283, which RFC 3720's polynomial gives.
        let checked = record(b"123456789");
        let expected = 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(checked[..8], 9u64.to_le_bytes());
        assert_eq!(checked[8 + 4 + 9..], expected.to_le_bytes());
    }

    #[test]
    fn every_start_has_a_file_of_its_own_that_begins_with_the_step() {
        let folder = tempfile::tempdir().unwrap();
        for step in [0, 40] {
            EventFile::create(folder.path(), step)
                .unwrap()
                .text(step, "stories", "**Once**")
                .unwrap();
        }
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        assert_eq!(names.len(), 2);
        let bytes = std::fs::read(&names[1]).unwrap();
        let mut rest = bytes.as_slice();
        let mut events = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            events.push(Event::decode(&rest[12..12 + length]).unwrap());
            rest = &rest[16 + length..];
        }
        assert_eq!(events.len(), 3);
        assert_eq!(
            (events[1].step, &events[1].what),
            (40, &Some(What::SessionLog(SessionLog { status: 1 })))
        );
    }
}

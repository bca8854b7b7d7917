//! Token shards on their way to the disk: record batches made by many threads, and the file they go into.
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, RecordBatch, UInt16Array, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use arrow::ipc::convert::{IpcSchemaEncoder, metadata_to_fb};
use arrow::ipc::writer::{
    DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions,
    write_message,
};
use arrow::ipc::{Block, CompressionType, FooterBuilder, MetadataVersion};
use flatbuffers::FlatBufferBuilder;
use stage::{AtomicFile, Failure, FileRecord, Result, commit_recorded};

use super::{COLUMN, ORIGIN, ShardOrigin, TOTALS, Totals, list_type};
use crate::bin::Dtype;

/// A record batch ends with the story that reaches one of these: what a reader holds in memory is bounded.
const BATCH_STORIES: usize = 1024;
const BATCH_TOKENS: usize = 1 << 18;
/// Ids hardly compress, so the fastest level takes most of what there is to take.
const ZSTD_LEVEL: i32 = 1;
const ARROW_MAGIC: [u8; 6] = *b"ARROW1";

fn schema(dtype: Dtype, metadata: HashMap<String, String>) -> Arc<Schema> {
    Arc::new(Schema::new_with_metadata(vec![Field::new(COLUMN, list_type(dtype), false)], metadata))
}

fn options() -> Result<IpcWriteOptions, ArrowError> {
    IpcWriteOptions::default()
        .try_with_compression(Some(CompressionType::ZSTD))?
        .try_with_compression_level(Some(ZSTD_LEVEL))
}

/// Makes record batches of ids as they will lie in a file, compressed: work for many threads, each with its own.
pub struct BatchEncoder {
    schema: Arc<Schema>,
    generator: IpcDataGenerator,
    dictionaries: DictionaryTracker,
    options: IpcWriteOptions,
    context: IpcWriteContext,
}

/// One record batch, ready to be written.
pub struct EncodedBatch {
    message: EncodedData,
    /// What is in it.
    pub totals: Totals,
}

impl EncodedBatch {
    /// Memory it takes, nearly.
    pub fn bytes(&self) -> usize {
        self.message.arrow_data.len()
    }
}

impl BatchEncoder {
    /// For ids of this width.
    pub fn new(dtype: Dtype) -> Result<Self> {
        let options = options().map_err(|error| Failure::usage(error.to_string()))?;
        let (generator, dictionaries) = (IpcDataGenerator::default(), DictionaryTracker::new(true));
        Ok(BatchEncoder {
            schema: schema(dtype, HashMap::new()),
            generator,
            dictionaries,
            options,
            context: IpcWriteContext::default(),
        })
    }

    /// The stories' ids one after the other, how many each has, and the bytes of their text.
    pub fn encode(&mut self, ids: ArrayRef, lengths: &[usize], bytes: u64) -> Result<EncodedBatch> {
        let totals = Totals { stories: lengths.len() as u64, tokens: ids.len() as u64, bytes };
        if i32::try_from(ids.len()).is_err() {
            let words = format!(
                "{} tokens in {} stories: more than one record batch holds",
                totals.tokens, totals.stories
            );
            return Err(Failure::bad_input(words)
                .expected("stories of less than 2 GB")
                .remedy("cut the long ones"));
        }
        let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
        let item = Arc::new(Field::new_list_field(ids.data_type().clone(), false));
        let message = ListArray::try_new(item, offsets, ids, None)
            .and_then(|lists| RecordBatch::try_new(self.schema.clone(), vec![Arc::new(lists)]))
            .and_then(|batch| {
                self.generator.encode(
                    &batch,
                    &mut self.dictionaries,
                    &self.options,
                    &mut self.context,
                )
            })
            .map_err(|error| {
                Failure::usage(format_args!("a record batch cannot be made: {error}"))
            })?;
        Ok(EncodedBatch { message: message.1, totals })
    }
}

/// Writes one shard under its final name once it is whole.
pub struct ShardWriter {
    file: AtomicFile,
    path: PathBuf,
    schema: Arc<Schema>,
    options: IpcWriteOptions,
    /// Bytes written, and where each record batch lies.
    offset: usize,
    blocks: Vec<Block>,
    totals: Totals,
    /// Of [`push`](Self::push).
    encoder: BatchEncoder,
    ids: Vec<u32>,
    lengths: Vec<usize>,
    bytes: u64,
    dtype: Dtype,
}

impl ShardWriter {
    /// Opens a temporary beside `path`.
    pub fn create(path: &Path, origin: &ShardOrigin) -> Result<Self> {
        let dtype = Dtype::of(origin.tokenizer.vocab_size);
        let text =
            serde_json::to_string(origin).map_err(|error| Failure::usage(error.to_string()))?;
        let schema = schema(dtype, HashMap::from([(ORIGIN.to_owned(), text)]));
        let options = options().map_err(|error| writing(path, error))?;
        let mut file = AtomicFile::create(path)?;
        let start = [&ARROW_MAGIC[..], &[0; 64 - ARROW_MAGIC.len()]].concat();
        file.put(&start)?;
        let mut dictionaries = DictionaryTracker::new(true);
        let message = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
            &schema,
            &mut dictionaries,
            &options,
        );
        let (header, body) =
            write_message(&mut file, message, &options).map_err(|error| writing(path, error))?;
        Ok(ShardWriter {
            file,
            path: path.to_owned(),
            schema,
            options,
            offset: start.len() + header + body,
            blocks: Vec::new(),
            totals: Totals::default(),
            encoder: BatchEncoder::new(dtype)?,
            ids: Vec::new(),
            lengths: Vec::new(),
            bytes: 0,
            dtype,
        })
    }

    /// Appends a record batch of an encoder for the same vocabulary.
    pub fn write(&mut self, batch: EncodedBatch) -> Result<()> {
        let (header, body) = write_message(&mut self.file, batch.message, &self.options)
            .map_err(|error| writing(&self.path, error))?;
        self.blocks.push(Block::new(self.offset as i64, header as i32, body as i64));
        self.offset += header + body;
        self.totals += batch.totals;
        Ok(())
    }

    /// Appends a story: its ids and the bytes of its text.
    pub fn push(&mut self, ids: &[u32], bytes: u64) -> Result<()> {
        self.ids.extend_from_slice(ids);
        self.lengths.push(ids.len());
        self.bytes += bytes;
        if self.lengths.len() >= BATCH_STORIES || self.ids.len() >= BATCH_TOKENS {
            self.write_pushed()
        } else {
            Ok(())
        }
    }

    fn write_pushed(&mut self) -> Result<()> {
        if self.lengths.is_empty() {
            return Ok(());
        }
        let ids = self.ids.drain(..);
        let ids: ArrayRef = match self.dtype {
            Dtype::U16 => Arc::new(UInt16Array::from_iter_values(ids.map(|id| id as u16))),
            Dtype::U32 => Arc::new(UInt32Array::from_iter_values(ids)),
        };
        let batch = self.encoder.encode(ids, &self.lengths, std::mem::take(&mut self.bytes))?;
        self.lengths.clear();
        self.write(batch)
    }

    /// The shard is on disk when this returns.
    pub fn finish(mut self) -> Result<(FileRecord, Totals)> {
        self.write_pushed()?;
        let footer = self.footer()?;
        let end = [
            &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
            &footer[..],
            &(footer.len() as i32).to_le_bytes(),
            &ARROW_MAGIC,
        ]
        .concat();
        self.file.put(&end)?;
        // The record is there before the shard has its name, so that no finished one is made again.
        let record = commit_recorded(self.file)?;
        Ok((record, self.totals))
    }

    /// Schema, places of the record batches, and what is in them: the end of every Arrow IPC file.
    fn footer(&self) -> Result<Vec<u8>> {
        let totals = serde_json::to_string(&self.totals)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let mut builder = FlatBufferBuilder::new();
        let dictionaries = builder.create_vector::<Block>(&[]);
        let blocks = builder.create_vector(&self.blocks);
        let schema = IpcSchemaEncoder::new().schema_to_fb_offset(&mut builder, &self.schema);
        let metadata =
            metadata_to_fb(&mut builder, &HashMap::from([(TOTALS.to_owned(), totals)]).into());
        let mut footer = FooterBuilder::new(&mut builder);
        footer.add_version(MetadataVersion::V5);
        footer.add_schema(schema);
        footer.add_dictionaries(dictionaries);
        footer.add_recordBatches(blocks);
        footer.add_custom_metadata(metadata);
        let root = footer.finish();
        builder.finish(root, None);
        Ok(builder.finished_data().to_vec())
    }
}

fn writing(path: &Path, error: ArrowError) -> Failure {
    match error {
        ArrowError::IoError(_, error) => Failure::writing(path)(error),
        other => Failure::try_again(format_args!("writing failed: {other}")).file(path),
    }
}

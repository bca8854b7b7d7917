"""Hugging Face tokenizers: trains the byte-level BPE that `train-tokenizer` trains.

train_hf.py stories.parquet vocab_size out.json
"""
import sys

import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

parquet, vocab_size, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def texts():
    for batch in pq.ParquetFile(parquet).iter_batches(batch_size=10_000, columns=["text"]):
        yield batch.column(0).to_pylist()


tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=vocab_size,
    special_tokens=["<|endoftext|>", "<|pad|>"],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
)
tokenizer.train_from_iterator(texts(), trainer)
tokenizer.save(out)

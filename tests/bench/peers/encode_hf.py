"""Hugging Face tokenizers: ids of every story of a parquet file, as `tokenize` makes them.

encode_hf.py tokenizer.json stories.parquet: prints how many stories and tokens.
"""
import json
import sys

import pyarrow.parquet as pq
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file(sys.argv[1])
stories = tokens = 0
for batch in pq.ParquetFile(sys.argv[2]).iter_batches(batch_size=10_000, columns=["text"]):
    texts = batch.column(0).to_pylist()
    tokens += sum(len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False))
    stories += len(texts)
print(json.dumps({"stories": stories, "tokens": tokens}))

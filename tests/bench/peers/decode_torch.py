"""PyTorch: greedy decoding of a Hugging Face folder without a cache: for every token the whole text so far, as the first script
that people write for such a model samples.

decode_torch.py folder tokens threads
"""
import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM

folder, tokens, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
model = AutoModelForCausalLM.from_pretrained(folder).eval()
with torch.inference_mode():
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    model(input_ids=ids, use_cache=False)
    started = time.perf_counter()
    for _ in range(tokens):
        logits = model(input_ids=ids, use_cache=False).logits[:, -1]
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    seconds = time.perf_counter() - started
print(json.dumps({"tok_per_s": tokens / seconds, "tokens": ids[0, 5:].tolist()}))

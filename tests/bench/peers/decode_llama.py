"""llama.cpp: greedy decoding of a Hugging Face folder, one token at a time, batch 1.

decode_llama.py folder f32|f16|q8_0 tokens threads scratch

Writes SCRATCH/TYPE.gguf with the package gguf (q8_0: rows that are no multiple of 32 stay f16, as llama.cpp has them), decodes
after a prompt of five tokens and prints one line of JSON: tokens per second of `llama_decode` alone, and the tokens.
"""
import ctypes
import json
import os
import sys
import time

import gguf
import llama_cpp
import numpy as np

folder, kind, tokens, threads, scratch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]


def read(folder):
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    head.pop("__metadata__", None)
    for name, entry in head.items():
        start, end = entry["data_offsets"]
        yield name, np.frombuffer(data[start:end], np.float32).reshape(entry["shape"])


def permuted(rows, heads):
    """From the halves that Hugging Face pairs to neighbours, as llama.cpp's rope turns them."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def convert(folder, kind, path):
    config = json.load(open(os.path.join(folder, "config.json")))
    heads = config["num_attention_heads"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    for name, values in read(folder):
        short = names.get(name)
        if short is None:
            layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            short = f"blk.{layer}.{names[part]}.weight"
            if part in ("self_attn.q_proj", "self_attn.k_proj"):
                values = permuted(values, heads)
        if values.ndim == 1 or kind == "f32":
            writer.add_tensor(short, np.ascontiguousarray(values, np.float32))
        elif kind == "f16" or values.shape[1] % 32:
            writer.add_tensor(short, values.astype(np.float16))
        else:
            quantised = gguf.quants.quantize(np.ascontiguousarray(values, np.float32), gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(short, quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return config


path = os.path.join(scratch, f"{kind}.gguf")
config = json.load(open(os.path.join(folder, "config.json")))
if not os.path.exists(path):
    convert(folder, kind, path)

quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
llama_cpp.llama_log_set(quiet, None)
llama_cpp.llama_backend_init()
model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
parameters = llama_cpp.llama_context_default_params()
parameters.n_ctx = config["max_position_embeddings"]
parameters.n_threads = parameters.n_threads_batch = threads
context = llama_cpp.llama_init_from_model(model, parameters)
vocab = config["vocab_size"]


def decode(ids):
    array = (llama_cpp.llama_token * len(ids))(*ids)
    started = time.perf_counter()
    code = llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(ids)))
    logits = llama_cpp.llama_get_logits_ith(context, -1)  # waits for the result
    seconds = time.perf_counter() - started
    assert code == 0, code
    return int(np.ctypeslib.as_array(logits, shape=(vocab,)).argmax()), seconds


best = 0.0
for _ in range(3):
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    token, _ = decode([1, 2, 3, 4, 5])
    told, total = [token], 0.0
    for _ in range(tokens - 1):
        token, seconds = decode([token])
        told.append(token)
        total += seconds
    best = max(best, (tokens - 1) / total)
print(json.dumps({"tok_per_s": best, "tokens": told}))

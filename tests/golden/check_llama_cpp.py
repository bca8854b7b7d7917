"""Checks that llama.cpp tells the stories that bedtime tells, from the GGUF file that bedtime writes; exits 1 below 45 of 50.

For developers only. In an environment with llama-cpp-python (`pip install llama-cpp-python gguf numpy`), for a trained run:

    python tests/golden/check_llama_cpp.py OUT_DIR --bin target/release --config pipelines/NAME.toml [--type f16]

1. `sample export` writes the run's model; package `gguf` reads it back, if it is installed: every tensor of type F32 or F16 is
   run/final's, queries and keys permuted by NumPy, and those of Q8_0 are what `gguf` itself quantises.
2. Greedy continuations of 64 tokens of 50 prompts, the beginnings of validation stories, each program encoding the text itself:
   how many are the same, id by id.
"""

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import llama_cpp
import numpy

PROMPTS, MAX_TOKENS, LEAST = 50, 64, 45


@llama_cpp.llama_log_callback
def silent(level, text, data):
    pass


def read_safetensors(path):
    file = path.read_bytes()
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    header.pop("__metadata__", None)
    data = file[8 + length :]
    return {name: numpy.frombuffer(data[slice(*t["data_offsets"])], "<f4").reshape(t["shape"]) for name, t in header.items()}


def check_tensors(path, final):
    try:
        import gguf
    except ImportError:
        return print("tensors: not compared, package gguf is not installed")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 64)
    config = json.loads((final / "config.json").read_text())
    reader = gguf.GGUFReader(path)
    found = {tensor.name: tensor for tensor in reader.tensors}
    kinds = {}
    for name, values in read_safetensors(final / "model.safetensors").items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config["num_key_value_heads" if "k_proj" in name else "num_attention_heads"]
            values = values.reshape(heads, 2, len(values) // heads // 2, -1).swapaxes(1, 2).reshape(values.shape)
        tensor = found.pop(names.get_name(name, try_suffixes=(".weight",)))
        kind = tensor.tensor_type
        expected = {0: lambda v: v, 1: lambda v: v.astype("<f2")}.get(int(kind), lambda v: gguf.quants.quantize(v, kind))(values)
        assert numpy.array_equal(tensor.data.reshape(-1), expected.reshape(-1)), f"{name} differs as {kind.name}"
        kinds[kind.name] = kinds.get(kind.name, 0) + 1
    assert not found, found
    print("tensors: all the same,", ", ".join(f"{count} {kind}" for kind, count in kinds.items()))


def prompts(out, final):
    """The first words of validation stories, as text."""
    ids = numpy.fromfile(out / "val.bin", numpy.uint16)
    vocabulary = json.loads((final / "tokenizer.json").read_text())["model"]["vocab"]
    token = {id: text for text, id in vocabulary.items()}
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    byte = {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in printable)}
    starts = numpy.flatnonzero(ids == 0)[: 4 * PROMPTS] + 1
    texts = []
    for i, start in enumerate(starts):
        piece = ids[start : start + 4 + i % 9]
        if 0 in piece:
            continue
        text = bytes(byte[c] for id in piece for c in token[int(id)]).decode("utf-8", "ignore")
        if text.strip() and text not in texts:
            texts.append(text)
    return texts[:PROMPTS]


def sample(arguments, texts):
    command = [arguments.bin / "sample", "--out", arguments.out, "--config", arguments.config, "--n", "1", "--json"]
    command += ["--device", "cpu", "--temperature", "0", "--max-tokens", str(MAX_TOKENS)]
    command += [f"--prompt={text}" for text in texts]
    lines = subprocess.run(command, stdout=subprocess.PIPE, check=True, encoding="utf-8").stdout.splitlines()
    return [json.loads(line)["tokens"] for line in lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="folder of the run's files")
    parser.add_argument("--bin", type=Path, required=True, help="folder of bedtime's programs")
    parser.add_argument("--config", required=True, help="pipeline file of the run")
    parser.add_argument("--type", default="f16", help="what the GGUF file keeps matrices in [f16]")
    arguments = parser.parse_args()
    final = arguments.out / "run" / "final"
    context = json.loads((final / "config.json").read_text())["max_position_embeddings"]

    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        export = [arguments.bin / "sample", "export", "--out", arguments.out, "--config", arguments.config]
        subprocess.run([*export, "--type", arguments.type, path], check=True)
        check_tensors(path, final)
        model = llama_cpp.Llama(str(path), n_ctx=context, n_threads=2, verbose=False)
        texts = prompts(arguments.out, final)
        own = sample(arguments, texts)
        same = 0
        for text, told in zip(texts, own, strict=True):
            ids = model.tokenize(text.encode(), add_bos=False, special=False)
            model.reset()
            theirs = []
            for token in model.generate(ids, temp=0.0, top_k=1, repeat_penalty=1.0):
                if token == model.token_eos() or len(theirs) == MAX_TOKENS:
                    break
                theirs.append(token)
            same += theirs == told
            if theirs != told:
                at = next((i for i, (a, b) in enumerate(zip(theirs, told)) if a != b), min(len(theirs), len(told)))
                print(f"  {text!r}: differs from token {at} on")
    print(f"{arguments.type}: {same} of {len(texts)} greedy continuations of {MAX_TOKENS} tokens are the same")
    sys.exit(0 if len(texts) == PROMPTS and same >= LEAST else 1)


if __name__ == "__main__":
    main()

"""Checks a finished run with Hugging Face transformers and NumPy; exits 1 where they and bedtime differ.

For developers only; neither the program nor its tests run Python. With the environment of make_golden.py:

    python tests/golden/check_hf.py OUT_DIR --bin target/release --config pipelines/NAME.toml

1. train.bin opens with numpy.fromfile: as many ids as its sidecar says, all below the vocabulary of run/final.
2. run/final loads with AutoTokenizer and AutoModelForCausalLM.
3. The logits of 1,000 windows of val.bin, as `eval-ppl --logits` prints them, lie within 1e-4 of transformers'.
4. The greedy continuations, 200 tokens, of 50 prompts (the five default ones, and beginnings of validation stories) have the
   ids and the text that `sample` gives.
5. The loss of the first windows of val.bin is printed, beside eval.json's where there is one (its windows are others).
"""

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

PROMPTS = ["Once upon a time", "Lily found a big", "The little dog wanted", "On a sunny day,", "There was a kind"]
MAX_TOKENS = 200
STORIES = 50
LOGITS, LOGITS_LIMIT, AT_ONCE = 1000, 1e-4, 8
WINDOWS = 64


def check_bin(out, vocab_size):
    ids = numpy.fromfile(out / "train.bin", numpy.uint16)
    tokens = json.loads((out / "train.bin.json").read_text())["counts"]["tokens"]
    good = len(ids) == tokens and len(ids) > 0 and int(ids.max()) < vocab_size
    print(f"train.bin: {len(ids):,} ids up to {ids.max(initial=0)}; sidecar {tokens:,} tokens; vocabulary {vocab_size:,}: {verdict(good)}", flush=True)
    return good


def verdict(good):
    return "same" if good else "DIFFERENT"


def beginnings(out, tokenizer):
    """The default prompts, then the first words of validation stories."""
    ids = numpy.fromfile(out / "val.bin", numpy.uint16)
    prompts = list(PROMPTS)
    for i, start in enumerate(numpy.flatnonzero(ids == tokenizer.eos_token_id)):
        words = ids[start + 1 : start + 4 + i % 12].tolist()
        text = tokenizer.decode(words)
        if len(words) > 2 and tokenizer.eos_token_id not in words and text not in prompts:
            prompts.append(text)
        if len(prompts) == STORIES:
            break
    return prompts


@torch.no_grad()
def check_logits(arguments, model):
    context, vocab = model.config.max_position_embeddings, model.config.vocab_size
    ids = torch.from_numpy(numpy.fromfile(arguments.out / "val.bin", numpy.uint16).astype(numpy.int64))
    windows = [ids[i : i + context] for i in range(0, len(ids) - context, context)][:LOGITS]
    command = [arguments.bin / "eval-ppl", "--out", arguments.out, "--config", arguments.config, "--device", "cpu", "--threads", "1"]
    worst, largest = 0.0, 0.0
    with subprocess.Popen([*command, "--logits", str(len(windows))], stdout=subprocess.PIPE) as process:
        for batch in torch.stack(windows).split(AT_ONCE):
            content = process.stdout.read(4 * batch.numel() * vocab)
            found = torch.frombuffer(bytearray(content), dtype=torch.float32).reshape(len(batch), context, vocab)
            expected = model(batch).logits
            worst, largest = max(worst, float((found - expected).abs().max())), max(largest, float(expected.abs().max()))
        assert process.stdout.read() == b"", "more logits than were asked for"
    good = process.returncode == 0 and worst <= LOGITS_LIMIT and len(windows) > 0
    print(f"logits of {len(windows)} windows of {context}, up to {largest:.2f}: at most {worst:.1e} apart: {verdict(good)}", flush=True)
    return good


def ours(arguments, prompts):
    command = [arguments.bin / "sample", "--out", arguments.out, "--config", arguments.config, "--device", "cpu"]
    command += ["--temperature", "0", "--max-tokens", str(MAX_TOKENS), "--n", "1", "--json"]
    command += [f"--prompt={prompt}" for prompt in prompts]
    stdout = subprocess.run(command, stdout=subprocess.PIPE, check=True, encoding="utf-8").stdout
    stories = list(map(json.loads, stdout.splitlines()))
    assert [story["prompt"] for story in stories] == prompts, stories
    return [(story["tokens"], story["text"]) for story in stories]


def theirs(model, tokenizer, prompt):
    inputs = tokenizer(prompt, return_tensors="pt")
    model.generation_config.pad_token_id = tokenizer.eos_token_id
    everything = model.generate(
        inputs.input_ids, attention_mask=inputs.attention_mask, do_sample=False, max_new_tokens=MAX_TOKENS
    )[0]
    return everything[inputs.input_ids.shape[1] :].tolist(), tokenizer.decode(everything, skip_special_tokens=True)


def check_greedy(arguments, model, tokenizer):
    eos, all_good = model.generation_config.eos_token_id, True
    print(f"\n{'prompt':28} {'sample':>6} {'transformers':>12}  {'ids':9}  {'text':9}")
    prompts, same = beginnings(arguments.out, tokenizer), 0
    for prompt, (our_ids, our_text) in zip(prompts, ours(arguments, prompts), strict=True):
        their_ids, their_text = theirs(model, tokenizer, prompt)
        our_ids, their_ids = (ids[:-1] if ids[-1:] == [eos] else ids for ids in (our_ids, their_ids))
        same_ids, same_text = our_ids == their_ids, our_text == their_text
        same += same_ids and same_text
        print(f"{prompt[-24:]!r:28} {len(our_ids):6} {len(their_ids):12}  {verdict(same_ids):9}  {verdict(same_text):9}")
        if not (same_ids and same_text):
            print(f"  sample       {our_ids}\n               {our_text!r}\n  transformers {their_ids}\n               {their_text!r}")
            all_good = False
    print(f"{same} of {len(prompts)} continuations of up to {MAX_TOKENS} tokens are the same")
    return all_good and len(prompts) == STORIES


@torch.no_grad()
def print_loss(out, model):
    context = model.config.max_position_embeddings
    ids = torch.from_numpy(numpy.fromfile(out / "val.bin", numpy.uint16).astype(numpy.int64))
    windows = [ids[i : i + context + 1] for i in range(0, len(ids) - context, context)][:WINDOWS]
    losses = [torch.nn.functional.cross_entropy(model(w[None, :-1]).logits[0], w[1:]).item() for w in windows]
    loss = sum(losses) / max(len(losses), 1)
    print(f"\nval.bin, {len(windows)} windows of {context}: loss {loss:.5f}, perplexity {math.exp(loss):.3f}")
    if (out / "eval.json").exists():
        print(f"eval.json: loss {json.loads((out / 'eval.json').read_text())['loss']:.5f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="folder of the run's files")
    parser.add_argument("--bin", type=Path, required=True, help="folder of bedtime's programs")
    parser.add_argument("--config", required=True, help="pipeline file of the run")
    arguments = parser.parse_args()

    final = arguments.out / "run" / "final"
    tokenizer = AutoTokenizer.from_pretrained(final)
    model, loading = AutoModelForCausalLM.from_pretrained(final, dtype=torch.float32, output_loading_info=True)
    assert isinstance(model, LlamaForCausalLM) and not any(loading.values()), loading
    good = check_bin(arguments.out, model.config.vocab_size)
    torch.set_num_threads(1)  # the program has the other
    good &= check_logits(arguments, model.eval())
    good &= check_greedy(arguments, model, tokenizer)
    print_loss(arguments.out, model)
    sys.exit(0 if good else 1)

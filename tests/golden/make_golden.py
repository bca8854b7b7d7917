"""Writes the golden files that the tests compare the model, its gradients and its optimiser with.

For developers only; neither the program nor its tests run Python. To write the files again:

    python3 -m venv VENV && VENV/bin/pip install torch transformers safetensors
    HF_HUB_OFFLINE=1 CUDA_VISIBLE_DEVICES= VENV/bin/python tests/golden/make_golden.py [--out DIR]

The reference is LlamaForCausalLM of transformers (eager attention) with torch's clip_grad_norm_ and AdamW. Everything is
computed twice from the same float32 weights: in float32 as published, and with every float32 inside it replaced by
float64. The files hold the float64 results rounded to float32, so a test's tolerance holds no rounding of the reference.
Every float32 result must lie within LIMIT (relative L2 norm) of the float64 one, or nothing is written.

small.safetensors        one batch of 3 x 16 tokens, used for every step; large random weights, so that gradients are informative
    weight.NAME          initial weights, under the names of the Hugging Face folder; lm_head is tied to the embedding
    tokens               int32 [3, 17]: inputs are [:, :-1], targets [:, 1:]
    logits, loss         [3, 16, 257] and [1], before the first step; the loss is the mean cross entropy of 48 tokens
    grad.NAME, grad_norm gradients of that loss before clipping, and their norm over all tensors [1]
    step{1,2,3}.NAME     weights after each step
    losses, grad_norms   [3], before each step; grad_norms before clipping
muon.safetensors         as small.safetensors without logits and gradients, for Muon on the matrices of the layers
muon_cautious.safetensors the same with cautious decay: only where the update makes a weight smaller, too
ten_losses.safetensors   ten steps of training from the usual initialisation, batch s for step s
    weight.NAME          initial weights
    tokens               int32 [10, 8, 65]
    losses, grad_norms   [10], as above

Two folders as save_pretrained of transformers writes them, with golden.safetensors in them: tokens int32 [2, context], logits
llama_shared             heads of 14 that share 2 of 6 keys and values, untied, theta 500,000, widths that fit no register; f32 in shards
llama_plain              tied heads and theta 10,000; bf16, so that the reference are the rounded weights

Everything but `tokens` is float32. The metadata has the JSON texts `config` (keys of Hugging Face's config.json) and
`optimizer`, and the versions `torch` and `transformers`. Clipping multiplies the gradients by min(1, clip / (norm + 1e-6)).
"""

import argparse
import json
import math
from pathlib import Path

import torch
import transformers
from safetensors.torch import save, save_file
from torch.overrides import TorchFunctionMode
from transformers import LlamaConfig, LlamaForCausalLM

LIMIT = 5e-6
BETAS, EPS, WEIGHT_DECAY, CLIP = (0.9, 0.95), 1e-8, 0.1, 1.0
EMBEDDING = "model.embed_tokens.weight"


class Float64(TorchFunctionMode):
    """Replaces the float32 that Llama asks for by name (RMSNorm, softmax, RoPE) by float64, and checks that none is left."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        def widen(value):
            return torch.float64 if value is torch.float32 else value

        func = torch.Tensor.double if func is torch.Tensor.float else func
        result = func(*map(widen, args), **{key: widen(value) for key, value in (kwargs or {}).items()})
        assert not (isinstance(result, torch.Tensor) and result.dtype == torch.float32), f"{func} gave float32"
        return result


def llama_config(vocab, n_layer, n_head, d_model, d_mlp, context):
    return dict(
        vocab_size=vocab, hidden_size=d_model, intermediate_size=d_mlp, num_hidden_layers=n_layer,
        num_attention_heads=n_head, num_key_value_heads=n_head, max_position_embeddings=context, hidden_act="silu",
        rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=True, attention_bias=False, mlp_bias=False,
    )  # fmt: skip


def build(config):
    """A model of torch's default dtype, checked to be the one that `config` says."""
    config = dict(config)
    theta = config.pop("rope_theta")
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": theta}}
    if int(transformers.__version__.split(".")[0]) < 5:
        rope = {"rope_theta": theta}
    model = LlamaForCausalLM(LlamaConfig(**config, **rope, attn_implementation="eager", use_cache=False))
    model = model.to(torch.get_default_dtype())

    width = config["hidden_size"] // config["num_attention_heads"]
    frequencies = torch.tensor([theta ** (-2 * i / width) for i in range(width // 2)], dtype=torch.float64)
    torch.testing.assert_close(model.model.rotary_emb.inv_freq.double(), frequencies, rtol=1e-6, atol=0)
    tied = model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config._attn_implementation == "eager" and tied == config["tie_word_embeddings"]
    assert all(module.variance_epsilon == config["rms_norm_eps"] for module in model.modules() if hasattr(module, "variance_epsilon"))
    assert all(parameter.dtype == torch.get_default_dtype() for parameter in model.parameters())
    return model


def initial_weights(config, std, norm_std, scale_residual):
    """float32 weights by name, drawn in the order of the model's parameters."""
    weights = {}
    for name, parameter in build(config).named_parameters():
        weight = torch.randn(parameter.shape)
        if parameter.dim() == 1:
            weights[name] = 1 + norm_std * weight
        elif scale_residual and name.endswith(("o_proj.weight", "down_proj.weight")):
            weights[name] = std / math.sqrt(2 * config["num_hidden_layers"]) * weight
        else:
            weights[name] = std * weight
    return weights


class Muon(torch.optim.Optimizer):
    """Muon of Jordan (2024) with the scale of Moonlight (arXiv 2502.16982), every matrix for itself."""

    MOMENTUM, COEFFICIENTS = 0.95, (3.4445, -4.7750, 2.0315)

    def __init__(self, params, cautious):
        super().__init__(params, dict(lr=0.0, weight_decay=WEIGHT_DECAY))
        self.cautious = cautious

    @staticmethod
    def orthogonal(update):
        a, b, c = Muon.COEFFICIENTS
        x = update / update.norm()
        for _ in range(5):
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        return x

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - self.MOMENTUM)
                update = self.orthogonal(p.grad.lerp(mean, self.MOMENTUM))
                decays = (update * p >= 0).to(p.dtype) if self.cautious else 1.0
                p.mul_(1 - group["lr"] * group["weight_decay"] * decays)
                p.add_(update, alpha=-group["lr"] * 0.2 * math.sqrt(max(p.shape)))


def train(config, weights, batches, rates, everything, muon=None):
    """Losses and gradient norms of one step per batch; with `everything` also logits, gradients and weights."""
    model = build(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    decayed = [p for name, p in model.named_parameters() if p.dim() == 2 and name != EMBEDDING]
    others = [p for name, p in model.named_parameters() if p.dim() == 1 or name == EMBEDDING]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups if muon is None else groups[1:], betas=BETAS, eps=EPS, foreach=False)
    optimizers = [adamw] if muon is None else [adamw, Muon(decayed, cautious=muon == "cautious")]

    results, losses, norms = {}, [], []
    for step, (tokens, rate) in enumerate(zip(batches, rates, strict=True), start=1):
        logits = model(input_ids=tokens[:, :-1].long()).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten().long())
        model.zero_grad()
        loss.backward()
        if everything and step == 1:
            results |= {"logits": logits.detach(), "loss": loss.detach().reshape(1)}
            results |= {f"grad.{name}": parameter.grad.clone() for name, parameter in model.named_parameters()}
        losses.append(loss.detach())
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        if everything:
            results |= {f"step{step}.{name}": p.detach().clone() for name, p in model.named_parameters()}
    if everything:
        results["grad_norm"] = norms[0].reshape(1)
    return results | {"losses": torch.stack(losses), "grad_norms": torch.stack(norms)}


def reference(*arguments):
    """Results in float64 rounded to float32, after comparing those of float32 with them."""
    single = train(*arguments)
    torch.set_default_dtype(torch.float64)
    with Float64():
        double = train(*arguments)
    torch.set_default_dtype(torch.float32)
    assert single.keys() == double.keys() and all(value.dtype == torch.float64 for value in double.values())

    errors = {name: float((single[name].double() - exact).norm() / exact.norm()) for name, exact in double.items()}
    print(f"  {'float32 against float64':58} relative L2")
    for name, error in sorted(errors.items(), key=lambda entry: -entry[1]):
        print(f"  {name:58} {error:.1e}")
        assert error <= LIMIT, f"{name}: float32 is {error:.1e} from float64, expected at most {LIMIT:.0e}"
    print("  losses", *(f"{loss:.4f}" for loss in double["losses"]))
    print("  norms ", *(f"{norm:.4f}" for norm in double["grad_norms"]))
    return {name: value.float() for name, value in double.items()}


def write(path, config, rates, weights, tokens, results):
    tensors = {f"weight.{name}": value for name, value in weights.items()} | {"tokens": tokens} | results
    optimizer = {"lr": rates, "betas": BETAS, "eps": EPS, "weight_decay": WEIGHT_DECAY, "clip": CLIP}
    metadata = {
        "config": json.dumps(config),
        "optimizer": json.dumps(optimizer),
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
    }
    file = save({name: value.contiguous() for name, value in tensors.items()}, metadata)
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    header["__metadata__"] = metadata  # in this order: `save` writes it in a random one
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + file[8 + length :])
    print(f"  {path.stat().st_size:,} bytes, {len(tensors)} tensors\n")


def small(path):
    print(path.name)
    torch.manual_seed(1)
    config = llama_config(vocab=257, n_layer=2, n_head=4, d_model=40, d_mlp=56, context=24)
    weights = initial_weights(config, std=0.08, norm_std=0.1, scale_residual=False)
    tokens = torch.randint(config["vocab_size"], (3, 17), dtype=torch.int32)
    rates = [1e-2, 2e-2, 5e-3]
    results = reference(config, weights, [tokens] * len(rates), rates, True)
    write(path, config, rates, weights, tokens, results)


def muon(path, kind):
    print(path.name)
    torch.manual_seed(5)
    config = llama_config(vocab=67, n_layer=2, n_head=2, d_model=28, d_mlp=44, context=24)
    weights = initial_weights(config, std=0.08, norm_std=0.1, scale_residual=False)
    tokens = torch.randint(config["vocab_size"], (3, 17), dtype=torch.int32)
    rates = [1e-2, 2e-2, 5e-3]
    results = reference(config, weights, [tokens] * len(rates), rates, True, kind)
    results = {name: value for name, value in results.items() if name != "logits" and not name.startswith("grad.")}
    write(path, config, rates, weights, tokens, results)


def ten_losses(path):
    print(path.name)
    torch.manual_seed(2)
    config = llama_config(vocab=300, n_layer=2, n_head=2, d_model=80, d_mlp=176, context=64)
    vocab, context, steps, batch = config["vocab_size"], config["max_position_embeddings"], 10, 8
    weights = initial_weights(config, std=0.02, norm_std=0.0, scale_residual=True)
    # Rows that count up by 1 to 3 from a low number; one token in ten is any other.
    start = torch.randint(vocab // 4, (steps, batch, 1))
    stride = torch.randint(1, 4, (steps, batch, 1))
    counting = (start + stride * torch.arange(context + 1)) % vocab
    noise = torch.randint(vocab, counting.shape)
    tokens = torch.where(torch.rand(counting.shape) < 0.1, noise, counting).to(torch.int32)
    rates = [3e-3] * steps
    results = reference(config, weights, list(tokens), rates, False)
    first = float(results["losses"][0])
    assert abs(first - math.log(vocab)) < 0.12, f"first loss {first}, expected about ln({vocab}) = {math.log(vocab)}"
    write(path, config, rates, weights, tokens, results)


def llama_folder(path, config, dtype, seed, **saving):
    """A random model as transformers saves it, and its logits in float64."""
    print(path.name)
    torch.manual_seed(seed)
    weights = {name: value.to(dtype) for name, value in initial_weights(config, 0.08, 0.1, False).items()}
    tokens = torch.randint(config["vocab_size"], (2, config["max_position_embeddings"]), dtype=torch.int32)

    def logits():
        model = build(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(weights[name])
            return model, model(input_ids=tokens.long()).logits

    model, single = logits()
    torch.set_default_dtype(torch.float64)
    with Float64():
        _, double = logits()
    torch.set_default_dtype(torch.float32)
    error = float((single.double() - double).abs().max())
    print(f"  logits up to {double.abs().max():.2f}, float32 within {error:.1e} of float64")
    assert double.dtype == torch.float64 and error < 2e-5
    model.to(dtype).save_pretrained(path, **saving)
    save_file({"tokens": tokens, "logits": double.float().contiguous()}, path / "golden.safetensors")
    print("  ", *sorted(f"{file.name} {file.stat().st_size:,}" for file in path.iterdir()), "\n")


def llama_folders(folder):
    plain = llama_config(vocab=131, n_layer=2, n_head=4, d_model=32, d_mlp=48, context=24)
    llama_folder(folder / "llama_plain", plain, torch.bfloat16, seed=3)
    shared = llama_config(vocab=203, n_layer=2, n_head=6, d_model=84, d_mlp=101, context=40)
    shared |= dict(num_key_value_heads=2, rope_theta=500000.0, rms_norm_eps=1e-5, tie_word_embeddings=False)
    llama_folder(folder / "llama_shared", shared, torch.float32, seed=4, max_shard_size="150KB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the files [beside this script]")
    folder = parser.parse_args().out
    torch.set_num_threads(1)
    small(folder / "small.safetensors")
    muon(folder / "muon.safetensors", "plain")
    muon(folder / "muon_cautious.safetensors", "cautious")
    ten_losses(folder / "ten_losses.safetensors")
    llama_folders(folder)

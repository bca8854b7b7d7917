#!/usr/bin/env python3
"""The training step of the default run in PyTorch, for `bench-gpu` to race against: the same model, batch and data files.

Two modes, each with a model and an optimizer of its own:
  seed  as the four-hour script trains: autocast to bf16 (f16 with a GradScaler where the GPU has none), eager, AdamW
  best  the same step at PyTorch's best: torch.compile(mode="max-autotune"), fused AdamW, data copied from pinned memory

Reads requests from stdin, one JSON object a line: {"mode": "seed", "steps": 90, "validate": true}. Trains on for so many
steps, every update applied, and answers with one JSON line: the median over windows of steps between two synchronisations.
What comes first (compilation, caches) is for the caller to leave out. Needs torch and numpy.
"""
import argparse
import contextlib
import json
import math
import statistics
import sys
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

STEPS_OF_SCHEDULE, WARMUP, PEAK_LR = 12_000, 200, 6e-4


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True, help="folder with train.bin and val.bin")
    p.add_argument("--vocab", type=int, required=True)
    p.add_argument("--layers", type=int, default=6)
    p.add_argument("--heads", type=int, default=8)
    p.add_argument("--dim", type=int, default=320)
    p.add_argument("--mlp", type=int, default=856)
    p.add_argument("--seq", type=int, default=512)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--val-windows", type=int, default=64)
    p.add_argument("--window", type=int, default=10, help="steps between two synchronisations")
    p.add_argument("--device", default="", help="cuda, mps or cpu; the GPU where there is one")
    p.add_argument("--probe", action="store_true", help="say what there is, and end")
    return p.parse_args()


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x):
        y = x.float()
        return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * self.gain


def rotate(x, cos, sin):
    """Halves of a head paired, as LlamaForCausalLM does."""
    a, b = x.chunk(2, -1)
    return (x * cos + torch.cat((-b, a), -1) * sin).to(x.dtype)


class Block(nn.Module):
    def __init__(self, width, heads, mlp):
        super().__init__()
        self.heads = heads
        self.norm, self.mlp_norm = RMSNorm(width), RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate_up, self.down = nn.Linear(width, 2 * mlp, bias=False), nn.Linear(mlp, width, bias=False)

    def forward(self, x, cos, sin):
        batch, length, width = x.shape
        shape = (batch, length, self.heads, width // self.heads)
        q, k, v = (t.view(shape).transpose(1, 2) for t in self.qkv(self.norm(x)).split(width, -1))
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.embedding = nn.Embedding(a.vocab, a.dim)
        self.blocks = nn.ModuleList(Block(a.dim, a.heads, a.mlp) for _ in range(a.layers))
        self.norm = RMSNorm(a.dim)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * a.layers) if residual else 0.02)
        width = a.dim // a.heads
        angles = torch.arange(a.seq).float()[:, None] / 10_000 ** (torch.arange(0, width, 2).float() / width)
        angles = torch.cat((angles, angles), -1)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids, targets):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = F.linear(self.norm(x), self.embedding.weight)
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1))


def learning_rate(step):
    if step < WARMUP:
        return step / WARMUP
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS_OF_SCHEDULE - WARMUP)))


class Mode:
    """A model in training."""

    def __init__(self, a, device, best):
        torch.manual_seed(1)
        self.a, self.device, self.best, self.step = a, device, best, 0
        self.model = Model(a).to(device)
        self.half = half_of(device)
        self.forward = torch.compile(self.model, mode="max-autotune") if best else self.model
        decay = [p for n, p in self.model.named_parameters() if p.dim() == 2 and "embedding" not in n]
        plain = [p for n, p in self.model.named_parameters() if p.dim() < 2 or "embedding" in n]
        groups = [{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
        fused = True if best and device != "mps" else None
        self.optimizer = torch.optim.AdamW(groups, lr=PEAK_LR, betas=(0.9, 0.95), eps=1e-8, fused=fused)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, learning_rate)
        self.scaler = torch.amp.GradScaler(device, enabled=self.half == torch.float16)
        dtype = np.uint16 if a.vocab <= 65_536 else np.uint32
        self.train = np.memmap(f"{a.data}/train.bin", dtype=dtype, mode="r")
        self.val = np.memmap(f"{a.data}/val.bin", dtype=dtype, mode="r")
        self.random = np.random.default_rng(1)

    def autocast(self):
        return torch.autocast(self.device, dtype=self.half) if self.half else contextlib.nullcontext()

    def windows(self, data, starts):
        rows = np.stack([data[s : s + self.a.seq + 1] for s in starts]).astype(np.int64)
        ids, targets = torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy())
        if self.best and self.device == "cuda":
            ids, targets = ids.pin_memory(), targets.pin_memory()
            return ids.to("cuda", non_blocking=True), targets.to("cuda", non_blocking=True)
        return ids.to(self.device), targets.to(self.device)

    def update(self):
        starts = self.random.integers(0, len(self.train) - self.a.seq, self.a.batch)
        ids, targets = self.windows(self.train, starts)
        if self.best and self.device == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        with self.autocast():
            loss = self.forward(ids, targets)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss

    def synchronise(self):
        if self.device == "cuda":
            torch.cuda.synchronize()
        elif self.device == "mps":
            torch.mps.synchronize()

    def run(self, steps):
        """Seconds a step, one figure for each window, and the last loss."""
        seconds, left, loss = [], steps, None
        self.synchronise()
        while left > 0:
            count = min(left, self.a.window)
            started = time.perf_counter()
            for _ in range(count):
                loss = self.update()
            self.synchronise()
            seconds.append((time.perf_counter() - started) / count)
            left -= count
        return seconds, float(loss.detach())

    @torch.no_grad()
    def validate(self):
        """Mean loss of the first windows of val.bin, which do not overlap: those that `train` takes."""
        most = (len(self.val) - 1) // self.a.seq
        starts = [i * self.a.seq for i in range(min(self.a.val_windows, most))]
        total = 0.0
        for first in range(0, len(starts), self.a.batch):
            part = starts[first : first + self.a.batch]
            ids, targets = self.windows(self.val, part)
            with self.autocast():
                total += float(self.model(ids, targets)) * len(part)
        return total / len(starts)


def half_of(device):
    if device == "cpu":
        return torch.bfloat16
    if device == "mps":
        return torch.bfloat16
    try:
        real = torch.cuda.is_bf16_supported(including_emulation=False)
    except TypeError:
        real = torch.cuda.is_bf16_supported()
    return torch.bfloat16 if real else torch.float16


def gpu():
    if torch.cuda.is_available():
        return "cuda", torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        return "mps", "Apple GPU"
    return None, None


def main():
    a = arguments()
    found, name = gpu()
    if a.probe:
        return print(json.dumps({"torch": torch.__version__, "gpu": name}), flush=True)
    device = a.device or found
    if device is None:
        sys.exit(f"PyTorch {torch.__version__} has no GPU")
    modes = {}
    for line in sys.stdin:
        request = json.loads(line)
        which = request["mode"]
        try:
            mode = modes[which] = modes.get(which) or Mode(a, device, which == "best")
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            seconds, loss = mode.run(request["steps"])
            median = statistics.median(seconds)
            answer = {
                "mode": which,
                "dtype": str(mode.half).removeprefix("torch."),
                "steps": mode.step,
                "step_ms": median * 1e3,
                "tokens_per_second": a.batch * a.seq / median,
                "loss": loss,
                "parameters": sum(p.numel() for p in mode.model.parameters()),
            }
            if device == "cuda":
                answer["memory_mib"] = torch.cuda.max_memory_reserved() / 2**20
            if request.get("validate"):
                answer["val_loss"] = mode.validate()
        except Exception as error:  # the race goes on with the other mode
            answer = {"mode": which, "error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

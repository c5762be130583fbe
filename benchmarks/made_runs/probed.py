"""Train a tiny language model with every probe on: real data for what is judged from them.

    python -m benchmarks.made_runs.probed FILE.jsonl [STEPS]        needs torch; some minutes on one core

Four blocks of width 64 on the characters of Python's own library, AdamW, warm-up and cosine. Each probe looks at the
same batch every time; gradients are those of four micro-batches.
"""

from __future__ import annotations

import json
import math
import sys
import sysconfig
from pathlib import Path

import torch
from torch import nn

from losscast import probe

WIDTH, HEADS, BLOCKS, CONTEXT = 64, 2, 4, 64
MICRO_BATCHES, MICRO_BATCH = 4, 4
PEAK, FLOOR, WARM_UP = 3e-3, 0.1, 100
EVERY = 10


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_units = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.units = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        later = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), 1)
        y = self.before_attention(x)
        x = x + self.attention(y, y, y, attn_mask=later, need_weights=False)[0]
        return x + self.units(self.before_units(x))


class Model(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary)

    def residual_streams(self, x: torch.Tensor) -> list[torch.Tensor]:
        """After each block."""
        x = self.tokens(x) + self.places(torch.arange(x.shape[1]))
        streams = []
        for block in self.blocks:
            x = block(x)
            streams.append(x)
        return streams

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.residual_streams(x)[-1]))


def text() -> torch.Tensor:
    folder = Path(sysconfig.get_paths()["stdlib"])
    characters = "".join(file.read_text(errors="ignore") for file in sorted(folder.glob("*.py"))[:60])
    known = {character: at for at, character in enumerate(sorted(set(characters)))}
    return torch.tensor([known[character] for character in characters])


def rate_at(step: int, steps: int) -> float:
    if step < WARM_UP:
        return PEAK * (step + 1) / WARM_UP
    done = (step - WARM_UP) / max(steps - WARM_UP, 1)
    return PEAK * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))


def train(file: Path, steps: int) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = text()
    model = Model(int(data.max()) + 1)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    start, noise = probe.snapshot(model), probe.GradientNoise()
    watched = _batch(data, 32)[0]
    recipe = {"width": WIDTH, "blocks": BLOCKS, "context": CONTEXT, "batch": MICRO_BATCHES * MICRO_BATCH, "peak": PEAK,
              "warmup": WARM_UP, "steps": steps, "schedule": "cosine", "weight_decay": 0.1}  # fmt: skip
    with file.open("w") as out:
        out.write(json.dumps({"meta": recipe}) + "\n")
        for step in range(steps):
            rate = rate_at(step, steps)
            row: dict[str, float] = {"step": step, "lr": rate}
            total = [torch.zeros_like(weight) for weight in model.parameters()]
            loss, norms = 0.0, []
            for _ in range(MICRO_BATCHES):
                inputs, targets = _batch(data, MICRO_BATCH)
                one = nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
                gradients = torch.autograd.grad(one, list(model.parameters()))
                norms.append(math.sqrt(sum(float((part**2).sum()) for part in gradients)))
                total = [so_far + part / MICRO_BATCHES for so_far, part in zip(total, gradients, strict=True)]
                loss += one.item() / MICRO_BATCHES
            norm = math.sqrt(sum(float((part**2).sum()) for part in total))
            row |= {"train_loss": loss, "grad_norm": norm}
            noisy = noise.observe(small=norms, big=norm, small_batch=MICRO_BATCH, big_batch=MICRO_BATCHES * MICRO_BATCH)
            for weight, part in zip(model.parameters(), total, strict=True):
                weight.grad = part * min(1.0, 1.0 / norm)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            if step % EVERY == 0:
                row |= {"batch_size": MICRO_BATCHES * MICRO_BATCH, **noisy}
                row |= probe.weights(model, initial=start, rate=rate)
                with torch.no_grad():
                    for at, stream in enumerate(model.residual_streams(watched)):
                        measured = probe.units(stream.flatten(0, 1), name=f"block{at}")
                        row[f"block{at}/massive_ratio"] = measured[f"block{at}/massive_ratio"]
            out.write(json.dumps({name: float(f"{value:.6g}") if name != "step" else value
                                  for name, value in row.items()}) + "\n")  # fmt: skip


def _batch(data: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    at = torch.randint(0, len(data) - CONTEXT - 1, (size, 1)) + torch.arange(CONTEXT + 1)
    return data[at][:, :-1], data[at][:, 1:]


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2000)

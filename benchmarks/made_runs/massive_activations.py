"""Train a tiny transformer to which a resting place for attention is of use: what the massive law was tried on.

    python -m benchmarks.made_runs.massive_activations FILE.csv [STEPS]        needs torch; five minutes on one core

The task is the one in which Guo et al. (arXiv:2410.13835) found attention sinks, and massive activations with them, in
three layers trained by Adam: a token follows the one before it by a fixed table of chances, except after a trigger,
when the token before the trigger comes again. Every sequence begins with the same token, which is never asked for, so
that a head that copies has somewhere to rest. The probes look at the same sequences every time.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from benchmarks.made_runs.tiny_transformer import Shape, TinyTransformer
from losscast import probe

LETTERS, TRIGGERS = 32, 3
FIRST = LETTERS
CONTEXT, PREPARED = 64, 40_000
BATCH, WATCHED, EVERY, WARM_UP, RATE = 16, 16, 20, 50, 3e-3
SHAPE = Shape(vocabulary=LETTERS + 1, width=64, heads=1, blocks=3, context=CONTEXT)


def train(steps: int) -> Iterator[dict[str, float]]:
    torch.manual_seed(0)
    sequences = draw_sequences(PREPARED)
    model = TinyTransformer(SHAPE)
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.99))
    watched = sequences[torch.randint(0, PREPARED, (WATCHED,))][:, :-1]
    for step in range(steps):
        rows = sequences[torch.randint(0, PREPARED, (BATCH,))]
        loss = nn.functional.cross_entropy(model(rows[:, :-1]).outputs.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARM_UP)
        optimizer.step()
        if step % EVERY == 0:
            yield {"step": step, "train_loss": loss.item(), **_looked(model, watched)}


def draw_sequences(n: int) -> torch.Tensor:
    """Shape (n, context + 1)."""
    chances = torch.distributions.Dirichlet(torch.full((LETTERS,), 0.1)).sample((LETTERS,))
    rows = torch.empty(n, CONTEXT + 1, dtype=torch.long)
    rows[:, 0] = FIRST
    rows[:, 1] = torch.randint(0, LETTERS, (n,))
    for at in range(2, CONTEXT + 1):
        before, last = rows[:, at - 2], rows[:, at - 1]
        drawn = torch.multinomial(chances[last], 1)[:, 0]
        rows[:, at] = torch.where((last < TRIGGERS) & (before != FIRST), before, drawn)
    return rows


def _looked(model: TinyTransformer, watched: torch.Tensor) -> dict[str, float]:
    row: dict[str, float] = {}
    with torch.no_grad():
        insides = model(watched)
    for at, (stream, share) in enumerate(zip(insides.streams, insides.attention_to_first(), strict=True)):
        measured = probe.units(stream.flatten(0, 1), name=f"block{at}")
        row[f"block{at}/massive_ratio"] = measured[f"block{at}/massive_ratio"]
        row[f"block{at}/attention_to_first"] = share
    return row


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("Name a file to write the run to.")
    torch.set_num_threads(1)
    rows = train(int(sys.argv[2]) if len(sys.argv) > 2 else 5000)
    with Path(sys.argv[1]).open("w", newline="") as file:
        first = next(rows)
        writer = csv.DictWriter(file, list(first), lineterminator="\n")
        writer.writeheader()
        for row in (first, *rows):
            writer.writerow({name: value if name == "step" else f"{value:.5g}" for name, value in row.items()})


if __name__ == "__main__":
    main()

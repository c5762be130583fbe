"""Train tiny language models without a norm on queries and keys, at rates that are too large for most of them.

    python -m benchmarks.made_runs.attention_logits FOLDER [RUNS]        needs torch; half a minute a run on one core

The largest attention logit grows like a power of the step, the faster the larger the rate: what the trend of
`app/diagnostics/risk.py` is reported on. Its level, its reach and its window were chosen before these runs existed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.made_runs.tiny_transformer import Shape, TinyTransformer, library_text

BATCH, CONTEXT, STEPS, WARM_UP = 16, 32, 2000, 20
FAR_BEYOND = 5_000.0
"""A run ends where its largest logit is five times the level that the diagnosis watches for."""


@dataclass(frozen=True, slots=True)
class Recipe:
    seed: int
    rate: float
    width: int
    heads: int
    blocks: int
    second_moment: float  # Adam's beta_2
    decay: bool  # of the rate, linear, to a tenth at the end


def draw_recipe(seed: int) -> Recipe:
    rng = np.random.default_rng(seed)
    return Recipe(
        seed=seed,
        rate=float(10 ** rng.uniform(-2.5, -1.0)),
        width=int(rng.choice([32, 64])),
        heads=int(rng.choice([2, 4])),
        blocks=int(rng.choice([2, 3])),
        second_moment=float(rng.choice([0.95, 0.99])),
        decay=bool(rng.random() < 0.3),
    )


def train(recipe: Recipe, data: torch.Tensor) -> Iterator[dict[str, float]]:
    torch.manual_seed(recipe.seed)
    model = TinyTransformer(Shape(int(data.max()) + 1, recipe.width, recipe.heads, recipe.blocks, CONTEXT))
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, recipe.second_moment))
    for step in range(STEPS):
        rate = recipe.rate * min(1.0, (step + 1) / WARM_UP) * (1 - 0.9 * step / STEPS if recipe.decay else 1.0)
        at = torch.randint(0, len(data) - CONTEXT - 1, (BATCH, 1)) + torch.arange(CONTEXT + 1)
        rows = data[at]
        insides = model(rows[:, :-1])
        loss = nn.functional.cross_entropy(insides.outputs.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        largest = insides.largest_attention_logit
        yield {"step": step, "lr": rate, "train_loss": loss.item(), "grad_norm": norm, "max_attn_logit": largest}
        if not largest <= FAR_BEYOND:
            return


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("Name a folder to write the runs to.")
    folder, runs = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 18
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    data = library_text()
    for seed in range(runs):
        recipe = draw_recipe(seed)
        with (folder / f"nocap_{seed:02d}.jsonl").open("w") as out:
            out.write(json.dumps({"meta": asdict(recipe)}) + "\n")
            row: dict[str, float] = {}
            for row in train(recipe, data):
                out.write(json.dumps({k: v if k == "step" else float(f"{v:.6g}") for k, v in row.items()}) + "\n")
        print(f"{seed:3d} rate {recipe.rate:.2g}: {row}", flush=True)


if __name__ == "__main__":
    main()

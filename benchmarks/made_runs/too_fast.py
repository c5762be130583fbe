"""Train small noisy networks at rates of which many are too large: what falls back to chance is among them.

    python -m benchmarks.made_runs.too_fast FOLDER [RUNS [FIRST]]        needs torch; some seconds a run on one core

A recipe is drawn by its seed. Half of the networks guess the next of the characters of Python's own library from those
before, half sort points by a random teacher; batches are small, so that a point says little of where the loss stands.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.made_runs.tiny_transformer import library_text

STEPS = 2000
CLASSES, FEATURES, CONTEXT = 32, 24, 6
EVALUATED_EVERY = 100

Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Recipe:
    seed: int
    task: str
    rate: float
    optimizer: str
    second_moment: float  # Adam's beta_2
    warm_up: int  # [steps]
    schedule: str
    batch: int
    width: int
    layers: int
    is_smooth: bool  # tanh instead of ReLU


def draw_recipe(seed: int) -> Recipe:
    rng = np.random.default_rng(seed)
    optimizer = str(rng.choice(["adam", "sgd"], p=[0.75, 0.25]))
    lowest, highest = (-3.0, 0.3) if optimizer == "adam" else (-1.5, 1.3)
    return Recipe(
        seed=seed,
        task=str(rng.choice(["text", "teacher"])),
        rate=float(10 ** rng.uniform(lowest, highest)),
        optimizer=optimizer,
        second_moment=float(rng.choice([0.95, 0.98, 0.999])),
        warm_up=int(rng.choice([0, 50, 200, 400])),
        schedule=str(rng.choice(["cosine", "wsd", "constant"])),
        batch=int(rng.choice([8, 16, 64, 128])),
        width=int(rng.choice([32, 64, 128])),
        layers=int(rng.choice([1, 2, 3])),
        is_smooth=bool(rng.random() < 0.3),
    )


def rate_at(step: int, recipe: Recipe) -> float:
    if step <= recipe.warm_up:
        return recipe.rate * step / recipe.warm_up
    done = (step - recipe.warm_up) / (STEPS - recipe.warm_up)
    if recipe.schedule == "cosine":
        return recipe.rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
    return recipe.rate * (min(1.0, 4 * (1 - done)) if recipe.schedule == "wsd" else 1.0)


def network(recipe: Recipe, inputs: int, outputs: int) -> nn.Sequential:
    sizes = [inputs, *[recipe.width] * recipe.layers]
    parts: list[nn.Module] = []
    for before, after in pairwise(sizes):
        parts += [nn.Linear(before, after), nn.Tanh() if recipe.is_smooth else nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(recipe.width, outputs))


def text_task(recipe: Recipe, data: torch.Tensor) -> tuple[nn.Module, Callable[[int], Batch]]:
    vocabulary = int(data.max()) + 1
    model = nn.Sequential(nn.Embedding(vocabulary, 16), nn.Flatten(), *network(recipe, 16 * CONTEXT, vocabulary))

    def draw(samples: int) -> Batch:
        at = torch.randint(0, len(data) - CONTEXT - 1, (samples, 1))
        return data[at + torch.arange(CONTEXT)], data[at[:, 0] + CONTEXT]

    return model, draw


def teacher_task(recipe: Recipe) -> tuple[nn.Module, Callable[[int], Batch]]:
    teacher = nn.Sequential(nn.Linear(FEATURES, 64), nn.Tanh(), nn.Linear(64, CLASSES)).requires_grad_(False)

    def draw(samples: int) -> Batch:
        points = torch.randn(samples, FEATURES)
        return points, torch.distributions.Categorical(logits=8.0 * teacher(points)).sample()

    return network(recipe, FEATURES, CLASSES), draw


def train(recipe: Recipe, data: torch.Tensor) -> Iterator[dict[str, float]]:
    torch.manual_seed(recipe.seed)
    model, draw = text_task(recipe, data) if recipe.task == "text" else teacher_task(recipe)
    held_out = draw(2000)
    optimizer: torch.optim.Optimizer = (
        torch.optim.Adam(model.parameters(), betas=(0.9, recipe.second_moment))
        if recipe.optimizer == "adam"
        else torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    )
    for step in range(1, STEPS + 1):
        rate = rate_at(step, recipe)
        for group in optimizer.param_groups:
            group["lr"] = rate
        inputs, wanted = draw(recipe.batch)
        loss = nn.functional.cross_entropy(model(inputs), wanted)
        optimizer.zero_grad()
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), math.inf))
        optimizer.step()
        row = {"step": step, "lr": rate, "train_loss": loss.item(), "grad_norm": norm}
        if step % EVALUATED_EVERY == 0:
            with torch.no_grad():
                row["val_loss"] = nn.functional.cross_entropy(model(held_out[0]), held_out[1]).item()
        yield row
        if not math.isfinite(loss.item()):
            return


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("Name a folder to write the runs to.")
    folder, runs = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 60
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    data = library_text()
    for seed in range(first, first + runs):
        recipe = draw_recipe(seed)
        with (folder / f"{recipe.task}_{seed:03d}.csv").open("w") as out:
            table = csv.DictWriter(out, ["step", "lr", "train_loss", "grad_norm", "val_loss"])
            table.writeheader()
            for row in train(recipe, data):
                table.writerow({name: value if name == "step" else f"{value:.6g}" for name, value in row.items()})
        print(f"{seed:3d} {recipe}", flush=True)


if __name__ == "__main__":
    main()

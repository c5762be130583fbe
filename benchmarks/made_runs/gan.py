"""Train tiny generators on a ring of eight Gaussians: some make all eight, some a few, and their losses hardly differ.

    python -m benchmarks.made_runs.gan FOLDER [RUNS]        needs torch; ten seconds a run on one core

Each seed is trained three times. *collapsing*: a discriminator cannot catch a generator that moves five times as fast,
so it goes where the discriminator is weakest, all of it at once, and on to the next place. *dropping*: a generator that
moves half as fast comes to all modes and then gives some up, one by one. *healthy*: both move alike, and the
discriminator's gradient on real samples is kept small (Mescheder et al., ICML 2018). What became of a run is not read
off its recipe but counted at its end, see `outcome`.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from losscast import probe

MODES, RADIUS, DEVIATION = 8, 2.0, 0.1
REACH = 4 * DEVIATION
"""A sample belongs to a mode within so much of its centre."""

BATCH, WIDTH, LATENT, EVERY, PROBED = 128, 64, 8, 25, 1024
RATE = 1e-3
RECIPES = {"collapsing": (5.0, 0.0, 2000), "dropping": (0.5, 0.0, 4000), "healthy": (1.0, 0.3, 2000)}
"""Ratio of the generator's rate to the discriminator's, penalty on the discriminator's gradient, steps."""


def centres() -> torch.Tensor:
    angles = torch.arange(MODES) * (2 * math.pi / MODES)
    return RADIUS * torch.stack([angles.cos(), angles.sin()], dim=1)


def real_samples(n: int) -> torch.Tensor:
    return centres()[torch.randint(0, MODES, (n,))] + DEVIATION * torch.randn(n, 2)


def modes_of(samples: torch.Tensor) -> torch.Tensor:
    """The nearest centre of each sample; -1 where it is out of reach."""
    nearest = torch.cdist(samples, centres()).min(dim=1)
    return torch.where(nearest.values <= REACH, nearest.indices, -1)


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, outputs)
    )


def train(seed: int, ratio: float, penalty: float, steps: int) -> Iterator[dict[str, float]]:
    torch.manual_seed(seed)
    generator, discriminator = perceptron(LATENT, 2), perceptron(2, 1)
    of_generator = torch.optim.Adam(generator.parameters(), lr=RATE * ratio, betas=(0.5, 0.999))
    of_discriminator = torch.optim.Adam(discriminator.parameters(), lr=RATE, betas=(0.5, 0.999))
    judged = nn.functional.binary_cross_entropy_with_logits
    yes, no = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)
    watched, real = torch.randn(PROBED, LATENT), real_samples(PROBED)
    for step in range(steps + 1):
        made = generator(torch.randn(BATCH, LATENT))
        genuine = real_samples(BATCH).requires_grad_()
        scores = discriminator(genuine)
        d_loss = judged(scores, yes) + judged(discriminator(made.detach()), no)
        of_discriminator.zero_grad()
        (d_loss + penalty * _steepness(scores, genuine) if penalty else d_loss).backward()
        of_discriminator.step()
        g_loss = judged(discriminator(made), yes)
        of_generator.zero_grad()
        g_loss.backward()
        of_generator.step()
        if step % EVERY == 0:
            with torch.no_grad():
                samples = generator(watched)
            measured = probe.samples(samples, modes_of(samples), real=real, real_modes=modes_of(real))
            yield {"step": step, "g_loss": g_loss.item(), "d_loss": d_loss.item(), **measured}


def _steepness(scores: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
    """Mean squared norm of the discriminator's gradient at the samples."""
    (gradients,) = torch.autograd.grad(scores.sum(), samples, create_graph=True)
    return (gradients**2).sum(dim=1).mean()


def outcome(rows: list[dict[str, float]]) -> str:
    """Over the last quarter: collapsed, whole or neither, by how many modes are covered."""
    last = rows[-len(rows) // 4 :]
    covered = sorted(row["samples/modes_covered"] for row in last)[len(last) // 2]
    return "collapsed" if covered <= MODES / 2 else ("whole" if covered >= MODES - 1 else "neither")


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("Name a folder to write the runs to.")
    folder, runs = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 4
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for seed in range(runs):
        for recipe, how in RECIPES.items():
            rows = [{k: v if k == "step" else float(f"{v:.5g}") for k, v in row.items()}
                    for row in train(seed, *how)]  # fmt: skip
            with (folder / f"{recipe}_{seed}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
            print(f"{recipe}_{seed}", outcome(rows), rows[-1], flush=True)


if __name__ == "__main__":
    main()

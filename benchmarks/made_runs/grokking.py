"""Train tiny networks on modular arithmetic until they grok, or do not: what the grokking forecast is chosen on.

Every run differs: modulus, operation, share of the pairs trained on, network, optimizer, rate, weight decay, scale of
the initial weights, and how often it is evaluated. Some can never generalise (random labels), some do so at once, most
somewhere between. The runs that the forecast is reported on (docs/diagnostics.md) are none of these.

    python -m benchmarks.made_runs.grokking FOLDER [RUNS]

Plain numpy, one thread: some seconds a run.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

DONE_EVALUATIONS = 10
"""A run ends so many evaluations after it has generalised."""


@dataclass(frozen=True, slots=True)
class Recipe:
    seed: int
    modulus: int
    operation: str
    share: float  # of all pairs that are trained on
    width: int
    activation: str
    optimizer: str
    rate: float
    weight_decay: float
    initial_scale: float
    evaluate_every: int
    total_steps: int


def draw_recipe(seed: int) -> Recipe:
    rng = np.random.default_rng(seed)
    optimizer = "adamw" if rng.random() < 0.8 else "sgdm"
    return Recipe(
        seed=seed,
        modulus=int(rng.choice([17, 19, 23, 29, 31])),
        operation=str(rng.choice(["a+b", "a-b", "a*b", "a*a+b*b", "random"], p=[0.35, 0.2, 0.2, 0.1, 0.15])),
        share=float(rng.uniform(0.25, 0.75)),
        width=int(rng.choice([48, 96, 128])),
        activation=str(rng.choice(["square", "relu"])),
        optimizer=optimizer,
        rate=float(10 ** rng.uniform(-3, -2) if optimizer == "adamw" else 10 ** rng.uniform(-1, 0)),
        weight_decay=float(rng.choice([0.0, 0.03, 0.1, 0.3, 1.0, 2.0]) * (1.0 if optimizer == "adamw" else 1e-3)),
        initial_scale=float(rng.choice([0.5, 1.0, 2.0])),
        evaluate_every=int(rng.choice([5, 10, 20, 50])),
        total_steps=8_000,
    )


def train(recipe: Recipe) -> Iterator[dict[str, float]]:
    """The run's evaluations, each as it is logged."""
    rng = np.random.default_rng(recipe.seed)
    pairs, labels = _task(recipe, rng)
    order = rng.permutation(len(pairs))
    cut = round(recipe.share * len(pairs))
    train_rows, held_out = order[:cut], order[cut:]
    weights = _initial_weights(recipe, rng)
    # Sums over the rows of each number, as matrix products: far quicker than numpy's scattered additions.
    chosen = [np.eye(recipe.modulus, dtype=np.float32)[:, column].copy() for column in pairs[train_rows].T]
    state = [np.zeros_like(one) for one in (*weights, *weights)]
    done = 0
    for step in range(recipe.total_steps + 1):
        if step % recipe.evaluate_every == 0:
            row = _evaluate(recipe, weights, pairs, labels, train_rows, held_out)
            if not np.isfinite(row["train_loss"]):
                return
            yield {"step": step, "lr": recipe.rate, **row}
            done += row["val_acc"] >= 0.97 and row["train_acc"] >= 0.99
            if done > DONE_EVALUATIONS:
                return
        gradients = _gradients(recipe, weights, pairs[train_rows], labels[train_rows], chosen)
        _update(recipe, weights, state, gradients, step + 1)


def _task(recipe: Recipe, rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    p = recipe.modulus
    a, b = (one.ravel() for one in np.meshgrid(np.arange(p), np.arange(p), indexing="ij"))
    labels = {
        "a+b": (a + b) % p,
        "a-b": (a - b) % p,
        "a*b": (a * b) % p,
        "a*a+b*b": (a * a + b * b) % p,
        "random": rng.integers(0, p, len(a)),
    }
    return np.stack([a, b], axis=1), labels[recipe.operation]


def _initial_weights(recipe: Recipe, rng: np.random.Generator) -> list[Floats]:
    """Embeddings of the first and of the second number, and the output layer."""
    p, width = recipe.modulus, recipe.width
    scale = recipe.initial_scale
    shapes = ((p, width), (p, width), (width, p))
    sizes = (scale * 0.5, scale * 0.5, scale * width**-0.5)
    return [(size * rng.standard_normal(shape)).astype(np.float32) for shape, size in zip(shapes, sizes, strict=True)]


def _forward(recipe: Recipe, weights: list[Floats], pairs: npt.NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    inner = weights[0][pairs[:, 0]] + weights[1][pairs[:, 1]]
    hidden = inner * inner if recipe.activation == "square" else np.maximum(inner, 0)
    logits = hidden @ weights[2]
    logits -= logits.max(axis=1, keepdims=True)
    return inner, hidden, logits


def _losses(logits: Floats, labels: npt.NDArray[np.int64]) -> Floats:
    exact = logits.astype(np.float64)
    losses: Floats = np.log(np.exp(exact).sum(axis=1)) - exact[np.arange(len(labels)), labels]
    return losses


def _evaluate(
    recipe: Recipe,
    weights: list[Floats],
    pairs: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    train_rows: npt.NDArray[np.int64],
    held_out: npt.NDArray[np.int64],
) -> dict[str, float]:
    row: dict[str, float] = {}
    for name, rows in (("train", train_rows), ("val", held_out)):
        _, _, logits = _forward(recipe, weights, pairs[rows])
        row[f"{name}_loss"] = float(_losses(logits, labels[rows]).mean())
        row[f"{name}_acc"] = float((logits.argmax(axis=1) == labels[rows]).mean())
    row["param_norm"] = float(np.sqrt(sum(float((one * one).sum()) for one in weights)))
    return row


def _gradients(
    recipe: Recipe,
    weights: list[Floats],
    pairs: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    chosen: list[Floats],
) -> list[Floats]:
    inner, hidden, logits = _forward(recipe, weights, pairs)
    error = np.exp(logits)
    error /= error.sum(axis=1, keepdims=True)
    error[np.arange(len(labels)), labels] -= 1
    error /= len(labels)
    back = error @ weights[2].T
    back *= 2 * inner if recipe.activation == "square" else inner > 0
    return [*(rows @ back for rows in chosen), hidden.T @ error]


def _update(recipe: Recipe, weights: list[Floats], state: list[Floats], gradients: list[Floats], step: int) -> None:
    for at, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
        first, second = state[at], state[at + len(weights)]
        if recipe.optimizer == "sgdm":
            first *= np.float32(0.9)
            first += gradient + np.float32(recipe.weight_decay) * weight
            weight -= np.float32(recipe.rate) * first
            continue
        first += np.float32(0.1) * (gradient - first)
        second += np.float32(0.02) * (gradient * gradient - second)
        update = (first / np.float32(1 - 0.9**step)) / (np.sqrt(second / np.float32(1 - 0.98**step)) + np.float32(1e-8))
        weight -= np.float32(recipe.rate) * (update + np.float32(recipe.weight_decay) * weight)


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("Name a folder to write the runs to.")
    folder, runs = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 80
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(runs):
        recipe = draw_recipe(seed)
        rows = list(train(recipe))
        with (folder / f"{seed:03d}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(
                file, ["step", "lr", "train_loss", "train_acc", "val_loss", "val_acc", "param_norm"]
            )
            writer.writeheader()
            writer.writerows(rows)
        (folder / f"{seed:03d}.json").write_text(json.dumps(asdict(recipe)))
        print(seed, len(rows), rows[-1] if rows else "", flush=True)


if __name__ == "__main__":
    main()

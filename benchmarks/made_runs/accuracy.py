"""Train the small classifiers that forecasts of accuracies were chosen on (digits) and reported on (text).

    python -m benchmarks.made_runs.accuracy OUTPUT [--digits digits.csv.gz]

writes OUTPUT/digits (30 runs) and OUTPUT/text (20): training and validation loss and accuracy, with the learning rate.
Every run differs: size of the network and of the training set, wrong labels, noise, optimizer, rate, length, and one
of five schedules. Seeded, one thread; about two minutes in all. PyTorch is needed.

Data: 8 x 8 digits of the UCI repository (Alpaydin, Kaynak, "Optical Recognition of Handwritten Digits", CC BY 4.0), as
scikit-learn ships them (BSD-3-Clause; `pip install scikit-learn`, or name its file after --digits); and the help topics
of the Python that runs this (`pydoc_data.topics`, PSF licence): another minor version has another text.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch
from torch import Tensor, nn

DIGITS_RUNS, TEXT_RUNS = 30, 20
SCHEDULES = ("cosine", "wsd", "step", "linear", "constant")
TRAINING_DIGITS = 1100  # of 1797; the rest validate
MOST_CHARACTERS = 600_000
ROWS, EVALUATIONS = 120, 60  # of a run

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Task:
    """A network, what it is trained and validated on, and how."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: str
    peak: float
    total_steps: int
    next_batch: Callable[[], Batch]
    validation: Batch


def digits_task(seed: int, images: Tensor, labels: Tensor) -> Task:
    # The order of the draws is part of the runs: another order is another set of runs.
    rng = np.random.default_rng([1, seed])
    torch.manual_seed(seed)
    order = torch.tensor(rng.permutation(len(images)))
    images, labels = images[order], labels[order]
    n_train = int(rng.choice([150, 400, TRAINING_DIGITS]))
    train_images, train_labels = images[:n_train].clone(), labels[:n_train].clone()
    images, labels = images[TRAINING_DIGITS:], labels[TRAINING_DIGITS:]
    wrong = float(rng.choice([0, 0, 0.1, 0.3]))
    flipped = torch.tensor(rng.random(n_train) < wrong)
    train_labels[flipped] = torch.tensor(rng.integers(0, 10, int(flipped.sum())))
    noise = float(rng.choice([0, 0.2, 0.5]))
    train_images = train_images + noise * torch.tensor(rng.standard_normal(train_images.shape), dtype=torch.float32)
    images = images + noise * torch.tensor(rng.standard_normal(images.shape), dtype=torch.float32)
    width, dropout = int(rng.choice([12, 32, 128])), float(rng.choice([0, 0.3]))
    schedule = SCHEDULES[seed % len(SCHEDULES)]
    total_steps = int(rng.choice([600, 1500, 4000]))
    kind = str(rng.choice(["sgd", "adamw"]))
    lowest, highest = (0.02, 0.3) if kind == "sgd" else (2e-4, 6e-3)
    peak = float(np.exp(rng.uniform(np.log(lowest), np.log(highest))))
    model = nn.Sequential(
        nn.Linear(64, width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 10),
    )
    optimizer: torch.optim.Optimizer
    if kind == "sgd":
        optimizer = torch.optim.SGD(model.parameters(), lr=peak, momentum=0.9)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=0.05)

    def next_batch() -> Batch:
        rows = torch.tensor(rng.integers(0, n_train, 32))
        return train_images[rows], train_labels[rows]

    name = f"digits_{seed:02d}_{schedule}_{kind}"
    return Task(name, model, optimizer, schedule, peak, total_steps, next_batch, (images, labels))


def text_task(seed: int, text: Tensor, n_characters: int) -> Task:
    """The next character from the last few."""
    rng = np.random.default_rng([2, seed])
    torch.manual_seed(seed)
    context, size, width = int(rng.choice([4, 8, 16])), int(rng.choice([8, 16])), int(rng.choice([64, 128, 256]))
    cut = int(0.95 * len(text))

    def batch(first: int, last: int, n: int) -> Batch:
        begins = torch.tensor(rng.integers(first, last - context - 1, n))
        return text[begins[:, None] + torch.arange(context)], text[begins + context]

    validation = batch(cut, len(text), 1500)
    schedule = SCHEDULES[seed % len(SCHEDULES)]
    total_steps = int(rng.choice([1000, 2500, 5000]))
    peak = float(np.exp(rng.uniform(np.log(7e-4), np.log(1e-2))))
    model = nn.Sequential(
        nn.Embedding(n_characters, size),
        nn.Flatten(),
        nn.Linear(context * size, width),
        nn.ReLU(),
        nn.Linear(width, n_characters),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=0.05)
    name = f"text_{seed:02d}_{schedule}"
    return Task(name, model, optimizer, schedule, peak, total_steps, lambda: batch(0, cut, 64), validation)


def train(task: Task) -> list[dict[str, float | str]]:
    """The run's rows; validation in every second of them."""
    total = task.total_steps
    log_every, evaluate_every = max(total // ROWS, 1), max(total // EVALUATIONS, 1)
    rows: list[dict[str, float | str]] = []
    losses: list[float] = []
    hits = seen = 0
    for step in range(total):
        rate = rate_at(task.schedule, step, total, task.peak)
        for group in task.optimizer.param_groups:
            group["lr"] = rate
        inputs, targets = task.next_batch()
        task.model.train()
        outputs = task.model(inputs)
        loss = nn.functional.cross_entropy(outputs, targets)
        task.optimizer.zero_grad()
        loss.backward()
        task.optimizer.step()
        hits += int((outputs.argmax(1) == targets).sum())
        seen += len(targets)
        losses.append(float(loss.detach()))
        last = step + 1 == total
        if (step + 1) % log_every == 0 or last:
            row: dict[str, float | str] = {"step": step + 1, "lr": rate, "train_loss": float(np.mean(losses))}
            row |= {"train_acc": hits / seen, "val_loss": "", "val_acc": ""}
            if (step + 1) % evaluate_every == 0 or last:
                row |= evaluate(task)
            rows.append(row)
            losses, hits, seen = [], 0, 0
    return rows


def evaluate(task: Task) -> dict[str, float]:
    inputs, targets = task.validation
    task.model.eval()
    with torch.no_grad():
        outputs = task.model(inputs)
        return {
            "val_loss": float(nn.functional.cross_entropy(outputs, targets)),
            "val_acc": float((outputs.argmax(1) == targets).float().mean()),
        }


def rate_at(schedule: str, step: int, total_steps: int, peak: float) -> float:
    """After a warm-up over 3 % of the steps."""
    warmup = int(0.03 * total_steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(total_steps - warmup, 1)
    if schedule == "cosine":
        return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
    if schedule == "wsd":
        return peak * min(max((1 - done) / 0.25, 0.0), 1.0)
    if schedule == "step":
        return float(peak * 0.1 ** (int(done > 0.5) + int(done > 0.8)))
    return peak * (1 - done) if schedule == "linear" else peak


def read_digits(file: Path | None) -> Batch:
    path = file or _shipped_digits()
    if path is None or not path.is_file():
        sys.exit("The digits are not here: `pip install scikit-learn`, or name its digits.csv.gz after --digits.")
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        rows = np.loadtxt(lines, delimiter=",")
    return torch.tensor(rows[:, :64] / 16.0, dtype=torch.float32), torch.tensor(rows[:, 64]).long()


def _shipped_digits() -> Path | None:
    spec = find_spec("sklearn")
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0]) / "datasets" / "data" / "digits.csv.gz" if folders else None


def read_text() -> tuple[Tensor, int]:
    text = "".join(topics.values())[:MOST_CHARACTERS]
    characters = sorted(set(text))
    numbers = {character: number for number, character in enumerate(characters)}
    return torch.tensor([numbers[character] for character in text]), len(characters)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--digits", type=Path, help="digits.csv.gz of scikit-learn; else of the one installed")
    given = parser.parse_args()
    torch.set_num_threads(1)  # sums in another order are other runs
    images, labels = read_digits(given.digits)
    for seed in range(DIGITS_RUNS):
        _write(given.output / "digits", digits_task(seed, images, labels))
    text, n_characters = read_text()
    for seed in range(TEXT_RUNS):
        _write(given.output / "text", text_task(seed, text, n_characters))


def _write(folder: Path, task: Task) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = train(task)
    with (folder / f"{task.name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(task.name, rows[-1], flush=True)


if __name__ == "__main__":
    main()

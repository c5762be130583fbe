"""The training run: AdamW under a warm-up and a cosine over the budget, checkpoints, a record of what happened."""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.errors import BadInput, Conflict, NotFound, Unavailable
from app.pfn.bars import Bars, Knots
from app.pfn.intrinsic_time import Array
from app.pfn.network import Size
from app.pfn.prior import PRIOR_VERSION, Prior
from app.pfn.training.examples import Examples, make_examples, training_chunks, validation_examples
from app.pfn.training.network import BarLoss, Network
from app.pfn.training.score import Score, as_record, scores_of
from app.pfn.weights import read_network

CHECKPOINT = "checkpoint.pt"
RECORD = "record.jsonl"

PARTS = {"prior_version", "commit", "recipe", "budget", "clock", "network", "mean", "optimizer", "knots"}
"""What a checkpoint holds."""

KNOT_SEED = 20_260_723
N_FOR_KNOTS = 4096
N_VALIDATION = 2000

WEIGHT_DECAY = 0.01
GRADIENT_LIMIT = 1.0
WARMUP_SHARE = 0.02
MEAN_KEEPS = 0.998
"""The weights that are judged and shipped are a running mean over about the last 500 updates."""

CHECKPOINT_SECONDS = 120.0
VALIDATION_SHARE = 0.04
"""Scores are taken this often, as a share of the budget."""

Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Budget:
    """When the training ends: after so many minutes of its own clock, or so many curves. One of the two."""

    minutes: float | None = None
    curves: int | None = None

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.curves is None):
            raise BadInput("Give the length of the training as minutes or as curves, one of the two.")
        if not (self.minutes or self.curves or 0) > 0:
            raise BadInput("The length of the training must be above zero.")

    def progress(self, seconds: float, curves: int) -> float:
        """Share of the budget that is spent, 0 to 1."""
        if self.minutes is not None:
            return min(seconds / (60 * self.minutes), 1.0)
        return min(curves / float(self.curves or 1), 1.0)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what is trained, but for the budget.

    begun_from : sha256 of the parameters that it began with; None for random ones
    """

    seed: int = 0
    size: Size = field(default_factory=Size)
    batch: int = 64
    peak_rate: float = 2e-3
    prior: Prior = Prior.WHOLE
    begun_from: str | None = None

    def rate(self, progress: float) -> float:
        """Learning rate: up in a line, down in a cosine."""
        if progress < WARMUP_SHARE:
            return self.peak_rate * max(progress / WARMUP_SHARE, 1e-3)
        return self.peak_rate * (0.5 + 0.5 * math.cos(math.pi * (progress - WARMUP_SHARE) / (1 - WARMUP_SHARE)))


@dataclass(slots=True)
class Clock:
    """How far a training has come."""

    seconds: float = 0.0
    curves: int = 0
    updates: int = 0
    chunks: int = 0


class Training:
    """A network on its way, from the start or from its last checkpoint."""

    def __init__(self, folder: Path, recipe: Recipe, budget: Budget, device: torch.device) -> None:
        self.folder, self.recipe, self.budget, self.device = folder, recipe, budget, device
        self.clock = Clock()
        self.commit = source_commit()
        torch.manual_seed(recipe.seed)
        self.network = Network(recipe.size).to(device)
        self.mean = {name: value.detach().clone() for name, value in self.network.named_parameters()}
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.peak_rate, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY, fused=True
        )
        self.knots = _knots_of(recipe)
        self._loss = BarLoss(self.knots).to(device)

    @staticmethod
    def begin_from(given: Given, folder: Path, recipe: Recipe, budget: Budget, device: torch.device) -> Training:
        """Begin with the parameters of a trained network, of whatever prior, in place of random ones."""
        recipe = replace(recipe, size=given.size, begun_from=given.sha256)
        training = Training(folder, recipe, budget, device)
        training.network.load_state_dict(given.on_knots(training.knots))
        training.mean = {name: value.detach().clone() for name, value in training.network.named_parameters()}
        return training

    @staticmethod
    def resume(folder: Path, budget: Budget, device: torch.device) -> Training:
        """Go on from the checkpoint in `folder`, by its recipe."""
        saved = read_checkpoint(folder)
        if saved["prior_version"] != PRIOR_VERSION:
            raise Conflict(
                f"The checkpoint in {folder} was trained on version {saved['prior_version']} of the prior; "
                f"this is version {PRIOR_VERSION}. Start anew in another folder."
            )
        training = Training(folder, saved_recipe(saved), budget, device)
        training.network.load_state_dict(saved["network"])
        training.optimizer.load_state_dict(saved["optimizer"])
        training.mean = {name: value.to(device) for name, value in saved["mean"].items()}
        training.commit = saved["commit"]
        training.clock = Clock(**saved["clock"])
        return training

    def run(self, workers: int, report: Report) -> dict[str, Score]:
        """Train until the budget is spent, with a checkpoint every few minutes; the scores at the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        validation = validation_examples(N_VALIDATION, self.recipe.prior)
        chunks = training_chunks(self.recipe.prior, self.recipe.seed, self.clock.chunks, workers)
        saved_at, scored_at = self.clock.seconds, self._progress()
        began = time.monotonic() - self.clock.seconds
        while self._progress() < 1:
            losses = []
            for batch in batches(next(chunks), self.recipe.batch):
                self.clock.seconds = time.monotonic() - began
                losses.append(self._update(batch))
            self.clock.chunks += 1
            self.clock.seconds = time.monotonic() - began
            entry: dict[str, Any] = {**asdict(self.clock), "progress": self._progress(), "loss": float(np.mean(losses))}
            entry["rate"] = self.recipe.rate(self._progress())
            if self._progress() >= min(scored_at + VALIDATION_SHARE, 1.0):
                scored_at = self._progress()
                entry["scores"] = as_record(self.scores(validation))
            if self.clock.seconds >= saved_at + CHECKPOINT_SECONDS or self._progress() >= 1:
                saved_at = self.clock.seconds
                self._save()
            self._record(entry)
            report(entry)
        chunks.close()
        return self.scores(validation)

    def scores(self, examples: Examples) -> dict[str, Score]:
        """Scores of the mean weights."""
        return scores_of(self._bars(examples), examples)

    def _progress(self) -> float:
        return self.budget.progress(self.clock.seconds, self.clock.curves)

    def _update(self, batch: Batch) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self._progress())
        tokens, seen, queries, answers = (each.to(self.device, non_blocking=True) for each in batch)
        loss = self._loss(self.network(tokens, seen, queries), answers).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_LIMIT)
        self.optimizer.step()
        self.clock.updates += 1
        self.clock.curves += len(tokens)
        # Early on a short mean, or the first random weights would stay in it for long.
        keeps = min(MEAN_KEEPS, self.clock.updates / (self.clock.updates + 10))
        torch._foreach_lerp_(
            list(self.mean.values()), [value.detach() for value in self.network.parameters()], 1 - keeps
        )
        return float(loss.detach())

    @torch.no_grad()
    def _bars(self, examples: Examples) -> Bars:
        network = Network(self.recipe.size).to(self.device)
        network.load_state_dict(self.mean)
        logits = [
            network(*(each.to(self.device) for each in batch[:3])).cpu().numpy() for batch in batches(examples, 250)
        ]
        inputs = examples.inputs
        return Bars.of_logits(self.knots, np.concatenate(logits), inputs.location, inputs.unit)

    def _save(self) -> None:
        """Write a checkpoint beside the old one, then put it in its place."""
        state = {
            "prior_version": PRIOR_VERSION,
            "commit": self.commit,
            "recipe": {**asdict(self.recipe), "prior": self.recipe.prior.value},
            "budget": asdict(self.budget),
            "clock": asdict(self.clock),
            "network": self.network.state_dict(),
            "mean": self.mean,
            "optimizer": self.optimizer.state_dict(),
            "knots": {
                "places": torch.from_numpy(self.knots.places),
                "left_tail": self.knots.left_tail,
                "right_tail": self.knots.right_tail,
            },
        }
        partial = self.folder / f"{CHECKPOINT}.partial"
        torch.save(state, partial)
        os.replace(partial, self.folder / CHECKPOINT)

    def _record(self, entry: Mapping[str, Any]) -> None:
        with (self.folder / RECORD).open("a", encoding="utf-8") as record:
            record.write(json.dumps(entry) + "\n")


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """A trained network to begin with, and the knots that it answers on."""

    size: Size
    knots: Knots
    parameters: Mapping[str, Tensor]
    sha256: str

    @staticmethod
    def read(folder: Path) -> Given:
        """What `--export` wrote, or the package ships."""
        network, knots, card = read_network(folder)
        parameters = {name: torch.from_numpy(value) for name, value in network.parameters.items()}
        return Given(network.size, knots, parameters, card["sha256"])

    def on_knots(self, knots: Knots) -> dict[str, Tensor]:
        """Parameters that give at other knots the density of the old ones there, but for a common factor.

        Its logarithm is taken straight between the old knots: linear in the old logits, as it must be.
        """
        old = self.knots
        segment = np.clip(np.searchsorted(old.places, knots.places) - 1, 0, len(old.gaps) - 1)
        share = np.clip((knots.places - old.places[segment]) / old.gaps[segment], 0.0, 1.0)
        outside = np.maximum(old.places[0] - knots.places, 0) / old.left_tail
        outside += np.maximum(knots.places - old.places[-1], 0) / old.right_tail

        def between(of_old: Array) -> Array:
            low, high = of_old[segment].T, of_old[segment + 1].T
            return np.asarray((low + share * (high - low)).T)

        weight, bias = (self.parameters[f"answer.{name}"].numpy().astype(np.float64) for name in ("weight", "bias"))
        moved = {"weight": between(weight), "bias": between(bias - np.log(old.areas)) - outside + np.log(knots.areas)}
        return {
            **self.parameters,
            **{f"answer.{name}": torch.from_numpy(value).float() for name, value in moved.items()},
        }


def _knots_of(recipe: Recipe) -> Knots:
    return Knots.of_equal_mass(make_examples(recipe.prior.judged, (KNOT_SEED,), N_FOR_KNOTS).answers, recipe.size.bars)


Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def batches(examples: Examples, size: int) -> list[Batch]:
    """Tensors of `size` curves each: tokens, seen, queries, answers."""
    inputs = examples.inputs
    arrays = [torch.from_numpy(each) for each in (inputs.tokens, inputs.seen, inputs.queries, examples.answers)]
    parts = zip(*(array.split(size) for array in arrays), strict=True)
    return [(tokens, seen, queries, answers) for tokens, seen, queries, answers in parts]


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """What `Training` saved last. Raises `NotFound`, and `Unavailable` where the file cannot be read."""
    path = folder / CHECKPOINT
    if not path.exists():
        raise NotFound(f"There is no checkpoint in {folder}. Train first: losscast train-pfn --output {folder}.")
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        missing = PARTS - set(saved)
    except Exception as error:  # of many kinds, by which of its bytes are wrong
        raise Unavailable(
            f"{path} cannot be read as a checkpoint: it is damaged, or another file. Train anew."
        ) from error
    if missing:
        raise Unavailable(f"{path} is no checkpoint of ours: it has no {', '.join(sorted(missing))}.")
    return saved


def saved_recipe(saved: Mapping[str, Any]) -> Recipe:
    """The recipe in a checkpoint."""
    recipe = dict(saved["recipe"])
    # Checkpoints of the first version know of one prior.
    return Recipe(**{**recipe, "size": Size(**recipe["size"]), "prior": Prior(recipe.get("prior", Prior.WHOLE))})


def choose_device(name: str, threads: int) -> torch.device:
    """Where to train: "cpu" with so many threads, "cuda", or "auto", which is a GPU if there is one."""
    torch.set_num_threads(threads)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise Unavailable("There is no GPU that torch can use here; try --device cpu.")
    return torch.device(name)


def source_commit() -> str:
    """The commit that this code is, for the card; "unknown" outside a checkout, and said where it was changed since."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()

"""From a checkpoint to the files that ship: half-precision parameters and a card."""

from __future__ import annotations

import datetime
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.pfn.prior import PRIOR_VERSION, Prior
from app.pfn.runtime import Predictor
from app.pfn.training.examples import VALIDATION_SEED, validation_examples
from app.pfn.training.score import Score, as_record, scores_of
from app.pfn.training.training import N_VALIDATION, Recipe, read_checkpoint, saved_recipe
from app.pfn.weights import CARD, PARAMETERS, read_network

N_CHECK = 300
"""Curves of the same seed that the tests score anew, to see that the network is still what the card says."""


def export(run: Path, folder: Path, now: datetime.datetime) -> dict[str, Any]:
    """Write the mean weights of a checkpoint and their card into `folder`; the card.

    The scores in the card are those of the files as written, by numpy, on the validation curves.
    """
    saved = read_checkpoint(run)
    recipe = saved_recipe(saved)
    content = _packed(saved)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PARAMETERS).write_bytes(content)
    card: dict[str, Any] = {
        "licence": "MIT",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": asdict(recipe.size),
        "n_parameters": sum(value.numel() for value in saved["mean"].values()),
        "trained": {
            "prior_version": saved["prior_version"],
            "prior": recipe.prior.value,
            "begun_from": recipe.begun_from,
            "curves": saved["clock"]["curves"],
            "updates": saved["clock"]["updates"],
            "minutes": round(saved["clock"]["seconds"] / 60, 1),
            "seed": recipe.seed,
            "batch": recipe.batch,
            "peak_rate": recipe.peak_rate,
            "budget": saved["budget"],
            "commit": saved["commit"],
        },
        "exported": now.date().isoformat(),
        "command": _command(saved, recipe),
        "validation": {"prior_version": PRIOR_VERSION, "seed": VALIDATION_SEED, "n_curves": N_VALIDATION},
    }
    _write(folder, card)
    card["validation"]["scores"] = as_record(_scores(folder, N_VALIDATION, recipe.prior))
    card["check"] = {"n_curves": N_CHECK, "scores": as_record(_scores(folder, N_CHECK, recipe.prior))}
    _write(folder, card)
    return card


def _command(saved: Mapping[str, Any], recipe: Recipe) -> str:
    """What to type for the same training; DIR are folders, of the network that it began with if there was one."""
    length = {f"--{name}": value for name, value in saved["budget"].items() if value is not None}
    begun = {"--from": "DIR"} if recipe.begun_from else {"--width": recipe.size.width, "--layers": recipe.size.layers}
    options = {
        "--output": "DIR",
        "--prior": recipe.prior.value,
        **begun,
        "--batch": recipe.batch,
        "--peak-rate": recipe.peak_rate,
        "--seed": recipe.seed,
        **length,
    }
    return " ".join(["losscast train-pfn", *(f"{name} {value}" for name, value in options.items())])


def _packed(saved: dict[str, Any]) -> bytes:
    arrays: dict[str, Any] = {name: value.to(torch.float16).numpy() for name, value in saved["mean"].items()}
    arrays["knots.places"] = saved["knots"]["places"].numpy()
    for tail in ("left_tail", "right_tail"):
        arrays[f"knots.{tail}"] = np.float64(saved["knots"][tail])
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()


def _write(folder: Path, card: dict[str, Any]) -> None:
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def _scores(folder: Path, n_curves: int, prior: Prior) -> dict[str, Score]:
    predictor = Predictor(*read_network(folder))
    examples = validation_examples(n_curves, prior)
    return scores_of(predictor.judge(examples.inputs), examples)

"""The runs that the demo replays: real logs, each with what its job could have declared. Licences: data/LICENCES.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.importers.curve_file import read_curve_file
from app.importers.imported_run import ImportedRun
from app.importers.run_files import read_file

DATA = Path(__file__).parent / "data"

# The end of a run is judged by the mean of this share of its last points: one noisy batch is not an outcome.
END_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class End:
    """The last finite step, and the mean over the last 2 % of all points: None for a run that ended in NaN."""

    step: int
    mean: float | None


@dataclass(frozen=True, slots=True)
class DemoRun:
    """One run to replay."""

    name: str
    file: str
    about: str
    config: Mapping[str, Any]
    plan: Mapping[str, Any] | None  # what the job declares; None: nothing, so that inference shows
    project: str = "demo"  # runs of one model and data: those of a project are ranked, and judged by each other
    metric: str = "train_loss"  # whose forecast `check` reports
    tags: tuple[str, ...] = ()
    failure: str | None = None  # the last words of a run that fails
    alerts: tuple[str, ...] = ()  # kinds that must fire

    def read(self) -> ImportedRun:
        return read_file(DATA / self.file)

    def end(self) -> End:
        """How `metric` went in the end."""
        points = read_curve_file(DATA / self.file, self.metric).points
        finite = np.isfinite(points.values)
        last = slice(-max(1, round(END_SHARE * len(points))), None)
        return End(
            step=int(points.steps[finite][-1]),
            mean=float(points.values[last].mean()) if finite[last].all() else None,
        )


_LLAMA = {"model": "llama, 12 layers of 768", "data": "slimpajama", "optimizer": "adamw"}

DEMO_RUNS: tuple[DemoRun, ...] = (
    DemoRun(
        name="lm-wsd",
        file="lm_wsd.csv",
        about="A language model on warm-up, stable, decay: the loss falls in the last 40 %, when the rate does.",
        config={**_LLAMA, "lr": 1e-3},
        plan={
            "total_steps": 15_000,
            "schedule": {"family": "wsd_linear", "peak": 1e-3, "warmup_steps": 300, "decay_steps": 6_000},
        },
        tags=("declared",),
    ),
    DemoRun(
        name="lm-cosine",
        file="lm_cosine.csv",
        about="The same model on a cosine, with gradient norms.",
        config={**_LLAMA, "lr": 1e-3},
        plan={"total_steps": 50_000, "schedule": {"family": "cosine", "peak": 1e-3, "warmup_steps": 300}},
        tags=("declared",),
    ),
    DemoRun(
        name="lm-too-hot",
        file="lm_too_hot.csv",
        about="The same again at five times the rate: it never turns NaN and never recovers.",
        config={**_LLAMA, "lr": 5e-3},
        plan={"total_steps": 50_000, "schedule": {"family": "cosine", "peak": 5e-3, "warmup_steps": 300}},
        tags=("declared", "unstable"),
    ),
    DemoRun(
        name="gpt2-undeclared",
        project="demo-gpt2",
        file="gpt2_undeclared.csv",
        about="GPT-2 124M, every one of 19 560 steps. The job declares nothing: horizon and schedule are inferred.",
        config={"model": "gpt2-124m", "optimizer": "adamw"},
        plan=None,
        tags=("undeclared",),
    ),
    DemoRun(
        name="deepspeech-diverges",
        project="demo-speech",
        file="deepspeech_diverges.csv",
        about="Speech recognition that looks healthy until its loss turns NaN at 41 % of the run.",
        config={"model": "deepspeech", "data": "librispeech", "optimizer": "nadamp"},
        plan={"total_steps": 48_000},
        tags=("declared", "unstable"),
        failure="The loss had been NaN since step 19900.",
        alerts=("nonfinite_loss",),
    ),
    DemoRun(
        name="grok-modular-addition",
        project="demo-grokking",
        file="grok_modular_addition.jsonl",
        about="Addition modulo 59: the training set is learned by step 140, the rule only after step 3000.",
        config={"model": "transformer, 1 layer", "modulus": 59, "weight_decay": 1.0, "lr": 1e-3},
        plan={"total_steps": 3_730, "schedule": {"family": "constant", "peak": 1e-3}},
        tags=("declared", "grokking"),
    ),
)

"""`losscast backtest --verdicts`: what each policy would have stopped in groups of runs that have ended."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from app.cli.replayed_siblings import Learner, Told
from app.cli.skipped import reason
from app.errors import BadInput, LosscastError

if TYPE_CHECKING:
    from app.laws.prior import Prior
    from app.verdicts.contest import Errors
    from app.verdicts.policies import Policy
    from app.verdicts.replay import GroupOutcome, ReplayedRun

GROUPS: tuple[tuple[str, str], ...] = (
    ("lr_scheduling", r"_(L\d+)_.*_(T\d+)$"),  # model, length
    ("multipowerlaw", r"^(\d+M)_"),  # model
    (
        "algoperf",  # workload, with its variants
        "(criteo1tb|fastmri|imagenet_resnet|imagenet_vit|librispeech_conformer|librispeech_deepspeech|ogbg|wmt)",
    ),
    ("modded_nanogpt", r"^(?:opt_|ModernArch|PyTorch25)()"),  # those of one length
    ("small_runs", r"^(lrsens_qk[A-Za-z]+|lm|grok|nc|simsiam|ss)_"),  # kind
)
"""Folder of public runs -> which part of a file's name its siblings share; files that do not fit have none. Files of
any other folder are siblings, all of them."""

FEWEST_EVALUATIONS = 25
"""Runs are held to their validation loss where every run of the group has so many points of it."""

POLICY_WORD = re.compile(r"([a-z]+?)(\d+(?:\.\d+)?)?")


@dataclass(frozen=True, slots=True)
class Job:
    """One file to replay, as it is sent to another process."""

    path: Path
    metric: str | None
    prior: Prior | None


@dataclass(frozen=True, slots=True)
class Skipped:
    file: str
    why: str


ORACLE = "oracle"
"""Stands among the policies in what is told, but cannot be chosen."""


def policy_word(word: str) -> str:
    """A policy's name, with its first parameter if one likes: `asha`, `patience3`."""
    if word == ORACLE:
        raise typer.BadParameter("The oracle knows every end and is no policy; it is scored beside whatever is named.")
    named_policy(word)
    return word


def named_policy(word: str) -> Policy:
    from app.verdicts.policies import parameters_of, policy_named

    matched = POLICY_WORD.fullmatch(word)
    try:
        if matched is None:
            return policy_named(word)
        name, number = matched.groups()
        policy = policy_named(name)
        return policy if number is None else policy_named(name, {next(iter(parameters_of(name))): float(number)})
    except BadInput as error:
        raise typer.BadParameter(str(error)) from error


def default_policies() -> tuple[str, ...]:
    from app.verdicts.policies import POLICIES

    return tuple("patience3" if name == "patience" else name for name in POLICIES)


def group_files(files: Sequence[tuple[Path, str]], group_by: str | None) -> dict[str, list[Path]]:
    """Siblings by group: of one folder, and with the same `group_by` in their names; groups of one are left out.

    Raises `BadInput` where `group_by` is no regular expression.
    """
    try:
        re.compile(group_by or "")
    except re.error as error:
        raise BadInput(f"--group-by: {group_by!r} is no regular expression: {error}.") from error
    groups: dict[str, list[Path]] = {}
    rules = dict(GROUPS)
    for path, folder in files:
        rule = group_by or rules.get(path.parent.name)
        stem = path.name.split(".jsonl")[0].removesuffix(".gz").removesuffix(".csv")
        matched = re.search(rule, stem) if rule is not None else None
        if rule is not None and matched is None:
            continue
        shared = " ".join(part for part in matched.groups() if part) if matched is not None else ""
        groups.setdefault(f"{Path(folder).name} {shared}".strip(), []).append(path)
    return {name: paths for name, paths in groups.items() if len(paths) > 1}


def replay_groups(
    groups: Mapping[str, Sequence[Path]], metric: str | None, prior: Prior | None, n_processes: int
) -> tuple[dict[str, list[Told]], list[Skipped]]:
    """Every run of every group as it was at each checkpoint; what cannot be read is named."""
    jobs = [
        (name, Job(path, chosen, prior))
        for name, paths in groups.items()
        for chosen in (metric or _metric_of(paths),)
        for path in paths
    ]
    replayed: dict[str, list[Told]] = {}
    skipped: list[Skipped] = []
    for (name, job), result in zip(jobs, _results([job for _, job in jobs], n_processes), strict=True):
        if isinstance(result, str):
            skipped.append(Skipped(str(job.path), result))
        else:
            replayed.setdefault(name, []).append(result)
    return {name: runs for name, runs in replayed.items() if _is_contest(runs)}, skipped


ORDER_SEED = 1
"""Of the order in which runs of a group begin where they go in sequence."""


@dataclass(frozen=True, slots=True)
class Group:
    """The runs of a group and how they are replayed: all at once, or `at_a_time` in a seeded random order."""

    name: str
    told: Sequence[Told]
    at_a_time: int | None
    learner: Learner

    @property
    def runs(self) -> list[ReplayedRun]:
        return [one.run for one in self.told]

    def outcome(self, policy: Policy, errors: Errors | None = None) -> GroupOutcome:
        import numpy as np

        from app.verdicts.policies import LcPfn, Predictive
        from app.verdicts.replay import replay

        learner = self.learner if isinstance(policy, Predictive | LcPfn) else None
        if self.at_a_time is None:
            return replay(self.name, self.runs, policy, foresight=learner, errors=errors)
        order = np.random.default_rng(ORDER_SEED).permutation(len(self.told)).tolist()
        among = {"order": order, "at_a_time": self.at_a_time}
        return replay(self.name, self.runs, policy, **among, foresight=learner, errors=errors)


def as_groups(told: Mapping[str, Sequence[Told]], prior: Prior | None, at_a_time: int | None) -> list[Group]:
    return [Group(name, runs, at_a_time, Learner(runs, prior)) for name, runs in told.items()]


def judge_groups(groups: Sequence[Group], words: Sequence[str]) -> dict[str, dict[str, GroupOutcome]]:
    """Policy -> group -> what it did, the oracle last."""
    from app.verdicts.replay import replay_oracle

    outcomes = {word: {group.name: group.outcome(named_policy(word)) for group in groups} for word in words}
    return outcomes | {ORACLE: {group.name: replay_oracle(group.name, group.runs) for group in groups}}


CURVES: Mapping[str, tuple[tuple[str, tuple[float, ...]], ...]] = {
    "predictive": (("confidence", (0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99)),),
    "lcpfn": (("least", (0.005, 0.02, 0.05, 0.1, 0.2)),),
    "gl": (("percent", (0.5, 1, 2, 5, 10)),),
    "pq": (("quotient", (0.1, 0.25, 0.5, 1, 2)),),
    "up": (("strips", (1, 2, 3, 5)),),
    "patience": (("strips", (1, 2, 3, 5, 8)),),
    "median": (("grace", (0.05, 0.1, 0.2, 0.4)),),
    "asha": (("reduction", (2, 3, 4)), ("first", (0.05, 0.2, 0.4))),
}
"""Policy -> parameters that trade saving for regret, and the values that make its line in the chart."""


def curves(groups: Sequence[Group], words: Sequence[str]) -> dict[str, dict[str, GroupOutcome]]:
    """What each policy did under several parameters, one at a time: `asha reduction=4` -> group -> outcome."""
    from app.verdicts.policies import policy_named

    kinds = dict.fromkeys(named_policy(word).name for word in words)
    return {
        f"{name} {parameter}={value:g}": {
            group.name: group.outcome(policy_named(name, {parameter: value})) for group in groups
        }
        for name in kinds
        for parameter, values in CURVES.get(name, ())
        for value in values
    }


def replay_file(job: Job) -> Told | str:
    """One run, or why there is none."""
    import numpy as np

    from app.forecasting.forecast import forecast_curve
    from app.importers.curve_file import points_by_metric
    from app.importers.recorded_run_file import FEWEST_POINTS, read_ended_run
    from app.importers.run_files import read_file
    from app.verdicts.replay import replayed

    try:
        logged = points_by_metric(list(read_file(job.path).batches))
        run = read_ended_run(job.path, job.metric)
        n_finite = int(np.isfinite(run.values).sum())
        if n_finite < FEWEST_POINTS:
            return f"{run.metric} has {n_finite} finite points; it takes {FEWEST_POINTS}."
        told = replayed(
            run,
            {metric: (points.steps, points.values) for metric, points in logged.items()},
            forecast=lambda curve, plan: forecast_curve(curve, plan, job.prior),
        )
        return Told(run, told)
    except LosscastError as error:
        return reason(error, job.path)
    except Exception as error:
        # A fault of ours. An hour of other files must not be lost to it, and it must not go unseen.
        return f"a forecaster failed: {error!r}"


def _metric_of(paths: Sequence[Path]) -> str | None:
    """The validation loss where all have enough of it; None: each run's own first loss."""
    from app.curves.roles import assign_roles
    from app.importers.curve_file import points_by_metric
    from app.importers.run_files import read_file

    common: dict[str, int] | None = None
    for path in paths:
        try:
            logged = points_by_metric(list(read_file(path).batches))
        except LosscastError:
            continue
        roles = assign_roles(logged)
        counts = {metric: len(points) for metric, points in logged.items() if roles[metric].role == "val_loss"}
        common = counts if common is None else {m: min(n, counts[m]) for m, n in common.items() if m in counts}
    enough = [metric for metric, count in (common or {}).items() if count >= FEWEST_EVALUATIONS]
    return min(enough, default=None)


def _is_contest(told: Sequence[Told]) -> bool:
    """Two runs at least, one of which came to a level."""
    return len(told) > 1 and min(one.run.final for one in told) < float("inf")


def _results(jobs: Sequence[Job], n_processes: int) -> Iterator[Told | str]:
    from app.cli.progress import with_progress

    if n_processes <= 1:
        yield from with_progress(map(replay_file, jobs), len(jobs))
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # One thread of algebra a process; read when numpy is first loaded there, so processes are spawned, not forked.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        yield from with_progress(pool.map(replay_file, jobs), len(jobs))

"""`losscast fit`: laws through finished runs, and what they say of runs under other schedules."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.greedy_options import greedy_command

if TYPE_CHECKING:
    from app.forecasting.across_runs import Agreement
    from app.forecasting.recorded_run import RecordedRun
    from app.laws.separable import Law

Command = greedy_command(predict=Path)


def fit(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Finished runs of one recipe to fit, one to three.", show_default=False),
    ],
    predict: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE...", help="Runs of the same recipe to predict under their own schedules."),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What to fit; else each run's own loss.")] = None,
    warmup_steps: Annotated[
        int | None,
        typer.Option(min=0, help="Length of a warm-up that the files leave out; else judged by where they begin."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Fit laws of the loss under a learning rate to finished runs, and predict others under their schedules.

    The files need a learning rate: it is what the laws are about.
    """
    from app.forecasting.across_runs import LAWS

    fitted = _read(runs, metric, warmup_steps)
    others = _read(_without(predict or [], runs), metric, warmup_steps)
    record = {
        "metric": next(iter(fitted.values())).metric,
        "fitted": list(fitted),
        "predicted": list(others),
        "laws": {law.name: _judged(law, fitted, others) for law in LAWS},
    }
    if as_json:
        json.dump(record, sys.stdout, allow_nan=False)
        sys.stdout.write("\n")
    else:
        _print(record)


def _read(paths: Sequence[Path], metric: str | None, warmup_steps: int | None) -> dict[str, RecordedRun]:
    from app.importers.recorded_run_file import read_recorded_run

    return {str(path): read_recorded_run(path, metric, warmup_steps=warmup_steps) for path in paths}


def _without(paths: Sequence[Path], fitted: Sequence[Path]) -> list[Path]:
    """Every file below the paths but those that are fitted."""
    from app.importers.recorded_run_file import find_run_files

    known = {path.resolve() for path in fitted}
    files = [file for path in paths for file in find_run_files(path) if file.resolve() not in known]
    return list(dict.fromkeys(files))


def _judged(law: Law, fitted: Mapping[str, RecordedRun], others: Mapping[str, RecordedRun]) -> dict[str, Any]:
    from app.forecasting.across_runs import agreement, fit_runs, overall

    found = fit_runs(law, list(fitted.values()))
    said: dict[str, Any] = {"parameters": found.parameters()}
    for name, runs in (("fitted", fitted), ("predicted", others)):
        each = {file: agreement(found, run) for file, run in runs.items()}
        said[name] = {file: _finite(one) for file, one in each.items()}
        if each:
            said[f"{name}_overall"] = _finite(overall(list(each.values())))
    return said


def _finite(one: Agreement) -> dict[str, float | int | None]:
    values = dataclasses.asdict(one)
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _print(record: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for name, said in record["laws"].items():
        parameters = ", ".join(f"{key} {value:.4g}" for key, value in said["parameters"].items())
        table = Table("", "", box=None, padding=(0, 2), header_style="dim")
        for heading in ("mean |error| %", "worst %", "R2", "final %"):
            table.add_column(heading, justify="right")
        for part in ("fitted", "predicted"):
            for file, one in said[part].items():
                _add_row(table, part, Path(file).name, one)
        if "predicted_overall" in said:
            _add_row(table, "predicted", "[bold]all[/bold]", said["predicted_overall"])
        console.print(f"[bold]{name}[/bold] law of {record['metric']}: {parameters}", soft_wrap=True)
        console.print(table)
    if not record["predicted"]:
        console.print("Name runs to predict after --predict.", style="dim")


def _add_row(table: Any, part: str, name: str, one: Mapping[str, Any]) -> None:
    r2 = "-" if one["r2"] is None else f"{one['r2']:.4f}"
    errors = (f"{100 * one[key]:.3f}" for key in ("mean_relative_error", "worst_error"))
    table.add_row(part, name, *errors, r2, f"{100 * one['final_error']:+.2f}")

"""`losscast fit`: laws through finished runs, and what they say of other schedules."""

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
from app.cli.printing import open_console, print_table
from app.cli.step_counts import step_count

if TYPE_CHECKING:
    from app.forecasting.across_runs import Agreement
    from app.forecasting.other_schedules.comparison import Comparison, Prediction
    from app.forecasting.recorded_run import RecordedRun
    from app.laws.separable import Law

Command = greedy_command(predict=Path, schedule=str)


def fit(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Files of finished runs of one recipe, one to six.", show_default=False),
    ],
    predict: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE...", help="Runs of the same recipe to predict under their own schedules."),
    ] = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC...",
            help="Schedules that no file holds: a family, then its key=value pairs, or a JSON object.",
        ),
    ] = None,
    total_steps: Annotated[
        int | None,
        typer.Option(
            parser=step_count(2), metavar="N", help="Steps of the schedules that name none; else the longest run's."
        ),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What to fit; else each run's own loss.")] = None,
    warmup_steps: Annotated[
        int | None,
        typer.Option(
            parser=step_count(0),
            metavar="N",
            help="Steps of a warm-up that the files leave out; else judged by where they begin.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Fit finished runs and predict other schedules.

    The files need a learning rate: the laws are about it. --predict compares with other runs' files, --schedule
    predicts schedules that were never trained under.

    \b
    losscast fit run.csv --predict other.csv
    losscast fit run.csv --total-steps 30000 \\
        --schedule cosine final_fraction=0.1 wsd decay_steps=4000
    """
    from app.curves.schedule_text import read_schedules
    from app.forecasting.across_runs import LAWS

    specs = read_schedules(schedule or [])
    fitted = _read(runs, metric, warmup_steps)
    others = _read(_without(predict or [], runs), metric, warmup_steps)
    record: dict[str, Any] = {
        "metric": next(iter(fitted.values())).metric,
        "fitted": list(fitted),
        "predicted": list(others),
        "laws": {law.name: _judged(law, fitted, others) for law in LAWS},
    }
    compared = _compared(list(fitted.values()), specs, total_steps) if specs else None
    if compared is not None:
        record["schedules"] = [_prediction(one, compared) for one in compared.predictions]
        record["left_out"] = [dataclasses.asdict(one) for one in compared.left_out]
        record["notes"] = list(compared.notes)
    if as_json:
        json.dump(record, sys.stdout, allow_nan=False)
        sys.stdout.write("\n")
    else:
        _print(record)


def _compared(runs: Sequence[RecordedRun], specs: Sequence[Mapping[str, Any]], total_steps: int | None) -> Comparison:
    from app.forecasting.other_schedules.candidate import candidate
    from app.forecasting.other_schedules.compare import compare_schedules

    return compare_schedules(runs, [candidate(spec, runs, total_steps=total_steps) for spec in specs])


def _prediction(one: Prediction, compared: Comparison) -> dict[str, Any]:
    quantiles = {f"p{round(100 * level):02d}": value for level, value in one.final_quantiles.items()}
    return {
        "asked": one.candidate.words,
        "total_steps": one.candidate.total_steps,
        "final": {"mean": one.final_mean, **quantiles},
        "against_best_run": one.final_mean - compared.best_run.final_loss(),
        "by_law": one.by_law,
        "steps": one.steps.tolist(),
        "rates": one.candidate.schedule.rate_at(one.steps).tolist(),
        "path": {
            f"p{round(100 * level):02d}": row.tolist()
            for level, row in zip(one.final_quantiles, one.quantiles, strict=True)
        },
        "notes": list(one.notes),
    }


def _read(paths: Sequence[Path], metric: str | None, warmup_steps: int | None) -> dict[str, RecordedRun]:
    from app.importers.recorded_run_file import read_recorded_run

    return {str(path): read_recorded_run(path, metric, warmup_steps=warmup_steps) for path in paths}


def _without(paths: Sequence[Path], fitted: Sequence[Path]) -> list[Path]:
    """Every file below the paths but those that are fitted."""
    from app.importers.run_files import find_run_files

    known = {path.resolve() for path in fitted}
    files = [file for path in paths for file in find_run_files(path) if file.resolve() not in known]
    return list(dict.fromkeys(files))


def _judged(law: Law, fitted: Mapping[str, RecordedRun], others: Mapping[str, RecordedRun]) -> dict[str, Any]:
    from app.forecasting.across_runs import agreement, fit_runs, overall, reservations

    found = fit_runs(law, list(fitted.values()))
    said: dict[str, Any] = {"parameters": found.parameters()}
    judged: dict[str, Agreement] = {}
    for name, runs in (("fitted", fitted), ("predicted", others)):
        each = {file: agreement(found, run) for file, run in runs.items()}
        said[name] = {file: _finite(one) for file, one in each.items()}
        if each:
            said[f"{name}_overall"] = _finite(overall(list(each.values())))
        judged |= each
    said["notes"] = reservations(found, judged)
    return said


def _finite(one: Agreement) -> dict[str, float | int | None]:
    values = dataclasses.asdict(one)
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _print(record: Mapping[str, Any]) -> None:
    from rich.table import Table

    console = open_console()
    for name, said in record["laws"].items():
        parameters = ", ".join(f"{key} {value:.4g}" for key, value in said["parameters"].items())
        table = Table("", box=None, padding=(0, 2), header_style="dim")
        table.add_column("", overflow="fold")
        for heading in ("mean |error| %", "worst %", "R2", "final %"):
            table.add_column(heading, justify="right")
        for part in ("fitted", "predicted"):
            for file, one in said[part].items():
                _add_row(table, part, Path(file).name, one)
        if "predicted_overall" in said:
            _add_row(table, "predicted", "[bold]all[/bold]", said["predicted_overall"])
        console.print(f"[bold]{name}[/bold] law of {record['metric']}: {parameters}", soft_wrap=True)
        print_table(console, table)
        for note in said["notes"]:
            console.print(note, soft_wrap=True)
    console.print(
        "Errors are of each logged point, noise and all; the page Schedules counts bins of them.", style="dim"
    )
    if "schedules" in record:
        _print_schedules(console, record)
    elif not record["predicted"]:
        console.print("Name runs to predict after --predict, or schedules after --schedule.", style="dim")


def _print_schedules(console: Any, record: Mapping[str, Any]) -> None:
    from rich.table import Table

    table = Table("schedule, best first", box=None, padding=(0, 2), header_style="dim")
    for heading in ("final, median", "90 % band", "to best run"):
        table.add_column(heading, justify="right")
    for one in record["schedules"]:
        final = one["final"]
        band = f"{final['p05']:.4g} to {final['p95']:.4g}"
        table.add_row(one["asked"], f"{final['p50']:.4g}", band, f"{one['against_best_run']:+.2g}")
    print_table(console, table)
    for one in record["schedules"]:
        for note in one["notes"]:
            console.print(f"{one['asked']}: {note}", soft_wrap=True)
    for note in record["notes"]:
        console.print(note, soft_wrap=True)


def _add_row(table: Any, part: str, name: str, one: Mapping[str, Any]) -> None:
    r2 = "-" if one["r2"] is None else f"{one['r2']:.4f}"
    errors = (f"{100 * one[key]:.3f}" for key in ("mean_relative_error", "worst_error"))
    table.add_row(part, name, *errors, r2, f"{100 * one['final_error']:+.2f}")

"""The command that forecasts a run in a file: `losscast forecast`."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.piped import as_file
from app.cli.printing import open_console, print_table
from app.cli.step_counts import step_count
from app.errors import NotFinite, StepsBelowZero

if TYPE_CHECKING:
    from app.curves.plan import Plan
    from app.forecasting.forecast import Forecast
    from app.importers.curve_file import FileCurve

MOST_DIGITS = 9  # a band that these do not show is narrower than any log is exact


def forecast_file(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A file with a step column; - is standard input.", show_default=False),
    ],
    total_steps: Annotated[
        int | None,
        typer.Option(parser=step_count(1), metavar="N", help="Last step of training, if the file does not say."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column to forecast; else the loss that is found, or an accuracy."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Forecast the rest of a run from a file; no server needed.

    A metric that is NaN or infinite at its last step is refused. One that is named and is neither a loss nor an
    accuracy is continued as losses go.
    Rows after the last loss that hold nothing but a learning rate are the planned schedule.

    \b
    losscast forecast run.csv --total-steps 20000
    """
    from app.curves.broken import is_broken
    from app.curves.curve import Curve
    from app.curves.measure import measure_of
    from app.curves.planning.declared import validate_declared_plan
    from app.curves.planning.resolve import resolve_plan
    from app.curves.unforecast import asked_all_the_same
    from app.forecasting.forecast import forecast_curve
    from app.forecasting.unseen_rate import refuse_unheard_of
    from app.importers.curve_file import read_curve_file

    with as_file(file) as readable:
        read = read_curve_file(readable, metric)
    if is_broken(read.last_value):
        raise NotFinite(read.metric)
    curve = Curve.from_points(read.points.steps, read.points.values)
    if curve.cutoff < 0:
        raise StepsBelowZero
    asked = {} if total_steps is None else {"total_steps": total_steps}
    plan = resolve_plan(
        declared=validate_declared_plan({**read.declared, **asked}),
        config=read.config,
        rate=None if read.rate is None else Curve.from_points(read.rate.steps, read.rate.values),
        cutoff=curve.cutoff,
        planned=read.planned,
        lengths={role: Curve.from_points(logged.steps, logged.values) for role, logged in read.lengths.items()},
    )
    refuse_unheard_of(plan, curve.cutoff)
    forecast = forecast_curve(curve, plan, measure=measure_of(read.role, curve))
    notes = [*forecast.notes, *read.warnings]
    caveat = asked_all_the_same(read.metric, read.role)
    if caveat is not None:
        forecast = replace(forecast, improvement=None)
        notes.insert(0, caveat)
    if as_json:
        json.dump(_as_json(read, plan, forecast, notes), sys.stdout)
        sys.stdout.write(os.linesep)
    else:
        _print(read, curve, plan, forecast, notes)


def _direction_is_known(read: FileCurve) -> bool:
    from app.curves.roles import FORECAST_ROLES

    return read.role in FORECAST_ROLES


def _as_json(read: FileCurve, plan: Plan, forecast: Forecast, notes: list[str]) -> dict[str, Any]:
    path = zip(forecast.path_steps.tolist(), forecast.quantiles.T.tolist(), strict=True)
    return {
        "metric": read.metric,
        "cutoff": forecast.cutoff,
        "horizon": forecast.horizon,
        "total_steps": {"source": plan.total_source, "why": plan.total_why},
        "schedule": {"source": plan.schedule_source, "family": plan.schedule_family, "why": plan.schedule_why},
        "direction": ("rises" if forecast.measure.rises else "falls") if _direction_is_known(read) else None,
        "bounds": forecast.measure.bounds,
        "final": {"mean": forecast.final_mean, **_levels(forecast.final_quantiles)},
        "improvement": forecast.improvement,
        "path": [{"step": step, "p05": row[0], "p50": row[2], "p95": row[4]} for step, row in path],
        "forecasters": {
            name: {"final": {"mean": share.final_mean, **_levels(share.final_quantiles)}, "weight": share.weight}
            for name, share in forecast.forecasters.items()
        },
        "notes": notes,
    }


def _levels(quantiles: Mapping[float, float]) -> dict[str, float]:
    return {f"p{round(100 * level):02d}": float(value) for level, value in quantiles.items()}


def _print(read: FileCurve, curve: Any, plan: Plan, forecast: Forecast, notes: list[str]) -> None:
    from rich.table import Table

    console = open_console()
    console.print(f"[bold]{read.name}[/bold]: {read.metric} at step {forecast.cutoff:,} of {forecast.horizon:,}")
    for why in (plan.total_why, plan.schedule_why):
        console.print(f"  {why}", style="dim", markup=False)
    table = Table("step", "5 %", "median", "95 %", box=None, padding=(0, 2), header_style="dim")
    final = forecast.final_quantiles
    shown = list(_spread(len(forecast.path_steps), 8))
    rows = [[float(forecast.quantiles[level, at]) for level in (0, 2, 4)] for at in shown]
    digits = _digits([*rows, [final[0.05], final[0.5], final[0.95]]])
    for at, row in zip(shown, rows, strict=True):
        table.add_row(f"{forecast.path_steps[at]:,}", *(f"{value:.{digits}g}" for value in row))
    for column in table.columns:
        column.justify = "right"
    print_table(console, table)
    low, median, high = (f"{final[level]:.{digits}g}" for level in (0.05, 0.5, 0.95))
    # The median, as on the run's page: the mean of a skewed band may lie outside all rows of the table.
    console.print(
        f"Final {read.metric}: [bold]{median}[/bold] (median), 90 % {low} to {high}, "
        "of the level over the last 2 % of the steps"
    )
    if forecast.improvement is not None:
        best = "highest" if forecast.measure.rises else "lowest"
        console.print(f"Chance of a new {best} level before the end: {100 * forecast.improvement:.0f} %")
    for note in notes:
        console.print(f"· {note}", style="dim", markup=False)


def _digits(bands: Iterable[Sequence[float]]) -> int:
    """Significant digits at which each band, from its low end to its high one, is ten units wide or more."""
    needed = 4
    for low, *_, high in bands:
        if high > low:
            needed = max(needed, math.ceil(math.log10(max(abs(low), abs(high)) / (high - low))) + 2)
    return min(needed, MOST_DIGITS)


def _spread(length: int, wanted: int) -> Iterator[int]:
    """Indices spread evenly over a length, both ends included."""
    if length <= wanted:
        yield from range(length)
        return
    for at in range(wanted):
        yield round(at * (length - 1) / (wanted - 1))

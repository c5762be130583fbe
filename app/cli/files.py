"""Commands that read files: import, forecast."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.printing import open_console, print_table
from app.cli.step_counts import step_count
from app.errors import BadInput, LosscastError, NotFinite, StepsBelowZero

if TYPE_CHECKING:
    from app.curves.plan import Plan
    from app.endpoint import Endpoint
    from app.forecasting.forecast import Forecast
    from app.importers.curve_file import FileCurve
    from app.importers.imported_run import ImportedRun
    from app.runs import Batch

MOST_DIGITS = 9  # a band that these do not show is narrower than any log is exact
IMPORT_PATIENCE_SECONDS = 10.0  # a service that restarts is waited for, one that is not there is not

Files = Annotated[
    list[Path], typer.Argument(metavar="FILE", help="CSV or JSONL files, one run each.", show_default=False)
]


def import_files(
    files: Files,
    project: Annotated[str, typer.Option(help="Project to put them in.")] = "imported",
    total_steps: Annotated[
        int | None,
        typer.Option(parser=step_count(1), metavar="N", help="Last step of training, if the file does not say."),
    ] = None,
    finished: Annotated[
        bool, typer.Option("--finished", help="They ran to their end: nothing is left to forecast.")
    ] = False,
    url: Annotated[
        str, typer.Option(envvar="LOSSCAST_URL", help="The service to send them to.")
    ] = "http://127.0.0.1:8700",
    api_key: Annotated[str | None, typer.Option(envvar="LOSSCAST_API_KEY", help="Its key, where keys are on.")] = None,
) -> None:
    """Import runs from files.

    Importing a file again changes nothing; importing a longer one adds what is new.

    \b
    losscast import run.csv --project gpt --finished
    """
    from app.endpoint import Endpoint

    def tell(reason: str) -> None:
        typer.echo(f"No answer from {url} ({reason}). Trying for {IMPORT_PATIENCE_SECONDS:g} s.", err=True)

    plan = {} if total_steps is None else {"total_steps": total_steps}
    with Endpoint(url, api_key=api_key, give_up_seconds=IMPORT_PATIENCE_SECONDS, on_wait=tell) as endpoint:
        for path in files:
            typer.echo(_import_file(endpoint, path, project, plan, "finished" if finished else "stopped"))


def _import_file(endpoint: Endpoint, path: Path, project: str, plan: dict[str, Any], status: str) -> str:
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    from app.endpoint import columns_of
    from app.importers.run_files import read_file

    console = Console(stderr=True)
    run = read_file(path)
    batches = _with_numbers(path, run)
    run_id = _run_id(project, path)
    opened = endpoint.post(
        "/runs",
        {
            "id": run_id,
            "project": project,
            "name": run.name,
            "config": dict(run.config),
            "tags": [said for said in ("imported", run.licence) if said],
            "plan": plan,
            # The same contents are the same session, whose batches are known already; a longer file replaces it.
            "session": f"import-{_digest(path)}",
        },
    )
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:,.0f} points"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        task = progress.add_task(path.name, total=None)
        try:
            for seq, batch in enumerate(batches):
                body = {"segment": opened["segment"], "seq": seq, **columns_of(batch)}
                endpoint.post(f"/runs/{run_id}/batches", body)
                progress.advance(task, batch.n_points)
        except LosscastError as error:
            # What was read so far stays; the run must not look alive.
            endpoint.post_once(f"/runs/{run_id}/finish", {"status": "failed", "message": str(error)})
            raise
    for warning in run.warnings:
        console.print(f"{path.name}: {warning}", style="yellow", markup=False)
    endpoint.post(f"/runs/{run_id}/finish", {"status": status, "message": f"imported from {path.name}"})
    return str(opened["url"])


def _with_numbers(path: Path, run: ImportedRun) -> Iterator[Batch]:
    """The batches, once one of them is known to hold a number: a run without any must not be made."""
    from app.importers.imported_run import no_numbers

    rest = iter(run.batches)
    first = next((batch for batch in rest if batch.n_points), None)
    if first is None:
        raise no_numbers(path, run.warnings)
    return chain([first], rest)


def _run_id(project: str, path: Path) -> str:
    stem = re.sub(r"[^A-Za-z0-9._~-]+", "-", path.name.split(".")[0])[:150].strip("-._~") or "run"
    return f"{stem}-{hashlib.sha256(f'{project}/{path.name}'.encode()).hexdigest()[:8]}"


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error


def forecast_file(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A CSV or JSONL file with a step column.", show_default=False)
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

    A metric that is NaN or infinite at its last step is refused.
    Rows after the last loss that hold nothing but a learning rate are the planned schedule.

    \b
    losscast forecast run.csv --total-steps 20000
    """
    from app.curves.broken import is_broken
    from app.curves.curve import Curve
    from app.curves.measure import measure_of
    from app.curves.planning.resolve import resolve_plan
    from app.forecasting.forecast import forecast_curve
    from app.importers.curve_file import read_curve_file

    read = read_curve_file(file, metric)
    if is_broken(read.last_value):
        raise NotFinite(read.metric)
    curve = Curve.from_points(read.points.steps, read.points.values)
    if curve.cutoff < 0:
        raise StepsBelowZero
    plan = resolve_plan(
        declared={} if total_steps is None else {"total_steps": total_steps},
        config=read.config,
        rate=None if read.rate is None else Curve.from_points(read.rate.steps, read.rate.values),
        cutoff=curve.cutoff,
        planned=read.planned,
        lengths={role: Curve.from_points(logged.steps, logged.values) for role, logged in read.lengths.items()},
    )
    forecast = forecast_curve(curve, plan, measure=measure_of(read.role, curve))
    notes = [*forecast.notes, *read.warnings]
    if as_json:
        json.dump(_as_json(read, plan, forecast, notes), sys.stdout)
        sys.stdout.write(os.linesep)
    else:
        _print(read, curve, plan, forecast, notes)


def _as_json(read: FileCurve, plan: Plan, forecast: Forecast, notes: list[str]) -> dict[str, Any]:
    path = zip(forecast.path_steps.tolist(), forecast.quantiles.T.tolist(), strict=True)
    return {
        "metric": read.metric,
        "cutoff": forecast.cutoff,
        "horizon": forecast.horizon,
        "total_steps": {"source": plan.total_source, "why": plan.total_why},
        "schedule": {"source": plan.schedule_source, "family": plan.schedule_family, "why": plan.schedule_why},
        "direction": "rises" if forecast.measure.rises else "falls",
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

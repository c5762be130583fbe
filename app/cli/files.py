"""Commands that read files: import, forecast."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.errors import BadInput, Unavailable

if TYPE_CHECKING:
    import httpx

    from app.curves.plan import Plan
    from app.forecasting.forecast import Forecast
    from app.importers.curve_file import FileCurve
    from app.runs import Batch

Files = Annotated[list[Path], typer.Argument(help="CSV or JSONL files, one run each.", show_default=False)]


def import_files(
    files: Files,
    project: Annotated[str, typer.Option(help="Project to put them in.")] = "imported",
    total_steps: Annotated[
        int | None, typer.Option(min=1, help="Where training ends, if the file does not say.")
    ] = None,
    finished: Annotated[
        bool, typer.Option("--finished", help="They ran to their end: nothing is left to forecast.")
    ] = False,
    url: Annotated[
        str, typer.Option(envvar="LOSSCAST_URL", help="The service to send them to.")
    ] = "http://127.0.0.1:8700",
    api_key: Annotated[str | None, typer.Option(envvar="LOSSCAST_API_KEY", help="Its key, where keys are on.")] = None,
) -> None:
    """Import runs from files. Importing a file again changes nothing; importing a longer one adds what is new."""
    import httpx
    from rich.console import Console

    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    console = Console(stderr=True)
    with httpx.Client(base_url=f"{url.rstrip('/')}/api/v1", headers=headers, timeout=60.0, trust_env=False) as client:
        for path in files:
            plan = {} if total_steps is None else {"total_steps": total_steps}
            page = _import_file(client, console, path, project, plan, "finished" if finished else "stopped")
            typer.echo(page)


def _import_file(
    client: httpx.Client, console: Any, path: Path, project: str, plan: dict[str, Any], status: str
) -> str:
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    from app.importers.run_files import read_file

    run = read_file(path)
    run_id = _run_id(project, path)
    opened = _post(
        client,
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
        for seq, batch in enumerate(run.batches):
            body = {"segment": opened["segment"], "seq": seq, **_columns(batch)}
            _post(client, f"/runs/{run_id}/batches", body)
            progress.advance(task, batch.n_points)
    for warning in run.warnings:
        console.print(f"{path.name}: {warning}", style="yellow", markup=False)
    _post(client, f"/runs/{run_id}/finish", {"status": status, "message": f"imported from {path.name}"})
    return str(opened["url"])


def _columns(batch: Batch) -> dict[str, Any]:
    """The batch in the wire's columnar form."""
    from app.ingest.schemas import number

    metrics = {
        metric: [number(value) if here else None for value, here in zip(values, present, strict=True)]
        for metric, values, present in zip(batch.metrics, batch.values.tolist(), batch.present.tolist(), strict=True)
    }
    times = [None if time != time else time for time in batch.times.tolist()]
    return {"steps": batch.steps.tolist(), "metrics": metrics} | ({"times": times} if any(times) else {})


def _post(client: httpx.Client, address: str, body: Mapping[str, Any], patience_seconds: float = 60.0) -> Any:
    """Send, waiting while the service asks for patience."""
    import time

    import httpx

    waited = 0.0
    while True:
        try:
            answer = client.post(address, json=body)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"Nothing answers at {client.base_url}: {error or type(error).__name__}. Start it with 'losscast up', "
                "or name another with --url."
            ) from error
        if answer.status_code not in (429, 503) or waited >= patience_seconds:
            break
        pause = float(answer.headers.get("Retry-After", "1"))
        time.sleep(pause)
        waited += pause
    if answer.is_success:
        return answer.json()
    try:
        message = answer.json()["message"]
    except (ValueError, KeyError, TypeError):
        message = f"{client.base_url} answered {answer.status_code} and is perhaps not Losscast."
    raise BadInput(message)


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
    file: Annotated[Path, typer.Argument(help="A CSV or JSONL file with a step column.", show_default=False)],
    total_steps: Annotated[
        int | None, typer.Option(min=1, help="Where training ends, if the file does not say.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What to forecast; else the loss that is found.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Forecast the rest of a run from a file; no server needed.

    Rows after the last loss that hold nothing but a learning rate are the planned schedule.
    """
    from app.curves.curve import Curve
    from app.curves.plan import resolve_plan
    from app.forecasting.forecast import forecast_curve
    from app.importers.curve_file import read_curve_file

    read = read_curve_file(file, metric)
    curve = Curve.from_points(read.points.steps, read.points.values)
    plan = resolve_plan(
        declared={} if total_steps is None else {"total_steps": total_steps},
        config=read.config,
        rate=None if read.rate is None else Curve.from_points(read.rate.steps, read.rate.values),
        cutoff=curve.cutoff,
        epoch=None if read.epoch is None else Curve.from_points(read.epoch.steps, read.epoch.values),
        planned=read.planned,
    )
    forecast = forecast_curve(curve, plan)
    notes = [*forecast.notes, *read.warnings]
    if curve.nonfinite:
        notes.insert(0, f"{curve.nonfinite} of the points are NaN or infinite and were left out of the fit.")
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
        "final": {"mean": forecast.final_mean, **_levels(forecast.final_quantiles)},
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
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"[bold]{read.name}[/bold]: {read.metric} at step {forecast.cutoff:,} of {forecast.horizon:,}")
    for why in (plan.total_why, plan.schedule_why):
        console.print(f"  {why}", style="dim", markup=False)
    table = Table("step", "5 %", "median", "95 %", box=None, padding=(0, 2), header_style="dim")
    for at in _spread(len(forecast.path_steps), 8):
        row = forecast.quantiles[:, at]
        table.add_row(f"{forecast.path_steps[at]:,}", f"{row[0]:.4g}", f"{row[2]:.4g}", f"{row[4]:.4g}")
    for column in table.columns:
        column.justify = "right"
    console.print(table)
    final = forecast.final_quantiles
    console.print(
        f"Final {read.metric}: [bold]{forecast.final_mean:.4g}[/bold], 90 % {final[0.05]:.4g} to {final[0.95]:.4g}, "
        "of the level over the last 2 % of the steps"
    )
    for note in notes:
        console.print(f"· {note}", style="dim", markup=False)


def _spread(length: int, wanted: int) -> Iterator[int]:
    """Indices spread evenly over a length, both ends included."""
    if length <= wanted:
        yield from range(length)
        return
    for at in range(wanted):
        yield round(at * (length - 1) / (wanted - 1))

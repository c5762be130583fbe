"""`losscast diagnose`: what the diagnoses would have said of runs in files, step by step."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.printing import open_console, print_table
from app.cli.skipped import reason
from app.errors import BadInput, LosscastError

if TYPE_CHECKING:
    from app.diagnostics.dynamics.dynamic import Dynamic
    from app.diagnostics.event import Event, Risk

COLOURS = {"critical": "red", "warning": "yellow", "info": "dim"}


def diagnose(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="CSV or JSONL files of runs, or folders.", show_default=False),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
    overfit_rule: Annotated[
        str,
        typer.Option(
            help="Call a run overfit by a published rule: gl2, gl5, pq, up3 (Prechelt), patience3 or patience10.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Diagnose runs: what broke, and when one could know.

    Also what was about to break and what recovered. What is said at a step depends on nothing after it. Files that
    cannot be read are skipped and named.

    \b
    losscast diagnose run.csv runs/
    """
    record = _diagnosed(paths, overfit_rule)
    if as_json:
        json.dump(record, sys.stdout, allow_nan=False)
        sys.stdout.write("\n")
    else:
        _print(record)
    if not record["runs"]:
        raise BadInput("No file could be diagnosed.")


def _diagnosed(paths: Sequence[Path], overfit_rule: str) -> dict[str, Any]:
    from app.diagnostics.overfit import NAMED_RULES
    from app.importers.run_files import find_run_files

    if overfit_rule and overfit_rule not in NAMED_RULES:
        raise BadInput(f"No overfit rule is called {overfit_rule!r}; there are {', '.join(NAMED_RULES)}.")
    record: dict[str, Any] = {"runs": [], "skipped": []}
    for file in dict.fromkeys(file for path in paths for file in find_run_files(path)):
        try:
            record["runs"].append(diagnosed_file(file, overfit_rule))
        except LosscastError as error:
            record["skipped"].append({"file": str(file), "why": reason(error, file)})
    return record


def diagnosed_file(path: Path, overfit_rule: str = "") -> dict[str, Any]:
    """One run as `--json` has it."""
    from app.diagnostics.dynamics.report import dynamics_of, metrics_to_read
    from app.diagnostics.engine import Engine
    from app.diagnostics.signals import choose_inputs
    from app.importers.curve_file import points_by_metric
    from app.importers.imported_run import no_numbers
    from app.importers.run_files import read_file

    run = read_file(path)
    logged = points_by_metric(list(run.batches))
    if not any(len(points) for points in logged.values()):
        raise no_numbers(path, run.warnings)
    inputs = choose_inputs({metric: len(points) for metric, points in logged.items()})
    engine = Engine(inputs, overfit_rule)
    read = {metric: (logged[metric].steps, logged[metric].values) for metric in metrics_to_read(logged, inputs.metrics)}
    found = engine.observe({metric: (points.steps, points.values) for metric, points in logged.items()})
    return {
        "file": str(path),
        "points": engine.rows,
        "losses": inputs.with_role("train_loss", "val_loss"),
        "states": engine.states,
        "events": [_event(event) for event in last_words(found.events)],
        "risk": [_risk(risk) for risk in found.risks],
        "dynamics": [_dynamic(dynamic) for dynamic in dynamics_of(read, inputs.metrics)],
    }


def last_words(events: Sequence[Event]) -> list[Event]:
    """The newest version of each event, in the order they were raised."""
    newest = {event.id: event for event in events}
    return sorted(newest.values(), key=lambda event: (event.raised_at, event.kind))


def _event(event: Event) -> dict[str, Any]:
    return {
        "kind": event.kind,
        "severity": str(event.severity),
        "step": event.step,
        "raised_at": event.raised_at,
        "resolved_at": event.resolved_at,
        "outcome": event.outcome or None,
        "probability": event.probability,
        "message": event.message,
        "evidence": {name: _json_number(value) for name, value in event.evidence.items()},
        "inputs": list(event.inputs),
        "sharpen": list(event.sharpen),
    }


def _risk(risk: Risk) -> dict[str, Any]:
    return {"step": risk.step, "horizon": risk.horizon, "p": round(risk.probability, 6)}


def _dynamic(dynamic: Dynamic) -> dict[str, Any]:
    return {
        "kind": dynamic.kind,
        "metrics": list(dynamic.metrics),
        "text": dynamic.text,
        "numbers": {name: _json_number(value) for name, value in dynamic.numbers.items()},
    }


def _json_number(value: Any) -> Any:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _print(record: Mapping[str, Any]) -> None:
    from rich.table import Table

    console = open_console()
    for run in record["runs"]:
        steps = "1 logged step" if run["points"] == 1 else f"{run['points']:,} logged steps"
        console.print(f"{run['file']}: {steps}", style="bold", markup=False, soft_wrap=True)
        console.print("  " + ", ".join(f"{name}: {state}" for name, state in run["states"].items()), style="dim")
        for dynamic in run["dynamics"]:
            console.print(f"  {dynamic['text']}", markup=False, soft_wrap=True)
        if not run["events"]:
            heard = "" if run["losses"] else " No metric is known as a loss: what needs one was not judged."
            console.print(f"  Nothing to report.{heard}")
            continue
        table = Table("", "step", "said at", "over at", "", box=None, padding=(0, 2), header_style="dim")
        for event in run["events"]:
            table.add_row(
                f"[{COLOURS[event['severity']]}]{event['kind']}[/]",
                f"{event['step']:,}",
                f"{event['raised_at']:,}",
                "-" if event["resolved_at"] is None else f"{event['resolved_at']:,}",
                _words(event),
            )
        print_table(console, table)
    for each in record["skipped"]:
        console.print(f"skipped {each['file']}: {each['why']}", style="yellow", markup=False, soft_wrap=True)


def _words(event: Mapping[str, Any]) -> str:
    from rich.markup import escape

    probability = "" if event["probability"] is None else f" ({100 * event['probability']:.0f} %)"
    outcome = f" [bold]{event['outcome']}[/bold]" if event["outcome"] else ""
    return f"{escape(event['message'])}{probability}{outcome}"

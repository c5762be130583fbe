"""CSV in every form that we know, by its header alone.

- one run, one column a metric (`csv_file`);
- wandb's export of a chart: `Step`, then for each run `RUN - METRIC` with its `__MIN` and `__MAX` beside it;
- MLflow's download of metrics, one row a point: `run_id,key,value,step,timestamp`;
- TensorBoard's download of one scalar, `Wall time,Step,Value`, whose name is in the file's name alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.importers.csv_file import Head, Layout, read_columns, read_head, read_table
from app.importers.imported_run import ImportedRun, guess_step_name, run_name, unreadable
from app.importers.long_table import long_columns, read_long_table

TENSORBOARD_HEADER = ("wall time", "step", "value")
TAG_IN_NAME = re.compile(r"-tag-(?P<tag>.+?)( \(\d+\))?$")
"""`run-NAME-tag-TAG.csv`, and what a browser adds where it has saved one of that name before."""

BETWEEN = " - "


def read_csv(path: Path) -> list[ImportedRun]:
    """The runs of a CSV file, most often one."""
    head = read_head(path)
    if panels := wandb_panels(head.header):
        return [_panel(path, head, run, metrics) for run, metrics in panels.items()]
    if columns := long_columns(head.header):
        return read_long_table(path, head, columns)
    if tuple(name.lower() for name in head.header) == TENSORBOARD_HEADER:
        return [_tensorboard_scalar(path, head)]
    return [read_table(path, head)]


def wandb_panels(header: Sequence[str]) -> dict[str, dict[int, str]]:
    """Names of metrics by column, by run, where the header is that of wandb's export of a chart; else nothing.

    The extremes of what a point of the export stands for are left out.
    """
    named = set(header)
    if not any(BETWEEN in name and {f"{name}__MIN", f"{name}__MAX"} <= named for name in header):
        return {}
    panels: dict[str, dict[int, str]] = {}
    for i, name in enumerate(header):
        run, between, metric = name.rpartition(BETWEEN)  # a run's name is anybody's to give, a metric's seldom has it
        if between and not metric.endswith(("__MIN", "__MAX")):
            panels.setdefault(run, {})[i] = metric
    return panels


def _panel(path: Path, head: Head, run: str, metrics: Mapping[int, str]) -> ImportedRun:
    """One run of the chart; the steps are its own, or the chart's where that counts them more surely."""
    step_name = guess_step_name([head.header[0], *metrics.values()])
    if step_name is None:
        what = f"neither the axis of the chart ({head.header[0]!r}) nor a metric of {run!r} counts steps"
        raise unreadable(path, head.lines, what, "Export the chart with Step as its x axis")
    step_column = next((i for i, name in metrics.items() if name == step_name), 0)
    layout = Layout(head, step_column, {i: name for i, name in metrics.items() if i != step_column}, part=run)
    return read_columns(path, layout)


def _tensorboard_scalar(path: Path, head: Head) -> ImportedRun:
    found = TAG_IN_NAME.search(run_name(path))
    return read_columns(path, Layout(head, 1, {0: head.header[0], 2: found["tag"] if found else head.header[2]}))

"""SQLite databases that loggers keep: MLflow's `mlflow.db` and Trackio's, one of many runs each.

Read as they are, also while a logger writes. The forms are those of MLflow 3.17 (tables `runs`, `metrics`, `params`)
and Trackio 0.43 (`metrics`, `configs`); a database with other tables is refused.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from app.importers.imported_run import ImportedRun, batches_of_series, counted, run_name, unreadable
from app.importers.jsonl_file import run_of_records
from app.runs import Points

MAGIC = b"SQLite format 3\0"

MLFLOW_TABLES = frozenset({"runs", "metrics", "params"})
TRACKIO_COLUMNS = frozenset({"run_id", "run_name", "step", "metrics", "timestamp"})


Reader = Callable[[Path, sqlite3.Connection], list[ImportedRun]]


def is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def is_log_database(path: Path) -> bool:
    """Whether it is one of a logger that we know."""
    if not is_database(path):
        return False
    try:
        with _opened(path) as connection:
            return _reader(connection) is not None
    except sqlite3.Error:
        return False


def read_database(path: Path) -> list[ImportedRun]:
    """Every run that logged something, those that began first in front; a run's part is its id there."""
    try:
        with _opened(path) as connection:
            read = _reader(connection)
            if read is None:
                instead = "Losscast reads those of MLflow and Trackio; of others, import an export as CSV"
                raise unreadable(path, None, "this database is of no logger that is known", instead)
            return read(path, connection)
    except sqlite3.Error as error:
        raise unreadable(path, None, f"the database cannot be read ({error})", "Copy it while nobody writes") from error


def _opened(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True))


def _reader(connection: sqlite3.Connection) -> Reader | None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables >= MLFLOW_TABLES:
        return _read_mlflow
    columns = {row[1] for row in connection.execute("PRAGMA table_info(metrics)")}
    return _read_trackio if columns >= TRACKIO_COLUMNS else None


def _read_mlflow(path: Path, connection: sqlite3.Connection) -> list[ImportedRun]:
    found = connection.execute(
        "SELECT run_uuid, name FROM runs WHERE lifecycle_stage = 'active' ORDER BY start_time, run_uuid"
    ).fetchall()
    runs = []
    for run_id, name in found:
        series = _mlflow_series(connection, run_id)
        if series:
            config = {key: _plain(value) for key, value in _rows(connection, "params", "key, value", run_id)}
            runs.append(ImportedRun(name or run_id, config, batches_of_series(series), part=run_id))
    return _told_of_empty(path, runs, len(found) - len(runs))


def _mlflow_series(connection: sqlite3.Connection, run_id: str) -> dict[str, Points]:
    """Of points at the same step the one that was logged last comes last."""
    rows: dict[str, list[tuple[int, float, float]]] = {}
    for key, step, value, is_nan, timestamp in _rows(
        connection, "metrics", "key, step, value, is_nan, timestamp", run_id, order="timestamp, step"
    ):
        # NaN is kept as 0 with a flag, the infinities as the largest numbers.
        number = np.nan if is_nan else np.copysign(np.inf, value) if abs(value) == sys.float_info.max else value
        rows.setdefault(key, []).append((step, number, timestamp / 1000))
    return {
        key: Points(*(np.array(column, kind) for column, kind in zip(zip(*of_key, strict=True), "qdd", strict=True)))
        for key, of_key in rows.items()
    }


def _rows(
    connection: sqlite3.Connection, table: str, columns: str, run_id: str, order: str = "key"
) -> Iterator[tuple[Any, ...]]:
    # The names are ours, the id is whoever's.
    return connection.execute(f"SELECT {columns} FROM {table} WHERE run_uuid = ? ORDER BY {order}", (run_id,))


def _read_trackio(path: Path, connection: sqlite3.Connection) -> list[ImportedRun]:
    found = connection.execute("SELECT run_id, min(run_name) FROM metrics GROUP BY run_id ORDER BY min(id)").fetchall()
    configs = _trackio_configs(connection)
    runs = []
    for run_id, name in found:
        rows = list(_trackio_rows(connection, run_id))
        run = run_of_records(path, lambda _, rows=rows: enumerate(rows, start=1), "row")  # type: ignore[misc]
        runs.append(replace(run, name=name, part=run_id, config=configs.get(run_id, {})))
    return _told_of_empty(path, runs, 0)


def _trackio_rows(connection: sqlite3.Connection, run_id: str) -> Iterator[dict[str, Any]]:
    query = "SELECT step, timestamp, metrics FROM metrics WHERE run_id = ? ORDER BY id"
    for step, timestamp, metrics in connection.execute(query, (run_id,)):
        time = datetime.fromisoformat(timestamp).timestamp()
        yield {"step": step, "timestamp": time, **json.loads(metrics)}


def _trackio_configs(connection: sqlite3.Connection) -> dict[str, Mapping[str, Any]]:
    """What the job said; Trackio's own entries begin with an underscore."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'configs'").fetchone():
        return {}
    return {
        run_id: {key: value for key, value in json.loads(config).items() if not key.startswith("_")}
        for run_id, config in connection.execute("SELECT run_id, config FROM configs")
    }


def _told_of_empty(path: Path, runs: list[ImportedRun], empty: int) -> list[ImportedRun]:
    if not runs:
        return [ImportedRun(name=run_name(path), config={}, batches=iter(()))]
    if empty:
        runs[0].warnings.append(f"{counted(empty, 'other run')} of {path.name} logged nothing.")
    return runs


def _plain(value: str) -> object:
    """MLflow keeps every parameter as text."""
    try:
        return json.loads(value)
    except ValueError:
        return value

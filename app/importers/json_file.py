"""JSON files: `trainer_state.json` of the Hugging Face Trainer, and a list of rows.

The Trainer writes `trainer_state.json` into every checkpoint, each time with the whole log so far.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.importers.imported_run import ImportedRun, open_text, unreadable
from app.importers.jsonl_file import read_jsonl, run_of_records

TRAINER_STATE = "trainer_state.json"

OF_THE_WHOLE_RUN = frozenset(
    {"train_loss", "train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos"}
)
"""What the Trainer logs once, when all is over: `train_loss` is the mean of the whole run, no point of its curve."""

SETTINGS = ("max_steps", "num_train_epochs", "logging_steps", "eval_steps", "save_steps", "train_batch_size")

KNOWN = "Losscast reads a trainer_state.json, a list of rows, and JSONL"


def read_json(path: Path) -> list[ImportedRun]:
    """One document, or JSONL that is called `.json`."""
    try:
        with open_text(path) as file:
            document = json.load(file)
    except RecursionError as error:
        raise unreadable(path, None, "nested too deeply", KNOWN) from error
    except UnicodeError as error:
        raise unreadable(path, None, f"this is not UTF-8 text ({error})", KNOWN) from error
    except (ValueError, OSError, EOFError):
        return read_jsonl(path)  # several documents; what else is wrong with it is said there, with its line
    if isinstance(document, list):
        return [run_of_records(path, lambda _: _rows(path, document), "row")]
    if isinstance(document, dict) and isinstance(document.get("log_history"), list):
        return [_trainer_state(path, document)]
    if isinstance(document, dict) and not any(isinstance(value, list) for value in document.values()):
        return read_jsonl(path)
    raise unreadable(path, None, "this JSON holds no rows", KNOWN)


def _rows(path: Path, rows: list[Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            what = f"row {number} of the list is a JSON {type(row).__name__} where an object was expected"
            raise unreadable(path, None, what, 'Write rows as [{"step": 1, "loss": 2.5}, ...]')
        yield number, row


def _trainer_state(path: Path, state: Mapping[str, Any]) -> ImportedRun:
    history = [
        {name: cell for name, cell in row.items() if name not in OF_THE_WHOLE_RUN} if isinstance(row, dict) else row
        for row in state["log_history"]
    ]
    run = run_of_records(path, lambda _: _rows(path, history), "row")
    # The Trainer writes 0 or -1 where a setting was not given.
    config = {name: state[name] for name in SETTINGS if isinstance(state.get(name), int | float) and state[name] > 0}
    return replace(run, config=config)

"""Which reader a file gets, and which files of a folder are runs."""

from __future__ import annotations

from pathlib import Path

from app.errors import BadInput
from app.importers.event_files import IN_THEIR_NAMES, event_files_in, is_event_file, read_events
from app.importers.imported_run import ImportedRun, open_text, unreadable
from app.importers.json_file import TRAINER_STATE, read_json
from app.importers.jsonl_file import read_jsonl
from app.importers.log_database import is_database, is_log_database, read_database
from app.importers.tables import read_csv
from app.importers.wandb_file import is_wandb_file, read_wandb_file

READERS = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
}

FOUND_BY_ENDING = frozenset(READERS) - {".json"}
"""Of JSON in a folder only `trainer_state.json` is known to be a run: what lies beside it is settings."""

DATABASES = (".db", ".sqlite", ".sqlite3")

CHECKPOINT = "checkpoint-"

READ = "Losscast reads CSV, JSONL, trainer_state.json, TensorBoard's event files, files of wandb, MLflow and Trackio"

BINARY = {b"PAR1": "Parquet", b"PK\x03\x04": "a zip archive", b"\x93NUMPY": "an array of numpy"}


def read_runs(path: Path) -> list[ImportedRun]:
    """The runs of a file, or of a folder of event files; chosen by its ending, else by its first characters.

    Raises
    ------
    UnreadableFile
        Names the file, the line and what to do. Also raised while `batches` is consumed.
    """
    if _is_folder(path):
        if event_files_in(path):
            return read_events(path)
        raise unreadable(path, None, "this is a folder", "Name one file in it")
    if IN_THEIR_NAMES in path.name:
        return read_events(path)
    if is_database(path):
        return read_database(path)
    if is_wandb_file(path):
        return read_wandb_file(path)
    reader = READERS.get(_ending(path))
    if reader is None or (reader is read_csv and (_begins_with(path, b"{") or _begins_with(path, b"["))):
        return _by_content(path)
    return reader(path)


def read_file(path: Path) -> ImportedRun:
    """The one run of a file.

    Raises
    ------
    UnreadableFile
        As `read_runs`; or the file holds several.
    """
    runs = read_runs(path)
    if len(runs) > 1:
        named = ", ".join(repr(run.name) for run in runs[:8])
        instead = "`losscast import` takes them all; here, name a file of one run"
        raise unreadable(path, None, f"it holds {len(runs)} runs ({named}{', ...' if len(runs) > 8 else ''})", instead)
    return runs[0]


def find_run_files(path: Path) -> list[Path]:
    """The file itself, or everything below a folder that is a run, in order; hidden ones are left out.

    That is every CSV and JSONL file, every folder with TensorBoard's event files in it, every `.wandb` file, every
    database of MLflow or Trackio, and every `trainer_state.json`, of a run's checkpoints the newest one's alone.

    Raises
    ------
    BadInput
        Where the folder holds none.
    """
    if not _is_folder(path):
        return [path]
    below = [found for found in (path, *path.rglob("*")) if not _is_hidden(found, path)]
    states = [found for found in below if found.name == TRAINER_STATE and found.is_file()]
    folders = {found.parent for found in below if is_event_file(found)}
    files = [found for found in below if _ending(found) in FOUND_BY_ENDING and found.is_file()]
    files += [found for found in below if found.suffix == ".wandb" and is_wandb_file(found)]
    databases = [found for found in below if _ending(found) in DATABASES and is_log_database(found)]
    found = sorted({*files, *folders, *databases, *newest_states(states)})
    if not found:
        what = "no CSV, JSONL, .wandb or TensorBoard event file, trainer_state.json or database of MLflow or Trackio"
        raise BadInput(f"{path}: {what} in this folder or below it.")
    return found


def newest_states(states: list[Path]) -> list[Path]:
    """Of the `trainer_state.json` of one training the one that was written last: it holds what the others do."""
    newest: dict[Path, Path] = {}
    for state in states:
        training = folder_of_training(state)
        if training not in newest or _written(state) > _written(newest[training]):
            newest[training] = state
    return list(newest.values())


def folder_of_training(state: Path) -> Path:
    """Where the Trainer puts its checkpoints: a `trainer_state.json` is in one of them, or lies beside them."""
    folder = state.parent
    return folder.parent if _step_of_checkpoint(folder) is not None else folder


def _written(state: Path) -> float:
    """Order of writing, as far as it shows: by the checkpoint's step; the one beside the checkpoints is the last."""
    step = _step_of_checkpoint(state.parent)
    return float("inf") if step is None else step


def _step_of_checkpoint(folder: Path) -> int | None:
    step = folder.name.removeprefix(CHECKPOINT)
    return int(step) if folder.name.startswith(CHECKPOINT) and step.isdecimal() else None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long: whoever reads it says so
        return False


def _is_hidden(found: Path, below: Path) -> bool:
    return any(part.startswith(".") for part in found.relative_to(below).parts)


def _ending(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False


def _by_content(path: Path) -> list[ImportedRun]:
    binary = next((name for magic, name in BINARY.items() if _begins_with(path, magic)), None)
    if binary is not None:
        raise unreadable(path, None, f"this is {binary}", READ)
    try:
        with open_text(path) as file:
            head = file.read(4096).lstrip()
    except (UnicodeError, EOFError) as error:
        raise unreadable(path, None, "this is not a text file", READ) from error
    return read_json(path) if head.startswith(("{", "[")) else read_csv(path)

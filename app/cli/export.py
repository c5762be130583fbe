"""The command that writes runs of a service to files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

import typer

from app.cli.named_runs import ApiKey, RunIds, Url, find_runs, path_of, require_project
from app.errors import BadInput

if TYPE_CHECKING:
    from app.endpoint import Endpoint

PATIENCE_SECONDS = 10.0
RUNS_ASKED = 500


def export(
    runs: RunIds = None,
    project: Annotated[
        str | None, typer.Option(help="Export all runs of this project instead.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for a file a run, named by its id. Without it one run goes to standard output.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[Literal["csv", "jsonl", "parquet"], typer.Option("--format", help="Form of the files.")] = "csv",
    url: Url = "http://127.0.0.1:8700",
    api_key: ApiKey = None,
) -> None:
    """Write runs to files: every point of them.

    \b
    losscast export gpt-7 > gpt-7.csv
    losscast export --project gpt --output runs --format jsonl
    """
    from app.endpoint import Endpoint

    if bool(runs) == (project is not None):
        raise BadInput("Name runs by their ids, or a project: losscast export RUN..., losscast export --project NAME.")
    with Endpoint(url, api_key=api_key, give_up_seconds=PATIENCE_SECONDS) as endpoint:
        if project is not None:
            run_ids = _ids_of_project(endpoint, project)
        else:
            # All of them are looked up before the first is written: a slip in one name costs nothing.
            run_ids = [run["id"] for run in find_runs(endpoint, runs or (), "export")]
        if output is None:
            _to_standard_output(endpoint, run_ids, form)
        else:
            _to_folder(endpoint, run_ids, form, output)


def _ids_of_project(endpoint: Endpoint, project: str) -> list[str]:
    require_project(endpoint, project)
    ids: list[str] = []
    while page := endpoint.get("/runs", project=project, limit=RUNS_ASKED, offset=len(ids))["runs"]:
        ids += [run["id"] for run in page]
    return list(dict.fromkeys(ids))  # a run that was made meanwhile moves the others by a place


def _to_standard_output(endpoint: Endpoint, run_ids: list[str], form: str) -> None:
    if len(run_ids) != 1:
        raise BadInput(f"There are {len(run_ids)} runs to export: name the folder for their files with --output DIR.")
    if form == "parquet" and sys.stdout.isatty():
        raise BadInput("Parquet is no text for a terminal: redirect it to a file, or name a folder with --output DIR.")
    for part in endpoint.download(f"{path_of(run_ids[0])}/export", format=form):
        sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()


def _to_folder(endpoint: Endpoint, run_ids: list[str], form: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for run_id in run_ids:
            path = folder / f"{run_id}.{form}"
            with _whole_or_nothing(path) as file:
                for part in endpoint.download(f"{path_of(run_id)}/export", format=form):
                    file.write(part)
            typer.echo(path)
    except OSError as error:
        raise BadInput(f"Cannot write to {folder}: {error.strerror or error}.") from error


@contextmanager
def _whole_or_nothing(path: Path) -> Iterator[IO[bytes]]:
    """A file that has its name only once all of it is there: half an export looks like a shorter run."""
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with unfinished.open("wb") as file:
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)

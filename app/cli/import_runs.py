"""The command that imports runs from files into a service."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.import_account import Account
from app.cli.import_identity import Source, choose_run, find_sources, is_known, labels
from app.cli.named_runs import path_of
from app.cli.piped import as_file
from app.cli.skipped import reason
from app.cli.step_counts import step_count
from app.errors import BadInput, LosscastError, Unavailable

if TYPE_CHECKING:
    from app.endpoint import Endpoint
    from app.importers.imported_run import ImportedRun
    from app.runs import Batch

PROJECT = "imported"
ENDED = ("finished", "failed", "stopped")

PATIENCE_SECONDS = 10.0  # a service that restarts is waited for, one that is not there is not

Files = Annotated[
    list[Path],
    typer.Argument(metavar="PATH", help="Files, or folders with some; - is standard input.", show_default=False),
]


def import_runs(
    files: Files,
    project: Annotated[
        str | None, typer.Option(help="Project to put them in.  [default: what the file says, else imported]")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run, of a single file; else the file's.", show_default=False)
    ] = None,
    run_id: Annotated[
        str | None,
        typer.Option("--id", help="Id of the run, of a single file; else made from its path.", show_default=False),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Give a metric another name; may be repeated.", show_default=False),
    ] = None,
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

    CSV, JSONL, trainer_state.json, files of TensorBoard, wandb, MLflow and Trackio. Importing a file again changes
    nothing; importing a longer one adds what is new. Of several, those that cannot be read are skipped.

    \b
    losscast import run.csv --project gpt --finished
    losscast import runs/ --project gpt
    """
    from app.endpoint import Endpoint

    def tell(reason: str) -> None:
        typer.echo(f"No answer from {url} ({reason}). Trying for {PATIENCE_SECONDS:g} s.", err=True)

    sources, failed = find_sources(files)
    if len(sources) + len(failed) != 1 and (name or run_id):
        raise BadInput(f"--name and --id are for one run; here are {len(sources)} to import.")
    asked = _Asked(project, name, run_id, _renames(rename or ()), total_steps, "finished" if finished else None)
    with Endpoint(url, api_key=api_key, give_up_seconds=PATIENCE_SECONDS, on_wait=tell) as endpoint:
        _import_all(endpoint, sources, failed, asked)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the command line says of the runs, before what their files do."""

    project: str | None
    name: str | None
    run_id: str | None
    renames: Mapping[str, str]
    total_steps: int | None
    status: str | None

    def project_of(self, run: ImportedRun) -> str:
        return self.project or run.said.project or PROJECT

    def plan_of(self, run: ImportedRun) -> dict[str, Any]:
        return {**run.said.plan, **({} if self.total_steps is None else {"total_steps": self.total_steps})}

    def total_of(self, run: ImportedRun) -> int | None:
        """The steps that command line, file or config give the run."""
        from app.curves.config_keys import Config, as_number, configured_total

        declared = as_number(self.plan_of(run).get("total_steps"))
        configured = configured_total(Config(run.config))
        return int(declared) if declared is not None else configured[0] if configured else None

    def status_of(self, run: ImportedRun, account: Account) -> str:
        """One that still ran when its file was written goes on elsewhere: here nothing more comes.

        What nobody says is seen from the steps: no further row would have fitted before the total.
        """
        if self.status or run.said.status in ENDED:
            return self.status or str(run.said.status)
        total = self.total_of(run)
        if total is None or account.last_step is None:
            return "stopped"
        return "finished" if 0 <= total - account.last_step <= account.spacing else "stopped"


def _import_all(endpoint: Endpoint, sources: list[Source], failed: dict[Path, LosscastError], asked: _Asked) -> None:
    """One after the other; what cannot be read is told and passed over, unless there is nothing else."""
    is_alone = len(sources) + len(failed) == 1
    for path, error in failed.items():
        if is_alone:
            raise error
        _tell_failed(path, error)
    tally = _Tally(failed=len(failed))
    for at, (source, label) in enumerate(zip(sources, labels(sources), strict=True)):
        try:
            for url in _import_source(endpoint, source, label, asked):
                typer.echo(url)
                tally.runs += 1
            tally.imported += 1
        except LosscastError as error:
            if is_alone:
                raise
            if _is_hopeless(error):
                typer.echo(f"{tally.told()}, {len(sources) - at} left, from {source.path} on.", err=True)
                raise
            _tell_failed(source.path, error)
            tally.failed += 1
    if not is_alone:
        typer.echo(f"{tally.told()}.", err=True)
    if tally.failed:
        raise typer.Exit(1)


@dataclass(slots=True)
class _Tally:
    """How many files have been dealt with."""

    imported: int = 0
    runs: int = 0
    failed: int = 0

    def told(self) -> str:
        runs = f" ({self.runs} runs)" if self.runs != self.imported else ""
        return f"{self.imported} imported{runs}, {self.failed} failed"


def _is_hopeless(error: LosscastError) -> bool:
    """Whether the next file would end the same way."""
    from app.endpoint import KeyRefused

    return isinstance(error, Unavailable | KeyRefused)


def _import_source(endpoint: Endpoint, source: Source, label: str, asked: _Asked) -> Iterator[str]:
    """The addresses of its runs."""
    from app.importers.run_files import read_runs

    with as_file(source.path) as path:
        runs = read_runs(path)
        if len(runs) > 1 and (asked.name or asked.run_id):
            raise BadInput(f"--name and --id are for one run; {source.path} holds {len(runs)}.")
        digest = _digest(path)
        for run in runs:
            yield _import_run(endpoint, source, path, label, digest, run, asked)


def _import_run(
    endpoint: Endpoint, source: Source, path: Path, label: str, digest: str, run: ImportedRun, asked: _Asked
) -> str:
    from app.endpoint import columns_of

    if run.part:  # the other runs of the file may have changed, and this one not
        whole = list(run.batches)
        run, digest = replace(run, batches=iter(whole)), _digest_of(whole)
    head, batches = _with_numbers(path, run, asked.renames)
    project = asked.project_of(run)
    if asked.run_id:
        run_id, known = asked.run_id, is_known(endpoint, asked.run_id)
    else:
        run_id, known = choose_run(endpoint, source, run.part, project, digest, head)
    shown = f"{label}: {run.name}" if run.part else label
    account = Account()
    opened = endpoint.post(
        "/runs",
        {
            "id": run_id,
            "project": project,
            # A run that is there may have been given another name meanwhile.
            "name": asked.name or (None if known else _name(run, path, source, label)),
            "config": dict(run.config),
            "tags": list(dict.fromkeys(tag for tag in ("imported", run.licence, *run.said.tags) if tag)),
            "plan": asked.plan_of(run),
            "roles": {asked.renames.get(metric, metric): role for metric, role in run.said.roles.items()},
            # The same contents are the same session, whose batches are known already; a longer file replaces it.
            "session": _session(digest, asked.renames),
        },
    )
    with _points_counted(shown) as advance:
        try:
            for seq, batch in enumerate(batches):
                body = {"segment": opened["segment"], "seq": seq, **columns_of(batch)}
                endpoint.post(f"{path_of(run_id)}/batches", body)
                if batch.n_points:
                    account.add(batch)
                advance(batch.n_points)
        except LosscastError as error:
            # What was read so far stays; the run must not look alive.
            endpoint.post_once(f"{path_of(run_id)}/finish", {"status": "failed", "message": str(error)})
            raise
    status = asked.status_of(run, account)
    ended = {"status": status, "message": run.said.message or f"imported from {path.name}"}
    endpoint.post(f"{path_of(run_id)}/finish", ended)
    typer.echo(f"{shown}: {account.told()}", err=True)
    for warning in [*run.warnings, *_doubts(account, asked)]:
        typer.secho(f"{shown}: {warning}", err=True, fg=typer.colors.YELLOW)
    return str(opened["url"])


def _name(run: ImportedRun, path: Path, source: Source, label: str) -> str:
    """What the file calls itself, else what it is called."""
    from app.importers.imported_run import run_name

    return label if run.name in (run_name(path), source.own_name) else run.name


def _with_numbers(path: Path, run: ImportedRun, renames: Mapping[str, str]) -> tuple[Batch, Iterator[Batch]]:
    """The first batch that holds a number, and it with all after it: a run without any must not be made."""
    from app.importers.imported_run import no_numbers

    rest = (_renamed(batch, renames) for batch in run.batches)
    first = next((batch for batch in rest if batch.n_points), None)
    if first is None:
        raise no_numbers(path, run.warnings)
    return first, chain([first], rest)


def _renamed(batch: Batch, renames: Mapping[str, str]) -> Batch:
    if not renames:
        return batch
    metrics = tuple(renames.get(metric, metric) for metric in batch.metrics)
    if len(set(metrics)) < len(metrics):
        twice = next(metric for metric in metrics if metrics.count(metric) > 1)
        raise BadInput(f"With these --rename two metrics would be called {twice!r}. Choose another name.")
    return replace(batch, metrics=metrics)


def _renames(said: Iterable[str]) -> dict[str, str]:
    renames = {}
    for one in said:
        old, equals, new = one.rpartition("=")
        if not equals or not old.strip() or not new.strip():
            raise BadInput(f"--rename takes OLD=NEW, as Value=train_loss; {one!r} is none.")
        renames[old.strip()] = new.strip()
    return renames


def _doubts(account: Account, asked: _Asked) -> Iterator[str]:
    """What the command line said and the file does not bear out."""
    for old, new in asked.renames.items():
        if new not in account.points:
            yield f"It has no metric {old!r} to rename."
    if asked.total_steps is not None and account.last_step is not None and account.last_step > asked.total_steps:
        yield f"It goes on to step {account.last_step:,}, beyond --total-steps {asked.total_steps:,}."


def _session(digest: str, renames: Mapping[str, str]) -> str:
    """The same for the same contents under the same names."""
    if not renames:
        return f"import-{digest}"
    names = repr(sorted(renames.items()))
    return f"import-{digest}-{hashlib.sha256(names.encode()).hexdigest()[:8]}"


def _digest(path: Path) -> str:
    """Of a file's bytes, or of those of the event files in a folder."""
    from app.importers.event_files import event_files_in

    if not path.is_dir():
        return _digest_of_file(path).hex()[:16]
    whole = hashlib.sha256()
    for file in event_files_in(path):
        whole.update(_digest_of_file(file))
    return whole.hexdigest()[:16]


def _digest_of(batches: Iterable[Batch]) -> str:
    """Of a run's points."""
    whole = hashlib.sha256()
    for batch in batches:
        whole.update(repr(batch.metrics).encode())
        for part in (batch.steps, batch.values, batch.present):
            whole.update(part.tobytes())
    return whole.hexdigest()[:16]


def _digest_of_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error


@contextmanager
def _points_counted(shown: str) -> Iterator[Callable[[int], None]]:
    """A line on a terminal that counts the points of a run; the function yielded is told how many more."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.completed:,.0f} points"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(shown, total=None)
        yield lambda points: progress.advance(task, points)


def _tell_failed(path: Path, error: LosscastError) -> None:
    typer.secho(f"{path}: {reason(error, path)}", err=True, fg=typer.colors.RED)

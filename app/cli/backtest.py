"""`losscast backtest`: how good every forecaster would have been on runs that have ended."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from app.cli import backtest_report, backtest_verdicts, backtest_verdicts_report
from app.cli.backtest_report import FileResult
from app.cli.greedy_options import greedy_command
from app.cli.progress import with_progress
from app.cli.skipped import reason
from app.errors import BadInput, LosscastError

if TYPE_CHECKING:
    from app.laws.prior import Prior

FRACTIONS = (0.2, 0.4, 0.6, 0.8)
SIBLINGS = "Siblings are files of one folder; where --group-by is given, those in whose names its groups agree."


def forecaster_name(name: str) -> str:
    """The name of something that can be compared; the numerics are loaded when one is given, not for --help."""
    from app.forecasting.backtest import contenders

    known = contenders()
    if name not in known:
        raise typer.BadParameter(f"{name!r} is no forecaster. There are: {', '.join(known)}.")
    return name


Command = greedy_command(forecaster=forecaster_name, fractions=float, policy=backtest_verdicts.policy_word)


@dataclass(frozen=True, slots=True)
class Job:
    """One file to backtest, as it is sent to another process."""

    path: Path
    folder: str
    metric: str | None
    forecasters: tuple[str, ...]
    fractions: tuple[float, ...]
    prior: Prior | None


def backtest(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="CSV or JSONL files of finished runs, or folders.", show_default=False),
    ],
    forecaster: Annotated[
        list[str] | None,
        typer.Option(parser=forecaster_name, metavar="NAME...", help="Which to compare; else all of them."),
    ] = None,
    fractions: Annotated[
        list[float] | None,
        typer.Option(metavar="F...", help="Where to cut each run, as fractions of its steps. [0.2 0.4 0.6 0.8]"),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What to forecast; else each run's own loss.")] = None,
    prior: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="A prior learned by benchmarks.learn_prior; else the shipped."),
    ] = None,
    by_folder: Annotated[bool, typer.Option("--by-folder", help="Each folder by itself as well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Tables in Markdown on standard output.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a chart: errors and coverage against what was seen.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=os.cpu_count() or 1, help="Processes to use; else one a core.")
    ] = None,
    verdicts: Annotated[
        bool, typer.Option("--verdicts", help="Replay groups of siblings: what would have been stopped, at what cost.")
    ] = False,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            parser=backtest_verdicts.policy_word, metavar="NAME...", help="Of verdicts: policies to compare; else all."
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Of verdicts: files of a folder are siblings where its groups agree."),
    ] = None,
    in_sequence: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Of verdicts: N runs at a time in a random order, each forecast from those that ended before; "
            "else all side by side.",
        ),
    ] = None,
) -> None:
    """Score forecasts of runs that have ended.

    Their rest is hidden, forecast, and compared with what happened.
    Every run is forecast with its own learning-rate schedule. Files that cannot be scored are skipped and named.

    With --verdicts, groups of siblings are replayed instead, and policies stop what they would have stopped.

    \b
    losscast backtest runs/ --forecaster ensemble last --fractions 0.2 0.5
    losscast backtest runs/ --verdicts --in-sequence 2
    """
    if plot is not None and plot.suffix.lower() not in (".html", ".htm"):
        raise BadInput(f"{plot}: charts are written as HTML. Give the file a name that ends in .html.")
    _require_options_that_count(
        verdicts, of_verdicts=[policy, group_by, in_sequence], of_forecasts=[forecaster, fractions, by_folder]
    )
    learned = None if prior is None else _read_prior(prior)
    if verdicts:
        _require_that_they_exist(paths)
        groups = backtest_verdicts.group_files(list(_files(paths)), group_by)
        record = _replayed(groups, policy, metric, learned, processes or os.cpu_count() or 1, plot, in_sequence)
        _tell(record, backtest_verdicts_report, as_json=as_json, as_markdown=as_markdown, plot=plot)
        return
    cuts = tuple(dict.fromkeys(fractions or FRACTIONS))
    if not all(0 < cut < 1 for cut in cuts):
        raise BadInput("Fractions lie between 0 and 1, such as 0.2 0.4 0.6 0.8.")
    from app.forecasting.backtest import contenders

    names = tuple(dict.fromkeys(forecaster or contenders()))
    jobs = [Job(path, folder, metric, names, cuts, learned) for path, folder in _files(paths)]
    results = _run(jobs, processes or os.cpu_count() or 1)
    record = backtest_report.as_record(results, names, by_folder=by_folder)
    _tell(record, backtest_report, as_json=as_json, as_markdown=as_markdown, plot=plot)
    if not record["runs"]:
        raise BadInput("No file could be scored.")


def _require_options_that_count(
    verdicts: bool, *, of_verdicts: Sequence[object], of_forecasts: Sequence[object]
) -> None:
    """What would change nothing is said to, instead of being passed over."""
    if not verdicts and any(of_verdicts):
        raise BadInput("--policy, --group-by and --in-sequence are for --verdicts. Add --verdicts, or leave them out.")
    if verdicts and any(of_forecasts):
        raise BadInput("--forecaster, --fractions and --by-folder are for forecasts. Leave them out with --verdicts.")


def _require_that_they_exist(paths: Sequence[Path]) -> None:
    """A replay takes long, and a sibling that is missing changes what comes of all the others."""
    for path in paths:
        if not os.path.exists(path):  # of a name that is too long it says no as well
            raise BadInput(f"{path}: no such file or folder. Check the path.")


class Report(Protocol):
    """How a record is told."""

    def print_tables(self, record: dict[str, Any]) -> None: ...
    def as_markdown(self, record: dict[str, Any]) -> str: ...
    def write_plot(self, path: Path, record: dict[str, Any]) -> None: ...


def _tell(record: dict[str, Any], report: Report, *, as_json: bool, as_markdown: bool, plot: Path | None) -> None:
    if plot is not None:
        report.write_plot(plot, record)
    if as_json:
        json.dump(record, sys.stdout, allow_nan=False)
        sys.stdout.write("\n")
    elif as_markdown:
        typer.echo(report.as_markdown(record))
    else:
        report.print_tables(record)
        if plot is not None:
            typer.echo(f"The chart is in {plot}.")


def _replayed(
    groups: dict[str, list[Path]],
    policy: list[str] | None,
    metric: str | None,
    prior: Prior | None,
    n_processes: int,
    plot: Path | None,
    in_sequence: int | None,
) -> dict[str, Any]:
    words = tuple(dict.fromkeys(policy or backtest_verdicts.default_policies()))
    told, skipped = backtest_verdicts.replay_groups(groups, metric, prior, n_processes)
    if not told:
        why = "".join(f" {Path(one.file).name}: {one.why}" for one in skipped[:3]) if groups else f" {SIBLINGS}"
        raise BadInput(f"No group of at least two runs could be replayed.{why}")
    runs = backtest_verdicts.as_groups(told, prior, in_sequence)
    outcomes = backtest_verdicts.judge_groups(runs, words)
    # A chart without its lines says nothing; they cost as much again as the rest.
    curves = backtest_verdicts.curves(runs, words) if plot is not None else {}
    return backtest_verdicts_report.as_record(outcomes, curves, skipped)


def _read_prior(path: Path) -> Prior:
    from app.laws.prior import prior_from_dict

    try:
        return prior_from_dict(json.loads(path.read_text(encoding="utf-8"))["prior"])
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} holds no prior. Make one with: python -m benchmarks.learn_prior.") from error


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Every file once, with the folder it is reported under: the first one below the one that was named."""
    from app.importers.run_files import find_run_files

    seen: set[Path] = set()
    for path in paths:
        for file in find_run_files(path):
            if file.resolve() in seen:
                continue
            seen.add(file.resolve())
            below = file.relative_to(path).parts[:-1] if path.is_dir() and len(paths) == 1 else ()
            yield file, below[0] if below else str(file.parent)


def _run(jobs: Sequence[Job], n_processes: int) -> list[FileResult]:
    """Results in the order of the jobs, with a bar on stderr."""
    return list(with_progress(_results(jobs, min(n_processes, len(jobs))), len(jobs)))


def _results(jobs: Sequence[Job], n_processes: int) -> Iterator[FileResult]:
    if n_processes <= 1:
        yield from map(score_file, jobs)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # One thread of algebra a process; read when numpy is first loaded there, so processes are spawned, not forked.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(score_file, jobs)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def score_file(job: Job) -> FileResult:
    """Read and score one file. What is wrong with it is a result, not an error: the others go on."""
    import time

    from app.forecasting.backtest import backtest_run, contenders
    from app.importers.recorded_run_file import read_recorded_run

    file = str(job.path)
    try:
        run = read_recorded_run(job.path, job.metric)
        known = contenders(job.prior, run.role)
        # CPU time: forecasts of other processes do not count.
        scores = backtest_run(
            run, {name: known[name] for name in job.forecasters}, job.fractions, clock=time.process_time
        )
    except LosscastError as error:
        return FileResult(file, job.folder, why_skipped=reason(error, job.path))
    except Exception as error:
        # A fault of ours. An hour of other files must not be lost to it, and it must not go unseen.
        return FileResult(file, job.folder, why_skipped=f"a forecaster failed: {error!r}")
    if not scores:
        return FileResult(file, job.folder, why_skipped=f"too short: too few points of {run.metric} before every cut.")
    return FileResult(file, job.folder, tuple(scores), metric=run.metric, role=run.role)

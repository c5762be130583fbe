"""Which run a file is: its name, its id, and whether the service knows it already.

A file is known by where it lies: its id is made of the project and its resolved path, so that two files never become
one run because they are called alike, and a file that is imported again is the same run. Versions before this one took
the file's name alone; a run of theirs is gone on with where the file still holds every point of it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.named_runs import path_of
from app.cli.piped import is_pipe
from app.errors import BadInput, LosscastError, NotFound

if TYPE_CHECKING:
    from app.endpoint import Endpoint
    from app.runs import Batch

GENERIC = frozenset(
    """data eval events export history log logs loss losses lightning_logs metric metrics out output progress result
    results run runs scalars stdin stdout tb tensorboard train trainer_log trainer_state training train_log val valid
    validation""".split()
)
"""Names that trainers give to the files of any run: the folder's says more."""

GENERIC_VERSION = re.compile(r"version_\d+|\d+")


class OtherRun(BadInput):
    """A file lies where another run was imported from."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file, a folder of event files or a pipe.

    path : as given
    place : what it is known by: its resolved path; a checkpoint's `trainer_state.json` counts as lying beside it
    """

    path: Path
    place: Path

    @property
    def is_pipe(self) -> bool:
        return is_pipe(self.path)

    @property
    def own_name(self) -> str:
        """The last part of where it lies, without an ending."""
        return _names(self.place)[-1]


def source_of(path: Path) -> Source:
    from app.importers.json_file import TRAINER_STATE
    from app.importers.run_files import folder_of_training

    if is_pipe(path):
        return Source(path, Path("stdin"))
    resolved = path.resolve()
    return Source(path, folder_of_training(resolved) / TRAINER_STATE if path.name == TRAINER_STATE else resolved)


def find_sources(paths: Iterable[Path]) -> tuple[list[Source], dict[Path, LosscastError]]:
    """Everything to import, each once, and the folders in which there is nothing."""
    from app.importers.json_file import TRAINER_STATE
    from app.importers.run_files import find_run_files, newest_states

    found: list[Path] = []
    failed: dict[Path, LosscastError] = {}
    for path in paths:
        try:
            found += [path] if is_pipe(path) else find_run_files(path)
        except LosscastError as error:
            failed[path] = error
    newest = set(newest_states([path for path in found if path.name == TRAINER_STATE]))
    sources = {}
    for path in found:
        if path.name != TRAINER_STATE or path in newest:
            source = source_of(path)
            sources[path if source.is_pipe else source.place] = source
    return list(sources.values()), failed


def labels(sources: Sequence[Source]) -> list[str]:
    """A name for each by its file's, with as many folders before it as it takes to tell them apart."""
    names = [_names(source.place) for source in sources]
    times = Counter(map(tuple, names))
    for source, parts in zip(sources, names, strict=True):
        if times[tuple(parts)] > 1:
            parts[-1] = source.place.name  # only their endings differ
    depths = [_telling_depth(parts) for parts in names]
    while True:
        shown = ["/".join(parts[-depth:]) for parts, depth in zip(names, depths, strict=True)]
        alike = Counter(shown)
        deeper = [
            depth + 1 if alike[label] > 1 and depth < len(parts) else depth
            for label, parts, depth in zip(shown, names, depths, strict=True)
        ]
        if deeper == depths:
            return shown
        depths = deeper


def run_id_of(source: Source, part: str, project: str, digest: str) -> str:
    """The same for the same place; what came through a pipe is known by what it was."""
    place = digest if source.is_pipe else source.place.as_posix()
    names = _names(source.place)
    told = part or "-".join(names[-_telling_depth(names) :])
    return f"{_slug(told)}-{hashlib.sha256(chr(10).join((project, place, part)).encode()).hexdigest()[:10]}"


def former_run_id_of(source: Source, project: str) -> str:
    """As earlier versions made it, of the file's name alone."""
    name = source.path.name
    return f"{_slug(name.split('.')[0])}-{hashlib.sha256(f'{project}/{name}'.encode()).hexdigest()[:8]}"


def choose_run(
    endpoint: Endpoint, source: Source, part: str, project: str, digest: str, head: Batch
) -> tuple[str, bool]:
    """The id of the run that the file is, and whether the service knows it.

    Parameters
    ----------
    head : Batch
        The first rows of the file.

    Raises
    ------
    OtherRun
        There is a run from this place which begins with other values.
    """
    run_id = run_id_of(source, part, project, digest)
    if is_known(endpoint, run_id):
        other = next(_contradictions(endpoint, run_id, head), None)
        if other is not None:
            raise OtherRun(
                f"{source.path}: the run {run_id} was imported from here and {other}. If it is another run, import the "
                f"file alone with --id and a new id; to put it in that one's place, with --id {run_id}."
            )
        return run_id, True
    former = former_run_id_of(source, project)
    if not source.is_pipe and not part and is_known(endpoint, former) and _holds_all(endpoint, former, head):
        return former, True
    return run_id, False


def is_known(endpoint: Endpoint, run_id: str) -> bool:
    try:
        endpoint.get(path_of(run_id))
    except NotFound:
        return False
    return True


def _contradictions(endpoint: Endpoint, run_id: str, head: Batch) -> Iterator[str]:
    """Where a metric of the run does not begin as in the file: what is said once is not said otherwise later.

    Later points may differ: a job that went back to a checkpoint wrote them anew.
    """
    for series in endpoint.get(f"{path_of(run_id)}/series")["series"]:
        metric, step = series["metric"], series["first_step"]
        if step is None or metric not in head.metrics:
            continue
        stored = _stored(endpoint, run_id, metric, from_step=step, to_step=step)
        here = _points(head, metric)
        if stored and step in here and not _same(stored[step], here[step]):
            yield f"begins otherwise: {metric} is {stored[step]} at step {step:,}, and {here[step]:g} in the file"


def _holds_all(endpoint: Endpoint, run_id: str, head: Batch) -> bool:
    """Whether the file has every point of the run, as far as its first rows go."""
    last = int(head.steps.max())
    all_series = endpoint.get(f"{path_of(run_id)}/series")["series"]
    for series in all_series:
        here = _points(head, series["metric"])
        stored = _stored(endpoint, run_id, series["metric"], to_step=last)
        if not all(step in here and _same(value, here[step]) for step, value in stored.items()):
            return False
    return bool(all_series)


def _stored(endpoint: Endpoint, run_id: str, metric: str, **steps: int) -> dict[int, Any]:
    found = endpoint.get(f"{path_of(run_id)}/series", metric=metric, **steps)
    return dict(zip(found["steps"], found["values"], strict=True))


def _points(batch: Batch, metric: str) -> dict[int, float]:
    """Of rows at the same step the later one counts."""
    if metric not in batch.metrics:
        return {}
    row = batch.metrics.index(metric)
    here = batch.present[row]
    return dict(zip(batch.steps[here].tolist(), batch.values[row, here].tolist(), strict=True))


def _same(stored: float | str, here: float) -> bool:
    # The API writes what is not finite by name, and of NaN there is one kind.
    value = float(stored)
    return value == here or (value != value and here != here)


def _names(place: Path) -> list[str]:
    """The folders and the name, without the ending of a file; of a trainer's state the training's folder."""
    if place.name == "trainer_state.json" and len(place.parts) > 2:
        place = place.parent
    names = [part for part in place.parts if part != place.anchor] or ["run"]
    name = names[-1].removesuffix(".gz")
    is_file = Path(name).suffix.lower() in (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".txt", ".log")
    return [*names[:-1], name.rsplit(".", 1)[0] if is_file else name]


def _telling_depth(names: Sequence[str]) -> int:
    """How many parts, from the last on, it takes to say something; all where none does."""
    for depth, name in enumerate(reversed(names), start=1):
        if name.lower() not in GENERIC and not GENERIC_VERSION.fullmatch(name.lower()):
            return depth
    return len(names)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._~-]+", "-", name)[:150].strip("-._~") or "run"

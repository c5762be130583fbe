"""Runs of a service as its commands name them: by their ids."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from app.errors import BadInput, NotFound

if TYPE_CHECKING:
    from app.endpoint import Endpoint

NAMESAKES_SHOWN = 20

RunIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN", help="Ids of runs, as their pages' addresses have them.", show_default=False),
]
Url = Annotated[str, typer.Option(envvar="LOSSCAST_URL", help="The service.")]
ApiKey = Annotated[str | None, typer.Option(envvar="LOSSCAST_API_KEY", help="Its key, where keys are on.")]


def find_runs(endpoint: Endpoint, run_ids: Sequence[str], command: str) -> list[dict[str, Any]]:
    """Each run once, as the API shows it.

    Parameters
    ----------
    command : str
        The command that they are named to, for the sentence that tells which id to give it.

    Raises
    ------
    NotFound
        For what is no run's id; tells which runs bear it as a name. Never taken for one of them, unique as it may be: a
        name is anybody's to give.
    """
    return [_found(endpoint, run_id, command) for run_id in dict.fromkeys(run_ids)]


def require_project(endpoint: Endpoint, project: str) -> None:
    """Raises `NotFound` where there is none of this name."""
    if project not in endpoint.get("/projects")["projects"]:
        raise NotFound(f"No project named {project!r}.")


def path_of(run_id: str) -> str:
    """Its address in the API."""
    return f"/runs/{quote(run_id, safe='')}"


def told(run: dict[str, Any]) -> str:
    """A run in one line."""
    name = "" if run["name"] == run["id"] else f" {run['name']!r}"
    return f"{run['id']}{name}, {run['project']}, {run['status']}"


def counted(runs: int) -> str:
    """A number of runs in words."""
    return "1 run" if runs == 1 else f"{runs:,} runs"


def _found(endpoint: Endpoint, run_id: str, command: str) -> dict[str, Any]:
    try:
        return endpoint.get(path_of(run_id))
    except (NotFound, BadInput):  # few names could be an id, which has no blanks
        raise NotFound(_ids_to_use(run_id, _named(endpoint, run_id), command)) from None


def _named(endpoint: Endpoint, name: str) -> list[dict[str, Any]]:
    """The runs of exactly this name, newest first."""
    found: list[dict[str, Any]] = []
    offset, total = 0, 1
    while offset < total:
        page = endpoint.get("/runs", search=name, limit=500, offset=offset)  # any run with a part called so
        found += [run for run in page["runs"] if run["name"] == name]
        offset, total = offset + 500, page["total"]
    return found


def _ids_to_use(name: str, namesakes: Sequence[dict[str, Any]], command: str) -> str:
    if not namesakes:
        return f"No run has the id {name!r}, and none is named so."
    begin = f"No run has the id {name!r}, and runs are told by their ids here."
    if len(namesakes) == 1:
        return f"{begin} One is named so: losscast {command} {shlex.quote(namesakes[0]['id'])}\n  {told(namesakes[0])}"
    lines = [f"{begin} {counted(len(namesakes))} are named so:", *(f"  {told(run)}" for run in namesakes)]
    shown = lines[: NAMESAKES_SHOWN + 1]
    more = len(lines) - len(shown)
    return "\n".join([*shown, f"  and {more:,} more"] if more else shown)

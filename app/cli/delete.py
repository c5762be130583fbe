"""The command that deletes runs of a service for good."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from app.errors import BadInput, NotFound

if TYPE_CHECKING:
    from app.endpoint import Endpoint

PATIENCE_SECONDS = 10.0
NAMESAKES_SHOWN = 20


def delete(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Ids of runs, as their pages' addresses have them.", show_default=False),
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="Delete this project instead, with all its runs.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Annotated[str, typer.Option(envvar="LOSSCAST_URL", help="The service.")] = "http://127.0.0.1:8700",
    api_key: Annotated[str | None, typer.Option(envvar="LOSSCAST_API_KEY", help="Its key, where keys are on.")] = None,
) -> None:
    """Delete runs for good: points, forecasts, verdicts, alerts.

    A job that still writes to one is told so and trains on.

    \b
    losscast delete gpt-7 gpt-8
    losscast delete --project gpt
    """
    from app.endpoint import Endpoint

    if bool(runs) == (project is not None):
        raise BadInput("Name runs by their ids, or a project: losscast delete RUN..., losscast delete --project NAME.")
    with Endpoint(url, api_key=api_key, give_up_seconds=PATIENCE_SECONDS) as endpoint:
        if project is not None:
            _delete_project(endpoint, project, yes)
        else:
            _delete_runs(endpoint, list(dict.fromkeys(runs or ())), yes)


def _delete_runs(endpoint: Endpoint, run_ids: Sequence[str], yes: bool) -> None:
    # All of them are looked up before the first is deleted: a slip in one name costs nothing.
    found = [_found(endpoint, run_id) for run_id in run_ids]
    for run in found:
        typer.echo(f"  {_said(run)}", err=True)
    _confirm(f"Delete {_counted(len(found))} for good?", yes)
    for run in found:
        _delete(endpoint, run["id"])


def _found(endpoint: Endpoint, run_id: str) -> dict[str, Any]:
    try:
        return endpoint.get(_path(run_id))
    except (NotFound, BadInput):  # few names could be an id, which has no blanks
        # Never deleted by its name, unique as it may be: a name is anybody's to give.
        raise NotFound(_ids_to_use(run_id, _named(endpoint, run_id))) from None


def _named(endpoint: Endpoint, name: str) -> list[dict[str, Any]]:
    """The runs of exactly this name, newest first."""
    found: list[dict[str, Any]] = []
    offset, total = 0, 1
    while offset < total:
        page = endpoint.get("/runs", search=name, limit=500, offset=offset)  # any run with a part called so
        found += [run for run in page["runs"] if run["name"] == name]
        offset, total = offset + 500, page["total"]
    return found


def _ids_to_use(name: str, namesakes: Sequence[dict[str, Any]]) -> str:
    if not namesakes:
        return f"No run has the id {name!r}, and none is named so."
    begin = f"No run has the id {name!r}, and runs are deleted by their ids."
    if len(namesakes) == 1:
        return f"{begin} One is named so: losscast delete {shlex.quote(namesakes[0]['id'])}\n  {_said(namesakes[0])}"
    lines = [f"{begin} {_counted(len(namesakes))} are named so:", *(f"  {_said(run)}" for run in namesakes)]
    shown = lines[: NAMESAKES_SHOWN + 1]
    more = len(lines) - len(shown)
    return "\n".join([*shown, f"  and {more:,} more"] if more else shown)


def _delete_project(endpoint: Endpoint, project: str, yes: bool) -> None:
    if project not in endpoint.get("/projects")["projects"]:
        raise NotFound(f"No project named {project!r}.")
    page = endpoint.get("/runs", project=project, limit=10)
    for run in page["runs"]:
        typer.echo(f"  {_said(run)}", err=True)
    if page["total"] > len(page["runs"]):
        typer.echo(f"  and {page['total'] - len(page['runs']):,} more", err=True)
    _confirm(f"Delete the project {project!r} and its {_counted(page['total'])} for good?", yes)
    # Run by run, so that each request is short and whoever watches sees it go on.
    while some := endpoint.get("/runs", project=project, limit=500)["runs"]:
        for run in some:
            _delete(endpoint, run["id"])
    endpoint.delete(f"/projects/{quote(project)}")


def _delete(endpoint: Endpoint, run_id: str) -> None:
    try:
        endpoint.delete(_path(run_id))
        typer.echo(run_id)
    except NotFound:
        typer.echo(f"{run_id} was deleted meanwhile.", err=True)


def _confirm(question: str, yes: bool) -> None:
    if not yes:
        typer.confirm(question, abort=True, err=True)


def _path(run_id: str) -> str:
    return f"/runs/{quote(run_id, safe='')}"


def _said(run: dict[str, Any]) -> str:
    name = "" if run["name"] == run["id"] else f" {run['name']!r}"
    return f"{run['id']}{name}, {run['project']}, {run['status']}"


def _counted(runs: int) -> str:
    return "1 run" if runs == 1 else f"{runs:,} runs"

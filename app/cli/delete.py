"""The command that deletes runs of a service for good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from app.cli.named_runs import ApiKey, RunIds, Url, counted, find_runs, path_of, require_project, told
from app.errors import BadInput, NotFound

if TYPE_CHECKING:
    from app.endpoint import Endpoint

PATIENCE_SECONDS = 10.0
TOLD_EVERY = 100  # runs; some 20 ms each


def delete(
    runs: RunIds = None,
    project: Annotated[
        str | None, typer.Option(help="Delete this project instead, with all its runs.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = "http://127.0.0.1:8700",
    api_key: ApiKey = None,
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
            _delete_runs(endpoint, runs or (), yes)


def _delete_runs(endpoint: Endpoint, run_ids: Sequence[str], yes: bool) -> None:
    # All of them are looked up before the first is deleted: a slip in one name costs nothing.
    found = find_runs(endpoint, run_ids, "delete")
    for run in found:
        typer.echo(f"  {told(run)}", err=True)
    _confirm(f"Delete {counted(len(found))} for good?", yes)
    for run in found:
        _delete(endpoint, run["id"])


def _delete_project(endpoint: Endpoint, project: str, yes: bool) -> None:
    require_project(endpoint, project)
    page = endpoint.get("/runs", project=project, limit=10)
    for run in page["runs"]:
        typer.echo(f"  {told(run)}", err=True)
    if page["total"] > len(page["runs"]):
        typer.echo(f"  and {page['total'] - len(page['runs']):,} more", err=True)
    _confirm(f"Delete the project {project!r} and its {counted(page['total'])} for good?", yes)
    # Run by run, so that each request is short and whoever watches sees it go on.
    deleted = 0
    while some := endpoint.get("/runs", project=project, limit=TOLD_EVERY)["runs"]:
        for run in some:
            _delete(endpoint, run["id"])
        deleted += len(some)
        if page["total"] > TOLD_EVERY:
            typer.echo(f"{deleted:,} of {max(page['total'], deleted):,} runs deleted", err=True)
    endpoint.delete(f"/projects/{quote(project)}")


def _delete(endpoint: Endpoint, run_id: str) -> None:
    try:
        endpoint.delete(path_of(run_id))
        typer.echo(run_id)
    except NotFound:
        typer.echo(f"{run_id} was deleted meanwhile.", err=True)


def _confirm(question: str, yes: bool) -> None:
    if not yes:
        typer.confirm(question, abort=True, err=True)

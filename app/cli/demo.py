"""`losscast demo`: a whole service of its own, real runs replayed into it, and a page worth looking at."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.configuration import settings_with
from app.cli.services import Port, WholeService, listening, whole_service

if TYPE_CHECKING:
    from app.demo.replay import Progress, ReplayResult
    from app.supervisor import Supervisor

# After the last batch the worker has seconds of work left; a busy machine may need some of these.
CHECK_PATIENCE_SECONDS = 120.0


def demo(
    check: Annotated[
        bool,
        typer.Option("--check", help="No browser: replay, wait for forecasts and the alert, print JSON."),
    ] = False,
    duration: Annotated[float, typer.Option(min=5, help="Seconds that the replay takes.")] = 60.0,
    port: Port = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Replay real training runs, as jobs would report them.

    Into a service of its own, which is left running to be looked at. Its data lies in a temporary folder, never where
    LOSSCAST_DATA_DIR or DATABASE_URL say.
    """
    from app.cli.logs import configure
    from app.settings import Settings

    configure()
    if not sys.stderr.isatty() or check:
        logging.getLogger("app.supervisor").setLevel(logging.WARNING)
    port = port if port is not None else usual_port()
    _forget_the_services_settings()
    with tempfile.TemporaryDirectory(prefix="losscast-demo-", ignore_cleanup_errors=True) as folder:
        # Root's Postgres runs as another account, which must be able to pass through.
        os.chmod(folder, 0o711)
        # Only what the demo needs: it must not write into the data that the environment happens to name.
        settings = Settings(database_url=None, data_dir=Path(folder) / "data", host="127.0.0.1", auth="off",
                            port=port, workers=1)  # fmt: skip
        settings = settings.model_copy(update={"database_url": None})
        service = whole_service(settings)
        code = _serve_and_replay(service, check, duration, browser)
    sys.exit(code)


def usual_port() -> int:
    """The service's own port if it is free, else any: a demo beside a running service is no mistake."""
    usual = settings_with().port
    try:
        with listening("127.0.0.1", usual):
            return usual
    except OSError:
        return 0


def _forget_the_services_settings() -> None:
    """For the processes that we start: alerts of replayed runs are none of the people's who are told of real ones."""
    for name in list(os.environ):
        if name.upper().startswith("LOSSCAST_") and name.upper() != "LOSSCAST_PG_BIN":
            del os.environ[name]


def _serve_and_replay(service: WholeService, check: bool, duration_seconds: float, open_browser: bool) -> int:
    outcome: list[int] = []
    stop = threading.Event()

    def replay_beside() -> None:
        try:
            result = _replay(service.url, duration_seconds, stop)
            if check:
                outcome.append(_judge(service.url, result, stop))
        except BaseException as error:
            if not stop.is_set():
                typer.secho(f"losscast: the replay failed: {error}", err=True, fg=typer.colors.RED)
                outcome.append(1)
        finally:
            if check:
                supervisor.request_stop()

    def begin() -> None:
        typer.echo(f"\n  Losscast shows real training runs at {service.url}    (Ctrl-C ends the demo)\n", err=True)
        if open_browser and not check:
            import webbrowser

            webbrowser.open(service.url)
        threading.Thread(target=replay_beside, name="replay", daemon=True).start()

    supervisor: Supervisor = service.supervisor(after=begin, write_line=_to_stderr)
    try:
        supervisor.run()
    finally:
        stop.set()
    return outcome[0] if outcome else int(check)


def _replay(url: str, duration_seconds: float, stop: threading.Event) -> ReplayResult:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    from app.demo.replay import replay

    columns = (TextColumn("{task.description:<26}"), BarColumn(), TextColumn("{task.fields[state]}"))
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(progress: Progress) -> None:
            if progress.run_id not in tasks:
                tasks[progress.run_id] = bars.add_task(progress.name, total=progress.batches, state="")
            state = f"{progress.points_sent:,} points, {progress.state}"
            bars.update(tasks[progress.run_id], completed=progress.batches_sent, state=state)

        return replay(url, duration_seconds=duration_seconds, on_progress=show, stop=stop)


def _judge(url: str, result: ReplayResult, stop: threading.Event) -> int:
    from app.demo.check import check

    summary = check(url, result, deadline_seconds=CHECK_PATIENCE_SECONDS, stop=stop)
    typer.echo(json.dumps(summary, indent=2))
    for missing in summary["missing"]:
        typer.secho(f"losscast: missing: {missing}", err=True, fg=typer.colors.RED)
    return 0 if summary["complete"] else 1


def _to_stderr(line: str) -> None:
    typer.echo(line, err=True)

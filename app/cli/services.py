"""Commands that run the service: up, serve, work, migrate."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.configuration import data_dir_of, external_url, settings_with

if TYPE_CHECKING:
    from app.settings import Settings
    from app.storage.database import Database
    from app.supervisor import Command, Service, Step, Supervisor

log = logging.getLogger(__name__)

Host = Annotated[str | None, typer.Option(help="Address to listen on; anything but loopback needs an API key.")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.  [default: 8700]")
]
Workers = Annotated[int | None, typer.Option(min=0, help="Worker processes.  [default: 1]")]
DataDir = Annotated[Path | None, typer.Option(help="Where the embedded Postgres keeps its data.")]


def up(host: Host = None, port: Port = None, workers: Workers = None, data_dir: DataDir = None) -> None:
    """Run everything: Postgres, migrations, web, workers.

    Postgres is embedded, unless DATABASE_URL is set.
    """
    from app.cli.logs import configure

    configure()
    settings = settings_with(host=host, port=port, workers=workers, data_dir=data_dir)
    service = whole_service(settings)

    def tell() -> None:
        typer.echo(f"\n  Losscast is at {service.url}    (Ctrl-C stops it; the data stays)\n", err=True)

    service.supervisor(after=tell).run()


def serve(
    host: Host = None,
    port: Port = None,
) -> None:
    """Run the web process alone: API and pages. Needs DATABASE_URL."""
    import uvicorn

    from app.cli.logs import configure
    from app.web import create_app

    configure()
    settings = settings_with(host=host, port=port)
    app = create_app(settings)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        # They decide the scheme of our own links alone. Without keys the peer's address counts, as the socket has it.
        proxy_headers=settings.needs_keys,
        timeout_graceful_shutdown=10,
    )


def work() -> None:
    """Run one worker process: refits, compaction, deliveries. Needs DATABASE_URL; run as many as you like."""
    from app.cli.logs import configure
    from app.migrate import require_current
    from app.storage.database import Database
    from app.worker.tasks import Alerting, run_worker

    configure()
    settings = settings_with()
    database = Database(external_url(settings), name="losscast worker", pool_size=3)
    require_current(database)
    base = settings.public_url or f"http://{settings.host}:{settings.port}"
    alerting = Alerting(
        urls=settings.alert_urls,
        allowed_schemes=settings.alert_allowed_schemes,
        allowed_hosts=settings.alert_allowed_hosts,
        run_url=lambda run_id: f"{base.rstrip('/')}/runs/{run_id}",
    )
    for fault in _alert_faults(settings):
        log.error("%s Alerts do not go there; all else runs.", fault)
    run_worker(database, alerting, forecasts_kept=settings.forecasts_kept)


def migrate_database() -> None:
    """Bring the database to this version's schema. Safe to run from many processes at once."""
    from app.cli.logs import configure
    from app.migrate import upgrade
    from app.storage.database import Database

    configure()
    database = Database(external_url(settings_with()), name="losscast migrate")
    database.ping()
    upgrade(database)
    typer.echo("The schema is up to date.", err=True)


@dataclass(slots=True)
class WholeService:
    """Postgres, web and workers of one machine, not started yet."""

    url: str
    parts: list[Command | Service | Step]

    def supervisor(self, after: Callable[[], None], write_line: Callable[[str], None] | None = None) -> Supervisor:
        """`after` is called once the pages answer and the workers run."""
        from app.supervisor import Step, Supervisor

        return Supervisor([*self.parts, Step("everything runs", after)], write_line=write_line)


def whole_service(settings: Settings) -> WholeService:
    """What `losscast up` runs, in the order of starting. Raises `BadInput`, `Unavailable` where it cannot."""
    from app import migrate
    from app.embedded import EmbeddedPostgres
    from app.storage.database import Database
    from app.supervisor import Command, Service, Step

    _require_alert_addresses(settings)
    port = _free_port(settings.host) if settings.port == 0 else settings.port
    _require_port(settings.host, port)
    server = None if settings.database_url else EmbeddedPostgres(data_dir_of(settings), binaries=settings.pg_bin)
    if server is not None and not server.has_data:
        # Nobody can have made a key yet: say so before a database is built, not after.
        _require_key(settings, database=None)
    program = [sys.executable, "-m", "app"]

    def database_url() -> str:
        return settings.database_url or (server.url if server else "")

    def environment() -> dict[str, str]:
        made = {"DATABASE_URL": database_url(), "LOSSCAST_HOST": settings.host, "LOSSCAST_PORT": str(port)}
        if settings.needs_keys and not settings.session_secret:
            made["LOSSCAST_SESSION_SECRET"] = _kept_secret(data_dir_of(settings))
        return made

    def bring_up_to_date() -> None:
        database = Database(database_url(), name="losscast migrate")
        try:
            database.ping()
            migrate.upgrade(database)
            _require_key(settings, database)
        finally:
            database.close()

    parts: list[Command | Service | Step] = [Service("postgres", server)] if server else []
    parts.append(Step("bringing the schema up to date", bring_up_to_date))
    shown = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    parts.append(Command("web", [*program, "serve"], environment, ready=lambda: _is_live(url)))
    if settings.workers:
        parts.append(Command("worker", [*program, "work"], environment, count=settings.workers))
    return WholeService(url, parts)


def _kept_secret(data_dir: Path) -> str:
    """A secret for browser sessions that survives a restart."""
    import secrets

    path = data_dir / "session_secret"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32))
    return path.read_text()


def _require_key(settings: Settings, database: Database | None) -> None:
    """Refuse to let others in without any key; `database` is None where none has been made yet."""
    from app.errors import Unavailable
    from app.storage.keys import good_hashes

    if not settings.needs_keys or settings.api_key:
        return
    if database is not None:
        with database.read() as connection:
            if good_hashes(connection):
                return
    new = " --new" if database is None else ""
    raise Unavailable(
        f"{settings.why_keys} lets others in, and there is no API key yet. Make one with "
        f"'losscast key create NAME{new}' and start again."
    )


def _require_alert_addresses(settings: Settings) -> None:
    """Refuse an address that alerts cannot go to while somebody is there to read it."""
    from app.errors import BadInput

    for fault in _alert_faults(settings):
        raise BadInput(fault)


def _alert_faults(settings: Settings) -> Iterator[str]:
    """What is wrong with each configured address. One without an address in DNS is not: it may be mended by itself."""
    from app.errors import BadInput
    from app.notify.targets import UnresolvedHost, check_target, mask_target

    schemes, hosts = settings.alert_allowed_schemes, settings.alert_allowed_hosts
    for url in settings.alert_urls:
        try:
            check_target(url, allowed_schemes=schemes, allowed_hosts=hosts)
        except UnresolvedHost as error:
            log.warning("alerts to %s wait: %s", mask_target(url), error)
        except BadInput as error:
            yield f"The setting LOSSCAST_ALERT_URLS cannot be used for {mask_target(url)}: {error}"


def _free_port(host: str) -> int:
    with listening(host, 0) as found:
        return int(found.getsockname()[1])


def _require_port(host: str, port: int) -> None:
    from app.errors import Unavailable

    try:
        with listening(host, port):
            pass
    except OSError as error:
        raise Unavailable(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another with --port.") from error


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as opened:
        # As the server itself will: a port whose last connections are still ebbing away is not taken.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        yield opened


def _is_live(url: str) -> bool:
    import httpx

    try:
        return httpx.get(f"{url}/livez", timeout=2.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False

"""The web process: API and pages in one ASGI app on one uvicorn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from app import __version__, dashboard
from app.api import (
    auth,
    deletion,
    diagnostics,
    error_responses,
    fit,
    goals,
    health,
    ranking,
    reading,
    stops,
    sweeps,
    track_record,
    verdicts,
    what_if,
    writing,
)
from app.api.api_page import api_page
from app.api.bodies import UnpackedBodies
from app.api.group_commit import GroupCommit
from app.api.security_headers import SecurityHeaders
from app.api.service import ApiService
from app.api.slips import refuse_unknown_parameters
from app.errors import Unavailable
from app.migrate import require_current
from app.settings import Settings
from app.storage.database import Database
from app.storage.jobs import JobQueue
from app.storage.keys import add_key, good_hashes

log = logging.getLogger(__name__)

# In this order they are described at /api/docs.
API = (
    writing,
    reading,
    what_if,
    track_record,
    sweeps,
    diagnostics,
    fit,
    verdicts,
    stops,
    goals,
    ranking,
    deletion,
    health,
)
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
REFIT_PAUSE_SECONDS = 1.0  # how long changed runs are gathered before refits are asked for


class RefitRequests:
    """Gathers the runs that changed and asks for their refits once a second.

    Only a hint that makes the worker quick: what is lost here with the process, the worker's sweep finds.
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._changed: set[str] = set()
        self._is_failing = False

    def add(self, run_ids: set[str]) -> None:
        self._changed |= run_ids

    async def run(self) -> None:
        while True:
            await asyncio.sleep(REFIT_PAUSE_SECONDS)
            if not self._changed:
                continue
            asked, self._changed = self._changed, set()
            try:
                await asyncio.to_thread(self._queue.ask_for_refits, sorted(asked))
                self._is_failing = False
            except Exception as error:
                # Once an outage: it comes every second, and what it says is what storing points says too.
                if not self._is_failing:
                    log.warning("cannot ask for refits (%s); the worker's sweep will find these runs", error)
                self._is_failing = True


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the app; `uvicorn app.web:create_app --factory` works too. Connects when it starts, not here."""
    settings = settings or Settings()
    if settings.database_url is None:
        raise Unavailable("DATABASE_URL is not set. 'losscast up' brings its own Postgres; 'losscast serve' needs one.")
    database = Database(settings.database_url, name="losscast web", pool_size=8)
    queue = JobQueue(settings.database_url)
    refits = RefitRequests(queue)
    commits = GroupCommit(database, on_stored=refits.add, most_waiting=settings.queue_limit)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(_prepare, settings, database, queue)
        commits.start()
        asking = asyncio.create_task(refits.run())
        yield
        await commits.stop()
        app.state.api.fits.close()
        app.state.api.what_ifs.close()
        asking.cancel()
        await asyncio.to_thread(queue.close)
        database.close()

    app = FastAPI(
        title="Losscast",
        version=__version__,
        summary="The weather service for training runs",
        description="Jobs write points; we keep them and forecast. With keys on: `Authorization: Bearer KEY`.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    service = app.state.api = ApiService(
        database=database,
        commits=commits,
        ask_for_refit=refits.add,
        public_url=lambda request: settings.public_url or str(request.base_url).rstrip("/"),
        body_limit=settings.body_limit,
    )
    error_responses.install(app)
    for routes in API:
        app.include_router(routes.router, dependencies=[Depends(refuse_unknown_parameters)])
    _add_own_routes(app)
    if settings.needs_keys:
        secret = settings.session_secret or ""
        if not secret:
            raise Unavailable(
                "LOSSCAST_SESSION_SECRET is not set. It signs browser sessions; use 32 random characters."
            )
        keys = auth.Keys(database)
        is_https = (settings.public_url or "").startswith("https://")
        auth.add_sign_in(app, keys=keys, secret=secret, is_https=is_https)
        app.add_middleware(auth.RequireKey, keys=keys, secret=secret)
    else:
        app.add_middleware(auth.LoopbackOnly)
    app.add_middleware(UnpackedBodies, limit=settings.body_limit)
    app.add_middleware(SecurityHeaders)
    dashboard.mount(app, database, ask_for_refit=refits.add, fits=service.fits, what_ifs=service.what_ifs)
    return app


def _prepare(settings: Settings, database: Database, queue: JobQueue) -> None:
    database.ping()
    require_current(database)
    if settings.api_key:
        with database.write() as connection:
            add_key(connection, "LOSSCAST_API_KEY", settings.api_key)
    if settings.needs_keys:
        with database.read() as connection:
            if not good_hashes(connection):
                raise Unavailable(
                    f"{settings.why_keys} lets others in, and there is no API key yet. Run 'losscast key create NAME', "
                    "or set LOSSCAST_API_KEY."
                )
    queue.open()


def _add_own_routes(app: FastAPI) -> None:
    @app.get("/api/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(api_page(app.openapi()))

    # Before the pages' catch-all, which would answer an unknown API address with a page and 200.
    @app.api_route("/api/{rest:path}", methods=METHODS, include_in_schema=False)
    async def no_such_address(rest: str, request: Request) -> Response:
        if methods := _methods_at(request.scope):
            allowed = ", ".join(methods)
            said = f"{request.method} means nothing at /api/{rest}; it takes {allowed}. See /api/docs."
            return error_responses.error_response(405, "method_not_allowed", said, headers={"Allow": allowed})
        return error_responses.error_response(
            404, "not_found", f"There is nothing at /api/{rest}. The addresses are listed at /api/docs."
        )


def _methods_at(scope: Scope) -> list[str]:
    """What may be asked at an address by another method than this request's."""
    routes = [route for routes in API for route in routes.router.routes]
    found = [route.methods for route in routes if isinstance(route, Route) and route.matches(scope)[0] is Match.PARTIAL]
    return sorted({method for methods in found for method in methods or ()})

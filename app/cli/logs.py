"""What the processes of the service say: one line an event, on stderr."""

from __future__ import annotations

import logging

FORM = "%(asctime)s %(levelname)-7s %(message)s"


def configure(*, verbose: bool = False) -> None:
    logging.basicConfig(
        level=logging.INFO if not verbose else logging.DEBUG, format=FORM, datefmt="%H:%M:%S", force=True
    )
    # Libraries that report each request, job or poll at INFO.
    for name in ("httpx", "httpx2", "apprise", "procrastinate", "alembic", "uvicorn.access", "watchfiles"):
        logging.getLogger(name).setLevel(logging.WARNING)

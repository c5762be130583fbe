"""What a worker does about refits that fail by a fault of ours."""

from __future__ import annotations

import logging

from sqlalchemy.exc import SQLAlchemyError

from app import __version__
from app.errors import LosscastError
from app.storage.database import Database
from app.storage.failures import MOST_FAILURES, record_failure

log = logging.getLogger(__name__)


def note_failure(database: Database, run_id: str) -> None:
    """Count it, and say so where it was one too many. Never raises."""
    try:
        with database.write() as connection:
            failures = record_failure(connection, run_id, __version__)
    except LosscastError as error:
        log.warning("that run %s failed could not be recorded: %s", run_id, error)
        return
    except SQLAlchemyError:
        log.exception("that run %s failed could not be recorded", run_id)
        return
    if failures == MOST_FAILURES:
        log.error("run %s failed %d times: left alone until it changes, or until an upgrade", run_id, failures)

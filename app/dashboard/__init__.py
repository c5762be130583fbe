"""What people look at: runs, their forecasts and their alerts, in the browser.

`mount` is the face. Dash takes seconds to import, so nothing here loads it until then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dash
    from fastapi import FastAPI

    from app.calculations import Calculations
    from app.storage.database import Database


def mount(
    app: FastAPI,
    database: Database,
    *,
    ask_for_refit: Callable[[set[str]], None],
    fits: Calculations,
    what_ifs: Calculations,
) -> dash.Dash:
    """Serve the pages at "/" of `app`. Routes registered before keep their paths; Dash answers every other GET.

    `ask_for_refit` takes the ids of runs that a reader's doing has changed, on the event loop. What is
    worked out for a reader counts among `fits` and `what_ifs`, which the API's own should be too.
    """
    from app.dashboard.site import build_site

    return build_site(app, database, ask_for_refit=ask_for_refit, fits=fits, what_ifs=what_ifs)

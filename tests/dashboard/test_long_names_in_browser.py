"""Names of 300 letters without a blank: no page may grow wider than its window for one."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from app.runs import RunStatus
from app.storage import runs
from app.storage.database import Database
from app.worker.scoring import score_run
from tests.conftest import TemplateOf
from tests.dashboard.browser import DESKTOP, PHONE, open_page
from tests.dashboard.seeding import Seeder, decaying

pytestmark = pytest.mark.browser

LONG = "L" * 300


@pytest.fixture(scope="module")
def long_names(template_of: TemplateOf) -> str:
    """A run that ended, one that goes on, one that is NaN now and one that ended so."""

    def fill(database: Database) -> None:
        seed = Seeder(database)
        for run_id, broken, ended in (
            ("ended", False, True),
            ("live", False, False),
            ("nan", True, False),
            ("ended-nan", True, True),
        ):
            seed.open(run_id, project="long", name=f"{run_id}-{LONG}", plan={"total_steps": 400 if ended else 800})
            steps = np.arange(1, 401)
            losses = decaying(steps)
            losses[-20:] = np.nan if broken else losses[-20:]
            seed.log(run_id, steps, {"loss": losses, "lr": np.full(400, 1e-3)})
            if ended:
                with database.write() as connection:
                    runs.finish_run(connection, run_id, RunStatus.FINISHED, None)
                seed.refit(run_id)
                score_run(database, run_id)

    return template_of(fill)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.begins_with("long_names")
def test_a_name_of_300_letters_widens_no_page(browser: Browser, base_url: str, size: tuple[int, int]) -> None:
    watched = open_page(browser, base_url, size=size, touch=size == PHONE)
    page = watched.page
    chosen = "&".join(f"run={run_id}" for run_id in ("ended", "live", "nan", "ended-nan"))
    for address, ready, said in (
        ("/projects/long", "#ranking", "NaN or infinite, and so not ranked"),
        ("/", "#runs-list", LONG),
        ("/runs/nan", "#run-head", LONG),
        ("/runs/ended", "#run-history-note", "forecast"),
        (f"/compare?{chosen}", "#compare-note", LONG),
        ("/fit?run=ended&schedule=cosine", "#fit-result", LONG),
        ("/alerts", "#alerts-list", LONG),
    ):
        watched.open(address)
        expect(page.locator(ready)).to_contain_text(said)
        page.wait_for_timeout(300)  # the charts take their place
        assert not watched.has_horizontal_scrollbar(), address
        watched.keep_picture(f"long{address.split('?')[0].replace('/', '-')}-{size[0]}")
    page.context.close()
    assert watched.errors == []

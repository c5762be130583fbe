"""Names that are longer than their column: the end, which tells siblings apart, stays in sight."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from app.runs import RunStatus
from app.storage import runs
from app.storage.database import Database
from app.worker.scoring import score_run
from tests.dashboard.browser import DESKTOP, PHONE, open_page
from tests.dashboard.seeding import Seeder, decaying

pytestmark = pytest.mark.browser

LONG = "gpt2_medium_openwebtext_adamw_cosine_warmup_batch_512_context_1024_"
TAILS = ("lr=3e-4_s=0", "lr=1e-3_s=0", "lr=1e-3_s=1")

TAILS_IN_SIGHT = """
scope => [...document.querySelectorAll(`${scope} .cut-in-middle`)].map(link => {
  const [head, tail] = link.children;
  const box = link.closest("th, td").getBoundingClientRect(), end = tail.getBoundingClientRect();
  return head.scrollWidth > head.clientWidth && end.left >= box.left && end.right <= box.right && end.width > 0;
})
"""


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_long_name_is_cut_in_its_middle(
    browser: Browser, base_url: str, seed: Seeder, database: Database, size: tuple[int, int]
) -> None:
    for tail in TAILS:
        seed.open(tail, project="sweep", name=LONG + tail, plan={"total_steps": 400})
        steps = np.arange(1, 401)
        seed.log(tail, steps, {"loss": decaying(steps)})
        with database.write() as connection:
            runs.finish_run(connection, tail, RunStatus.FINISHED, None)
        seed.refit(tail)
        score_run(database, tail)
    watched = open_page(browser, base_url, size=size, touch=size == PHONE)
    page = watched.page
    chosen = "&".join(f"run={tail}" for tail in TAILS)
    for address, scope in (
        ("/", "#runs-list"),
        ("/projects/sweep", "#ranking"),
        (f"/compare?{chosen}", ".compare-table"),
    ):
        watched.open(address)
        expect(page.locator(f"{scope} .cut-in-middle")).to_have_count(len(TAILS))
        assert page.evaluate(TAILS_IN_SIGHT, scope) == [True] * len(TAILS), address
        assert {link.text_content() for link in page.locator(f"{scope} .cut-in-middle").all()} == {
            LONG + tail for tail in TAILS
        }, "what is read and copied is the whole name"
        assert not watched.has_horizontal_scrollbar()
        watched.keep_picture(f"cut-names{address.split('?')[0].replace('/', '-')}-{size[0]}")
    page.context.close()
    assert watched.errors == []

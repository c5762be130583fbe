"""What if, on a run's page: a length of one's own, and what is said to one that makes no sense."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from app.dashboard.pages.what_if import cooldown_steps
from app.errors import BadInput
from tests.dashboard.browser import DESKTOP, PHONE, open_page
from tests.dashboard.seeding import Seeder, decaying


@pytest.mark.parametrize("said", ["2000", "2,000", "2 000", "2_000", " 2e3 ", "2000.0"])
def test_a_length_is_read_as_people_write_it(said: str) -> None:
    assert cooldown_steps(said) == 2000


@pytest.mark.parametrize("said", ["-5", "0", "1.5", "1,5", "NaN", "inf", "soon", "1e300", "--", ""])
def test_what_is_no_length_is_refused_with_what_to_write(said: str) -> None:
    with pytest.raises(BadInput, match="write 2000 or 2e3"):
        cooldown_steps(said)


@pytest.mark.browser
@pytest.mark.parametrize(("size", "theme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
def test_nonsense_is_answered_beside_the_other_futures(
    browser: Browser, base_url: str, seed: Seeder, size: tuple[int, int], theme: str
) -> None:
    seed.open("run", name="half-way", plan={"total_steps": 2000})
    steps = np.arange(1, 1001)
    seed.log("run", steps, {"loss": decaying(steps), "lr": np.full(1000, 1e-3)})
    watched = open_page(browser, base_url, size=size, theme=theme)
    watched.open("/runs/run")
    page = watched.page
    for said, answer in (
        ("-5", "write 2000 or 2e3"),
        ("1e9", "more than 50 times as far as the run has come"),
        ("6000", "7 times as far as the run has come"),
    ):
        page.locator("#what-if-steps").fill(said)
        page.get_by_role("button", name="Compare", exact=True).click()
        expect(page.locator("#what-if-body")).to_contain_text(answer)
        expect(page.locator("#what-if-body")).to_contain_text("Best linear cool-down")
    page.locator("#what-if-body").scroll_into_view_if_needed()
    watched.keep_picture(f"what-if-{theme}-{size[0]}")
    assert not watched.has_horizontal_scrollbar()
    page.context.close()
    assert watched.errors == []

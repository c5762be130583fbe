"""What a reader is in the midst of outlives an update of the page."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.dashboard.browser import Watched
from tests.dashboard.seeding import Seeder, decaying

pytestmark = pytest.mark.browser

FOCUSED = "() => document.activeElement.textContent"


def logged(seed: Seeder, first: int, last: int) -> None:
    steps = np.arange(first, last + 1)
    seed.log("run", steps, {"train/loss": decaying(steps), "lr": np.full(len(steps), 1e-3)})


def half_done(seed: Seeder) -> None:
    seed.open("run", plan={"total_steps": 2000}, config={"model": "gpt"})
    logged(seed, 1, 1000)


def update(page: Page, seed: Seeder, last: int) -> None:
    """New points, and the page that shows them; the marked element is gone when it has been built anew."""
    page.evaluate("() => document.querySelector('#run-grounds details').classList.add('of-before')")
    logged(seed, last - 99, last)
    expect(page.locator("#run-head")).to_contain_text(f"{last:,} / 2,000")
    expect(page.locator(".of-before")).to_have_count(0)


def summary(page: Page, words: str) -> Locator:
    return page.locator("summary").filter(has_text=words)


def fold(page: Page, words: str) -> Locator:
    return page.locator("details").filter(has=summary(page, words))


def test_what_is_opened_stays_open_and_what_is_closed_closed(desktop: Watched, seed: Seeder) -> None:
    half_done(seed)
    desktop.open("/runs/run")
    page = desktop.page
    for words in ("How metrics were recognised", "What was looked for", "Config"):
        summary(page, words).click()
    update(page, seed, 1100)
    for words in ("How metrics were recognised", "What was looked for", "Config"):
        expect(fold(page, words)).to_have_js_property("open", True)
    expect(fold(page, "Delete run")).to_have_js_property("open", False)
    summary(page, "Config").click()
    update(page, seed, 1200)
    expect(fold(page, "Config")).to_have_js_property("open", False)
    expect(fold(page, "What was looked for")).to_have_js_property("open", True)


def test_the_keyboard_stays_where_it_is(desktop: Watched, seed: Seeder) -> None:
    half_done(seed)
    desktop.open("/runs/run")
    page = desktop.page
    summary(page, "How metrics were recognised").focus()
    page.keyboard.press("Enter")
    update(page, seed, 1100)
    assert page.evaluate(FOCUSED) == "How metrics were recognised"
    page.keyboard.press("Enter")
    expect(fold(page, "How metrics were recognised")).to_have_js_property("open", False)
    page.get_by_role("link", name="JSONL").focus()
    update(page, seed, 1200)
    assert page.evaluate(FOCUSED) == "JSONL"


def test_a_reader_who_has_left_an_element_is_not_taken_back_to_it(desktop: Watched, seed: Seeder) -> None:
    half_done(seed)
    desktop.open("/runs/run")
    page = desktop.page
    summary(page, "How metrics were recognised").focus()
    page.evaluate("() => document.activeElement.blur()")
    update(page, seed, 1100)
    assert page.evaluate("() => document.activeElement.localName") == "body"


def test_what_was_opened_on_one_run_is_not_opened_on_another(desktop: Watched, seed: Seeder) -> None:
    half_done(seed)
    seed.open("other", config={"model": "llama"})
    desktop.open("/runs/run")
    page = desktop.page
    summary(page, "Config").click()
    page.locator(".crumbs").get_by_role("link", name="Runs").click()
    page.get_by_role("link", name="other", exact=True).click()
    expect(page.get_by_role("heading", name="other", level=1)).to_be_visible()
    expect(fold(page, "Config")).to_have_js_property("open", False)

"""Pages on a narrow screen, and those that become narrow while they are open."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.dashboard.browser import DESKTOP, PHONE, Watched, open_page
from tests.dashboard.seeding import Seeder, decaying

pytestmark = pytest.mark.browser

CUT_OFF = "part => part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).overflowX !== 'visible'"


def width(part: Locator) -> float:
    box = part.bounding_box()
    assert box is not None
    return box["width"]


def test_the_theme_button_fits_its_word_after_the_window_was_turned(desktop: Watched) -> None:
    page = desktop.page
    desktop.open("/")
    button = page.locator("#theme-toggle")
    expect(button).to_have_text("◐System")
    wide = width(button)
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    assert width(button) < wide
    assert not button.evaluate("button => button.scrollWidth > button.clientWidth + 1")
    expect(page.get_by_role("button", name="System", exact=True)).to_be_visible()
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    assert width(button) == wide


def test_no_word_of_a_verdict_is_cut_off_on_a_phone(browser: Browser, base_url: str, seed: Seeder) -> None:
    seed.open("run", plan={"total_steps": 2000})
    steps = np.arange(1, 1001)
    seed.log("run", steps, {"loss": decaying(steps), "lr": np.full(1000, 1e-3)})
    phone = open_page(browser, base_url, size=PHONE)
    phone.open("/runs/run")
    facts = phone.page.locator(".verdict-facts > *")
    expect(facts.first).to_be_visible()
    # The longest that it says: a job that has become slower. Whether one has is not this page's to decide.
    facts.first.evaluate(
        "fact => { fact.querySelector('b').textContent ="
        " '4 min (3 min – 6 min). Slower: 2.1 times as long a step as before'; }"
    )
    assert not any(fact.evaluate(CUT_OFF) for fact in facts.all())
    assert not phone.has_horizontal_scrollbar()
    phone.page.context.close()

"""What a word means can be had by the pointer, a finger and the keyboard."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.dashboard.browser import PHONE, Watched, open_page
from tests.dashboard.seeding import Seeder, decaying

pytestmark = pytest.mark.browser

MEANING = "The last step of training: how far the forecast reaches."


def half_done(seed: Seeder, last: int = 500) -> None:
    seed.open("run", plan={"total_steps": 2000})
    logged(seed, 1, last)


def logged(seed: Seeder, first: int, last: int) -> None:
    steps = np.arange(first, last + 1)
    seed.log("run", steps, {"loss": decaying(steps), "lr": np.full(len(steps), 1e-3)})


def horizon(page: Page) -> Locator:
    return page.get_by_role("button", name="Horizon", exact=True)


def shown(page: Page) -> Locator:
    return page.locator("#meaning")


def test_the_keyboard_reaches_a_meaning_and_escape_hides_it(desktop: Watched, seed: Seeder) -> None:
    half_done(seed)
    desktop.open("/runs/run")
    page = desktop.page
    expect(horizon(page)).to_have_attribute("aria-description", MEANING)
    page.locator("#run-tiles .tile-forecast .hint").last.focus()
    page.keyboard.press("Tab")
    expect(horizon(page)).to_be_focused()
    expect(shown(page)).to_have_text(MEANING)
    page.keyboard.press("Escape")
    expect(shown(page)).to_be_hidden()
    page.keyboard.press("Enter")
    expect(shown(page)).to_be_visible()
    page.keyboard.press("Tab")
    expect(shown(page)).not_to_have_text(MEANING)


def test_a_pointer_gets_it(desktop: Watched, seed: Seeder) -> None:
    half_done(seed)
    desktop.open("/runs/run")
    page = desktop.page
    horizon(page).hover()
    expect(shown(page)).to_have_text(MEANING)
    page.mouse.move(2, 2)
    expect(shown(page)).to_be_hidden()


def test_a_finger_gets_it_inside_the_screen_and_an_update_does_not_take_it_away(
    browser: Browser, base_url: str, seed: Seeder
) -> None:
    half_done(seed)
    phone = open_page(browser, base_url, size=PHONE, theme="dark", touch=True)
    phone.open("/runs/run")
    page = phone.page
    horizon(page).tap()
    expect(shown(page)).to_have_text(MEANING)
    box = shown(page).bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE[0]
    phone.keep_picture("meaning_phone_dark")
    logged(seed, 501, 600)
    expect(page.locator("#run-head")).to_contain_text("600 / 2,000")
    expect(shown(page)).to_be_visible()
    # A card that comes late pushes the word out of view.
    page.evaluate("document.querySelector('#run-tiles').style.marginTop = '3000px'; window.scrollBy(0, 5)")
    page.wait_for_timeout(100)
    expect(shown(page)).to_be_visible()
    page.evaluate("document.querySelector('#run-tiles').style.marginTop = ''; window.scrollTo(0, 0)")
    page.locator("#run-head h1").tap()
    expect(shown(page)).to_be_hidden()
    assert phone.errors == []
    page.context.close()

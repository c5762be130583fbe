"""What a screen reader is told of parts that Dash and Plotly build."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.dashboard.browser import Watched
from tests.dashboard.seeding import Seeder, decaying

pytestmark = pytest.mark.browser


def test_a_row_of_choices_is_a_group_of_radio_buttons_and_nothing_else(desktop: Watched, seed: Seeder) -> None:
    seed.open("run")
    desktop.open("/")
    page = desktop.page
    group = page.get_by_role("radiogroup", name="Status")
    expect(group.get_by_role("radio")).to_have_count(5)
    expect(page.get_by_role("listbox")).to_have_count(0)
    expect(page.get_by_role("option")).to_have_count(0)
    group.get_by_role("radio", name="Failed").click()
    expect(group.get_by_role("radio", name="Failed")).to_be_checked()
    expect(page.get_by_role("option")).to_have_count(0)


def test_a_page_that_is_not_there_is_marked_in_no_menu(desktop: Watched) -> None:
    desktop.open("/fit")
    here = desktop.page.locator(".nav-here")
    expect(here).to_have_text(["Schedules"])
    desktop.errors.clear()
    desktop.open("/nowhere")
    expect(desktop.page.get_by_role("heading", name="Nothing here")).to_be_visible()
    expect(here).to_have_count(0)
    assert all("404" in error for error in desktop.errors)
    desktop.errors.clear()


def test_a_chart_says_in_words_what_it_shows_and_reads_out_no_axis(desktop: Watched, seed: Seeder) -> None:
    steps = np.arange(1, 501)
    seed.open("run", plan={"total_steps": 1000})
    seed.log("run", steps, {"loss": decaying(steps)})
    desktop.open("/runs/run")
    chart = desktop.page.locator("#run-chart-figure")
    said = re.compile(r"^loss to step 500, last \d\.\d+; forecast \d\.\d+, 90 % \d\.\d+ – \d\.\d+ at step 1,000$")
    expect(chart).to_have_attribute("aria-label", said)
    expect(chart.locator("svg.main-svg").first).to_be_attached()
    expect(chart.locator("svg.main-svg:not([aria-hidden=true])")).to_have_count(0)
    expect(desktop.page.get_by_role("figure", name=said)).to_have_count(1)

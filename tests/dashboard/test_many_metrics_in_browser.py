"""Metrics with names that programs trip over, and more of them than fit on a page."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.dashboard.browser import Watched
from tests.dashboard.seeding import Seeder, decaying

pytestmark = pytest.mark.browser


def test_a_metric_named_as_javascript_names_prototypes_can_be_chosen(desktop: Watched, seed: Seeder) -> None:
    seed.open("run", project="__proto__", plan={"total_steps": 800})
    steps = np.arange(1, 401)
    odd = dict.fromkeys(("__proto__", "a/__proto__", "constructor"), 1.0 / steps)
    seed.log("run", steps, {"loss": decaying(steps), **odd}, refit=False)
    desktop.open("/runs/run")
    page = desktop.page
    page.locator("#run-metric").click()
    page.get_by_role("option", name="__proto__", exact=True).click()
    page.wait_for_function(
        "() => (document.querySelector('#run-chart .js-plotly-plot')?.data || []).some(one => one.name === '__proto__')"
    )
    desktop.open("/")
    page.locator("#runs-project").click()
    expect(page.get_by_role("option", name="__proto__", exact=True)).to_be_visible()

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


def test_metrics_stand_in_natural_order_and_all_of_them_come_at_one_click(desktop: Watched, seed: Seeder) -> None:
    seed.open("run", plan={"total_steps": 100})
    steps = np.arange(1, 21)
    layers = [f"layer/{number}" for number in range(1, 31)]
    seed.log("run", steps, dict.fromkeys(["loss", "%odd", *layers], 1.0 / steps), refit=False)
    desktop.open("/runs/run")
    page, names = desktop.page, desktop.page.locator("#run-metrics .metric-name")
    page.locator("#run-metrics-more").click()
    expect(names).to_have_text(layers[:12])
    page.get_by_role("button", name="Show all 32").click()
    expect(names).to_have_text([*layers, "loss", "%odd"])
    expect(page.locator("#run-metrics-more")).to_be_hidden()
    expect(page.locator("#run-metrics-all")).to_be_hidden()
    desktop.keep_picture("many-metrics")

"""No chart offers to send what it shows to somebody else's server."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from dash import dcc

import app.dashboard
from app.dashboard.components import graph
from app.dashboard.pages.run_chart import GRAPH_CONFIG
from tests.dashboard.browser import Watched
from tests.dashboard.seeding import Seeder, decaying


@pytest.mark.browser
def test_the_buttons_of_the_main_chart_upload_nothing(desktop: Watched, seed: Seeder) -> None:
    steps = np.arange(1, 301)
    seed.open("run", plan={"total_steps": 1000})
    seed.log("run", steps, {"loss": decaying(steps)})
    desktop.open("/runs/run")
    page = desktop.page
    page.locator("#run-chart .modebar-btn").first.wait_for(state="attached")
    names = page.locator("#run-chart .modebar-btn").evaluate_all("all => all.map(one => one.dataset.title)")
    assert "Download plot" in names, names
    assert not [name for name in names if "hare" in name or "loud" in name], names
    assert page.evaluate("() => document.querySelector('#run-chart .js-plotly-plot')._context.plotlyServerURL") == ""


def test_a_chart_with_buttons_of_its_own_still_uploads_nothing() -> None:
    chart = graph("chart", {}, "chart-main", spoken="", config={**GRAPH_CONFIG, "showSendToCloud": True}).children
    assert isinstance(chart, dcc.Graph)
    config = vars(chart)["config"]
    assert config["plotlyServerURL"] == ""
    assert config["showSendToCloud"] is False


def test_every_chart_is_made_in_the_one_place_that_sees_to_it() -> None:
    folder = Path(app.dashboard.__file__).parent
    makers = {
        path.name
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "Graph"
    }
    assert makers == {"components.py"}

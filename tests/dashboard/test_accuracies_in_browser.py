"""A run with accuracies on its page: what is said of them, and which way up they are drawn."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from app.importers.run_files import read_file
from app.runs import RunStatus
from app.storage.runs import finish_run
from app.worker.scoring import score_run
from tests.conftest import TemplateOf
from tests.dashboard.browser import DESKTOP, PHONE, PICTURES, open_page
from tests.dashboard.seeding import Seeder

pytestmark = pytest.mark.browser
PATIENCE_MS = 30_000
TEXT = Path(__file__).parents[1] / "data" / "accuracies" / "text_wsd.csv"


def log_text_run(seed: Seeder, *columns: str) -> None:
    """The first 700 of 1000 steps of a next-character model."""
    seed.open(
        "run",
        project="text",
        plan={
            "total_steps": 1000,
            "schedule": {"family": "wsd_linear", "peak": 0.0021, "warmup_steps": 30, "decay_steps": 243},
        },
    )
    (whole,) = read_file(TEXT).batches
    for column in columns:
        at = whole.metrics.index(column)
        here = whole.present[at] & (whole.steps <= 700)
        seed.log("run", whole.steps[here], {column: whole.values[at, here]}, refit=column == columns[-1])


@pytest.fixture(scope="module")
def text_run(template_of: TemplateOf) -> str:
    return template_of(
        lambda database: log_text_run(Seeder(database), "lr", "train_loss", "val_loss", "train_acc", "val_acc")
    )


@pytest.mark.parametrize(
    ("size", "theme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")], ids=str
)
@pytest.mark.begins_with("text_run")
def test_accuracies_stand_beside_the_loss_with_their_best_and_the_chance_of_a_better(
    browser: Browser, base_url: str, size: tuple[int, int], theme: str
) -> None:
    watched = open_page(browser, base_url, size=size, theme=theme)
    page = watched.page
    watched.open("/runs/run")
    expect(page.get_by_text("Predicted final loss").first).to_be_visible()
    others = page.locator("#run-others tbody tr")
    expect(others).to_have_count(3)
    row = others.filter(has_text="val_acc")
    expect(row.locator(".direction")).to_have_text("↑")
    expect(others.filter(has_text="val_loss").locator(".direction")).to_have_text("↓")
    now, best, _, chance = row.locator("td").all_text_contents()
    end, band = row.locator(".pair-cell > *").all_text_contents()
    assert float(best) <= 1
    assert abs(float(now) - float(best)) < 0.05
    low, high = map(float, re.findall(r"0\.\d+", band))
    assert 0.5 < float(end) < 0.65
    assert 0 <= low < float(end) < high <= 1
    assert re.fullmatch(r"(< 1|\d+) %", chance)
    assert not watched.has_horizontal_scrollbar()

    page.locator("#run-metric").click()
    page.get_by_role("option", name="val_acc", exact=True).click()
    page.wait_for_function(
        "() => (document.querySelector('#run-chart .js-plotly-plot')?.data || []).some(one => one.name === 'val_acc')",
        timeout=PATIENCE_MS,
    )
    page.wait_for_function(
        "() => document.querySelector('#run-chart .js-plotly-plot').layout.annotations[0].text.includes('val_acc')",
        timeout=PATIENCE_MS,
    )
    traces = watched.traces("run-chart")
    assert "train_acc" in traces
    assert "train_loss" not in traces
    assert "predicted" in traces
    if size == DESKTOP:
        watched.keep_picture(f"accuracy_{theme}")
    else:
        watched.keep_picture(f"accuracy_phone_{theme}")
    assert PICTURES.is_dir()
    assert watched.errors == []
    page.context.close()


def test_a_run_known_by_its_accuracy_alone_is_spoken_of_as_that(browser: Browser, base_url: str, seed: Seeder) -> None:
    log_text_run(seed, "lr", "val_acc")
    watched = open_page(browser, base_url)
    watched.open("/runs/run")
    expect(watched.page.get_by_text("Predicted final accuracy").first).to_be_visible()
    expect(watched.page.locator("#run-grounds")).to_contain_text("above its highest level so far")
    expect(watched.page.locator("#run-grounds")).to_contain_text("final accuracy")
    expect(watched.page.locator("#run-others")).to_contain_text(
        "No other loss and no accuracy of this run is forecast."
    )
    assert watched.errors == []
    watched.page.context.close()


def test_a_best_level_is_smoothed(seed: Seeder) -> None:
    """One lucky evaluation is not the level that the chance of a new best speaks of."""
    from app.dashboard.readings.run import read_run

    seed.open("run", plan={"total_steps": 400})
    steps = np.arange(1, 201)
    lucky = 0.5 + 0.3 * (1 - np.exp(-steps / 60)) + np.where(steps == 150, 0.15, 0.0)
    seed.log("run", steps, {"train_loss": 1 / np.sqrt(steps), "val_acc": lucky})
    (other,) = read_run(seed.database, "run").others
    assert other.best is not None
    assert math.isclose(other.best, 0.79, abs_tol=0.02)
    assert lucky.max() > 0.9


def test_no_ended_run_came_to_more_than_its_best_level(seed: Seeder) -> None:
    """The levels are means over more points than the end is, and of a loss that falls they lag behind."""
    from app.dashboard.readings.run import read_run

    seed.open("run", plan={"total_steps": 200})
    steps = np.arange(1, 201)
    columns = {"train_loss": 1 / np.sqrt(steps), "val_loss": 3.0 - steps / 100, "val_acc": steps / 250}
    for part in np.array_split(steps, 2):
        seed.log("run", part, {name: column[part - 1] for name, column in columns.items()})
    with seed.database.write() as connection:
        finish_run(connection, "run", RunStatus.FINISHED, None)
    seed.refit("run")
    score_run(seed.database, "run")
    others = {one.forecast.metric: one for one in read_run(seed.database, "run").others}
    assert set(others) == {"val_loss", "val_acc"}
    for other in others.values():
        assert other.end is not None
        assert other.best == other.end.level

"""The card about the learning rate on a project's page, in a real Chromium over real runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.sync_api import Browser, expect

from app.dashboard.figures.sweep import SHOWN, sweep_figure
from app.dashboard.pages.sweep import sweep_name, sweep_text
from app.dashboard.theme import Display
from app.diagnostics.dynamics.sensitivity import SweptRun, sensitivity
from app.storage.sweeps import LeftOut, Sweep
from tests.conftest import TemplateOf
from tests.dashboard.browser import DESKTOP, PHONE, PICTURES, open_page
from tests.dashboard.seeding import Seeder
from tests.dashboard.sweep_seeding import real_sweep


def made_sweep(*ends: tuple[float, float], error: float = 1e-3, **settings: object) -> Sweep:
    runs = tuple(SweptRun(f"run-{at}", rate, final, 5.0, error) for at, (rate, final) in enumerate(ends))
    found = sensitivity(runs)
    assert found is not None
    return Sweep("loss", settings, runs, found)


def test_a_best_rate_at_the_edge_and_what_diverged_are_said() -> None:
    sweep = made_sweep((1e-4, 2.0), (1e-3, 2.5), (1e-2, float("nan")), qk=True)
    text = sweep_text(sweep, sweep_name(sweep))
    assert text.startswith("qk true: LR sensitivity ")
    assert "from 1e-4 to 0.01 (3 runs)" in text
    assert "at the edge" in text
    assert "1 ended where it began, or worse" in text
    assert "ahead of 2.500 at 1e-3 by 0.5" in text


def test_runs_that_are_left_out_are_named_and_many_are_counted() -> None:
    sweep = made_sweep((1e-3, 2.9), (1e-2, 2.5), (1e-1, 2.8))
    gone = tuple(LeftOut(f"id-{at}", f"cos-{at}", 0.1, "stopped at step 1,200") for at in range(5))
    assert "Not compared" not in sweep_text(sweep, "loss")
    assert sweep_text(replace(sweep, left_out=gone[:1]), "loss").endswith(
        "Not compared: cos-0 (rate 0.1, stopped at step 1,200)."
    )
    assert sweep_text(replace(sweep, left_out=gone), "loss").endswith(
        "cos-2 (rate 0.1, stopped at step 1,200), 2 more."
    )


def test_a_best_rate_within_the_noise_of_another_is_not_named_and_the_averages_are_told() -> None:
    sweep = made_sweep((3e-3, 3.4), (1e-2, 2.774), (1e-2, 2.817), (2e-2, 2.790))
    text = sweep_text(sweep, "loss")
    assert "No best rate can be named: lowest is 2.790 at 0.02, ahead by 0.0055," in text
    assert "within the noise of it is 2.796 at 0.01 (mean of 2 runs)" in text
    assert "Runs at one rate differ by 0.03 as far as 2 runs can tell" in text


def test_a_clear_best_rate_is_told_with_its_lead_and_what_chance_makes() -> None:
    text = sweep_text(made_sweep((1e-3, 2.9), (1e-2, 2.5), (1e-1, 2.8)), "loss")
    assert "Best 2.500 at 0.01, ahead of 2.800 at 0.1 by 0.3, more than chance makes (0.0023)." in text
    assert "No rate was run twice" in text
    unknown = sweep_text(made_sweep((1e-3, 2.9), (1e-2, 2.5), (1e-1, 2.8), error=float("nan")), "loss")
    assert "No best rate can be named" in unknown
    assert "too short to say" in unknown


def test_the_figure_shows_each_run_where_a_rate_has_several() -> None:
    once, twice = ((1e-3, 2.9), (1e-2, 2.5), (1e-1, 2.8)), ((1e-3, 2.9), (1e-2, 2.5), (1e-2, 2.6), (1e-1, 2.8))
    assert len(sweep_figure([made_sweep(*once)], ["one"], Display()).data) == 1
    runs = sweep_figure([made_sweep(*twice)], ["one"], Display()).data[1]
    assert list(runs.y) == [2.9, 2.5, 2.6, 2.8]


def test_the_figure_stays_readable_with_many_sweeps() -> None:
    sweep = made_sweep((1e-4, 3.0), (1e-3, 2.5), (1e-2, 2.8))
    figure = sweep_figure([sweep] * (SHOWN + 3), ["one"] * (SHOWN + 3), Display())
    assert len(figure.data) == SHOWN


@pytest.fixture(scope="module")
def sweep(template_of: TemplateOf) -> str:
    return template_of(lambda database: real_sweep(Seeder(database), "sweep"))


@pytest.mark.browser
@pytest.mark.parametrize(("size", "theme"), [(DESKTOP, "light"), (PHONE, "dark")])
@pytest.mark.begins_with("sweep")
def test_a_real_sweep_is_shown_on_the_page_of_its_project(
    browser: Browser, base_url: str, size: tuple[int, int], theme: str
) -> None:
    watched = open_page(browser, base_url, size=size, theme=theme)
    watched.open("/projects/sweep")
    card = watched.page.locator("#project-sweeps")
    expect(card).to_contain_text("qk false: LR sensitivity 0.35")
    expect(card).to_contain_text("qk true: LR sensitivity 0.17")
    expect(card).to_contain_text("No rate was run twice")
    watched.page.wait_for_function(
        "(document.querySelector('#project-sweep-figure .js-plotly-plot')?.data || []).length === 2"
    )
    assert not watched.has_horizontal_scrollbar()
    card.screenshot(path=PICTURES / f"project-sweep-{theme}-{size[0]}.png")
    watched.page.context.close()
    assert watched.errors == []


@pytest.mark.browser
def test_a_project_without_a_sweep_shows_no_card(browser: Browser, base_url: str, seed: Seeder) -> None:
    seed.open("run", project="plain")
    watched = open_page(browser, base_url)
    watched.open("/projects/plain")
    expect(watched.page.locator("#project-verdict")).to_contain_text("No run of this project")
    expect(watched.page.locator("#project-sweeps")).to_be_hidden()
    watched.page.context.close()
    assert watched.errors == []

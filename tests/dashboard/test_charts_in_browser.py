"""What a reader sees of a chart before it is there."""

import numpy as np
import pytest
from playwright.sync_api import Route, expect

from tests.dashboard.browser import Watched
from tests.dashboard.seeding import Seeder, decaying

WORD_IN_AN_EMPTY_BOX = "box => getComputedStyle(box, '::before').content"


@pytest.mark.browser
def test_a_chart_that_is_not_drawn_yet_says_so_and_takes_its_room(desktop: Watched, seed: Seeder) -> None:
    steps = np.arange(1, 301)
    seed.open("run", plan={"total_steps": 1000})
    seed.log("run", steps, {"loss": decaying(steps)})
    page, held = desktop.page, list[Route]()
    page.route("**/plotly.min.js", lambda route: held.append(route))

    with page.expect_request("**/plotly.min.js"):
        desktop.open("/runs/run")
    box = page.locator(".chart-main")
    assert box.evaluate(WORD_IN_AN_EMPTY_BOX) == '"Drawing…"'
    waiting = box.bounding_box()

    for request in held:
        request.continue_()
    expect(page.locator("#run-chart .js-line").first).to_be_attached()
    assert box.evaluate(WORD_IN_AN_EMPTY_BOX) == "none"
    assert box.bounding_box() == waiting


@pytest.mark.browser
def test_a_chart_with_nothing_to_draw_says_what_it_lacks_instead(desktop: Watched, seed: Seeder) -> None:
    seed.open("run")
    desktop.open("/runs/run")
    expect(desktop.page.locator("#run-chart .annotation")).to_have_text("Nothing logged yet")
    assert desktop.page.locator(".chart-main").evaluate(WORD_IN_AN_EMPTY_BOX) == "none"
    expect(desktop.page.locator("#run-history-note")).to_have_text("No forecast of this metric yet.")
    expect(desktop.page.locator("#run-history")).to_be_hidden()
    expect(desktop.page.locator("#run-metrics-more")).to_be_hidden()


@pytest.mark.browser
def test_the_chosen_one_of_a_few_stands_out(desktop: Watched, seed: Seeder) -> None:
    seed.open("run")
    desktop.open("/")
    labels = desktop.page.locator("#runs-status label")
    expect(labels).to_have_count(5)
    grounds = [label.evaluate("label => getComputedStyle(label).backgroundColor") for label in labels.all()]
    assert grounds[0] != grounds[1]
    assert len(set(grounds[1:])) == 1

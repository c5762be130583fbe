"""What people see and do, in a real Chromium against a real server.

The pages forbid `eval`, so what is waited for is written as a function: `() => ...`.
"""

from __future__ import annotations

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from app.calculations import Calculations
from app.errors import NotFound
from app.runs import RunStatus
from app.storage import runs
from app.storage.database import Database
from app.storage.deletion import delete_run
from tests.dashboard.browser import DESKTOP, PHONE, Watched, open_page
from tests.dashboard.seeding import Seeder, decaying

pytestmark = pytest.mark.browser

# Chromium without a GPU shares its cores with the server and Postgres here.
PATIENCE_MS = 60_000


def half_done(seed: Seeder, run_id: str = "run", **said: object) -> None:
    seed.open(run_id, plan={"total_steps": 2000}, **said)
    steps = np.arange(1, 1001)
    seed.log(run_id, steps, {"train/loss": decaying(steps), "lr": np.full(1000, 1e-3), "grad_norm": 1.0 / steps})


def drawn(watched: Watched, trace: str) -> None:
    """Wait until the main chart shows a trace."""
    watched.page.wait_for_function(
        "name => (document.querySelector('#run-chart .js-plotly-plot')?.data || []).some(one => one.name === name)",
        arg=trace,
        timeout=PATIENCE_MS,
    )


def test_an_empty_service_says_how_to_send_the_first_run(desktop: Watched) -> None:
    desktop.open("/")
    expect(desktop.page.get_by_role("heading", name="No runs yet")).to_be_visible()
    expect(desktop.page.locator("#snippet-curl")).to_contain_text(desktop.base_url + "/api/v1/log/")
    expect(desktop.page.locator("#snippet-python")).to_contain_text(f'url="{desktop.base_url}"')
    expect(desktop.page).to_have_title("Runs · Losscast")


def test_a_first_run_appears_without_a_reload(desktop: Watched, seed: Seeder) -> None:
    desktop.open("/")
    expect(desktop.page.get_by_role("heading", name="No runs yet")).to_be_visible()
    half_done(seed, name="my first run")
    expect(desktop.page.get_by_role("link", name="my first run")).to_be_visible()


def test_a_row_shows_progress_forecast_and_state(desktop: Watched, seed: Seeder) -> None:
    half_done(seed)
    desktop.open("/")
    row = desktop.page.get_by_role("row").filter(has_text="run").last
    expect(row).to_contain_text("Running")
    expect(row).to_contain_text("1,000 / 2,000")
    expect(row.locator(".band-numbers")).to_have_text(re.compile(r"\d\.\d{3} – \d\.\d{3}"))
    expect(row.locator(".sparkline-whisker")).to_have_count(1)


def test_runs_are_filtered_searched_and_paged(desktop: Watched, seed: Seeder, database: Database) -> None:
    for number in range(60):
        seed.open(f"run-{number:02d}", project="even" if number % 2 == 0 else "odd")
    with database.write() as connection:
        runs.finish_run(connection, "run-07", RunStatus.FAILED, None)
    desktop.open("/")
    rows = desktop.page.locator(".runs tbody tr")
    expect(rows).to_have_count(50)
    desktop.page.get_by_role("button", name="Older").click()
    expect(rows).to_have_count(10)
    expect(desktop.page.locator("#runs-range")).to_have_text("51–60 of 60")
    desktop.page.get_by_role("radio", name="Failed", exact=True).click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("run-07")
    expect(desktop.page).to_have_url(desktop.base_url + "/?status=failed")
    desktop.page.get_by_role("radio", name="All", exact=True).click()
    desktop.page.get_by_placeholder("Search name or id").fill("run-1")
    expect(rows).to_have_count(10)


def test_a_link_to_a_filtered_list_opens_it(desktop: Watched, seed: Seeder) -> None:
    for run_id in ("apple", "banana"):
        seed.open(run_id)
    desktop.open("/?search=ban")
    expect(desktop.page.locator(".runs tbody tr")).to_have_count(1)
    expect(desktop.page.get_by_role("link", name="banana")).to_be_visible()


def test_a_run_shows_its_loss_and_where_it_is_going(desktop: Watched, seed: Seeder) -> None:
    half_done(seed, name="gpt")
    desktop.open("/")
    desktop.page.get_by_role("link", name="gpt", exact=True).click()
    drawn(desktop, "train/loss")
    assert {"predicted", "90 % band", "50 % band", "planned rate"} <= set(desktop.traces("run-chart"))
    expect(desktop.page.locator(".tile-forecast")).to_contain_text("90 %")
    expect(desktop.page.locator("#run-tiles")).to_contain_text("2,000 steps")
    expect(desktop.page).to_have_title("gpt · Losscast")
    assert not desktop.has_horizontal_scrollbar()


def test_new_points_extend_an_open_chart(desktop: Watched, seed: Seeder) -> None:
    half_done(seed)
    desktop.open("/runs/run")
    drawn(desktop, "train/loss")
    steps = np.arange(1001, 1501)
    seed.log("run", steps, {"train/loss": decaying(steps), "lr": np.full(500, 1e-3)})
    expect(desktop.page.locator("#run-head")).to_contain_text("1,500 / 2,000")
    desktop.page.wait_for_function(
        "() => document.querySelector('#run-chart .js-plotly-plot').data.some(one => one.name === 'train/loss'"
        " && one.x[one.x.length - 1] === 1500)",
        timeout=PATIENCE_MS,
    )


def test_a_zoom_reads_finer_points_and_survives_an_update(desktop: Watched, seed: Seeder) -> None:
    seed.open("run", plan={"total_steps": 40_000})
    steps = np.arange(1, 20_001)
    seed.log("run", steps, {"loss": decaying(steps)})
    desktop.open("/runs/run")
    drawn(desktop, "loss")
    inside = (
        "document.querySelector('#run-chart .js-plotly-plot').data.find(one => one.name === 'loss')"
        ".x.filter(x => x >= 10000 && x <= 10500).length"
    )
    assert desktop.page.evaluate(inside) < 501
    box = desktop.page.locator("#run-chart .nsewdrag").first.bounding_box()
    assert box is not None
    x_of = (
        "step => { const plot = document.querySelector('#run-chart .js-plotly-plot');"
        " const axis = plot._fullLayout.xaxis; return axis._offset + axis.l2p(step); }"
    )
    left = desktop.page.locator("#run-chart .js-plotly-plot").bounding_box()
    assert left is not None
    middle = box["y"] + box["height"] / 2
    desktop.page.mouse.move(left["x"] + desktop.page.evaluate(x_of, 9_500), middle)
    desktop.page.mouse.down()
    desktop.page.mouse.move(left["x"] + desktop.page.evaluate(x_of, 11_000), middle, steps=8)
    desktop.page.mouse.up()
    desktop.page.wait_for_function(f"() => {inside} === 501", timeout=PATIENCE_MS)

    later = np.arange(20_001, 20_101)
    seed.log("run", later, {"loss": decaying(later)})
    expect(desktop.page.locator("#run-head")).to_contain_text("20,100 / 40,000")
    desktop.page.wait_for_timeout(1500)
    low, high = desktop.page.evaluate("document.querySelector('#run-chart .js-plotly-plot')._fullLayout.xaxis.range")
    assert 9_000 < low < 10_000
    assert 10_500 < high < 11_500
    desktop.page.get_by_role("button", name="Whole run").click()
    desktop.page.wait_for_function(
        "() => document.querySelector('#run-chart .js-plotly-plot')._fullLayout.xaxis.range[1] > 39000",
        timeout=PATIENCE_MS,
    )


def test_other_metrics_are_drawn_on_demand(desktop: Watched, seed: Seeder) -> None:
    half_done(seed)
    desktop.open("/runs/run")
    expect(desktop.page.locator(".metric")).to_have_count(0)
    desktop.page.get_by_role("button", name="Show all 3", exact=True).click()
    expect(desktop.page.locator(".metric .js-plotly-plot")).to_have_count(3)
    search = desktop.page.get_by_placeholder("Search metrics")
    search.fill("grad")
    expect(desktop.page.locator(".metric")).to_have_count(1)
    search.fill("no such")
    expect(desktop.page.locator("#run-metrics")).to_have_text("No metric of that name.")
    search.fill("")
    expect(desktop.page.locator(".metric")).to_have_count(3)


def test_a_search_among_metrics_that_are_not_shown_leaves_none_when_it_is_cleared(
    desktop: Watched, seed: Seeder
) -> None:
    half_done(seed)
    desktop.open("/runs/run")
    search, more = desktop.page.get_by_placeholder("Search metrics"), desktop.page.locator("#run-metrics-more")
    search.fill("no such")
    expect(desktop.page.locator("#run-metrics")).to_have_text("No metric of that name.")
    expect(more).to_be_hidden()
    search.fill("")
    expect(more).to_have_text("Show all 3")
    expect(desktop.page.locator("#run-metrics")).to_be_empty()


def test_nan_in_the_loss_is_drawn_and_told(desktop: Watched, seed: Seeder) -> None:
    half_done(seed, name="broken")
    seed.log("run", np.arange(1001, 1061), {"train/loss": np.full(60, np.nan)})
    desktop.open("/runs/run")
    drawn(desktop, "NaN logged")
    expect(desktop.page.locator("#run-banner")).to_contain_text("NaN")
    desktop.page.get_by_role("link", name="Alerts").click()
    expect(desktop.page.locator(".alert.alert-open")).to_contain_text("broken")
    desktop.page.get_by_role("link", name="Runs", exact=True).click()
    expect(desktop.page.locator(".runs .col-alerts .severity-critical")).to_contain_text("1 critical")


def test_what_was_wrong_when_a_run_ended_is_told_as_that(desktop: Watched, seed: Seeder, database: Database) -> None:
    half_done(seed, name="broken")
    seed.log("run", np.arange(1001, 1061), {"train/loss": np.full(60, np.nan)})
    page = desktop.page
    desktop.open("/alerts")
    expect(page.locator("#alerts-count")).to_have_text("1 open")
    with database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FAILED, None)
    seed.refit("run")
    expect(page.locator("#alerts-count")).to_have_text("None open")
    expect(page.get_by_role("heading", name="Of runs that are over")).to_be_visible()
    expect(page.locator(".alert.alert-over .alert-state")).to_have_text("run is over")
    desktop.keep_picture("alerts_run_over")
    desktop.open("/")
    expect(page.locator(".runs tbody td.col-alerts")).to_have_text("1 criticalat the end")
    desktop.keep_picture("runs_alert_at_the_end")
    desktop.open("/runs/run")
    expect(page.locator("#run-banner")).to_contain_text("Still so when the run ended: train/loss is NaN")
    expect(page.locator("#run-alerts .alert-state")).to_have_text("run is over")
    expect(page.locator("#run-health .alert-open .health-state").first).to_have_text("at the end of the run")
    desktop.keep_picture("run_ended_with_an_alert")


def test_names_from_outside_are_only_text(desktop: Watched, seed: Seeder) -> None:
    evil = "<img src=x onerror=alert(1)>"
    run_id = f"a/b {evil}"
    seed.open(run_id, name=evil + "x" * 300, project=evil, tags=[evil], config={evil: evil}, plan={"total_steps": 900})
    steps = np.arange(1, 301)
    seed.log(run_id, steps, {f"loss/{evil}%{{y}}/" + "损失" * 100: decaying(steps), evil: np.full(300, np.nan)})
    desktop.open("/runs/" + quote(run_id, safe=""))
    expect(desktop.page.locator("h1")).to_contain_text(evil)
    desktop.page.wait_for_selector("#run-chart .js-plotly-plot .legend", timeout=PATIENCE_MS)
    desktop.page.get_by_role("button", name="Show all 2", exact=True).click()
    expect(desktop.page.locator(".metric .js-plotly-plot")).to_have_count(2)
    assert desktop.page.locator("img[src=x]").count() == 0
    assert not desktop.has_horizontal_scrollbar()
    desktop.open("/")
    expect(desktop.page.locator(".run-link")).to_contain_text(evil)
    assert not desktop.has_horizontal_scrollbar()


def test_a_page_that_breaks_by_a_fault_of_ours_says_so_and_comes_back(
    desktop: Watched, seed: Seeder, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_done(seed)

    def broken(*_asked: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("app.dashboard.site.page_at", broken)
    desktop.open("/runs/run")
    expect(desktop.page.get_by_role("heading", name="This page cannot be shown")).to_be_visible()
    monkeypatch.undo()
    expect(desktop.page.locator("#run-chart")).to_be_attached()


def test_an_unknown_run_is_answered_with_a_way_back(desktop: Watched) -> None:
    desktop.open("/runs/nope")
    expect(desktop.page.get_by_role("heading", name="No such run")).to_be_visible()
    desktop.page.get_by_role("link", name="All runs").click()
    expect(desktop.page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    # The browser's own word on the status of the address.
    assert [error for error in desktop.errors if "404" not in error] == []
    desktop.errors.clear()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_pages_fit_their_window_in_both_themes(
    browser: Browser, base_url: str, seed: Seeder, size: tuple[int, int], theme: str
) -> None:
    half_done(seed, name="a rather long name of a run that would not fit a phone in one line")
    watched = open_page(browser, base_url, size=size, theme=theme, touch=size == PHONE)
    for path in ("/", "/runs/run", "/alerts"):
        watched.open(path)
        watched.page.wait_for_selector(".page", timeout=PATIENCE_MS)
        if path == "/runs/run":
            drawn(watched, "train/loss")
        watched.page.wait_for_timeout(500)
        watched.keep_picture(f"{path.strip('/').replace('/', '-') or 'runs'}-{theme}-{size[0]}")
        assert not watched.has_horizontal_scrollbar()
    assert watched.errors == []
    watched.page.context.close()


def test_the_chosen_theme_beats_the_systems_and_is_kept(browser: Browser, base_url: str, seed: Seeder) -> None:
    half_done(seed)
    page = open_page(browser, base_url, theme="dark")
    background = "getComputedStyle(document.documentElement).backgroundColor"
    page.open("/runs/run")
    drawn(page, "train/loss")
    dark = page.page.evaluate(background)
    colour = (
        "document.querySelector('#run-chart .js-plotly-plot').data.find(one => one.name === 'train/loss').line.color"
    )
    dark_line = page.page.evaluate(colour)
    page.page.locator("#theme-toggle").click()
    expect(page.page.locator("html")).to_have_attribute("data-theme", "light")
    assert page.page.evaluate(background) != dark
    page.page.wait_for_function(f"() => {colour} !== {dark_line!r}", timeout=PATIENCE_MS)
    page.page.reload()
    expect(page.page.locator("html")).to_have_attribute("data-theme", "light")
    page.page.context.close()


def test_an_open_page_says_when_the_database_is_away_and_recovers(
    browser: Browser, base_url: str, seed: Seeder, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_done(seed, name="still here")
    watched = open_page(browser, base_url)
    watched.open("/")
    link = watched.page.get_by_role("link", name="still here")
    expect(link).to_be_visible()
    with monkeypatch.context() as away:
        database.close()
        away.setattr(database, "_reader", Database("postgresql://nobody@127.0.0.1:9/none").engine)
        expect(watched.page.locator("#notice")).to_contain_text("Postgres does not answer")
        expect(link).to_be_visible()
        watched.open("/alerts")
        expect(watched.page.get_by_role("heading", name="The database is out of reach")).to_be_visible()
    expect(watched.page.get_by_role("heading", name="Alerts")).to_be_visible()
    watched.page.context.close()


def test_futures_are_compared_on_demand(desktop: Watched, seed: Seeder) -> None:
    half_done(seed)
    desktop.open("/runs/run")
    drawn(desktop, "train/loss")
    desktop.page.get_by_label("Over steps").fill("50")
    desktop.page.get_by_role("button", name="Compare").click()
    table = desktop.page.locator("#what-if-body table")
    expect(table.get_by_role("row")).to_have_count(7)
    expect(table).to_contain_text("As planned")
    expect(table).to_contain_text("Linear cool-down from step 1,000 to 1,050")
    expect(table).to_contain_text("Linear cool-down now, over 200 steps")
    expect(table).to_contain_text("Best linear cool-down: from step")


def test_where_too_many_ask_at_once_the_pages_say_when_to_ask_again(
    desktop: Watched, seed: Seeder, calculations: Calculations
) -> None:
    half_done(seed)
    finished_sibling(seed, "old", "an old attempt")
    page, gate, busy = desktop.page, threading.Event(), threading.Event()

    async def keep_busy() -> None:
        asked = [asyncio.create_task(calculations.run(gate.wait, PATIENCE_MS / 1000)) for _ in range(5)]
        await asyncio.sleep(0)
        busy.set()
        await asyncio.gather(*asked)

    with ThreadPoolExecutor(1) as others:
        asked = others.submit(asyncio.run, keep_busy())
        assert busy.wait(30)
        try:
            desktop.open("/runs/run")
            page.get_by_role("button", name="Compare").click()
            expect(page.locator("#what-if-body [role=alert]")).to_contain_text("ask again in 3 s")
            desktop.open("/fit?run=old&schedule=cosine")
            expect(page.locator("#fit-result [role=alert]")).to_contain_text("ask again in 3 s")
        finally:
            gate.set()
            asked.result()
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator(".fit-table tbody tr")).to_have_count(1)


def test_the_law_and_the_network_are_shown_side_by_side(desktop: Watched, seed: Seeder) -> None:
    half_done(seed)
    desktop.open("/runs/run")
    table = desktop.page.locator("#run-grounds .opinions table")
    expect(table.get_by_role("row")).to_have_count(5)
    law, network = (table.get_by_role("row").nth(place).get_by_role("cell").first for place in (1, 2))
    expect(table.get_by_role("row").nth(1)).to_contain_text("Annealing law")
    expect(table.get_by_role("row").nth(2)).to_contain_text("Network")
    shares = [int(str(cell.text_content()).removesuffix(" %")) for cell in (law, network)]
    assert sum(shares) == 100
    assert shares[0] > shares[1] > 0, "a run by the law, in a project without others"
    expect(table.get_by_role("row").filter(has_text="Power law")).to_contain_text("no")
    expect(desktop.page.locator("#run-grounds .opinions")).to_contain_text("below its lowest level so far")


def finished_sibling(seed: Seeder, run_id: str, name: str, **said: object) -> None:
    steps = np.arange(1, 2001)
    seed.open(run_id, name=name, plan={"total_steps": 2000}, **said)
    seed.log(run_id, steps, {"train/loss": decaying(steps), "lr": np.full(2000, 1e-3)}, refit=False)
    with seed.database.write() as connection:
        runs.finish_run(connection, run_id, RunStatus.FINISHED, None)
    seed.refit(run_id)


def test_the_page_names_the_finished_runs_that_spoke(desktop: Watched, seed: Seeder) -> None:
    half_done(seed)
    desktop.open("/runs/run")
    grounds = desktop.page.locator("#run-grounds")
    expect(grounds).to_contain_text("this project has no other finished run yet")
    for number in range(7):
        finished_sibling(seed, f"old-{number}", f"attempt {number}")
    seed.refit("run")
    expect(grounds).to_contain_text("7 finished runs of this project spoke")
    expect(grounds).to_contain_text("10 % alike")  # no config: nothing is known but the peak rate
    expect(grounds.get_by_text("2 more")).to_be_visible()
    desktop.page.locator("#run-grounds").scroll_into_view_if_needed()
    desktop.keep_picture("run_siblings")
    grounds.get_by_role("link", name="attempt 6").click()
    expect(desktop.page.get_by_role("heading", name="attempt 6")).to_be_visible()


def test_a_project_whose_finished_runs_are_unlike_says_so(desktop: Watched, seed: Seeder) -> None:
    finished_sibling(seed, "old", "an old one", config={"model": "speech", "data": "voices", "n_params": 1e9})
    half_done(seed, config={"model": "llama", "data": "web", "n_params": 1e6})
    desktop.open("/runs/run")
    expect(desktop.page.locator("#run-grounds")).to_contain_text(
        "this project has one finished run, which is not alike enough"
    )


def test_the_finished_runs_fit_on_a_phone(browser: Browser, base_url: str, seed: Seeder) -> None:
    finished_sibling(seed, "old", "an attempt with a long name " * 4)
    half_done(seed)
    phone = open_page(browser, base_url, size=PHONE, theme="dark")
    phone.open("/runs/run")
    expect(phone.page.locator("#run-grounds")).to_contain_text("one finished run of this project spoke")
    phone.page.locator("#run-grounds").scroll_into_view_if_needed()
    phone.keep_picture("run_siblings_phone")
    assert not phone.has_horizontal_scrollbar()
    phone.page.context.close()


def test_a_run_is_deleted_by_a_second_click_that_names_it(desktop: Watched, seed: Seeder, database: Database) -> None:
    half_done(seed, name="an old attempt")
    seed.open("another")
    desktop.open("/runs/run")
    page = desktop.page
    button = page.get_by_role("button", name="Delete “an old attempt” for good")
    expect(page.get_by_text("Delete run…")).to_be_visible()
    expect(button).to_be_hidden()
    page.get_by_text("Delete run…").click()
    expect(page.locator(".run-deletion")).to_contain_text("This deletes an old attempt (run)")
    button.click()
    expect(page).to_have_url(desktop.base_url + "/")
    expect(page.locator(".runs tbody tr")).to_have_count(1)
    expect(page.locator("#done")).to_have_text("Deleted run “an old attempt” (run).")
    with database.read() as connection, pytest.raises(NotFound):
        runs.get_run(connection, "run")
    desktop.keep_picture("run_deleted")
    page.get_by_role("link", name="Alerts").click()
    expect(page.get_by_role("heading", name="Alerts")).to_be_visible()
    expect(page.locator("#done")).to_be_empty()


def test_who_deletes_a_run_that_is_gone_by_then_is_told(desktop: Watched, seed: Seeder, database: Database) -> None:
    half_done(seed)
    desktop.open("/runs/run")
    page = desktop.page
    page.get_by_text("Delete run…").click()
    with database.write() as connection:
        delete_run(connection, "run")
    page.locator("#run-delete").click()
    expect(page.locator("#done")).to_have_text("Run run had already been deleted.")


def test_every_control_has_a_name(desktop: Watched, seed: Seeder) -> None:
    half_done(seed, project="p")
    page = desktop.page
    nameless = """() => {
        const shown = [...document.querySelectorAll('input, textarea, select, button')].filter(
            one => one.offsetParent && !one.matches('.dash-dropdown-focus-target'));
        const named = one => one.matches('.dash-dropdown')
            ? one.closest('[role=group][aria-label]')
            : (one.labels && one.labels.length) || one.getAttribute('aria-label') || one.innerText.trim();
        return shown.filter(one => !named(one)).map(one => one.id || one.outerHTML.slice(0, 90));
    }"""
    for path, ready in (
        ("/", ".runs"),
        ("/compare", "#compare-runs"),
        ("/fit", "#fit-ask"),
        ("/runs/run", "#run-metric"),
        ("/projects/p", ".runs"),
    ):
        desktop.open(path)
        page.locator(ready).wait_for()
        page.evaluate("() => document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert page.evaluate(nameless) == [], path
    expect(page.get_by_role("textbox", name="Within steps")).to_be_visible()
    expect(page.get_by_role("searchbox", name="Search name or id")).to_be_visible()


def test_runs_that_listened_to_a_deleted_run_are_forecast_anew(
    desktop: Watched, seed: Seeder, asked_for: set[str]
) -> None:
    finished_sibling(seed, "old", "an old attempt")
    half_done(seed)
    desktop.open("/runs/old")
    desktop.page.get_by_text("Delete run…").click()
    desktop.page.locator("#run-delete").click()
    expect(desktop.page.locator("#done")).to_contain_text("Deleted")
    assert asked_for == {"run"}

"""Verdicts, rankings and what a project wants, in a real Chromium over real runs that the real worker judged."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from app.dashboard.pages.goals import read_goal, read_parameters, write_parameters
from app.dashboard.pages.ranking import read_ranking, summary, turn_pin
from app.dashboard.pages.verdict import read, regret_text
from app.errors import BadInput, NotFound
from app.runs import RunStatus
from app.storage.database import Database
from app.storage.goals import Goal, read_project_policy, save_project_policy
from app.verdicts.judging import amount
from app.verdicts.stopping import Mode
from tests.conftest import TemplateOf
from tests.dashboard.browser import DESKTOP, PHONE, Watched, open_page
from tests.dashboard.seeding import Seeder, decaying, replayed

ODD_PROJECT = "größe/of <b>runs"


def log_siblings(seed: Seeder, project: str) -> None:
    """One that has finished well, its like half-way, and one at five times the rate that never learns."""
    replayed(seed, "done", "lm_cosine.csv", 50_000, share=1.0, status=RunStatus.FINISHED, project=project)
    replayed(seed, "half", "lm_cosine.csv", 50_000, share=0.5, project=project)
    replayed(seed, "hot", "lm_too_hot.csv", 50_000, share=0.45, parts=4, project=project)


@pytest.fixture(scope="module")
def siblings(template_of: TemplateOf) -> str:
    return template_of(lambda database: log_siblings(Seeder(database), "lm"))


@pytest.fixture(scope="module")
def oddly_named_siblings(template_of: TemplateOf) -> str:
    return template_of(lambda database: log_siblings(Seeder(database), ODD_PROJECT))


def rows(page: Page) -> list[str]:
    return page.locator(".ranking-table tbody tr").all_inner_texts()


def open_the_form(page: Page) -> None:
    page.get_by_text("Change", exact=True).click()


@pytest.mark.parametrize(
    ("regret", "interval", "said"),
    [
        (3.6e-28, [0.0, 1e-20], "below 0.0001"),
        (0.00512, [0.0, 0.021], "0.0051 (below 0.0001 to 0.021)"),
        (0.00512, None, "0.0051"),
    ],
)
def test_a_regret_is_worded_as_in_the_verdicts_sentence(regret: float, interval: list[float] | None, said: str) -> None:
    evidence = {"reference_level": 3.05}
    assert regret_text({"regret": regret, "regret_interval": interval, "evidence": evidence}) == said
    assert amount(regret, evidence["reference_level"]) == said.partition(" (")[0]


@pytest.mark.parametrize(
    ("typed", "goal"),
    [
        ((None, "", " "), Goal()),
        (("3.2", "20 000", "0.01"), Goal(3.2, 0.01, 20_000)),
        (("-1e-3", None, None), Goal(-0.001)),
    ],
)
def test_a_goal_is_read_as_it_is_typed(typed: tuple[str | None, str | None, str | None], goal: Goal) -> None:
    assert read_goal(*typed) == goal


@pytest.mark.parametrize(
    "typed", [("nan", "", ""), ("", "0.5", ""), ("", "", "-1"), ("3,2", "", ""), ("inf", "", ""), ("", "1e40", "")]
)
def test_a_goal_that_is_none_is_refused_in_words(typed: tuple[str, str, str]) -> None:
    with pytest.raises(BadInput, match="number"):
        read_goal(*typed)


def test_parameters_are_written_as_they_are_read() -> None:
    given = {"confidence": 0.97, "tolerance": 0.001}
    assert read_parameters(write_parameters(given)) == given
    assert read_parameters(None) == read_parameters(" , ") == {}
    for nonsense in ("confidence", "confidence=high", "confidence=nan"):
        with pytest.raises(BadInput):
            read_parameters(nonsense)


@pytest.mark.begins_with("siblings")
def test_the_ranking_puts_runs_by_their_ends_and_says_whom_to_stop(database: Database) -> None:
    reading, revision = read_ranking(database, "lm")
    assert reading is not None
    assert reading.ranking is not None
    assert read_ranking(database, "lm", unless=revision) == (None, revision)
    assert reading.ranking.placings[-1].run_id == "hot"
    assert sum(one.chance_best for one in reading.ranking.placings) == pytest.approx(1.0)
    said = summary(reading)
    assert "Stopping hot of lm_too_hot.csv would free 27,5" in str(said)
    assert "expected regret" in str(said[-2])
    assert re.fullmatch(r" (below 0\.0001|0\.00\d+)\.", str(said[-1]))


@pytest.mark.begins_with("siblings")
def test_pinning_twice_is_not_pinning(database: Database, seed: Seeder) -> None:
    first, second = turn_pin(database, "lm", "done"), turn_pin(database, "lm", "half")
    assert second > first
    turn_pin(database, "lm", "done")
    with database.read() as connection:
        assert [one.run_id for one in read_project_policy(connection, "lm").baselines] == ["half"]
    seed.open("stranger", project="other")
    with pytest.raises(BadInput):
        turn_pin(database, "lm", "stranger")
    with pytest.raises(NotFound):
        turn_pin(database, "nowhere", "done")


@pytest.mark.browser
@pytest.mark.begins_with("siblings")
def test_a_run_that_will_not_catch_up_says_so_and_why(desktop: Watched) -> None:
    page = desktop.page
    desktop.open("/runs/hot")
    verdict = page.locator("#verdict")
    expect(verdict.locator(".verdict-badge")).to_have_text(re.compile("Stop"))
    expect(verdict).to_contain_text("sure that this ends above done of lm_cosine.csv")
    expect(verdict).to_contain_text("stopping saves 55 % (27,")
    expect(verdict.locator(".verdict-facts")).to_contain_text("expected regret below 0.0001")
    expect(page.locator("#run-banner")).not_to_contain_text("stopping now saves")
    verdict.get_by_text("What it is compared with").click()
    verdict.get_by_role("link", name="done of lm_cosine.csv").click()
    expect(page.locator("h1")).to_have_text("done of lm_cosine.csv")
    expect(page.locator("#verdict")).to_be_empty()


@pytest.mark.browser
@pytest.mark.begins_with("siblings")
def test_a_person_is_asked_and_answers(desktop: Watched, seed: Seeder, database: Database) -> None:
    page = desktop.page
    desktop.open("/projects/lm")
    open_the_form(page)
    page.get_by_role("radio", name="Ask").click()
    expect(page.locator("#goals-mode-words")).to_contain_text("once a person says yes")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#goals-said")).to_contain_text("Saved")
    expect(page.locator("#goals-now")).to_contain_text("Ask.")
    # Under new settings a verdict has to hold anew before it counts.
    replayed(seed, "hot", "lm_too_hot.csv", 50_000, share=0.6, parts=8)
    desktop.open("/runs/hot")
    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text("A stop is proposed and waits for a person")
    assert not read(database, "hot").state.should_stop
    desktop.open("/projects/lm")
    page.locator(".goals-asked").get_by_role("link", name="hot of lm_too_hot.csv").click()
    verdict.get_by_role("button", name="Stop the job").click()
    expect(verdict).to_contain_text("A person agreed: the job is told to stop when it asks.")
    assert read(database, "hot").state.should_stop
    expect(verdict.get_by_text("Log of stops (2)")).to_be_visible()
    verdict.get_by_role("button", name="Take the answer back").click()
    expect(verdict.get_by_text("Log of stops (3)")).to_be_visible()
    assert not read(database, "hot").state.should_stop
    desktop.open("/projects/lm")
    page.get_by_text("Log of stops (3)").click()
    expect(page.locator("#goals-stops li")).to_have_count(3)


@pytest.mark.browser
@pytest.mark.begins_with("oddly_named_siblings")
def test_a_projects_page_ranks_pins_and_asks_what_if(desktop: Watched, database: Database) -> None:
    page = desktop.page
    desktop.open("/projects/gr%C3%B6%C3%9Fe%2Fof%20%3Cb%3Eruns")
    expect(page.locator(".ranking-table tbody tr")).to_have_count(3)
    assert "hot" in rows(page)[-1]
    assert "Stop" in rows(page)[-1]
    expect(page.locator("#ranking")).to_contain_text("is the likeliest to be the best by train_loss")
    expect(page.locator("#ranking-what-if")).to_contain_text("Stopping hot of lm_too_hot.csv would free")
    page.locator("#ranking-threshold").fill("0")
    expect(page.locator("#ranking-what-if")).to_have_text("That stops nobody.")
    page.locator("#ranking-threshold").fill("400")
    expect(page.locator("#ranking-what-if")).to_contain_text("between 0 and 100 %")
    page.get_by_role("button", name="Pin", exact=True).first.click()
    expect(page.get_by_role("button", name="Pinned", exact=True)).to_have_count(1)
    expect(page.locator("#goals-now")).to_contain_text("Baselines")
    with database.read() as connection:
        assert len(read_project_policy(connection, ODD_PROJECT).baselines) == 1
    page.get_by_role("link", name="Compare the first 3").click()
    expect(page.locator(".compare-table tbody tr")).to_have_count(3)
    expect(page.locator("#compare-project")).to_contain_text(ODD_PROJECT)
    expect(page.locator("#compare-metric")).to_contain_text("train_loss")


@pytest.mark.browser
@pytest.mark.begins_with("siblings")
def test_a_goal_is_set_changed_and_refused_in_words(desktop: Watched, seed: Seeder, database: Database) -> None:
    page = desktop.page
    desktop.open("/projects/lm")
    open_the_form(page)
    page.locator("#goals-target").fill("quite low")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#goals-said")).to_contain_text("Reach: a number is needed; got 'quite low'.")
    page.locator("#goals-target").fill("2.9")
    page.locator("#goals-budget").fill("40000")
    page.locator("#goals-parameters").fill("patience=7")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#goals-said")).to_contain_text("has no parameter patience")
    page.locator("#goals-parameters").fill("confidence=0.9")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#goals-now")).to_contain_text("train_loss at 2.900, within 40,000 steps")
    expect(page.locator("#goals-now")).to_contain_text("confidence=0.9")
    seed.refit("half")
    desktop.open("/runs/half")
    page.get_by_text("What it is compared with").click()
    expect(page.locator("#verdict .table")).to_contain_text("the target")
    expect(page.locator(".verdict-facts")).to_contain_text("reaches 2.900 by step 40,000")
    with database.read() as connection:
        policy = read_project_policy(connection, "lm")
    assert (policy.mode, policy.goals) == (Mode.ADVISE, {"train_loss": Goal(2.9, 0.0, 40_000)})


@pytest.mark.browser
def test_the_time_left_is_told_by_the_jobs_own_clock(desktop: Watched, seed: Seeder) -> None:
    seed.open("run", plan={"total_steps": 4000})
    for steps in np.array_split(np.arange(1, 2001), 60):  # half a second a step
        seed.log("run", steps, {"loss": decaying(steps)}, refit=False)
    seed.refit("run")
    desktop.open("/runs/run")
    expect(desktop.page.locator(".verdict-facts")).to_contain_text("time left 17 min")


@pytest.mark.browser
def test_a_project_that_no_run_has_reported_to_shows_what_it_wants(
    desktop: Watched, database: Database, seed: Seeder
) -> None:
    seed.open("elsewhere", project="another")
    with database.write() as connection:
        goals = {"loss": Goal(target=3.2)}
        save_project_policy(connection, "lm", mode=Mode.ASK, policy="asha", parameters={}, goals=goals, baselines=[])
    desktop.open("/projects/lm")
    expect(desktop.page.locator("#ranking")).to_have_text("No ranking yet: this project has no run.")
    expect(desktop.page.locator("#goals-now")).to_contain_text("loss at 3.200")
    expect(desktop.page.locator("#runs-list")).to_contain_text("None has reported to this project")
    seed.open("first", project="lm", name="the first")
    expect(desktop.page.locator("#runs-list")).to_contain_text("the first")
    expect(desktop.page.locator("#ranking")).to_contain_text("no run of this project has a forecast")


@pytest.mark.browser
def test_too_little_is_said_to_be_too_little(desktop: Watched, seed: Seeder) -> None:
    seed.open("new", project="lm", name="the only one")
    desktop.open("/projects/lm")
    expect(desktop.page.locator("#ranking")).to_contain_text("No ranking yet")
    expect(desktop.page.locator("#ranking-threshold")).to_be_hidden()
    replayed(seed, "new", "lm_wsd.csv", 15_000, share=0.5)
    expect(desktop.page.locator("#ranking")).to_contain_text("A ranking needs two runs")
    seed.open("newer", project="lm")
    desktop.open("/runs/newer")
    expect(desktop.page.locator("#verdict")).to_have_text("No verdict yet: it comes with a forecast of the run's loss.")


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.begins_with("siblings")
def test_verdict_and_ranking_fit_their_screen(
    browser: Browser, base_url: str, size: tuple[int, int], theme: str
) -> None:
    watched = open_page(browser, base_url, size=size, theme=theme, touch=size == PHONE)
    watched.open("/projects/lm")
    expect(watched.page.locator(".ranking-table tbody tr")).to_have_count(3)
    open_the_form(watched.page)
    watched.page.wait_for_timeout(800)
    watched.keep_picture(f"ranking-{theme}-{size[0]}")
    assert not watched.has_horizontal_scrollbar()
    watched.open("/runs/hot")
    expect(watched.page.locator(".verdict-badge")).to_be_visible()
    watched.page.get_by_text("What it is compared with").click()
    watched.page.wait_for_timeout(800)
    watched.keep_picture(f"verdict-{theme}-{size[0]}")
    assert not watched.has_horizontal_scrollbar()
    assert watched.errors == []
    watched.page.context.close()

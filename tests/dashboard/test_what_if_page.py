"""What if, on a run's page: the form, what is read from it, and what is said to what makes no sense."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from app.curves.plan import Plan
from app.curves.schedule import Schedule
from app.dashboard.pages.what_if_form import FAMILIES, Search, WhatIfForm, read_form, whole_number
from app.errors import BadInput
from app.forecasting.asked_plan import COOLDOWN_SHAPES, Cooldown, Question, changed_plan
from tests.dashboard.browser import DESKTOP, PHONE, Watched, open_page
from tests.dashboard.seeding import Seeder, decaying

PLAN = Plan(2000, "declared", "", Schedule.constant(1e-3, first=0, last=2000), "declared", "constant", "")
CUTOFF = 1000


def read(**said: object) -> Question | Search:
    return read_form(WhatIfForm(**said), PLAN, CUTOFF)  # type: ignore[arg-type]


@pytest.mark.parametrize("said", ["2000", "2,000", "2 000", "2_000", "2e3", "2000.0"])
def test_a_number_of_steps_is_read_as_people_write_it(said: str) -> None:
    assert whole_number("Over steps", said) == 2000


@pytest.mark.parametrize("said", ["-5", "0", "1.5", "1,5", "NaN", "inf", "soon", "1e300", "--"])
def test_what_is_no_number_of_steps_is_refused_with_what_to_write(said: str) -> None:
    with pytest.raises(BadInput, match="“Over steps” is a whole number, at least 1: write 2000 or 2e3"):
        whole_number("Over steps", said)


def test_what_is_left_empty_is_now_to_the_planned_end() -> None:
    assert read() == read(begin="now") == Question(cooldown=Cooldown(1000, CUTOFF))


def test_begin_length_total_and_floor_make_the_question() -> None:
    asked = read(family="cosine", begin="1,200", steps="300", total="1800", floor="0.1", hold=True)
    assert asked == Question(total_steps=1800, cooldown=Cooldown(300, 1200, "cosine", 0.1), hold=True)
    assert read(family="sqrt", begin="1500") == Question(cooldown=Cooldown(500, 1500, "sqrt"))
    assert read(family="linear", total="3000") == Question(total_steps=3000, cooldown=Cooldown(2000, CUTOFF))
    assert read(family="stretched", total="4e3") == Question(total_steps=4000)
    held = Question(schedule={"family": "constant"}, start=1500, hold=True)
    assert read(family="constant", begin="1500", hold=True) == held
    assert read(family="inverse_sqrt", steps="500") == Question(total_steps=1500, schedule={"family": "inverse_sqrt"})
    rex = {"family": "rex", "final_fraction": 0.1, "decay_end": 1700}
    assert read(family="rex", steps="700", total="2500", floor="0.1") == Question(total_steps=2500, schedule=rex)


def test_the_best_is_looked_for_in_one_shape_or_in_all() -> None:
    assert read(family="cosine", search=True, total="1800") == Search(("cosine",), 1800, 0.0, hold=False)
    assert read(family="any", floor="0.2", hold=True) == Search(tuple(COOLDOWN_SHAPES), None, 0.2, hold=True)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "any"])
def test_every_family_of_the_form_makes_a_plan(family: str) -> None:
    asked = read(family=family, total="3000")
    assert isinstance(asked, Question)
    changed = changed_plan(PLAN, CUTOFF, asked)
    assert changed.total_steps == 3000
    np.testing.assert_allclose(changed.schedule.rate_at([500, CUTOFF]), 1e-3)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"begin": "-3"}, "“Begin at step” is a whole number, at least 0"),
        ({"begin": "2000"}, "Nothing is left after step 2,000"),
        ({"floor": "2"}, "“Final / first rate” is a number from 0 to 1"),
        ({"total": "soon"}, "“Total steps” is a whole number"),
        ({"family": "stretched"}, "to how many total steps"),
        ({"family": "rex", "search": True}, "Only a cool-down has a length to look for"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_in_words(said: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=re.escape(says)):
        read(**said)


def seeded(seed: Seeder) -> None:
    seed.open("run", name="half-way", plan={"total_steps": 2000})
    steps = np.arange(1, 1001)
    seed.log("run", steps, {"loss": decaying(steps), "lr": np.full(1000, 1e-3)})


def ask(watched: Watched) -> None:
    watched.page.get_by_role("button", name="Compare", exact=True).click()


def choose(watched: Watched, family: str) -> None:
    watched.page.locator("#what-if-family").click()
    watched.page.get_by_role("option", name=family, exact=True).click()


@pytest.mark.browser
@pytest.mark.parametrize(
    ("size", "theme"),
    [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")],
    ids=lambda value: str(value),
)
def test_begin_length_shape_and_budget_are_chosen_in_a_form(
    browser: Browser, base_url: str, seed: Seeder, size: tuple[int, int], theme: str
) -> None:
    seeded(seed)
    watched = open_page(browser, base_url, size=size, theme=theme, touch=size == PHONE)
    watched.open("/runs/run")
    page, body = watched.page, watched.page.locator("#what-if-body")
    choose(watched, "cosine cool-down")
    page.get_by_label("Begin at step").fill("1,200")
    page.get_by_label("Over steps").fill("300")
    page.locator("#what-if-total").fill("1800")
    page.locator("#what-if-floor").fill("0.1")
    page.get_by_role("radio", name="As now").check()
    ask(watched)
    own = body.get_by_role("row").filter(has_text="Cosine cool-down from step 1,200 to 1,500, rate as now until then")
    expect(own).to_contain_text("1,800")
    expect(body).to_contain_text("Cosine to zero from here")
    page.get_by_role("radio", name="Best for the total").check()
    expect(page.get_by_label("Begin at step")).to_be_disabled()
    expect(page.get_by_label("Over steps")).to_be_disabled()
    ask(watched)
    expect(body).to_contain_text(re.compile(r"Best cosine cool-down: from step [\d,]+, rate as now until then"))
    choose(watched, "best of these four")
    ask(watched)
    expect(body).to_contain_text(re.compile(r"Best cool-down of any shape: [\w-]+, from step [\d,]+"))
    page.locator("#what-if-body").scroll_into_view_if_needed()
    watched.keep_picture(f"what-if-{theme}-{size[0]}")
    assert not watched.has_horizontal_scrollbar()
    page.context.close()
    assert watched.errors == []


@pytest.mark.browser
@pytest.mark.parametrize(("size", "theme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
def test_nonsense_is_answered_beside_the_other_futures(
    browser: Browser, base_url: str, seed: Seeder, size: tuple[int, int], theme: str
) -> None:
    seeded(seed)
    watched = open_page(browser, base_url, size=size, theme=theme)
    watched.open("/runs/run")
    page = watched.page
    for said, answer in (
        ("-5", "write 2000 or 2e3"),
        ("1e9", "more than 50 times as far as the run has come"),
        ("6000", "7 times as far as the run has come"),
    ):
        page.get_by_label("Over steps").fill(said)
        ask(watched)
        expect(page.locator("#what-if-body")).to_contain_text(answer)
        expect(page.locator("#what-if-body")).to_contain_text("Best linear cool-down")
    assert not watched.has_horizontal_scrollbar()
    page.context.close()
    assert watched.errors == []

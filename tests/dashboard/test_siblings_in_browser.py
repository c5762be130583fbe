"""The page of a run names the runs still going that its forecast listened to."""

from __future__ import annotations

import numpy as np
from playwright.sync_api import Browser, expect

from tests.dashboard.browser import PHONE, Watched, open_page
from tests.dashboard.seeding import Seeder, decaying

CONFIG = {"model": "llama", "data": "web", "n_params": 1e6, "lr": 1e-3}
WSD = {"family": "wsd_linear", "peak": 1e-3, "warmup_steps": 20, "decay_steps": 400}


def going(seed: Seeder, run_id: str, last: int, name: str | None = None) -> None:
    steps = np.arange(1, last + 1)
    seed.open(run_id, name=name or run_id, config=CONFIG, plan={"total_steps": 2000, "schedule": WSD})
    seed.log(run_id, steps, {"train/loss": decaying(steps), "lr": np.full(last, 1e-3)})


def test_runs_still_going_are_named_with_how_far_they_had_come(desktop: Watched, seed: Seeder) -> None:
    going(seed, "hardly", 300)
    going(seed, "first", 500)
    grounds = desktop.page.locator("#run-grounds")
    desktop.open("/runs/first")
    expect(grounds).to_contain_text("no other finished run yet, and none that has made a fifth of its way")
    going(seed, "second", 1300)
    desktop.open("/runs/second")
    expect(grounds).to_contain_text("one run still going of this project spoke")
    row = grounds.locator(".siblings .pair")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("first (still going, 20 % made)")
    expect(row.locator('[aria-description*="heard anew"]')).to_be_visible()
    grounds.scroll_into_view_if_needed()
    desktop.keep_picture("run_live_siblings")


def test_runs_still_going_fit_on_a_phone(browser: Browser, base_url: str, seed: Seeder) -> None:
    going(seed, "first", 1700, "an attempt with a long name " * 4)
    going(seed, "second", 500)
    phone = open_page(browser, base_url, size=PHONE, theme="dark")
    phone.open("/runs/second")
    expect(phone.page.locator("#run-grounds")).to_contain_text("still going, 80 % made")
    phone.page.locator("#run-grounds").scroll_into_view_if_needed()
    phone.keep_picture("run_live_siblings_phone")
    assert not phone.has_horizontal_scrollbar()
    phone.page.context.close()

"""The health card in a real Chromium: a healthy run, a sick one, one of which nothing is known."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import text

from app.importers.curve_file import points_by_metric
from app.importers.run_files import read_file
from app.runs import RunStatus
from app.storage import runs
from tests.dashboard.browser import PHONE, PICTURES, Watched, open_page
from tests.dashboard.seeding import Seeder, decaying

pytestmark = pytest.mark.browser

DATA = Path(__file__).parents[2] / "app" / "demo" / "data"
RUNS = Path(__file__).parents[1] / "data" / "small_runs"


def replay(seed: Seeder, file: str, run_id: str = "run") -> None:
    seed.open(run_id, name=file)
    for batch in read_file(DATA / file).batches:
        loss, rate = (batch.metrics.index(name) for name in ("train_loss", "lr"))
        here = batch.present[loss] & batch.present[rate]
        seed.log(run_id, batch.steps[here], {"train_loss": batch.values[loss, here], "lr": batch.values[rate, here]})


def test_a_healthy_run_says_what_was_watched_and_what_would_say_more(desktop: Watched, seed: Seeder) -> None:
    replay(seed, "lm_wsd.csv")
    desktop.open("/runs/run")
    health = desktop.page.locator("#run-health")
    expect(health).to_contain_text("Healthy so far")
    expect(health).to_contain_text("training loss and learning rate")
    expect(health).to_contain_text("More could be said with the gradient norm")
    health.get_by_text("What was looked for").click()
    expect(health).to_contain_text("fault within 1,000 steps")
    expect(health.locator(".pair").filter(has_text="NaN and infinities")).to_contain_text("none now")
    desktop.keep_picture("health-well-light")


def test_a_sick_run_names_its_trouble_and_shows_the_evidence_when_opened(desktop: Watched, seed: Seeder) -> None:
    replay(seed, "lm_too_hot.csv")
    desktop.open("/runs/run")
    health = desktop.page.locator("#run-health")
    expect(health.locator(".health-verdict")).to_contain_text("Critical")
    expect(health.locator(".health-verdict")).to_contain_text("cold start")
    event = health.locator(".health-event").filter(has_text="cold start")
    expect(event.get_by_text("first value", exact=True)).to_be_hidden()
    expect(event.get_by_role("img", name=re.compile("^train_loss from .* steps"))).to_be_visible()
    event.locator("summary").click()
    expect(event.get_by_text("first value", exact=True)).to_be_visible()
    desktop.keep_picture("health-sick-light")


def replay_everything(seed: Seeder, file: Path, run_id: str = "run") -> None:
    seed.open(run_id, name=file.stem)
    for metric, points in points_by_metric(list(read_file(file).batches)).items():
        seed.log(run_id, points.steps, {metric: points.values}, refit=False)
    seed.refit(run_id)


def test_grokking_is_drawn_with_training_and_validation_over_the_whole_run(desktop: Watched, seed: Seeder) -> None:
    replay_everything(seed, RUNS / "grok_mlp_quad_a.jsonl")
    desktop.open("/runs/run")
    event = desktop.page.locator("#run-health .health-event").filter(has_text="grokking").first
    plot = event.get_by_role("img", name=re.compile("^train_acc and val_acc from"))
    expect(plot).to_be_hidden()
    event.locator("summary").click()
    expect(plot).to_be_visible()
    desktop.keep_picture("health-grokking-light")


def test_a_spike_is_drawn_with_loss_and_gradient_around_it(desktop: Watched, seed: Seeder) -> None:
    spiking_run(seed)
    desktop.open("/runs/run")
    event = desktop.page.locator("#run-health .health-event").filter(has_text="spike").first
    event.locator("summary").click()
    expect(event.get_by_role("img", name=re.compile("^loss from .* steps [67]"))).to_be_visible()
    expect(event.get_by_role("img", name=re.compile("^grad_norm from .* logarithmic"))).to_be_visible()
    desktop.keep_picture("health-spike-light")


def spiking_run(seed: Seeder) -> None:
    steps = np.arange(1, 1001)
    noise = np.random.default_rng(0).normal(0.0, 0.02, 1000)
    loss, norm = 2.0 + 4.0 * steps**-0.35 + noise, np.exp(5 * noise)
    loss[700:720] *= np.geomspace(1.6, 1.0, 20)
    norm[700:710] *= 40
    seed.open("run")
    seed.log("run", steps, {"loss": loss, "grad_norm": norm})


def test_the_drawings_fit_a_phone_in_the_dark(browser: Browser, base_url: str, seed: Seeder) -> None:
    spiking_run(seed)
    phone = open_page(browser, base_url, size=PHONE, theme="dark", touch=True)
    phone.open("/runs/run")
    phone.page.locator("#run-health .health-event summary").first.click()
    expect(phone.page.locator("#run-health .event-plot").first).to_be_visible()
    assert not phone.has_horizontal_scrollbar()
    phone.page.locator("#run-health").screenshot(path=PICTURES / "health-spike-dark-390.png")
    phone.page.context.close()
    assert phone.errors == []


def test_what_a_probe_logged_is_folded_away_and_its_layers_once_more(desktop: Watched, seed: Seeder) -> None:
    replay_everything(seed, RUNS / "lm_probed.jsonl")
    desktop.open("/runs/run")
    health = desktop.page.locator("#run-health")
    law = health.get_by_text("Gradients: diffusion since step")
    expect(law).to_be_hidden()
    health.get_by_text("How it moves").click()
    expect(law).to_be_visible()
    layer = health.get_by_text("block3/massive_ratio, largest activation")
    expect(layer).to_be_hidden()
    health.get_by_text("Massive activations in 4 layers").click()
    expect(layer).to_be_visible()
    health.screenshot(path=PICTURES / "health-dynamics-light.png")


def test_the_card_fits_a_phone_in_the_dark(browser: Browser, base_url: str, seed: Seeder) -> None:
    replay(seed, "lm_too_hot.csv")
    phone = open_page(browser, base_url, size=PHONE, theme="dark", touch=True)
    phone.open("/runs/run")
    expect(phone.page.locator("#run-health")).to_contain_text("cold start")
    phone.page.locator("#run-health .health-event summary").first.click()
    assert not phone.has_horizontal_scrollbar()
    phone.keep_picture("health-sick-dark-390")
    phone.page.context.close()
    assert phone.errors == []


def three_runs(seed: Seeder) -> None:
    replay(seed, "lm_too_hot.csv", "hot")
    replay(seed, "lm_wsd.csv", "well")
    seed.open("new")


def test_the_list_of_runs_says_at_a_glance_which_are_in_trouble(desktop: Watched, seed: Seeder) -> None:
    three_runs(seed)
    desktop.open("/")
    rows = desktop.page.locator(".runs tbody tr")
    mark = rows.filter(has_text="lm_too_hot").locator(".col-health")
    expect(mark).to_contain_text("divergence")
    expect(mark.locator("[title]")).to_have_attribute("title", re.compile("^Critical, divergence at step"))
    expect(rows.filter(has_text="lm_wsd").locator(".col-health")).to_contain_text("ok")
    expect(rows.filter(has_text="new").locator(".col-health [title]")).to_have_attribute("title", "Not diagnosed yet")
    desktop.keep_picture("runs-health-light")


def test_a_run_of_three_points_a_silent_one_and_one_without_a_loss_are_not_called_healthy(
    desktop: Watched, seed: Seeder
) -> None:
    few, many = np.arange(1, 4), np.arange(1, 201)
    seed.open("young", name="young")
    seed.log("young", few, {"loss": decaying(few)})
    seed.open("short", name="short")
    seed.log("short", few, {"loss": decaying(few)})
    for run_id in ("silent", "well"):
        seed.open(run_id, name=run_id)
        seed.log(run_id, many, {"loss": decaying(many)})
    seed.open("scored", name="scored")
    seed.log("scored", many, {"val_acc": 1 - decaying(many) / 7})
    with seed.database.write() as connection:
        runs.finish_run(connection, "short", RunStatus.FINISHED, None)
        connection.execute(
            text(
                "UPDATE run_progress p SET last_seen_at = now() - interval '25 minutes' "
                "FROM run WHERE run.key = p.run_key AND run.id = 'silent'"
            )
        )
    desktop.open("/")
    table = desktop.page.locator("table.runs")
    words = {"young": "too early", "short": "too short", "silent": "silent", "scored": "no loss", "well": "ok"}
    for run, word in words.items():
        expect(table.locator("tbody tr").filter(has=desktop.page.get_by_text(run, exact=True))).to_contain_text(word)
    said = {
        "young": "too early to tell",
        "short": "too short a run to tell",
        "silent": "nothing was wrong when the run fell silent",
        "scored": "no loss to watch",
        "well": "Healthy so far",
    }
    for run, sentence in said.items():
        desktop.open(f"/runs/{run}")
        verdict = desktop.page.locator("#run-health .health-verdict")
        expect(verdict).to_contain_text(sentence)
        expect(verdict.locator(".badge-finished")).to_have_count(int(run == "well"))


def test_runs_in_trouble_can_be_listed_alone_and_the_address_says_so(desktop: Watched, seed: Seeder) -> None:
    three_runs(seed)
    desktop.open("/")
    rows = desktop.page.locator(".runs tbody tr")
    expect(rows).to_have_count(3)
    desktop.page.get_by_role("radio", name="In trouble").click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("lm_too_hot")
    expect(desktop.page).to_have_url(desktop.base_url + "/?health=trouble")
    desktop.open("/?health=trouble")
    expect(rows).to_have_count(1)


def test_a_row_turns_when_its_run_does_without_a_reload(desktop: Watched, seed: Seeder) -> None:
    seed.open("run")
    steps = np.arange(1, 401)
    noise = np.random.default_rng(0).normal(0.0, 0.02, 400)
    seed.log("run", steps, {"loss": 2.0 + 4.0 * steps**-0.35 + noise})
    desktop.open("/")
    mark = desktop.page.locator(".runs tbody tr .col-health")
    expect(mark).to_contain_text("ok")
    seed.log("run", np.arange(401, 421), {"loss": np.linspace(6.0, 9.0, 20)})
    expect(mark).to_contain_text("divergence")


def test_the_list_fits_a_phone_in_the_dark_with_trouble_shown(browser: Browser, base_url: str, seed: Seeder) -> None:
    three_runs(seed)
    phone = open_page(browser, base_url, size=PHONE, theme="dark", touch=True)
    phone.open("/")
    rows = phone.page.locator(".runs tbody tr")
    expect(rows.filter(has_text="lm_too_hot").locator(".col-health")).to_be_visible()
    expect(rows.filter(has_text="lm_wsd").locator(".col-health")).to_be_hidden()
    assert not phone.has_horizontal_scrollbar()
    phone.keep_picture("runs-health-dark-390")
    phone.page.context.close()
    assert phone.errors == []


def test_a_run_without_a_point_says_that_it_was_not_diagnosed(desktop: Watched, seed: Seeder) -> None:
    seed.open("run")
    desktop.open("/runs/run")
    expect(desktop.page.locator("#run-health")).to_contain_text("Not diagnosed yet")


def test_an_open_page_hears_of_a_divergence_without_a_reload(desktop: Watched, seed: Seeder) -> None:
    seed.open("run")
    steps = np.arange(1, 401)
    noise = np.random.default_rng(0).normal(0.0, 0.02, 400)
    seed.log("run", steps, {"loss": 2.0 + 4.0 * steps**-0.35 + noise})
    desktop.open("/runs/run")
    health = desktop.page.locator("#run-health")
    expect(health).to_contain_text("Healthy so far")
    seed.log("run", np.arange(401, 421), {"loss": np.linspace(6.0, 9.0, 20)})
    expect(health).to_contain_text("divergence")

"""What a run's page shows of its config, however much of it there is."""

from dash import html

from app.dashboard.components import run_href
from app.dashboard.pages.run_grounds import LONGEST_SETTING, SETTINGS_SHOWN, details
from app.dashboard.readings.run import read_run
from app.storage.database import Database
from tests.dashboard.component_words import words
from tests.dashboard.seeding import Seeder


def config_of(database: Database, run_id: str) -> html.Details:
    fold = details(read_run(database, run_id))[-1]
    assert isinstance(fold, html.Details)
    return fold


def test_a_config_of_a_usual_size_is_shown_whole(database: Database, seed: Seeder) -> None:
    seed.open("run", config={"optimizer": {"lr": 3e-4, "betas": [0.9, 0.95]}, "notes": None})
    said = words(config_of(database, "run"))
    assert said.startswith("Config (3)")
    assert "optimizer.lr0.0003" in said
    assert "optimizer.betas[0.9, 0.95]" in said
    assert "the API" not in said


def test_of_a_huge_config_the_page_shows_a_part_and_says_how_much_is_left_out(database: Database, seed: Seeder) -> None:
    seed.open("run", config={f"key{number:05}": number for number in range(20_000)})
    fold = config_of(database, "run")
    said = words(fold)
    assert said.startswith("Config (20,000)19,800 more settings are not shown: the API has the whole config.")
    assert said.count("key") == SETTINGS_SHOWN
    assert f"/api/v1{run_href('run')}" in str(fold)


def test_a_long_value_and_a_deep_name_are_shortened_and_said_to_be(database: Database, seed: Seeder) -> None:
    deep: dict[str, object] = {"last": 1}
    for level in range(60):
        deep = {f"level{level}": deep}
    seed.open("run", config={"vocabulary": "x" * 1_000_000, **deep})
    said = words(config_of(database, "run"))
    assert said.startswith("Config (2)2 are shortened: the API has the whole config.")
    assert "999,700 more characters" in said
    assert said.count("x") <= LONGEST_SETTING + 2
    assert "level0.last" in said, "the end of a name tells it apart"
    assert len(said) < 1000

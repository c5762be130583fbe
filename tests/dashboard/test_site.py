"""The site without a browser: what Dash was told, and what the server answers."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import dash
import httpx
import pytest
from fastapi import FastAPI

from app import dashboard
from app.calculations import Calculations
from app.dashboard.pages.runs import filter_from_query
from app.dashboard.readings.runs import RunsFilter
from app.dashboard.site import page_at
from app.storage.database import Database
from app.storage.deletion import delete_run
from tests.dashboard.seeding import Seeder


def mounted(app: FastAPI, database: Database, calculations: Calculations) -> dash.Dash:
    return dashboard.mount(app, database, ask_for_refit=set[str]().update, fits=calculations, what_ifs=calculations)


# A plain `def` callback would run on the event loop and hold up every training job that reports meanwhile.


def test_every_callback_is_a_coroutine_function(database: Database, calculations: Calculations) -> None:
    site = mounted(FastAPI(), database, calculations)
    on_the_server = {
        name: entry["callback"].__wrapped__ for name, entry in site.callback_map.items() if "callback" in entry
    }
    assert len(on_the_server) >= 7
    blocking = [name for name, function in on_the_server.items() if not inspect.iscoroutinefunction(function)]
    assert blocking == []


def test_callbacks_of_the_browser_exist_in_the_script(database: Database, calculations: Calculations) -> None:
    site = mounted(FastAPI(), database, calculations)
    script = (Path(site.config.assets_folder) / "losscast.js").read_text()
    wired = [entry["clientside_function"] for entry in site._callback_list if entry["clientside_function"]]
    assert len(wired) >= 5
    for function in wired:
        assert f"    {function['function_name']}: function" in script


def test_naming_the_dashboard_does_not_load_dash() -> None:
    code = "import sys, app.dashboard; assert not {'dash', 'plotly'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_the_pages_ask_nobody_else_for_anything(base_url: str) -> None:
    page = httpx.get(base_url + "/").text
    assert "https://" not in page
    assert "Losscast" in page


@pytest.mark.parametrize("name", ["styles/01_tokens.css", "losscast.js", "theme.js", "prototypes.js", "favicon.svg"])
def test_the_assets_are_served(base_url: str, name: str) -> None:
    assert httpx.get(f"{base_url}/assets/{name}").status_code == 200


def test_stylesheets_come_in_the_order_of_their_numbers(base_url: str) -> None:
    """Of two rules that are as specific as each other the later one wins: the order is a part of the look."""
    ours = re.findall(r"assets/styles/([\w.]+\.css)", httpx.get(base_url + "/").text)
    stored = Path(dashboard.__file__).parents[2] / "static" / "dashboard" / "styles"
    assert ours == sorted(one.name for one in stored.iterdir())


def test_a_reload_of_a_run_may_be_the_first_request(base_url: str) -> None:
    page = httpx.get(base_url + "/runs/some-run").text  # 404 and all
    assert "assets/losscast.js" in page
    assert "assets/styles/01_tokens.css" in page


def test_routes_of_the_service_keep_their_paths(database: Database, calculations: Calculations) -> None:
    app = FastAPI()

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    mounted(app, database, calculations)
    assert app.url_path_for("health") == "/healthz"


def test_programs_learn_of_an_unknown_run_by_the_status(base_url: str, seed: Seeder) -> None:
    seed.open("known run")
    assert httpx.get(base_url + "/runs/known%20run").status_code == 200
    for path in ("/runs/no-such-run", "/runs/no-such-run/", "/runs/no%20such"):
        answer = httpx.get(base_url + path)
        assert answer.status_code == 404
        assert "assets/losscast.js" in answer.text  # the page that says it in words


def test_programs_learn_of_any_unknown_page_by_the_status(base_url: str, seed: Seeder) -> None:
    seed.open("run", project="größe/of runs")
    for path in ("/", "/alerts/", "/compare?run=gone", "/fit", "/projects/gr%C3%B6%C3%9Fe%2Fof%20runs"):
        assert httpx.get(base_url + path).status_code == 200, path
    for path in (
        "/nowhere",
        "/projects/none",
        "/projects",
        "/runs",
        "/compare/x",
        "/%00",
        "/runs/%00",
        "/projects/%00",
    ):
        answer = httpx.get(base_url + path)
        assert answer.status_code == 404, path
        assert "assets/losscast.js" in answer.text


@pytest.mark.parametrize(
    ("address", "title"),
    [
        ("/runs/a%00b", "No such run"),
        ("/projects/%00", "No such project"),
        ("/?search=%00&project=%00", "Runs"),
        ("/compare?run=a%00b&project=%00", "Compare runs"),
        ("/fit?run=%00", "Other schedules"),
    ],
)
def test_a_nul_in_an_address_is_no_fault_of_ours(database: Database, address: str, title: str) -> None:
    path, _, search = address.partition("?")
    assert page_at(database, path, search)[1] == title


def test_an_unknown_run_gets_a_page_that_says_so(database: Database) -> None:
    page, title = page_at(database, "/runs/no%2Fsuch%20run")
    assert title == "No such run"
    assert "no/such run" in str(page)


def test_the_address_of_a_deleted_run_says_that_it_was_deleted(database: Database, seed: Seeder) -> None:
    seed.open("old")
    with database.write() as connection:
        delete_run(connection, "old")
    page = str(page_at(database, "/runs/old")[0])
    assert "was deleted at" in page
    assert "mistyped" not in page


def test_an_unknown_address_gets_a_page_that_says_so(database: Database) -> None:
    assert page_at(database, "/nowhere")[1] == "Not found"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", RunsFilter()),
        ("?project=gpt&status=failed&search=a%20b&page=3", RunsFilter("gpt", "failed", "a b", 2)),
        ("?status=nonsense&page=-1", RunsFilter()),
        ("?health=trouble", RunsFilter(in_trouble=True)),
        ("?page=99999999999999999999", RunsFilter()),
    ],
)
def test_a_list_of_runs_can_be_linked_to(query: str, wanted: RunsFilter) -> None:
    assert filter_from_query(query) == wanted


def test_a_page_runs_no_script_but_ours(base_url: str) -> None:
    page = httpx.get(base_url + "/").text
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "script-src 'self' 'sha256-" in policy[1]
    assert "unsafe-eval" not in policy[1]
    script_sources = next(part for part in policy[1].split(";") if part.strip().startswith("script-src"))
    assert "unsafe-inline" not in script_sources


@pytest.mark.parametrize("address", ["/fit", "/compare"])
def test_a_page_that_chooses_runs_says_so_where_there_are_none(database: Database, address: str) -> None:
    page, _ = page_at(database, address)
    assert "There are no runs yet" in str(page)

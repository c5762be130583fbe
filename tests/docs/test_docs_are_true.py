"""Documentation that can be checked."""

import re
import tomllib
from pathlib import Path
from pkgutil import resolve_name

import pytest
from typer.main import get_command

from app.cli import app
from app.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "client" / "README.md",
]


def test_every_setting_is_described() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    names = ["DATABASE_URL" if name == "database_url" else f"LOSSCAST_{name.upper()}" for name in Settings.model_fields]
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    inside = [target for target in targets if "://" not in target]
    assert [target for target in inside if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_are_named_exist(page: Path) -> None:
    found = re.findall(r"`losscast ([a-z][a-z-]*)|bin/losscast ([a-z][a-z-]*)", page.read_text())
    named = {one or other for one, other in found}
    assert named - set(get_command(app).commands) == set()  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_places_in_the_code_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    paths = re.findall(r"`((?:app|benchmarks|client|migrations|static|tests)/[\w./]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    benchmarks = [ROOT / name.replace(".", "/") for name in re.findall(r"\bbenchmarks(?:\.[a-z_]+)+", text)]
    assert [one for one in benchmarks if not (one.is_dir() or one.with_suffix(".py").is_file())] == []
    for name in re.findall(r"\bapp(?:\.\w+)+\b", text):
        resolve_name(name)  # a module or something in it; raises where there is none


def test_the_order_of_the_layers_is_told_as_it_is_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one["type"] == "layers")
    told = (ROOT / "docs" / "decisions" / "0001-rooms-and-layers.md").read_text()
    order = told[told.index("`__main__`") : told.index("`errors`.") + len("`errors`")]
    assert [re.findall(r"`(\w+)`", layer) for layer in order.split(">")] == [layer.split(" | ") for layer in layers]

"""Documentation that can be checked."""

import re
from pathlib import Path

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

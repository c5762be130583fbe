"""A real Chromium for tests: where to find it, how to start it, and what must not happen in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

DESKTOP = (1440, 1000)
PHONE = (390, 844)

PICTURES = Path(__file__).parents[2] / "artifacts" / "screenshots"


def chromium_path() -> str | None:
    given = os.environ.get("LOSSCAST_CHROMIUM")
    return given or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser; skips the test where there is none, unless one is required."""
    path = chromium_path()
    if path is None:
        if os.environ.get("LOSSCAST_REQUIRE_BROWSER") == "1":
            pytest.fail("LOSSCAST_REQUIRE_BROWSER=1, and no Chromium was found. LOSSCAST_CHROMIUM can name one.")
        pytest.skip("no Chromium found; LOSSCAST_CHROMIUM can name one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page, and everything that went wrong in it."""

    page: Page
    base_url: str
    errors: list[str] = field(default_factory=list)
    foreign_requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(self.base_url + path)

    def keep_picture(self, name: str) -> None:
        """Keep the page as it looks now under `artifacts/`, for people to look at."""
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)

    def has_horizontal_scrollbar(self) -> bool:
        root = "document.scrollingElement"
        return bool(self.page.evaluate(f"{root}.scrollWidth > {root}.clientWidth + 1"))

    def traces(self, chart_id: str) -> list[str]:
        """Names of the traces that a chart draws."""
        names: list[str] = self.page.evaluate(
            "id => (document.querySelector(`#${id} .js-plotly-plot`)?.data || []).map(trace => trace.name || '')",
            chart_id,
        )
        return names


def open_page(
    browser: Browser, base_url: str, *, size: tuple[int, int] = DESKTOP, theme: str = "light", touch: bool = False
) -> Watched:
    """A fresh page with its own storage, in the given theme and size."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if theme == "dark" else "light",
        has_touch=touch,
        locale="en-US",
    )
    page = context.new_page()
    watched = Watched(page, base_url)
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.on("console", lambda message: watched.errors.append(message.text) if message.type == "error" else None)
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((base_url, "data:", "blob:"))
            else watched.foreign_requests.append(request.url)
        ),
    )

    def refuse(dialog: object) -> None:
        watched.dialogs.append(str(dialog.message))  # type: ignore[attr-defined]
        dialog.dismiss()  # type: ignore[attr-defined]

    page.on("dialog", refuse)
    return watched

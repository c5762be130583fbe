"""Colours: the charts' are the stylesheet's, and both can be read."""

import re

import pytest

from app.dashboard.theme import DARK, LIGHT, Display, Palette
from app.paths import bundled

TOKENS = {
    "surface": "surface",
    "text": "text",
    "muted": "muted",
    "loss": "accent",
    "critical": "critical",
    "warning": "warning",
}


def stylesheet() -> str:
    return (bundled("static") / "dashboard" / "styles" / "01_tokens.css").read_text()


def tokens(selector: str) -> dict[str, str]:
    block = re.search(re.escape(selector) + r" \{([^}]*)\}", stylesheet())
    assert block is not None, selector
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block[1]))


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize(
    ("palette", "selector"),
    [
        (LIGHT, ":root"),
        (DARK, ':root[data-theme="dark"]'),
        (DARK, ':root:not([data-theme="light"])'),
    ],
)
def test_charts_and_stylesheet_share_their_colours(palette: Palette, selector: str) -> None:
    styled = tokens(selector)
    assert {name: getattr(palette, name) for name in TOKENS} == {name: styled[token] for name, token in TOKENS.items()}


@pytest.mark.parametrize("selector", [":root", ':root[data-theme="dark"]'])
def test_texts_keep_the_contrast_of_wcag_aa(selector: str) -> None:
    styled = tokens(selector)
    for ground in ("page", "surface", "raised", "neutral-soft"):
        for text in ("text", "muted"):
            assert contrast(styled[text], styled[ground]) >= 4.5, (text, ground)
    for text in ("good", "warning", "critical"):
        assert contrast(styled[text], styled[f"{text}-soft"]) >= 4.5, text
        assert contrast(styled[text], styled["surface"]) >= 4.5, text
    assert contrast(styled["accent"], styled["surface"]) >= 4.5


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_lines_stand_out_from_the_surface(palette: Palette) -> None:
    for colour in (palette.loss, *palette.others, palette.rate, palette.critical):
        assert contrast(colour, palette.surface) >= 3.0, colour


def test_a_browser_that_has_not_spoken_gets_the_light_and_wide_chart() -> None:
    assert Display.from_browser(None) == Display(LIGHT, narrow=False)
    assert Display.from_browser({"theme": "dark", "narrow": True}) == Display(DARK, narrow=True)

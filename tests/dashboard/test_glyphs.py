from datetime import UTC, datetime
from urllib.parse import unquote

import numpy as np
import pytest

from app.dashboard.glyphs import POINTS, range_glyph, sparkline
from app.runs import ForecastPoint

FORECAST = ForecastPoint(500, datetime(2026, 11, 22, tzinfo=UTC), 1000, 2.5, 2.0, 2.5, 3.0)


def test_a_sparkline_of_a_long_run_stays_small() -> None:
    steps = np.arange(700.0)
    drawing = sparkline(steps, 3.0 + np.exp(-steps / 100), 1000, FORECAST)
    assert drawing is not None
    assert unquote(drawing.curve).count(",") <= POINTS + 5
    assert len(drawing.curve) < 4000
    assert drawing.whisker is not None


@pytest.mark.parametrize("n", [0, 1, 9])
def test_too_few_points_draw_nothing(n: int) -> None:
    assert sparkline(np.arange(float(n)), np.ones(n), None, None) is None


def test_a_flat_curve_is_drawn() -> None:
    drawing = sparkline(np.arange(20.0), np.full(20, 2.0), None, None)
    assert drawing is not None
    assert "nan" not in unquote(drawing.curve)


def test_the_range_holds_the_band_and_the_last_value() -> None:
    glyph = range_glyph(FORECAST, 4.0)
    assert glyph.low < glyph.middle < glyph.high
    assert glyph.last is not None
    assert glyph.high < glyph.last <= 100


@pytest.mark.parametrize("last", [None, float("nan"), float("inf")])
def test_a_last_value_that_is_no_number_has_no_dot(last: float | None) -> None:
    assert range_glyph(FORECAST, last).last is None

from datetime import UTC, datetime

import pytest

from app.dashboard.figures.axes import value_ticks
from app.dashboard.figures.history import history_figure, standing
from app.dashboard.theme import Display
from app.runs import ForecastPoint


def made_at(cutoff: int, *, low: float = 2.0, high: float = 3.0, horizon: int = 1000) -> ForecastPoint:
    middle = 0.5 * (low + high)
    return ForecastPoint(cutoff, datetime(2026, 11, 22, tzinfo=UTC), horizon, middle, low, middle, high)


def test_what_a_restart_went_back_behind_is_left_out() -> None:
    history = [made_at(100), made_at(200), made_at(300), made_at(150), made_at(250)]
    assert [point.cutoff for point in standing(history)] == [100, 150, 250]


def test_the_actual_value_is_a_line_with_a_number() -> None:
    figure = history_figure([made_at(100), made_at(200), made_at(300)], Display(), actual=2.4321)
    assert figure.layout.shapes[0].y0 == pytest.approx(2.4321)
    assert "2.432" in figure.layout.annotations[0].text


def test_a_wild_first_band_does_not_flatten_the_rest() -> None:
    history = [made_at(10, low=-1e6, high=1e6 + 5.0), *(made_at(cutoff) for cutoff in range(20, 400, 10))]
    low, high = history_figure(history, Display()).layout.yaxis.range
    assert 1.0 < low <= 2.0
    assert 3.0 <= high < 4.0


def test_a_single_forecast_shows_its_band_as_a_bar() -> None:
    drawn = history_figure([made_at(10)], Display()).data[-1]
    assert drawn.error_y.visible
    assert drawn.error_y.array[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(2.0, 3.0, ".4~g"), (-1.001, -0.999, ".5~g"), (1e-9, 2e-9, ".4~g"), (1.0, 1.0, ".4~g"), (0.0, 0.0, ".4~g")],
)
def test_numbers_along_an_axis_have_the_digits_that_tell_them_apart(low: float, high: float, ticks: str) -> None:
    assert value_ticks(low, high) == ticks

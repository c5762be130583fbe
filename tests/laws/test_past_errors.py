"""A forecast is corrected by how far off others were that were about as sure and as early."""

from __future__ import annotations

import numpy as np
import pytest

from app.laws.past_errors import (
    FAMILIAR_FORECASTS,
    MOST_DEVIATIONS,
    RATIO_SCALE,
    SHARE_SCALE,
    UNBIASED_FORECASTS,
    PastErrors,
)


def told(*off: float, counts: float = 1.0, share: float = 0.5, foreseen: float = 0.01) -> tuple[float, float]:
    """Of a forecast at half of the way that states a deviation of 1 %, beside others that were off by so much."""
    n = len(off)
    return PastErrors((share,) * n, (foreseen,) * n, off, (counts,) * n).shift_and_stretch(0.5, 0.01)


def test_without_forecasts_to_look_back_on_nothing_is_corrected() -> None:
    assert PastErrors().shift_and_stretch(0.5, 0.01) == (0.0, 1.0)
    assert PastErrors((0.5,), (0.01,), (3.0,), (1.0,)).shift_and_stretch(0.5, 0.0) == (0.0, 1.0)


def test_the_width_goes_by_the_root_mean_square_and_the_side_by_the_mean() -> None:
    shift, stretch = told(2.0, -1.0, counts=0.5)
    assert shift == pytest.approx((1.0 - 0.5) / (UNBIASED_FORECASTS + 1.0))
    assert stretch == pytest.approx(np.sqrt((FAMILIAR_FORECASTS + 2.0 + 0.5) / (FAMILIAR_FORECASTS + 1.0)))


def test_many_that_were_off_as_foreseen_leave_a_forecast_as_it_is() -> None:
    shift, stretch = told(*np.random.default_rng(0).standard_normal(4000).tolist())
    assert shift == pytest.approx(0.0, abs=0.05)
    assert stretch == pytest.approx(1.0, abs=0.03)


def test_a_forecast_three_times_as_sure_counts_less_and_one_a_hundred_times_as_sure_not_at_all() -> None:
    share = np.exp(-0.5)
    expected = np.sqrt((FAMILIAR_FORECASTS + 4 * share) / (FAMILIAR_FORECASTS + share))
    for other in (0.01 * RATIO_SCALE, 0.01 / RATIO_SCALE):
        assert told(2.0, foreseen=other)[1] == pytest.approx(expected)
    assert told(2.0, foreseen=1.0) == pytest.approx((0.0, 1.0), abs=1e-3)


def test_of_the_side_only_those_speak_that_were_about_as_early() -> None:
    now, a_tenth_later, much_later = (told(2.0, share=share) for share in (0.5, 0.5 + SHARE_SCALE, 1.0))
    assert now[0] == pytest.approx(2.0 / (UNBIASED_FORECASTS + 1))
    assert 0 < a_tenth_later[0] < now[0]
    assert much_later[0] == pytest.approx(0.0, abs=1e-4)
    assert now[1] == a_tenth_later[1] == much_later[1]


def test_one_odd_forecast_counts_for_no_more_than_three_deviations() -> None:
    far, further = told(5.0), told(500.0)
    assert far == further
    assert far[1] == pytest.approx(np.sqrt((FAMILIAR_FORECASTS + MOST_DEVIATIONS**2) / (FAMILIAR_FORECASTS + 1)))


def test_a_run_that_is_not_alike_says_nothing() -> None:
    assert told(2.0, counts=0.0) == (0.0, 1.0)

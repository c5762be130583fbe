"""How fast a run goes, by its own clock."""

import numpy as np
import pytest

from app.dashboard.readings.speed import steps_per_second
from app.runs import Points


def timed(steps: np.ndarray, times: np.ndarray) -> Points:
    return Points(np.asarray(steps, np.int64), np.zeros(len(steps)), np.asarray(times, np.float64))


def test_a_steady_run_has_a_speed() -> None:
    steps = np.arange(0, 1000, 10)
    assert steps_per_second(timed(steps, steps / 4.0)) == pytest.approx(4.0)


@pytest.mark.parametrize(
    "times",
    [
        np.full(100, np.nan),
        np.zeros(100),
        np.concatenate([np.arange(50.0), 50 + 10 * np.arange(50.0)]),
    ],
)
def test_a_run_without_a_steady_clock_has_none(times: np.ndarray) -> None:
    assert steps_per_second(timed(np.arange(100), times)) is None

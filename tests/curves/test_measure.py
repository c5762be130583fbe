"""Which way a metric goes, and between which bounds."""

from __future__ import annotations

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.measure import LOSS, Measure, measure_of
from app.errors import NotAnAccuracy


def curve(*values: float) -> Curve:
    return Curve.from_points(range(1, len(values) + 1), values)


def test_a_loss_has_no_bound_and_stays_as_it_is() -> None:
    falling = curve(3.0, 2.0, 0.5)
    assert measure_of("val_loss", falling) == LOSS
    assert not LOSS.rises
    assert LOSS.as_loss(falling) is falling


@pytest.mark.parametrize(
    ("values", "upper"),
    [
        ((0.1, 0.5, 0.9), 1.0),
        ((0.0, 1.0), 1.0),
        ((0.5, 1.0000001), 1.0),  # a mean of single-precision numbers
        ((0.0, 23.1, 30.4), 100.0),
        ((99.0, 100.0), 100.0),
    ],
)
def test_an_accuracy_is_a_share_of_one_or_of_a_hundred(values: tuple[float, ...], upper: float) -> None:
    assert measure_of("val_accuracy", curve(*values)) == Measure(upper)


@pytest.mark.parametrize("values", [(-0.2, 0.4), (50.0, 130.0)])
def test_what_no_accuracy_can_be_is_refused_with_its_range(values: tuple[float, ...]) -> None:
    with pytest.raises(NotAnAccuracy, match=r"between 0 and 1, or 0 and 100\. Give the metric another role"):
        measure_of("train_accuracy", curve(*values))


def test_an_accuracy_is_continued_as_what_is_missing_and_comes_back() -> None:
    measure = Measure(100.0)
    rising = curve(20.0, 60.0, 75.0)
    missing = measure.as_loss(rising)
    assert missing.values.tolist() == [80.0, 40.0, 25.0]
    assert (missing.steps == rising.steps).all()
    assert measure.restored(missing.values).tolist() == rising.values.tolist()


def test_nothing_comes_back_from_outside_the_bounds() -> None:
    assert Measure(1.0).restored(np.array([-0.5, 0.2, 7.0])).tolist() == [1.0, 0.8, 0.0]
    assert Measure(1.0).within(np.array([-0.5, 0.2, 7.0])).tolist() == [0.0, 0.2, 1.0]
    assert LOSS.within(np.array([-0.5, 7.0])).tolist() == [-0.5, 7.0]

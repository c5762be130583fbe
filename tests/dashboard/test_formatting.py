import math
from datetime import UTC, datetime, timedelta

import pytest

from app.dashboard.formatting import (
    chart_text,
    format_ago,
    format_band,
    format_chance,
    format_count,
    format_duration,
    format_percent,
    format_rate,
    format_value,
    natural_order,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.8, "2.800"),
        (0.0123, "0.01230"),
        (1234.56, "1235"),
        (17_444.4, "17440"),
        (99_999.0, "100000"),
        (1.2345e-5, "1.234e-5"),
        (-3.0e7, "-3.000e7"),
        (0.0, "0"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (None, "–"),
    ],
)
def test_values_have_four_significant_digits_and_keep_what_is_not_finite(value: float | None, text: str) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (2.8, 3.1, "2.800 – 3.100"),
        (-0.5, 0.5, "-0.5000 to 0.5000"),
        (1.014e-4, 0.0115, "0.0001014 – 0.01150"),
        (1.014e-6, 0.0115, "1.014e-6 – 1.150e-2"),
        (1.1e-9, 0.00115, "1.100e-9 – 1.150e-3"),
        (20.0, 3e9, "2.000e1 – 3.000e9"),
        (2e-5, 3e-4, "2.000e-5 – 3.000e-4"),
        (1.354e-50, 0.001152, "< 1e-9 – 0.001152"),
        (1.314e-239, 1.014e-4, "< 1e-10 – 1.014e-4"),
        (0.0, 0.0115, "0 – 0.01150"),
        (0.0, 0.0, "0 – 0"),
        (-2e-4, 0.5, "-0.0002000 to 0.5000"),
        (1.0, math.inf, "1.000 – +Inf"),
        (math.nan, 1.0, "NaN – 1.000"),
        (1.0, math.nan, "1.000 – NaN"),
    ],
)
def test_an_interval_has_one_notation_and_says_what_is_as_good_as_zero(low: float, high: float, text: str) -> None:
    assert format_band(low, high) == text


@pytest.mark.parametrize(("rate", "text"), [(3e-4, "3e-4"), (1.25e-5, "1.25e-5"), (0.05, "0.05"), (0.0, "0")])
def test_rates_read_as_in_configs(rate: float, text: str) -> None:
    assert format_rate(rate) == text


def test_a_run_is_not_done_at_99_point_9_percent() -> None:
    assert format_percent(0.999) == "99 %"
    assert format_percent(0.0001) == "< 1 %"
    assert format_percent(1.0) == "100 %"


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (0.0, "< 1 %"),
        (1e-12, "< 1 %"),
        (0.0099, "< 1 %"),
        (0.01, "1 %"),
        (0.99, "99 %"),
        (0.991, "> 99 %"),
        (1, "> 99 %"),
    ],
)
def test_a_chance_is_never_none_and_never_certain(probability: float, text: str) -> None:
    assert format_chance(probability) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (725, "12 min"), (3600, "1 h"), (12_000, "3 h 20 min"), (187_200, "2 d 4 h")]
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_moment_in_the_future_of_a_slow_clock_is_now() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert format_ago(now + timedelta(seconds=30), now) == "just now"


def test_a_band_with_a_negative_end_is_spelled_out() -> None:
    assert format_band(2.0, 3.0) == "2.000 – 3.000"
    assert format_band(-1.0, 1.0) == "-1.000 to 1.000"


def test_a_name_cannot_bring_markup_or_template_fields_into_a_chart() -> None:
    shown = chart_text("<b onclick=1>x</b>/%{y}")
    assert "<" not in shown
    assert "%{" not in shown


def test_a_long_name_keeps_its_end() -> None:
    shown = chart_text("very_" * 100 + "val_loss")
    assert len(shown) <= 48
    assert shown.endswith("val_loss")


@pytest.mark.parametrize(
    ("number", "text"), [(0.254, "0.254"), (1.0, "1"), (12.34, "12.3"), (1087.6, "1,090"), (2_345_678.0, "2,350,000")]
)
def test_counts_have_three_digits_and_no_exponent(number: float, text: str) -> None:
    assert format_count(number) == text


def test_names_are_ordered_by_the_numbers_in_them() -> None:
    names = ["layer/10", "../../etc", "layer/2", "Layer/1", "loss", "%", "layer/2/b", "10", "9"]
    assert sorted(names, key=natural_order) == [
        "9",
        "10",
        "Layer/1",
        "layer/2",
        "layer/2/b",
        "layer/10",
        "loss",
        "%",
        "../../etc",
    ]

"""What a forecast is held to, and how the forecasts of many runs are pooled: formulas, on invented numbers."""

from __future__ import annotations

import numpy as np
import pytest

from app.forecasting.track_record import (
    BINS,
    BUCKETS,
    Coverage,
    Ended,
    Keeping,
    PastForecast,
    Path,
    RunBin,
    buckets,
    coverage,
    judge,
    keeping,
    median_errors,
    wilson_interval,
)

QUANTILES = {0.05: 1.0, 0.25: 1.5, 0.5: 2.0, 0.75: 2.5, 0.95: 3.0}


def ended(values: list[float] | np.ndarray, starts: dict[int, int] | None = None) -> Ended:
    """Steps 10, 20, ..."""
    return Ended(10 * np.arange(1, len(values) + 1), np.asarray(values, np.float64), starts or {})


def made(cutoff: int, horizon: int = 1000, *, segment: int = 1, path: Path | None = None) -> PastForecast:
    return PastForecast(cutoff, segment, cutoff, horizon, QUANTILES, path)


def falling(*, low: float = 0.0) -> Path:
    """The median falls from 4 at step 500 to 2 at step 1000, the rest with it."""
    steps = np.array([500, 1000])
    return Path([0.05, 0.5, 0.95], steps, np.array([[3.0, 1.0], [4.0, 2.0], [5.0, 3.0]]) + low)


def run_bin(run_id: str, seen: float, error: float = 0.01, *, n: int = 1, cover90: float = 1.0) -> RunBin:
    return RunBin(run_id, int(seen * BINS), n, error, error / 2, 0.5, 0.8, cover90)


def test_the_truth_is_the_mean_of_the_last_two_percent() -> None:
    values = np.ones(100)
    values[-2:] = 3.0
    outcome = ended(values).outcome()
    assert (outcome.end_step, outcome.actual) == (1000, 3.0)


def test_a_forecast_that_reached_its_horizon_is_held_to_its_final_value() -> None:
    (judged,) = judge(ended(np.full(100, 2.5)), [made(400)])
    assert (judged.judged_step, judged.horizon_off, judged.seen) == (1000, False, 0.4)
    assert judged.p50 == pytest.approx(2.0)
    assert judged.score.error == pytest.approx(-0.2)
    assert judged.score.pit == pytest.approx(0.75)
    assert (judged.score.cover50, judged.score.cover90) == (True, True)


def test_a_run_that_ended_within_the_last_two_percent_has_reached_its_horizon() -> None:
    (judged,) = judge(ended(np.full(99, 2.5)), [made(400)])
    assert (judged.judged_step, judged.horizon_off) == (990, False)


def test_a_run_that_ended_early_is_held_to_the_path() -> None:
    # Of 75 points the last two (1.5 rounded), at steps 740 and 750.
    (judged,) = judge(ended(np.full(75, 3.0)), [made(400, path=falling())])
    assert (judged.judged_step, judged.horizon_off) == (750, True)
    assert judged.p50 == pytest.approx(4.0 - 2.0 * (745 - 500) / 500)


def test_a_run_that_went_on_is_held_to_what_it_was_at_the_horizon() -> None:
    values = np.full(100, 2.5)
    values[50:] = 9.0
    (judged,) = judge(ended(values), [made(400, horizon=500)])
    assert (judged.judged_step, judged.horizon_off, judged.actual) == (500, True, 2.5)
    assert judged.seen == 0.4  # of the run as it was, not as it was planned


@pytest.mark.parametrize("cutoff", [1000, 1200])
def test_a_forecast_with_nothing_ahead_is_not_judged(cutoff: int) -> None:
    assert judge(ended(np.full(100, 2.5)), [made(cutoff)]) == []


@pytest.mark.parametrize("last", [np.nan, np.inf, 0.0])
def test_an_end_that_nothing_is_relative_to_judges_nothing(last: float) -> None:
    values = np.full(100, 2.5)
    values[-2:] = last
    assert judge(ended(values), [made(400)]) == []


def test_no_point_and_no_step_above_zero_judge_nothing() -> None:
    assert judge(ended([]), [made(400)]) == []
    assert judge(Ended(np.array([-20, -10]), np.ones(2), {}), [made(-20, horizon=-10)]) == []


def test_what_a_restart_went_back_behind_does_not_stand() -> None:
    values = np.full(100, 2.5)
    found = judge(ended(values, {2: 300}), [made(200), made(400), made(300, segment=1), made(400, segment=2)])
    assert [one.stands for one in found] == [True, False, False, True]


def test_a_stored_forecast_that_is_not_finite_is_left_out() -> None:
    broken = PastForecast(1, 1, 400, 1000, {0.05: 1.0, 0.95: float("inf")}, None)
    assert judge(ended(np.full(100, 2.5)), [broken]) == []


def test_losses_near_the_end_of_floats_are_judged_without_a_warning() -> None:
    huge = {level: 1e304 * value for level, value in QUANTILES.items()}
    (judged,) = judge(ended(np.full(100, 2.5)), [PastForecast(1, 1, 400, 1000, huge, None)])
    assert not judged.score.cover90


def test_wilson_is_the_textbooks() -> None:
    # Newcombe (1998), table I: 15 of 148 by the score method without continuity correction.
    low, high = wilson_interval(15, 148)
    assert (round(low, 4), round(high, 4)) == (0.0624, 0.1605)


def test_no_and_all_of_few_runs_are_not_certain() -> None:
    assert wilson_interval(0, 3) == pytest.approx((0.0, 0.5615), abs=1e-4)
    assert coverage(0.9, [1, 1, 1]).low < 0.5


def of_runs(held: int, n_runs: int) -> Coverage:
    return coverage(0.9, [1] * held + [0] * (n_runs - held))


@pytest.mark.parametrize(
    ("held", "n_runs", "said"),
    [
        (4, 9, Keeping.SHORT),
        (6, 9, Keeping.PERHAPS_SHORT),
        (8, 9, Keeping.KEPT),
        (3, 3, Keeping.UNKNOWN),
        (60, 60, Keeping.PERHAPS_OVER),
        (100, 100, Keeping.OVER),
    ],
)
def test_one_of_six_counts_is_judged_by_what_chance_makes_of_six(held: int, n_runs: int, said: Keeping) -> None:
    assert keeping(of_runs(held, n_runs), 6) is said


def test_honest_bands_are_called_wrong_in_few_records() -> None:
    counts = np.random.default_rng(0).binomial(20, 0.9, (2000, 6))
    said = {held: keeping(of_runs(held, 20), 6) for held in range(21)}
    alarms = np.mean([any(said[held] in (Keeping.SHORT, Keeping.OVER) for held in record) for record in counts])
    assert alarms < 0.1  # 5 % by the interval; counts of 20 runs are coarse


def test_a_run_counts_once_however_many_forecasts_it_has() -> None:
    bins = [run_bin("many", 0.51, 0.10, n=300, cover90=0.0), run_bin("few", 0.51, 0.02), run_bin("other", 0.55, 0.04)]
    middle = buckets(bins)[2]
    assert (middle.low, middle.high) == BUCKETS[2]
    assert middle.n_runs == 3
    assert middle.median_error == pytest.approx(0.04)
    held = middle.coverage[2]
    assert (held.stated, held.held) == (0.9, 2.0)
    assert held.share == pytest.approx(2 / 3)


def test_inside_a_run_each_forecast_counts_alike() -> None:
    bins = [run_bin("one", 0.51, 0.10, n=3), run_bin("one", 0.65, 0.02, n=1)]
    assert buckets(bins)[2].median_error == pytest.approx(0.08)


def test_a_bucket_without_runs_says_nothing() -> None:
    empty = buckets([run_bin("one", 0.95)])[0]
    assert (empty.n_runs, empty.median_error, empty.coverage) == (0, None, ())


def test_every_bin_lies_in_one_bucket() -> None:
    bins = [run_bin(f"run-{at}", (at + 0.5) / BINS) for at in range(BINS)]
    assert [bucket.n_runs for bucket in buckets(bins)] == [6, 4, 4, 4, 2]


def test_the_median_is_drawn_where_half_of_the_runs_have_a_forecast() -> None:
    bins = [
        run_bin("a", 0.2, 0.3),
        *(run_bin(name, 0.6, error) for name, error in [("a", 0.1), ("b", 0.3), ("c", 0.2)]),
    ]
    (median,) = median_errors(bins)
    assert median == pytest.approx((0.625, 0.2))

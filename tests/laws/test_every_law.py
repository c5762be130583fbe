"""What every law keeps: its own parameters come back, its slopes are derivatives, its ends are finite.

The last value has nothing to fit; what it keeps of this is in tests/forecasting/test_last_value.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from app.curves.schedule import Schedule
from app.errors import BadInput, CurveTooShort
from app.laws.annealing_law import AnnealingLaw
from app.laws.exponential import ExponentialLaw, without_outliers
from app.laws.multi_power import MultiPowerLaw
from app.laws.power import PowerLaw
from app.laws.rate_power import RatePowerLaw
from app.laws.separable import Fit, Law, Sample, Units, fit

TOTAL = 10_000
UNITS = Units(rate=1e-3, steps=8000.0)
SCHEDULES = {
    "constant": Schedule.constant(1e-3, last=TOTAL),
    "cosine after a warm-up": Schedule(
        np.concatenate([[0], np.linspace(200, TOTAL, 60)]),
        np.concatenate([[0], 1e-3 * (0.55 + 0.45 * np.cos(np.linspace(0, np.pi, 60)))]),
    ),
    "linear to zero": Schedule(np.array([0, 200, 7000, TOTAL]), np.array([0, 1e-3, 1e-3, 0])),
    "two stages": Schedule(np.array([0, 200, 4000, 4001, TOTAL]), np.array([0, 1e-3, 1e-3, 3e-4, 3e-4])),
    "a fall and a rise": Schedule(
        np.array([0, 200, 3000, 3001, 6000, 6001, TOTAL]), np.array([0, 1, 1, 0, 0, 1, 1]) / 1e3
    ),
}
# Of the middle of what real runs show; each law's own shapes in its own order.
LAWS: dict[str, tuple[Law, tuple[float, ...], tuple[float, ...]]] = {
    "power": (PowerLaw(), (2.5, 0.4), (0.5,)),
    "exponential": (ExponentialLaw(), (2.5, 1.0), (0.3,)),
    "annealing": (AnnealingLaw(), (2.5, 0.4, 0.15), (0.5, 0.02)),
    "rate_power": (RatePowerLaw(), (2.5, 0.4, 0.15), (0.5, 0.02, 0.8)),
    "multi_power": (MultiPowerLaw(), (2.4, 0.4, 0.15), (0.5, 200.0, 0.6, 0.55)),
    "multi_power from zero": (MultiPowerLaw(from_zero=True), (2.2, 0.4, 0.15), (0.5, 200.0, 0.6, 0.55)),
}
every_law = pytest.mark.parametrize(("law", "coefficients", "shapes"), LAWS.values(), ids=LAWS.keys())


def truth_of(law: Law, coefficients: tuple[float, ...], shapes: tuple[float, ...]) -> Fit:
    n = len(coefficients) + len(shapes)
    return Fit(law, UNITS, 0.0, 1.0, np.array(coefficients), np.array(shapes), np.zeros((n, n)), 0.0)


def samples_of(truth: Fit, names: tuple[str, ...], noise: float = 0.0) -> list[Sample]:
    rng = np.random.default_rng(0)
    steps = np.linspace(400, TOTAL, 120)
    samples = []
    for name in names:
        values = truth.predict(SCHEDULES[name], steps)
        samples.append(Sample(SCHEDULES[name], steps, values * (1 + noise * rng.standard_normal(len(steps)))))
    return samples


@every_law
def test_a_law_recovers_its_own_parameters_from_three_runs(
    law: Law, coefficients: tuple[float, ...], shapes: tuple[float, ...]
) -> None:
    truth = truth_of(law, coefficients, shapes)
    found = fit(law, samples_of(truth, ("constant", "cosine after a warm-up", "two stages")))
    other = SCHEDULES["linear to zero"]
    steps = np.linspace(400, TOTAL, 50)
    # The data has no noise: what is left is how far the optimiser goes.
    np.testing.assert_allclose(found.predict(other, steps), truth.predict(other, steps), rtol=1e-5)
    for shape, value in zip(law.shapes, shapes, strict=True):
        # Lengths are measured in the fit's own unit, which differs from UNITS; a speed in its inverse.
        longer = UNITS.steps / found.units.steps
        factor = {"memory": longer, "time_constant": longer, "speed": 1 / longer}.get(shape.name, 1.0)
        assert found.parameters()[shape.name] == pytest.approx(value * factor, rel=0.02), shape.name


@every_law
def test_noise_of_one_percent_moves_the_prediction_by_less(
    law: Law, coefficients: tuple[float, ...], shapes: tuple[float, ...]
) -> None:
    truth = truth_of(law, coefficients, shapes)
    found = fit(law, samples_of(truth, ("constant", "two stages"), noise=0.01))
    steps = np.linspace(400, TOTAL, 50)
    off = found.predict(SCHEDULES["two stages"], steps) / truth.predict(SCHEDULES["two stages"], steps) - 1
    assert np.abs(off).max() < 0.01
    assert found.deviation == pytest.approx(0.01, rel=0.3)  # 240 residuals know their spread to about 10 %


@every_law
@pytest.mark.parametrize("name", SCHEDULES)
def test_slopes_are_the_derivatives_of_the_columns(
    law: Law, coefficients: tuple[float, ...], shapes: tuple[float, ...], name: str
) -> None:
    basis = law.on(SCHEDULES[name], np.linspace(1, TOTAL, 40), UNITS)
    at = np.array(shapes)
    slopes = basis.slopes(at)
    assert slopes.shape == (len(shapes), 40, len(coefficients))
    width = 1e-4
    for index in range(len(shapes)):
        shift = np.zeros(len(shapes))
        shift[index] = width
        numeric = (basis.columns(at * np.exp(shift)) - basis.columns(at * np.exp(-shift))) / (2 * width)
        # Central differences of width 1e-4, and the annealing law's own of 1e-3: errors near the square.
        np.testing.assert_allclose(slopes[index], numeric, rtol=1e-4, atol=1e-6)


@every_law
@pytest.mark.parametrize("name", SCHEDULES)
def test_predictions_are_finite_from_the_first_step_to_far_beyond_the_last(
    law: Law, coefficients: tuple[float, ...], shapes: tuple[float, ...], name: str
) -> None:
    truth = truth_of(law, coefficients, shapes)
    values = truth.predict(SCHEDULES[name], [0, 1, 100, TOTAL, 1e6, 1e9, 1e15])
    assert np.isfinite(values).all()
    if name == "constant":
        assert (np.diff(values) <= 1e-12).all()  # at a constant rate no law rises


@every_law
def test_the_first_feature_is_the_level(law: Law, coefficients: tuple[float, ...], shapes: tuple[float, ...]) -> None:
    columns = law.on(SCHEDULES["two stages"], [10, 5000], UNITS).columns(np.array(shapes))
    np.testing.assert_array_equal(columns[:, 0], 1)
    assert columns.shape == (2, len(law.coefficients))
    assert len(law.shapes) == len(shapes)
    assert all(shape.low < start < shape.high for shape in law.shapes for start in shape.starts)


@every_law
def test_a_spike_hardly_moves_the_fit(law: Law, coefficients: tuple[float, ...], shapes: tuple[float, ...]) -> None:
    (sample,) = samples_of(truth_of(law, coefficients, shapes), ("two stages",), noise=0.002)
    spiked = sample.values.copy()
    spiked[[60, 90, 91]] *= [3.0, 1.5, 40.0]
    ours, theirs = (fit(law, [Sample(sample.schedule, sample.steps, values)]) for values in (sample.values, spiked))
    ends = [float(each.predict(sample.schedule, [TOTAL])[0]) for each in (ours, theirs)]
    assert ends[1] == pytest.approx(ends[0], rel=0.003)


@every_law
@pytest.mark.parametrize("values", ["flat", "rising", "below zero", "tiny"])
def test_odd_curves_are_fitted_within_what_was_seen(
    law: Law, coefficients: tuple[float, ...], shapes: tuple[float, ...], values: str
) -> None:
    steps = np.linspace(400, TOTAL, 40)
    curve = {
        "flat": np.full(40, 3.0),
        "rising": np.linspace(1.0, 2.0, 40),
        "below zero": -2.0 + 3.0 * (steps / 400) ** -0.5,
        "tiny": 1e-200 * (1 + (steps / 400) ** -0.5),
    }[values]
    found = fit(law, [Sample(SCHEDULES["constant"], steps, curve)])
    predicted = found.predict(SCHEDULES["constant"], steps)
    spread = np.ptp(curve)
    assert (predicted > curve.min() - 0.3 * spread - 1e-3 * np.abs(curve).max()).all()
    assert (predicted < curve.max() + 0.3 * spread + 1e-3 * np.abs(curve).max()).all()
    assert np.isfinite(found.covariance).all()
    sensitivities = found.sensitivities(SCHEDULES["constant"], [TOTAL])
    assert ((sensitivities @ found.covariance) * sensitivities).sum() >= 0


@every_law
def test_what_cannot_be_fitted_is_refused_in_words(
    law: Law, coefficients: tuple[float, ...], shapes: tuple[float, ...]
) -> None:
    with pytest.raises(CurveTooShort):
        fit(law, [])
    with pytest.raises(CurveTooShort):
        fit(law, [Sample(SCHEDULES["constant"], np.array([1.0, 2.0]), np.array([2.0, 1.0]))])
    with pytest.raises(BadInput, match="finite"):
        fit(law, [Sample(SCHEDULES["constant"], np.arange(1.0, 5.0), np.array([3.0, np.nan, 2.0, 1.0]))])


@pytest.mark.parametrize("from_zero", [False, True], ids=["the paper's", "its code's"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_multi_power_laws_loss_drop_is_the_papers_sum(name: str, from_zero: bool) -> None:
    schedule = SCHEDULES[name]
    shapes = np.array([0.5, 200.0, 0.6, 0.55])
    rates = schedule.rate_at(np.arange(TOTAL + 1)) / 1e-3
    if from_zero:
        rates = np.append(0.0, rates)[:-1] if name == "constant" else rates  # their rates begin at zero
    sums = np.cumsum(rates)
    top = 0 if from_zero or name == "constant" else 200  # of the warm-up
    steps = np.array([150, 500, 3001, 3040, 4000, 4001, 4020, 6500, 9000, TOTAL])
    literal = []
    for step in steps:
        fallen = np.arange(top + 1, step + 1)
        travelled = (sums[step] - sums[fallen - 1]) / UNITS.steps
        with np.errstate(divide="ignore", invalid="ignore"):
            reached = np.where(travelled > 0, shapes[1] * rates[fallen] ** -shapes[3] * travelled, 0.0)
        literal.append(-((rates[fallen - 1] - rates[fallen]) * (1 - (1 + reached) ** -shapes[2])).sum())
    ours = MultiPowerLaw(from_zero=from_zero).on(schedule, steps, UNITS).columns(shapes)[:, 2]
    # In parts of the whole gain, itself 4 % of a loss: pieces in place of steps err by 1e-4 of the loss.
    np.testing.assert_allclose(ours, literal, atol=2.5e-3)


def test_the_spline_of_autolrs_drops_outliers_of_the_first_half_and_smooths_the_rest() -> None:
    steps = np.arange(200.0)
    clean = 2 + np.exp(-steps / 60)
    noisy = clean + 0.01 * np.random.default_rng(0).standard_normal(200)
    noisy[[30, 50]] += 1.0
    kept, smoothed = without_outliers(steps, noisy)
    assert not {30.0, 50.0} & set(kept.tolist())
    assert kept[-100:].tolist() == steps[-100:].tolist()
    assert np.abs(smoothed - (2 + np.exp(-kept / 60)))[5:-5].max() < 0.01
    few = without_outliers(steps[:4], clean[:4])
    np.testing.assert_array_equal(few[1], clean[:4])

"""The fits in closed form."""

import numpy as np
import pytest

from app.pfn.bank import GAINS, Bank, columns_at
from app.pfn.intrinsic_time import N_LAGS, Array

N_BINS = 48


def fit(values: Array, time: Array, lags: Array) -> Bank:
    columns = columns_at(time[None], time[None], lags[None])
    return Bank.fit(columns, values[None], np.full((1, len(values)), 1e-8), np.ones((1, len(values))))


def forecast(bank: Bank, time: Array, lags: Array, steps: Array | None = None) -> Array:
    found: Array = bank.at(columns_at(time[None], (time if steps is None else steps)[None], lags[None])).mean[0]
    return found


def test_a_power_law_goes_on_as_it_is() -> None:
    time = np.geomspace(0.02, 1, N_BINS)
    ahead = np.array([1.2, 2.0, 4.0])
    values = time**-0.3 - 1
    found = forecast(fit(values, time, np.zeros((N_BINS, N_LAGS))), ahead, np.zeros((3, N_LAGS)))
    # Neighbouring exponents share the weight: a hundredth of what is still to come is all they may disagree by.
    assert found == pytest.approx(ahead**-0.3 - 1, abs=0.01)


def test_a_decay_seen_before_is_believed_again() -> None:
    rng = np.random.default_rng(0)
    time = np.linspace(0.02, 1, N_BINS)
    fall = np.where(time > 0.5, 0.6, 0.0)
    lags = np.repeat(fall[:, None], N_LAGS, axis=1)
    values = 0.3 * (time**-0.3 - 1) - 0.3 * 0.3 * 3.0 * fall + rng.normal(0, 1e-3, N_BINS)
    bank = fit(values, time, lags)
    more = forecast(bank, np.array([1.1]), np.full((1, N_LAGS), 1.0))[0]
    same = forecast(bank, np.array([1.1]), np.full((1, N_LAGS), 0.6))[0]
    assert same - more == pytest.approx(0.3 * 0.3 * 3.0 * 0.4, rel=0.15)  # gains stand a factor three apart


def test_a_rate_that_has_not_moved_leaves_every_gain_open() -> None:
    time = np.geomspace(0.02, 1, N_BINS)
    bank = fit(time**-0.3 - 1, time, np.zeros((N_BINS, N_LAGS)))
    annealed = np.zeros((1, 1, N_LAGS))
    annealed[..., :] = 1.0
    said = bank.at(columns_at(np.array([[1.2]]), np.array([[1.2]]), annealed))
    assert (np.diff(said.by_gain[0, 0]) < 0).all()
    assert said.by_gain.shape[-1] == len(GAINS)
    assert said.spread[0, 0] > 0.1


def test_padding_counts_for_nothing() -> None:
    time = np.geomspace(0.02, 1, N_BINS)
    values = time**-0.6 - 1
    lags = np.zeros((N_BINS, N_LAGS))
    trust = np.ones((1, N_BINS))
    trust[0, 30:] = 0
    other = np.where(trust[0] > 0, values, 77.0)
    columns = columns_at(time[None], time[None], lags[None])
    banks = [Bank.fit(columns, each[None], np.full((1, N_BINS), 1e-6), trust) for each in (values, other)]
    ahead = np.array([1.5])
    assert forecast(banks[0], ahead, lags[:1]) == pytest.approx(forecast(banks[1], ahead, lags[:1]), abs=1e-12)


def test_plain_steps_are_tried_beside_intrinsic_time() -> None:
    steps = np.geomspace(0.02, 1, N_BINS)
    time = steps**2  # a rate that rises with the step, of which the loss knows nothing
    columns = columns_at(time[None], steps[None], np.zeros((1, N_BINS, N_LAGS)))
    bank = Bank.fit(columns, (steps**-0.3 - 1)[None], np.full((1, N_BINS), 1e-8), np.ones((1, N_BINS)))
    said = bank.at(columns_at(np.array([[4.0]]), np.array([[2.0]]), np.zeros((1, 1, N_LAGS))))
    assert said.in_steps[0, 0] == pytest.approx(2.0**-0.3 - 1, abs=0.01)

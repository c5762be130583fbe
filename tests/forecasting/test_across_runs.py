"""From finished runs to runs under other schedules: the multi-power law's protocol on the authors' own runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.curves.schedule import Schedule
from app.errors import BadInput
from app.forecasting.across_runs import LAWS, agreement, fit_runs, overall
from app.forecasting.recorded_run import RecordedRun
from app.importers.recorded_run_file import read_recorded_run
from app.laws.multi_power import MultiPowerLaw
from app.laws.power import PowerLaw
from app.laws.separable import Law, Units, fit

DATA = Path(__file__).parents[1] / "data"
WARMUP_STEPS = 2160

MadeRun = Callable[[float], RecordedRun]


def read(name: str) -> RecordedRun:
    return read_recorded_run(DATA / f"multipowerlaw_25M_{name}.csv", warmup_steps=WARMUP_STEPS)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_three_runs_predict_schedules_that_they_did_not_have(law: Law) -> None:
    found = fit_runs(law, [read(name) for name in ("cosine_24000", "constant_24000", "wsdcon_9")])
    unseen = [agreement(found, read(name)) for name in ("wsd_20000_24000", "wsdld", "wsdcon_3")]
    total = overall(unseen)
    # The multi-power law's authors give a mean of 0.0011 over six such runs. The worst is the first point after the
    # two-stage run's jump, where a response that is too quick or too slow by fifty steps errs most.
    assert total.mean_relative_error < 0.0013
    assert total.worst_error < 0.01
    assert min(each.r2 for each in unseen) > 0.99
    assert total.n == sum(each.n for each in unseen)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_a_law_of_the_rate_does_better_than_one_that_is_blind_to_it(law: Law) -> None:
    runs = [read("cosine_24000"), read("constant_24000")]
    other = read("wsd_20000_24000")
    ours, blind = agreement(fit_runs(law, runs), other), agreement(fit_runs(PowerLaw(), runs), other)
    assert ours.mean_relative_error < 0.3 * blind.mean_relative_error
    assert abs(ours.final_error) < 0.4 * abs(blind.final_error)


def test_runs_of_two_peak_rates_foretell_a_third(made_run: MadeRun) -> None:
    fitted = [made_run(1e-3), made_run(5e-4)]
    other = made_run(7e-4)
    found = agreement(fit_runs(MultiPowerLaw(), fitted), other)
    # Counted from the top of the warm-up, the law cannot know that a lower rate has less to give up: 1 % off and more.
    assert abs(found.final_error) < 0.003
    assert abs(agreement(fit(MultiPowerLaw(), [run.sample() for run in fitted]), other).final_error) > 0.006


def test_runs_of_one_peak_rate_are_fitted_as_the_paper_says(made_run: MadeRun) -> None:
    runs = [made_run(1e-3), made_run(1.01e-3)]
    assert fit_runs(MultiPowerLaw(), runs).law == MultiPowerLaw()


@pytest.fixture
def made_run() -> MadeRun:
    """Runs whose loss follows the rate as the multi-power law's authors' code has it."""
    steps = np.arange(400, 10_001, 100)
    units = Units(1e-3, 8000.0)

    def made(peak: float) -> RecordedRun:
        schedule = Schedule(np.array([0, 200, 7000, 10_000]), peak * np.array([0, 1, 1, 0.1]))
        basis = MultiPowerLaw(from_zero=True).on(schedule, steps, units)
        values = basis.columns(np.array([0.5, 200.0, 0.6, 0.55])) @ [2.2, 0.4, 0.3]
        return RecordedRun(f"peak {peak}", "loss", steps, values, schedule, 10_000)

    return made


def test_agreement_is_judged_point_by_point_after_the_warm_up() -> None:
    steps = np.arange(1, 101)
    schedule = Schedule(np.array([0, 20, 100]), np.array([0, 1, 1]))
    values = np.where(steps < 20, 50.0, 2.0)
    found = fit_runs(PowerLaw(), [RecordedRun("run", "loss", steps, values, schedule, 100)])
    values[59] = 2.2
    judged = agreement(found, RecordedRun("other", "loss", steps, values, schedule, 100))
    assert judged.n == 81
    assert judged.worst_error == pytest.approx(0.2 / 2.2, rel=1e-4)
    assert judged.mean_relative_error == pytest.approx(0.2 / 2.2 / 81, rel=1e-4)
    assert judged.final_error == pytest.approx(0, abs=1e-5)
    assert judged.r2 < 0.05


def test_without_a_rate_no_law_tells_schedules_apart() -> None:
    run = RecordedRun("rateless", "loss", np.arange(1, 101), np.linspace(3, 2, 100), None, 100)
    with pytest.raises(BadInput, match="rateless has no learning rate"):
        fit_runs(LAWS[0], [run])

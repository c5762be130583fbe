"""Schedules that no run had, predicted from the multi-power law's authors' own runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.curves.schedule import Schedule
from app.errors import BadInput
from app.forecasting.other_schedules.candidate import Candidate, candidate, warmup_steps
from app.forecasting.other_schedules.compare import compare_schedules
from app.forecasting.other_schedules.comparison import Prediction
from app.forecasting.other_schedules.fitted_runs import MOST_RUNS
from app.forecasting.recorded_run import RecordedRun
from app.importers.recorded_run_file import read_recorded_run

DATA = Path(__file__).parents[1] / "data"
WARMUP_STEPS = 2160


def read(name: str) -> RecordedRun:
    return read_recorded_run(DATA / f"multipowerlaw_25M_{name}.csv", warmup_steps=WARMUP_STEPS)


def as_candidate(run: RecordedRun) -> Candidate:
    assert run.schedule is not None
    return Candidate(run.name, "explicit", run.schedule, run.total_steps)


def width(one: Prediction) -> float:
    """Of the 90 % band of the final level, over it."""
    return (one.final_quantiles[0.95] - one.final_quantiles[0.05]) / one.final_mean


@pytest.fixture(scope="module")
def cosine() -> RecordedRun:
    return read("cosine_24000")


@pytest.fixture(scope="module")
def constant() -> RecordedRun:
    return read("constant_24000")


def test_three_runs_foresee_the_end_of_others_inside_a_narrow_band(cosine: RecordedRun, constant: RecordedRun) -> None:
    others = {name: read(name) for name in ("wsd_20000_24000", "wsdld", "wsdcon_3")}
    found = compare_schedules([cosine, constant, read("wsdcon_9")], [as_candidate(run) for run in others.values()])
    finals = {run.name: run.final_loss() for run in others.values()}
    for one in found.predictions:
        actual = finals[one.candidate.words]
        assert one.final_mean == pytest.approx(actual, rel=0.005)
        assert one.final_quantiles[0.05] <= actual <= one.final_quantiles[0.95]
        assert width(one) < 0.03
    assert [one.final_mean for one in found.predictions] == sorted(one.final_mean for one in found.predictions)
    assert len(found.left_out) == 3


def test_a_family_takes_peak_warm_up_and_length_from_the_runs(cosine: RecordedRun) -> None:
    same = candidate({"family": "cosine", "final_fraction": 0.1}, [cosine])
    assert same.total_steps == cosine.total_steps
    assert same.schedule.peak == pytest.approx(3e-4)
    assert warmup_steps(same.schedule) == pytest.approx(WARMUP_STEPS, abs=2)
    predicted = compare_schedules([cosine], [same]).predictions[0]
    # The run's own schedule again: what it came to is what it would come to.
    assert predicted.final_mean == pytest.approx(cosine.final_loss(), rel=1e-3)
    assert width(predicted) < 0.01
    assert predicted.notes == ()
    assert predicted.steps[-1] == cosine.total_steps
    assert predicted.quantiles.shape == (5, len(predicted.steps))
    assert (np.diff(predicted.quantiles, axis=0) > 0).all()


def test_what_is_said_goes_before_what_the_runs_had(cosine: RecordedRun) -> None:
    asked = candidate({"family": "wsd", "peak": "1e-4", "warmup_steps": 500, "total_steps": 9000}, [cosine])
    assert (asked.total_steps, asked.schedule.peak, warmup_steps(asked.schedule)) == (9000, 1e-4, 500)
    assert candidate("constant", [cosine], total_steps=5000).total_steps == 5000
    knots = candidate({"family": "explicit", "steps": [0, 100, 4000], "rates": [0, 3e-4, 0]}, [cosine])
    assert (knots.total_steps, knots.schedule.peak) == (4000, 3e-4)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("wobbly", "No schedule family 'wobbly'"),
        ("reactive", "follows the loss"),
        ({"family": "cosine", "peak": 0}, "above zero"),
        ({"family": "cosine", "total_steps": 0.5}, "whole number"),
        ({"family": "cosine", "warmup_steps": 500, "total_steps": 400}, "takes all of its 400 steps"),
        ({"family": "cosine", "wobble": 3}, "takes no wobble"),
        ({"family": "cosine", "peak": 30}, "more than 10 times the highest of the fitted runs, 0.0003"),
        ({"family": "constant", "peak": 3.1e-3}, "Ask for 0.003 or less"),
        ({"family": "explicit", "steps": [0, 100, 4000], "rates": [0, 30, 0]}, "would diverge"),
        ({"family": "cosine", "total_steps": 10**12}, "more than 50 times those of the longest fitted run"),
        ({"family": "explicit", "steps": [0, 10], "rates": [0, 0]}, "zero throughout"),
        ({"family": "step"}, "milestones"),
        ({}, "family"),
    ],
    ids=str,
)
def test_schedules_that_cannot_be_meant_are_refused(
    cosine: RecordedRun, said: str | dict[str, object], says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        candidate(said, [cosine])


def test_a_run_at_a_constant_rate_says_nothing_of_a_decay(constant: RecordedRun, cosine: RecordedRun) -> None:
    asked = [candidate(said, [constant]) for said in ({"family": "wsd_linear", "decay_steps": 4000}, "constant")]
    found = compare_schedules([constant], asked)
    decayed, as_trained = found.predictions
    assert "No fitted run lets its rate fall" in " ".join(found.notes)
    assert "cannot be judged" in " ".join(found.notes)
    assert decayed.candidate.family == "wsd_linear"
    assert width(decayed) > 5 * width(as_trained)
    # The authors' own run under about this schedule.
    assert decayed.final_quantiles[0.05] < read("wsdld").final_loss() < decayed.final_quantiles[0.95]
    both = compare_schedules([constant, cosine], asked)
    assert "No fitted run lets its rate fall" not in " ".join(both.notes)
    assert width(both.predictions[0]) < 0.5 * width(decayed)


def test_going_beyond_every_fitted_run_is_said_and_widens_the_band(cosine: RecordedRun) -> None:
    same, longer, hotter, again = (
        candidate({"family": "cosine", "final_fraction": 0.1, **more}, [cosine])
        for more in (
            {},
            {"total_steps": 96_000},
            {"peak": 1.2e-3},
            {"family": "cosine_restarts", "cycles": 3, "final_fraction": 0.1},
        )
    )
    by_words = {
        one.candidate.words: one for one in compare_schedules([cosine], [same, longer, hotter, again]).predictions
    }
    assert "4 times as long" in " ".join(by_words[longer.words].notes)
    assert "No fitted run had a peak rate of 0.0012" in " ".join(by_words[hotter.words].notes)
    assert "rises again" in " ".join(by_words[again.words].notes)
    for one in (longer, hotter):
        assert width(by_words[one.words]) > 3 * width(by_words[same.words])
    assert by_words[longer.words].final_mean < by_words[same.words].final_mean


def test_a_rate_that_the_runs_cannot_speak_for_stands_last_and_no_loss_is_foretold_below_zero(
    cosine: RecordedRun,
) -> None:
    hot, warm, known = (candidate({"family": "cosine", "peak": peak}, [cosine]) for peak in (3e-3, 6e-4, 3e-4))
    ranked = compare_schedules([cosine], [hot, warm, known]).predictions
    assert [one.candidate for one in ranked] == [warm, known, hot]
    wild = ranked[-1]
    # The laws would have it first: to them more rate is better without end.
    assert wild.final_mean < ranked[0].final_mean
    assert "10 times as high as any of theirs may diverge" in " ".join(wild.notes)
    assert "below zero" in " ".join(wild.notes)
    assert wild.final_quantiles[0.05] == 0
    assert wild.quantiles.min() >= 0
    assert "below zero" not in " ".join(ranked[0].notes)
    # A metric that goes below zero itself has no such floor.
    sunk = replace(cosine, values=cosine.values - 3.5)
    assert compare_schedules([sunk], [hot]).predictions[0].final_quantiles[0.05] < 0


def test_a_comparison_says_of_each_law_why_it_may_be_none_for_these_runs(
    cosine: RecordedRun, constant: RecordedRun
) -> None:
    said = compare_schedules([cosine, constant, read("wsdcon_9")], []).reservations
    assert said["annealing"] == ()
    assert [note.split(":")[0] for note in said["multi_power"]] == [
        "drop_exponent is at its bound, 0.5",
        "rate_exponent is at its bound, 0.7",
    ]
    climbing = replace(cosine, values=cosine.values[::-1])
    assert all(
        f"the mean loss of {cosine.name} describes it better" in " ".join(notes)
        for notes in compare_schedules([climbing], []).reservations.values()
    )


def test_runs_that_cannot_be_fitted_together_are_refused_in_words(cosine: RecordedRun, constant: RecordedRun) -> None:
    def refusal(*runs: RecordedRun) -> str:
        with pytest.raises(BadInput) as refused:
            compare_schedules(runs, [])
        return str(refused.value)

    assert "at least one" in refusal()
    assert "same run" in refusal(cosine, cosine)
    assert "same run" in refusal(cosine, replace(cosine, name="a copy under another name"))
    assert "no learning rate" in refusal(replace(cosine, schedule=None))
    assert "no learning rate" in refusal(replace(cosine, schedule=Schedule.constant(0.0, last=24_000)))
    assert "NaN" in refusal(replace(cosine, values=np.append(cosine.values[:-1], np.nan)))
    assert "one metric for both" in refusal(cosine, replace(constant, metric="train_loss"))
    assert "another scale" in refusal(cosine, replace(constant, values=np.exp(constant.values)))
    many = [replace(cosine, values=cosine.values + 0.001 * i) for i in range(MOST_RUNS + 1)]
    assert f"At most {MOST_RUNS}" in refusal(*many)


def test_runs_that_contradict_each_other_widen_every_band(cosine: RecordedRun, constant: RecordedRun) -> None:
    agreeing = [cosine, constant, read("wsdcon_9")]
    # The same recipe in name, but one of the runs ended a twentieth lower than it should have.
    contradicting = [replace(cosine, values=0.95 * cosine.values), *agreeing[1:]]
    asked = candidate("wsd_linear", agreeing)
    calm, torn = (compare_schedules(runs, [asked]) for runs in (agreeing, contradicting))
    assert torn.carry_over > 1
    assert "wider" in " ".join(torn.notes)
    assert width(torn.predictions[0]) > 2 * width(calm.predictions[0])

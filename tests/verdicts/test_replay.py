"""Groups replayed: by hand where the outcome can be worked out, and real runs that must never be told to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.forecasting.forecast import LEVELS
from app.forecasting.scores import QuantileForecast
from app.importers.curve_file import points_by_metric
from app.importers.recorded_run_file import read_ended_run
from app.importers.run_files import read_file
from app.verdicts.guards import guards, missed_share
from app.verdicts.history import History
from app.verdicts.judging import judge
from app.verdicts.outlook import Outlook
from app.verdicts.policies import Asha, Patience, Predictive
from app.verdicts.replay import (
    Heard,
    Moment,
    ReplayedRun,
    Said,
    reliability,
    replay,
    replay_oracle,
    replayed,
    summarise,
)
from app.verdicts.rivals import Rival, RivalKind
from app.verdicts.situation import Situation
from app.verdicts.verdict import Decision, Verdict
from benchmarks.most_saved import RULES

DATA = Path(__file__).parents[1] / "data"
Z = np.array([-1.645, -0.674, 0.0, 0.674, 1.645])
TOTAL = 1000
SHARES = (0.25, 0.5, 0.75)


def invented(name: str, final: float, forecasts: Sequence[float], deviation: float = 0.01) -> ReplayedRun:
    """Falls evenly from 5 to `final`; at each quarter somebody forecasts `forecasts`."""
    moments = []
    for share, forecast in zip(SHARES, forecasts, strict=True):
        cutoff = int(share * TOTAL)
        steps = np.arange(10.0, cutoff + 1, 10)
        history = History(steps, 5.0 + (final - 5.0) * steps / TOTAL)
        path = np.arange(cutoff + 10, TOTAL + 1, 10)
        outlook = Outlook(
            "loss",
            True,
            cutoff,
            TOTAL,
            QuantileForecast(np.array(LEVELS), forecast + deviation * Z),
            path,
            np.linspace(history.values[-1], forecast, len(path)) + deviation * Z[:, None],
        )
        situation = Situation(outlook, history, TOTAL, now=cutoff)
        moments.append(Moment(share, situation, float(history.values[-1])))
    return ReplayedRun(name, TOTAL, final, tuple(moments))


def test_sure_and_right_forecasts_save_as_much_as_the_oracle() -> None:
    runs = [invented(name, final, (final,) * 3) for name, final in (("a", 2.0), ("b", 3.0), ("c", 4.0))]
    outcome, oracle = replay("g", runs, Predictive()), replay_oracle("g", runs)
    assert outcome.stops == {"b": 0.25, "c": 0.25}
    assert outcome.saved == pytest.approx(oracle.saved) == pytest.approx(0.5)
    assert outcome.saved_steps == 1500
    assert (outcome.regret, outcome.stopped_best) == (0.0, False)


def test_an_oracle_that_has_to_wait_stops_where_it_may_and_not_at_all_where_it_never_may() -> None:
    runs = [invented(name, final, (final,) * 3) for name, final in (("a", 2.0), ("b", 3.0), ("c", 4.0))]
    assert replay_oracle("g", runs, lambda moment: moment.share >= 0.5).stops == {"b": 0.5, "c": 0.5}
    assert replay_oracle("g", runs, lambda moment: False).saved == 0.0


def test_nobody_is_stopped_while_the_rate_is_held_before_a_decay_nor_once_memorised() -> None:
    moment = invented("wsd", 2.0, (2.0,) * 3).moments[0]
    outlook = moment.situation.outlook
    assert outlook is not None
    held = np.where(outlook.path_steps < 800, 1.0, 0.1)
    flat = replace(moment, situation=replace(moment.situation, outlook=replace(outlook, rates=held)))
    memorised = replace(moment, situation=replace(moment.situation, states={"grokking": "memorised"}))
    allowed = [[name for name, may_stop in RULES.items() if may_stop(one)] for one in (moment, flat, memorised)]
    assert [len(names) for names in allowed] == [len(RULES), 2, 3]


def test_a_sure_and_wrong_forecast_costs_its_regret_and_is_a_wrong_stop() -> None:
    runs = [invented("best", 2.0, (3.5,) * 3), invented("other", 2.5, (2.4,) * 3)]
    outcome = replay("g", runs, Predictive())
    assert outcome.stops == {"best": 0.25}
    assert outcome.stopped_best
    assert outcome.regret == pytest.approx(0.25)
    assert [one.came_true for one in outcome.said if one.probability > 0.5] == [False]


def test_the_future_changes_nothing_that_was_decided_before() -> None:
    """Strictly causal: other later forecasts and ends leave the stops of the first checkpoint as they were."""
    runs = [invented(name, final, (final,) * 3) for name, final in (("a", 2.0), ("b", 3.0), ("c", 4.0))]
    changed = [
        replace(run, final=run.final + 1.0, moments=(run.moments[0], *(moment for moment in run.moments[:0:-1])))
        for run in runs
    ]
    first, second = replay("g", runs, Predictive()), replay("g", changed, Predictive())
    assert {name for name, share in first.stops.items() if share == 0.25} == {
        name for name, share in second.stops.items() if share == 0.25
    }


def test_a_diverged_run_is_stopped_by_every_policy_and_never_is_the_best() -> None:
    run = invented("nan", 2.0, (2.0,) * 3)
    moments = tuple(
        replace(moment, situation=replace(moment.situation, outlook=None, broken_since=200), level=float("inf"))
        for moment in run.moments
    )
    broken = replace(run, final=float("inf"), moments=moments)
    for policy in (Predictive(), Asha(), Patience()):
        outcome = replay("g", [broken, invented("sound", 2.0, (2.0,) * 3)], policy)
        assert outcome.stops["nan"] == 0.25
        assert not outcome.stopped_best


def test_means_are_over_groups_and_the_brier_score_over_statements() -> None:
    right = replay("g", [invented("a", 2.0, (2.0,) * 3), invented("b", 3.0, (3.0,) * 3)], Predictive())
    wrong = replay("h", [invented("best", 2.0, (3.5,) * 3), invented("other", 2.5, (2.4,) * 3)], Predictive())
    summary = summarise([right, wrong])
    assert summary.n == 2
    assert summary.wrong_stops == 0.5
    assert summary.regret_mean == pytest.approx(0.125)
    said = [*right.said, *wrong.said]
    assert summary.brier == pytest.approx(np.mean([(one.probability - one.came_true) ** 2 for one in said]))


def test_a_wrong_stop_that_costs_next_to_nothing_is_a_tie() -> None:
    tie = replay("g", [invented("best", 2.0, (3.5,) * 3), invented("other", 2.002, (1.9,) * 3)], Predictive())
    costly = replay("h", [invented("best", 2.0, (3.5,) * 3), invented("other", 2.5, (2.4,) * 3)], Predictive())
    assert (tie.stopped_best, tie.is_costly, tie.tied) == (True, False, 1)
    assert (costly.stopped_best, costly.is_costly, costly.tied) == (True, True, 0)
    summary = summarise([tie, costly])
    assert (summary.wrong_stops, summary.costly_stops) == (1.0, 0.5)


def test_saving_is_told_by_runs_and_by_steps() -> None:
    runs = [invented(name, final, (final,) * 3) for name, final in (("a", 2.0), ("b", 4.0))]
    long = replace(runs[1], total_steps=3 * TOTAL)
    outcome = replay("g", [runs[0], long], Predictive())
    summary = summarise([outcome, replay("h", runs, Predictive())])
    assert outcome.stops == {"b": 0.25}
    assert outcome.saved == pytest.approx(0.375)
    assert summary.saved_steps == pytest.approx((2250 / 4000 + 750 / 2000) / 2)
    assert summary.saved_pooled == pytest.approx(3000 / 6000)


def test_in_sequence_the_next_run_begins_when_one_is_stopped_or_has_ended() -> None:
    """A finished sibling is a definite reference, and whoever begins later hears it."""
    runs = [invented(name, final, (final,) * 3) for name, final in (("a", 3.0), ("b", 4.0), ("c", 2.0), ("d", 5.0))]
    asked: list[tuple[int, int, tuple[tuple[int, int], ...]]] = []

    def foresight(place: int, number: int, heard: Heard) -> Outlook | None:
        asked.append((place, number, heard.siblings))
        return runs[place].moments[number].situation.outlook

    outcome = replay("g", runs, Predictive(), order=[1, 0, 3, 2], at_a_time=1, foresight=foresight)
    begun = [(place, siblings) for place, number, siblings in asked if number == 0]
    assert begun == [(1, ()), (0, ((1, 3),)), (3, ((1, 3), (0, 3))), (2, ((1, 3), (0, 3)))]
    assert outcome.stops == {"d": 0.25}  # the first has nobody to be held to, and the others beat all before them


def test_side_by_side_runs_hear_those_that_go_at_their_marks_and_not_those_that_were_stopped() -> None:
    runs = [invented(name, final, (final,) * 3) for name, final in (("a", 2.0), ("b", 2.001), ("c", 4.0))]
    heard_by_first: list[Heard] = []

    def foresight(place: int, number: int, heard: Heard) -> Outlook | None:
        heard_by_first.extend([heard] if place == 0 else [])
        return runs[place].moments[number].situation.outlook

    assert replay("g", runs, Predictive(), foresight=foresight).stops["c"] == 0.25
    # Checkpoints at a quarter, the half and three quarters; marks at 0.2, 0.4, 0.6 and 0.8.
    assert heard_by_first == [Heard(0, ((1, 0), (2, 0))), Heard(1, ((1, 1),)), Heard(2, ((1, 2),))]


def test_what_siblings_say_changes_the_forecast_that_a_run_is_judged_by_and_held_to_later() -> None:
    runs = [invented("a", 2.0, (2.0,) * 3), invented("b", 3.0, (3.0,) * 3)]
    doubting = [invented("a", 2.0, (2.5,) * 3, 2.0), invented("b", 3.0, (2.6,) * 3, 2.0)]
    assert replay("g", runs, Predictive()).stops == {"b": 0.25}
    outcome = replay(
        "g",
        runs,
        Predictive(),
        foresight=lambda place, number, heard: doubting[place].moments[number].situation.outlook,
    )
    assert outcome.stops == {}
    assert all(0.1 < one.probability < 0.9 for one in outcome.said), outcome.said


def test_all_at_once_in_any_order_is_side_by_side() -> None:
    runs = [invented(name, final, (final,) * 3) for name, final in (("a", 2.0), ("b", 3.0), ("c", 4.0))]
    assert replay("g", runs, Predictive(), order=[2, 0, 1], at_a_time=3).stops == replay("g", runs, Predictive()).stops


def test_reliability_puts_each_statement_into_its_bin() -> None:
    said = [Said(0.5, 0.92, True), Said(0.5, 0.94, False), Said(0.5, 1.0, True)]
    assert reliability(said, (0.0, 0.9, 0.95, 1.0)) == [(pytest.approx(0.93), 0.5, 2), (1.0, 1.0, 1)]


def test_earlier_forecasts_that_missed_are_counted() -> None:
    good, bad = (invented("a", 2.0, (final, 2.0, 2.0)).moments[0].situation.outlook for final in (2.0, 3.5))
    assert good is not None
    assert bad is not None
    level = 5.0 - 3.0 * 0.75
    assert missed_share([good, good], 750, level) == 0.0
    assert missed_share([good, bad], 750, level) == 0.5
    assert missed_share([good], 750, level) is None


def real(name: str, metric: str | None = None) -> ReplayedRun:
    path = DATA / name
    logged = points_by_metric(list(read_file(path).batches))
    return replayed(
        read_ended_run(path, metric), {metric: (points.steps, points.values) for metric, points in logged.items()}
    )


def verdicts(run: ReplayedRun, *rivals: Rival, policy: Predictive | None = None) -> list[tuple[float, Verdict]]:
    return [
        (moment.share, judge(replace(moment.situation, rivals=tuple(rivals)), policy or Predictive()))
        for moment in run.moments
    ]


def ended(value: float) -> Rival:
    return Rival("r", "r", RivalKind.FINISHED, value)


def test_a_wsd_run_in_its_flat_phase_is_never_told_to_stop() -> None:
    """Alone, and against its finished cosine sibling, which it beats only by the decay of its last sixth."""
    run = real("multipowerlaw_25M_wsd_20000_24000.csv")
    cosine = read_ended_run(DATA / "multipowerlaw_25M_cosine_24000.csv").final_loss()
    assert run.final < cosine
    for rivals in ((), (ended(cosine),)):
        decisions = [verdict.decision for _, verdict in verdicts(run, *rivals)]
        assert Decision.STOP not in decisions
        assert Decision.CONTINUE in decisions


def test_a_grokking_run_at_its_validation_peak_is_never_told_to_stop() -> None:
    """Not even by a policy that asks for hardly anything, against a sibling that generalised long ago."""
    run = real("small_runs/grok_mlp_quad_a.jsonl", "val_loss")
    told = verdicts(run, ended(0.01), policy=Predictive(confidence=0.5, tolerance=1e9))
    memorised = [
        verdict
        for (_, verdict), moment in zip(told, run.moments, strict=True)
        if moment.situation.states["grokking"] in ("memorised", "turning", "generalising")
    ]
    assert len(memorised) >= 3
    assert all(verdict.decision is not Decision.STOP for verdict in memorised)
    assert any(guard.name == "memorised" for verdict in memorised for guard in verdict.guards)


def test_a_rewarmed_run_is_never_told_to_stop_before_it_had_time_to_come_back() -> None:
    """The rate goes up twelve-fold at step 900 of 1,400; the loss rises, and comes back."""
    run = real("small_runs/lm_rewarm.jsonl", "train_loss")
    raised = 900 / 1400
    after = [verdict for share, verdict in verdicts(run, ended(0.5)) if raised < share <= raised + 0.25]
    assert len(after) >= 4
    assert all(verdict.decision is not Decision.STOP for verdict in after)
    assert any(guard.name == "rewarm" for verdict in after for guard in verdict.guards)


def test_a_run_whose_rate_is_still_to_rise_is_not_told_to_stop_and_stops_nobody() -> None:
    """The same run before step 900, when its plan says what will come."""
    run = real("small_runs/lm_rewarm.jsonl", "train_loss")
    told = [
        (moment, verdict)
        for moment, (share, verdict) in zip(run.moments, verdicts(run, ended(0.5)), strict=True)
        if 0.1 < share < 900 / 1400
    ]
    assert len(told) >= 8
    assert all(verdict.decision is not Decision.STOP for _, verdict in told)
    assert all("raise_to_come" in [guard.name for guard in guards(moment.situation, None)] for moment, _ in told)

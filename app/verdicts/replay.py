"""What a policy would have done to groups of runs that have ended, strictly from what was known at each moment. Pure.

Runs of a group are replayed side by side, so that at each checkpoint everybody has made the same share of their own
steps; or in sequence, some at a time, where the next begins when one has ended or was stopped. A run that is still
going is judged against its siblings' forecasts of that moment; one that was stopped keeps the level it had. All of one
checkpoint are judged before anybody is stopped.

Forecasts depend on who is still there to be heard, and that depends on the policy: `Foresight` makes them anew. Runs
that ended are heard whole; those that go, as far as they had come at their newest mark; those that were stopped, no
more, as in the service, which lets only those speak that go or have finished.

- **saved**: share of the runs' lengths that was not run. Each run counts the same: siblings log in different units.
- **regret**: by how much the best level that the group came to lies above the best final level of the whole group,
  over its size; never below zero.
- **wrong stop**: the run that would have ended best was stopped, however little that cost; a *costly* one where the
  regret is above `TIE`, else another run came to as good as the same.
- **Brier score**: of the stated probabilities that a run does not beat its references, against what came to be: the
  run's final level against theirs, those of live siblings as these would have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from app.curves.curve import Curve
from app.diagnostics.engine import Engine
from app.diagnostics.signals import choose_inputs
from app.errors import CurveTooShort
from app.forecasting.forecast import Forecast, forecast_curve
from app.forecasting.recorded_run import FINAL_SHARE_OF_POINTS, RecordedRun
from app.forecasting.siblings import MARKS
from app.verdicts.contest import Errors
from app.verdicts.estimate import Estimate, estimate, references_of
from app.verdicts.guards import fall_to_come, guards, missed_share
from app.verdicts.history import History
from app.verdicts.outlook import Outlook
from app.verdicts.policies import LcPfn, Policy, Predictive
from app.verdicts.rivals import Rival, RivalKind
from app.verdicts.situation import Situation, last_raise
from app.verdicts.verdict import Decision

CHECKPOINTS = 20
"""A run is judged after each twentieth of its length but the last."""

LOOKS = 10
"""So often in its life a run hears how far its siblings have come, as in the service."""

ROUNDING = 1e-9
"""Shares of the way are sums of twentieths."""

TIE = 0.002
"""Ends that lie closer than this share of the best are told apart by luck: nobody would pay for the difference."""

Logged = Mapping[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """What was known of a run at a checkpoint.

    share : of the run's length that was made
    level : what the run is worth if it is stopped here: mean of the last points, infinite where they are not finite
    """

    share: float
    situation: Situation
    level: float


@dataclass(frozen=True, slots=True, eq=False)
class ReplayedRun:
    """A run that ended, as it was at each checkpoint.

    final : mean of its last points; infinite where they are not finite   [of the metric]
    """

    name: str
    total_steps: int
    final: float
    moments: tuple[Moment, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """A stated probability of not beating the references, and whether they were not beaten."""

    share: float
    probability: float
    came_true: bool


@dataclass(frozen=True, slots=True)
class GroupOutcome:
    """What a policy did to a group.

    saved : share of the runs' lengths, each run counting the same
    saved_steps, steps : steps not run, and all steps
    regret : over the size of the best final level, at least 0; infinite where no run came to a finite level
    stopped_best : the run that would have ended best was stopped
    tied : how many other runs would have ended within `TIE` of the best
    judged, undecided : how many judgements, and how many of them came to nothing
    stops : run -> share of its length at which it was stopped
    """

    group: str
    runs: int
    saved: float
    saved_steps: int
    steps: int
    regret: float
    stopped_best: bool
    tied: int
    judged: int
    undecided: int
    said: tuple[Said, ...]
    stops: Mapping[str, float]

    @property
    def is_costly(self) -> bool:
        """Whether the best run was stopped and nothing as good was left."""
        return self.stopped_best and self.regret > TIE


@dataclass(frozen=True, slots=True)
class Summary:
    """Means over groups; n is the number of groups. `brier` is None where nothing was stated.

    saved : each run of a group counting the same
    saved_steps : share of all steps of a group, each group counting the same
    saved_pooled : share of all steps of all groups: the longest logs weigh most
    wrong_stops, costly_stops : share of groups whose best run was stopped; and whose regret is above `TIE` as well
    """

    saved: float
    saved_steps: float
    saved_pooled: float
    regret_mean: float
    regret_p95: float
    wrong_stops: float
    costly_stops: float
    undecided: float
    brier: float | None
    n: int


def replayed(
    run: RecordedRun,
    logged: Logged,
    *,
    checkpoints: int = CHECKPOINTS,
    forecast: Callable[..., Forecast] = forecast_curve,
) -> ReplayedRun:
    """A run as it was known at each checkpoint: curve, forecast, diagnoses.

    Parameters
    ----------
    logged : mapping
        Every metric of the run -> (steps, values): what the diagnoses read.
    forecast : callable
        Of a curve and a plan.
    """
    engine = Engine(choose_inputs({metric: len(steps) for metric, (steps, _) in logged.items()}))
    moments: list[Moment] = []
    for number in range(1, checkpoints):
        share = number / checkpoints
        cutoff = int(share * run.total_steps)
        after = engine.last_step
        new = {metric: _between(*points, after, cutoff) for metric, points in logged.items()}
        engine.observe(new)
        earlier = [one.situation.outlook for one in moments if one.situation.outlook is not None]
        moments.append(_moment(run, share, cutoff, dict(engine.states), earlier, forecast))
    return ReplayedRun(run.name, run.total_steps, _worth(run.final_loss()), tuple(moments))


@dataclass(frozen=True, slots=True)
class Heard:
    """What a run was told of its siblings, and when.

    since : number of its own checkpoint
    siblings : their places, each with the number of the newest checkpoint that counts; those that ended come first, in
        that order, with the number of their checkpoints
    """

    since: int
    siblings: tuple[tuple[int, int], ...] = ()


Foresight = Callable[[int, int, Heard], Outlook | None]
"""Of a run's place, the number of its checkpoint, and what it has heard: its forecast."""


def replay(
    group: str,
    runs: Sequence[ReplayedRun],
    policy: Policy,
    *,
    order: Sequence[int] | None = None,
    at_a_time: int | None = None,
    foresight: Foresight | None = None,
    errors: Errors | None = None,
) -> GroupOutcome:
    """What a policy would have done. Our own listens to the guards; the others are as their authors made them.

    Parameters
    ----------
    order : places of the runs in the order in which they begin; by default as they come
    at_a_time : how many go at once; by default all
    foresight : callable
        Forecasts of somebody who hears a run's siblings when it begins and at each tenth of its way. By default the
        runs' own, of somebody who hears nobody.
    errors : how forecasts of siblings err; by default as it ships
    """
    field = _Field(runs, list(range(len(runs)) if order is None else order), foresight)
    judged = undecided = 0
    said: list[Said] = []
    while field.begin(at_a_time or len(runs)):
        stops = []
        for place in field.going:
            decision, stated = _judge(field, place, policy, errors)
            judged += 1
            undecided += decision is Decision.UNDECIDED
            if decision is Decision.STOP:
                stops.append(place)
            if stated is not None:
                said.append(stated)
        field.go_on(stops)
    return _outcome(group, runs, field.stopped, judged, undecided, tuple(said))


class _Field:
    """Where the runs of a group stand; a place is an index into `runs`.

    going : place -> its checkpoint
    stopped : place -> the checkpoint at which it was stopped
    ended : places of those that made all of their steps, in that order
    told : place -> the run at each checkpoint so far, with the forecasts made then
    heard : place -> what its forecasts know of its siblings
    """

    def __init__(self, runs: Sequence[ReplayedRun], waiting: list[int], foresight: Foresight | None) -> None:
        self.runs = runs
        self.waiting = waiting
        self.foresight = foresight
        self.going: dict[int, int] = {}
        self.stopped: dict[int, int] = {}
        self.ended: list[int] = []
        self.told: list[list[Moment]] = [[] for _ in runs]
        self.heard: dict[int, Heard] = {}

    def begin(self, at_a_time: int) -> bool:
        """Fill what is free with those that wait, and look ahead; False where nobody is left."""
        while self.waiting and len(self.going) < at_a_time:
            self.going[self.waiting.pop(0)] = 0
        for place in self.going:
            self.told[place].append(self._look(place))
        return bool(self.going)

    def go_on(self, stops: Sequence[int]) -> None:
        """Everybody to the next checkpoint, but for those that are stopped."""
        self.stopped |= {place: self.going[place] for place in stops}
        onward = {place: number + 1 for place, number in self.going.items() if place not in stops}
        self.ended += [place for place, number in onward.items() if number == len(self.runs[place].moments)]
        self.going = {place: number for place, number in onward.items() if place not in self.ended}

    def _look(self, place: int) -> Moment:
        """A run at its checkpoint, as it is forecast by somebody who hears its siblings."""
        number = self.going[place]
        moment = self.runs[place].moments[number]
        if self.foresight is None or moment.situation.outlook is None:
            return moment
        looked = self.heard.get(place)
        if looked is None or self._looks(place, number) > self._looks(place, looked.since):
            self.heard[place] = Heard(number, self._speaking(place))
        earlier = [told.situation.outlook for told in self.told[place] if told.situation.outlook is not None]
        situation = moment.situation
        outlook = self.foresight(place, number, self.heard[place])
        missed = _missed(earlier, situation.cutoff, situation.history)
        return replace(moment, situation=replace(situation, outlook=outlook, missed=missed))

    def _speaking(self, place: int) -> tuple[tuple[int, int], ...]:
        ended = [(other, len(self.runs[other].moments)) for other in self.ended]
        marks = {other: self._mark(other, number) for other, number in self.going.items() if other != place}
        return (*ended, *((other, mark) for other, mark in marks.items() if mark is not None))

    def _looks(self, place: int, number: int) -> int:
        return int(LOOKS * self.runs[place].moments[number].share + ROUNDING)

    def _mark(self, place: int, number: int) -> int | None:
        """The checkpoint at which a run passed the newest of `MARKS` that it has passed."""
        shares = [moment.share for moment in self.runs[place].moments[: number + 1]]
        passed = [mark for mark in MARKS if shares[-1] >= mark - ROUNDING]
        return next(n for n, share in enumerate(shares) if share >= passed[-1] - ROUNDING) if passed else None

    def rivals(self, place: int) -> tuple[Rival, ...]:
        """The siblings of a run, as they are known now; nothing of those that have not begun."""
        known = (self._rival(other) for other in range(len(self.runs)) if other != place)
        return tuple(rival for rival in known if rival is not None)

    def _rival(self, place: int) -> Rival | None:
        run = self.runs[place]
        if place in self.going:
            return _live_rival(run, self.told[place][-1].situation)
        if place in self.stopped:
            then = run.moments[self.stopped[place]]
            return _ended_rival(run, then.level, then.situation.history)
        return _ended_rival(run, run.final, run.moments[-1].situation.history) if place in self.ended else None


def replay_oracle(
    group: str, runs: Sequence[ReplayedRun], may_stop: Callable[[Moment], bool] = lambda moment: True
) -> GroupOutcome:
    """All but the best are stopped at the first checkpoint at which that is allowed: nobody can do better."""
    best = int(np.argmin([run.final for run in runs]))
    allowed = {
        place: next((number for number, moment in enumerate(run.moments) if may_stop(moment)), None)
        for place, run in enumerate(runs)
        if place != best
    }
    stopped = {place: number for place, number in allowed.items() if number is not None}
    return _outcome(group, runs, stopped, len(runs), 0, ())


def summarise(outcomes: Sequence[GroupOutcome]) -> Summary:
    """Each group counts the same, each stated probability too."""
    regrets = [outcome.regret for outcome in outcomes]
    said = [one for outcome in outcomes for one in outcome.said]
    judged = sum(outcome.judged for outcome in outcomes)
    return Summary(
        saved=float(np.mean([outcome.saved for outcome in outcomes])),
        saved_steps=float(np.mean([outcome.saved_steps / outcome.steps for outcome in outcomes])),
        saved_pooled=sum(outcome.saved_steps for outcome in outcomes) / sum(outcome.steps for outcome in outcomes),
        regret_mean=float(np.mean(regrets)),
        regret_p95=float(np.quantile(regrets, 0.95, method="higher")),
        wrong_stops=float(np.mean([outcome.stopped_best for outcome in outcomes])),
        costly_stops=float(np.mean([outcome.is_costly for outcome in outcomes])),
        undecided=sum(outcome.undecided for outcome in outcomes) / judged if judged else 0.0,
        brier=float(np.mean([(one.probability - one.came_true) ** 2 for one in said])) if said else None,
        n=len(outcomes),
    )


def reliability(said: Sequence[Said], edges: Sequence[float]) -> list[tuple[float, float, int]]:
    """Stated probabilities in bins: mean stated, share that came true, how many. Empty bins are left out."""
    stated = np.array([one.probability for one in said])
    true = np.array([one.came_true for one in said], dtype=np.float64)
    places = np.clip(np.searchsorted(edges, stated, side="right") - 1, 0, len(edges) - 2)
    return [
        (float(stated[inside].mean()), float(true[inside].mean()), int(inside.sum()))
        for place in range(len(edges) - 1)
        if (inside := places == place).any()
    ]


def _moment(
    run: RecordedRun,
    share: float,
    cutoff: int,
    states: Mapping[str, str],
    earlier: Sequence[Outlook],
    forecast: Callable[..., Forecast],
) -> Moment:
    seen = run.steps <= cutoff
    steps, values = run.steps[seen], run.values[seen]
    curve = Curve.from_points(steps, values)
    finite = np.isfinite(values)
    broken_since = _broken_since(steps, finite)
    rates = run.plan().schedule.rate_at(curve.steps)
    rate = None if run.schedule is None or not len(curve) else Curve.from_points(np.rint(curve.steps), rates)
    history = History(curve.steps, curve.values)
    situation = Situation(
        outlook=None if broken_since is not None else foreseen(run, curve, forecast),
        history=history,
        missed=_missed(earlier, cutoff, history),
        total_steps=run.total_steps,
        states=states,
        raised_at=last_raise(rate),
        broken_since=broken_since,
        now=cutoff,
    )
    recent = values[-max(1, round(FINAL_SHARE_OF_POINTS * len(run.values))) :]
    return Moment(share, situation, _worth(float(np.mean(recent))) if len(recent) else float("inf"))


def foreseen(run: RecordedRun, curve: Curve, forecast: Callable[..., Forecast]) -> Outlook | None:
    """A run's forecast from what was seen of it; None where that is too little."""
    plan = run.plan()
    try:
        return Outlook.from_forecast(forecast(curve, plan), plan, run.metric)
    except CurveTooShort:
        return None


def _missed(earlier: Sequence[Outlook], cutoff: int, history: History) -> float | None:
    level = history.level()
    return None if level is None else missed_share(earlier, cutoff, level)


def _judge(field: _Field, place: int, policy: Policy, errors: Errors | None) -> tuple[Decision, Said | None]:
    run, moment = field.runs[place], field.told[place][-1]
    if moment.situation.is_broken:
        return Decision.STOP, None
    situation = replace(moment.situation, rivals=field.rivals(place))
    if not isinstance(policy, Predictive | LcPfn):
        return policy.rule(situation, None).decision, None
    judged = estimate(situation, errors) if isinstance(policy, Predictive) else None
    decision = policy.rule(situation, judged).decision
    if isinstance(policy, LcPfn):
        return decision, None
    if decision is Decision.STOP and guards(situation, judged):
        decision = Decision.UNDECIDED
    return decision, None if judged is None else _said(field.runs, run, moment.share, situation, judged)


def _ended_rival(run: ReplayedRun, level: float, history: History) -> Rival | None:
    return Rival(run.name, run.name, RivalKind.FINISHED, level, history) if np.isfinite(level) else None


def _live_rival(run: ReplayedRun, situation: Situation) -> Rival:
    outlook = situation.outlook
    if outlook is None:
        # Policies that compare curves still see it; nobody is held to where it goes.
        return Rival(run.name, run.name, RivalKind.LIVE, float("inf"), situation.history, is_trusted=False)
    return Rival(
        run.name,
        run.name,
        RivalKind.LIVE,
        outlook.final,
        situation.history,
        fall=fall_to_come(situation.history, outlook),
        is_trusted=not guards(situation, None),
    )


def _said(runs: Sequence[ReplayedRun], run: ReplayedRun, share: float, situation: Situation, judged: Estimate) -> Said:
    finals = {other.name: other.final for other in runs}
    truths = [
        finals[rival.run_id] if rival.kind is RivalKind.LIVE else rival.median for rival in references_of(situation)
    ]
    return Said(share, judged.probability, run.final >= min(truths) - situation.delta)


def _outcome(
    group: str,
    runs: Sequence[ReplayedRun],
    stopped: Mapping[int, int],
    judged: int,
    undecided: int,
    said: tuple[Said, ...],
) -> GroupOutcome:
    finals = np.array([run.final for run in runs])
    best = int(np.argmin(finals))
    shares = np.array(
        [runs[place].moments[stopped[place]].share if place in stopped else 1.0 for place in range(len(runs))]
    )
    lengths = np.array([run.total_steps for run in runs])
    came_to = [
        runs[place].moments[stopped[place]].level if place in stopped else finals[place] for place in range(len(runs))
    ]
    return GroupOutcome(
        group=group,
        runs=len(runs),
        saved=float(np.mean(1 - shares)),
        saved_steps=int(((1 - shares) * lengths).sum()),
        steps=int(lengths.sum()),
        regret=max(float((min(came_to) - finals[best]) / abs(finals[best])), 0.0),
        stopped_best=best in stopped,
        tied=int((finals - finals[best] <= TIE * abs(finals[best])).sum()) - 1,
        judged=judged,
        undecided=undecided,
        said=said,
        stops={runs[place].name: runs[place].moments[number].share for place, number in stopped.items()},
    )


def _broken_since(steps: npt.NDArray[np.int64], finite: npt.NDArray[np.bool_]) -> int | None:
    if not len(finite) or finite[-1]:
        return None
    sound = np.flatnonzero(finite)
    return int(steps[sound[-1] + 1]) if len(sound) else int(steps[0])


def _between(
    steps: npt.NDArray[np.int64], values: npt.NDArray[np.float64], after: int | None, until: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    chosen = steps <= until if after is None else (steps > after) & (steps <= until)
    return steps[chosen], values[chosen]


def _worth(level: float) -> float:
    return level if np.isfinite(level) else float("inf")

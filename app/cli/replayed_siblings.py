"""What the runs of a replayed group hear of each other, as the worker lets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.forecasting.recorded_run import RecordedRun
    from app.forecasting.siblings import Candidate
    from app.laws.prior import Prior
    from app.verdicts.outlook import Outlook
    from app.verdicts.replay import Heard, ReplayedRun

GROUPED: Mapping[str, str] = {"data": "those of the group"}
"""What the configs of siblings have in common."""


@dataclass(frozen=True, slots=True)
class Told:
    """A run that ended, and the same as it was at each checkpoint to somebody who knew no other run."""

    recorded: RecordedRun
    run: ReplayedRun


@dataclass(frozen=True, slots=True)
class Learner:
    """Forecasts of one group's runs by somebody who hears their siblings, as the worker does; each made once."""

    told: Sequence[Told]
    prior: Prior | None
    priors: dict[tuple[tuple[int, int, float], ...], Prior] = field(default_factory=dict)
    known: dict[tuple[int, int, Heard], Outlook | None] = field(default_factory=dict)

    def __call__(self, place: int, number: int, heard: Heard) -> Outlook | None:
        from app.forecasting.forecast import forecast_curve
        from app.verdicts.replay import foreseen

        key = place, number, heard
        if key not in self.known:
            chosen = self._chosen(place, heard)
            if chosen and chosen not in self.priors:
                self.priors[chosen] = self._learned(chosen)
            if chosen:
                recorded, prior = self.told[place].recorded, self.priors[chosen]
                curve = recorded.seen(self.told[place].run.moments[number].share)
                self.known[key] = foreseen(recorded, curve, lambda curve, plan: forecast_curve(curve, plan, prior))
            else:
                self.known[key] = self.told[place].run.moments[number].situation.outlook
        return self.known[key]

    def _chosen(self, place: int, heard: Heard) -> tuple[tuple[int, int, float], ...]:
        """The siblings that are most alike, each with what it had made and how alike it is.

        Files say no more of a run's config than its rate; that siblings are of one recipe, the group does.
        """
        from app.forecasting.siblings import Traits, closest

        own = self.told[place]
        curve = own.recorded.seen(own.run.moments[heard.since].share)
        candidates = [
            candidate
            for order, (other, made) in enumerate(heard.siblings)
            if (candidate := self._candidate(order, other, made)) is not None
        ]
        if not candidates or not len(curve):
            return ()
        traits = Traits(_peak(own.recorded), GROUPED)
        made = dict(heard.siblings)
        found = closest(traits, curve, own.recorded.total_steps, candidates)
        return tuple((each.key, made[each.key], likeness) for each, likeness in found)

    def _candidate(self, order: int, place: int, made: int) -> Candidate | None:
        """One that says something: not one that diverged, ends in NaN, or whose rate nobody knows."""
        import numpy as np

        from app.forecasting.siblings import (
            LEAST_BINS,
            MARKS,
            Candidate,
            Traits,
            has_diverged,
            level_now,
            levels_of,
            share_told,
        )

        run, share = self.told[place].recorded, self._share(place, made)
        curve = run.seen(share)
        if (
            run.schedule is None
            or len(curve) < LEAST_BINS
            or not np.isfinite(run.values[run.steps <= curve.cutoff][-1])
        ):
            return None
        levels = levels_of(curve) if share == 1.0 else levels_of(curve, run.total_steps, share)
        if not levels or share_told(levels) < MARKS[0] or has_diverged((*levels, level_now(curve))):
            return None
        return Candidate(place, run.name, run.metric, Traits(_peak(run), GROUPED), levels, order)

    def _learned(self, chosen: Sequence[tuple[int, int, float]]) -> Prior:
        from app.forecasting.siblings import Sibling, learn_prior
        from app.laws.shipped import shipped_population

        population = shipped_population()
        if self.prior is not None:
            population = replace(population, prior=self.prior)
        siblings = []
        for place, made, likeness in chosen:
            run, share = self.told[place].recorded, self._share(place, made)
            length = run.total_steps if share < 1 else None
            siblings.append(Sibling(run.seen(share), run.plan().schedule, likeness, length))
        return learn_prior(siblings, population)

    def _share(self, place: int, made: int) -> float:
        moments = self.told[place].run.moments
        return moments[made].share if made < len(moments) else 1.0


def _peak(run: RecordedRun) -> dict[str, float]:
    from app.forecasting.siblings import PEAK_RATE

    return {} if run.schedule is None else {PEAK_RATE: run.schedule.peak}

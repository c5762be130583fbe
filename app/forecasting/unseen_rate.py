"""Rates that nobody has seen: a schedule that is still to go far above the highest rate that the run has had.

The laws answer to falls of the rate and the network was taught warm-ups that end within a tenth of the run and raises
by a few times. A rate that grows tenfold and tenfold again reads to both as a warm-up that is not over yet, after which
a loss falls; in truth such a run breaks.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.curves.plan import Plan
from app.errors import RateNeverSeen

WARMUP_SHARE = 0.1
"""Warm-ups that the network was taught end within this share of the run: no rate by then is a surprise."""

DOUBTFUL = 2.0
"""From so many times the highest rate that a run has had, nobody can tell whether its recipe bears it."""

UNHEARD_OF = 20.0
"""A rate that rises evenly from zero over the whole run comes to ten times what it has at a tenth of it. What goes so
much further is no shape that any forecaster has met."""

UNSEEN_RATE = "Its learning rate is still to rise to"
"""How the note begins that says so: stored forecasts keep notes, and verdicts must know."""


@dataclass(frozen=True, slots=True)
class RiseToCome:
    """A rise of the planned rate beyond all that the run has had.

    highest : of what is to come
    step : at which it is reached [steps]
    known : the highest so far, or by the end of a warm-up as everybody knows them
    seen : the highest so far
    """

    highest: float
    step: int
    known: float
    seen: float

    @property
    def is_unheard_of(self) -> bool:
        """Whether a forecast across it would mean nothing."""
        return self.highest > UNHEARD_OF * self.known

    @property
    def sentence(self) -> str:
        """In words for people."""
        return (
            f"{UNSEEN_RATE} {self.highest:.3g}, at step {self.step:,}; the highest that it has had is {self.seen:.3g}, "
            "and nobody has seen what follows."
        )


def rise_to_come(plan: Plan, cutoff: int) -> RiseToCome | None:
    """The rise beyond twice the highest rate so far that the plan still has; None where there is none."""
    if cutoff >= plan.total_steps:
        return None
    warm = max(cutoff, WARMUP_SHARE * plan.total_steps)
    ahead, known = plan.schedule.between(warm, plan.total_steps), plan.schedule.until(warm).peak
    if ahead.peak <= DOUBTFUL * known:
        return None
    step = round(float(ahead.steps[ahead.rates.argmax()]))
    return RiseToCome(highest=ahead.peak, step=step, known=known, seen=plan.schedule.until(cutoff).peak)


def unheard_of(plan: Plan, cutoff: int) -> RiseToCome | None:
    """The same where no forecast across it is worth showing to anybody."""
    rise = rise_to_come(plan, cutoff)
    return rise if rise is not None and rise.is_unheard_of else None


def refuse_unheard_of(plan: Plan, cutoff: int) -> None:
    """Raises `RateNeverSeen` where there is such a rise."""
    rise = unheard_of(plan, cutoff)
    if rise is not None:
        raise RateNeverSeen(rise.sentence)

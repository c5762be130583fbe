"""What forbids a stop, whatever the numbers say. Each guard has a name and a sentence. Lower is better here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from app.verdicts.estimate import MEMORISED, Estimate, is_learning_by_heart, margin
from app.verdicts.history import History
from app.verdicts.outlook import Outlook
from app.verdicts.situation import Situation
from app.verdicts.verdict import Guard

FALL_AGAIN = 0.5
"""A decay may bring so much more than was forecast, as a share of the whole fall that was forecast."""

LEAST_SHARE_SEEN = 0.05
"""Before this share of the run a forecast is mostly its prior."""

SHARE_AFTER_RAISE = 0.25
"""So long after its rate was raised, as a share of the whole run, a loss that is not back is no re-warm any more."""

MOST_MISSED = 0.6
"""Bands of 90 % miss one level in ten; a run that more than so many of its earlier ones missed is not understood."""

FEWEST_EARLIER = 2

IN_A_GAP = frozenset({"in a gap", "watching a change"})


def missed_share(earlier: Sequence[Outlook], step: int, level: float) -> float | None:
    """Share of a run's earlier forecasts whose 90 % band does not hold where it stands; None with fewer than two.

    Parameters
    ----------
    earlier : of the same metric, whose paths reach `step`
    level : of the metric at `step`
    """
    inside = []
    for outlook in earlier:
        if not outlook.cutoff < step <= outlook.path_steps[-1]:
            continue
        low, high = (float(np.interp(step, outlook.path_steps, outlook.quantiles[row])) for row in (0, -1))
        inside.append(low <= level <= high)
    return 1 - sum(inside) / len(inside) if len(inside) >= FEWEST_EARLIER else None


def guards(situation: Situation, estimate: Estimate | None) -> tuple[Guard, ...]:
    """Everything that forbids a stop now."""
    return tuple(_guards(situation, estimate))


def _guards(situation: Situation, estimate: Estimate | None) -> Iterator[Guard]:
    yield from _of_states(situation)
    outlook = situation.outlook
    if outlook is None:
        yield Guard("no_forecast", situation.why_no_forecast)
        return
    if situation.cutoff < LEAST_SHARE_SEEN * situation.total_steps:
        yield Guard("too_early", f"Less than {100 * LEAST_SHARE_SEEN:.0f} % of the run has been seen.")
    if not outlook.schedule_known:
        yield Guard("schedule_assumed", "Nobody said how the learning rate goes on: it is only assumed.")
    if not outlook.total_known:
        yield Guard("length_assumed", "Nobody said how long the run will be: its end is only assumed.")
    if situation.missed is not None and situation.missed > MOST_MISSED:
        yield Guard(
            "missed", f"{100 * situation.missed:.0f} % of the earlier forecasts of this run missed where it stands now."
        )
    if outlook.raise_start is not None:
        start = f"{outlook.raise_start:,}"
        yield Guard(
            "raise_to_come", f"The rate is still to rise, from step {start} on: no forecast knows what follows."
        )
    if outlook.is_unforeseen:
        yield Guard(
            "unseen_rate", "The rate is still to rise to where nobody has seen one: no forecast knows what follows."
        )
    if outlook.is_atypical:
        yield Guard("unlike", "The curve is unlike those that the forecasters know.")
    if estimate is not None:
        yield from _of_decay(situation, outlook, estimate)


def _of_states(situation: Situation) -> Iterator[Guard]:
    grokking = situation.states.get("grokking")
    if grokking in MEMORISED:
        yield Guard(
            "memorised",
            f"The training data are learned by heart and validation is not there yet ({grokking}): it may still come.",
        )
    if is_learning_by_heart(situation):
        yield Guard(
            "by_heart",
            "The training data are being learned by heart, and validation is no better than where it began: that may "
            "be overfitting, or the first part of grokking.",
        )
    if situation.states.get("stability_gap") in IN_A_GAP:
        yield Guard("stability_gap", "Something was changed a while ago and the loss may not have recovered from it.")
    raised = situation.raised_at
    if raised is not None and _is_rewarming(situation, raised):
        yield Guard(
            "rewarm", f"The learning rate was raised at step {raised:,} and the loss is not back where it was before."
        )


def _is_rewarming(situation: Situation, raised: int) -> bool:
    if situation.cutoff - raised > SHARE_AFTER_RAISE * situation.total_steps:
        return False
    before, now = situation.history.until(raised).lowest(), situation.history.level()
    return before is None or now is None or now > before


def _of_decay(situation: Situation, outlook: Outlook, estimate: Estimate) -> Iterator[Guard]:
    """A decay to come that, if it brings more than was forecast, brings the run to the reference.

    Where the reference's own rate is still to fall, its decay is taken to bring more as well.
    """
    if outlook.decay_start is None:
        return
    own, its = FALL_AGAIN * fall_to_come(situation.history, outlook), FALL_AGAIN * estimate.rival.fall
    if outlook.median - own < estimate.level - its - margin(situation, estimate.rival):
        begins = outlook.decay_begins
        falls = "keeps falling" if begins is None else f"falls from step {begins:,} on"
        yield Guard("decay_to_come", f"The learning rate {falls}: that may change the answer.")


def fall_to_come(history: History, outlook: Outlook) -> float:
    """How far the metric is forecast to fall under a decay of the rate to come; 0 where none is. Lower is better."""
    now = history.level()
    return max(now - outlook.median, 0.0) if now is not None and outlook.decay_start is not None else 0.0

"""What would happen under another schedule: the same curve, the same posterior, another future.

The past stays as it was logged; only the steps to come change. So an answer is an ordinary forecast under a plan that
somebody is thinking of, with the band that comes with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.curves.curve import Curve
from app.curves.measure import LOSS, Measure
from app.curves.plan import Plan
from app.errors import BadInput
from app.forecasting.asked_plan import Cooldown, Question, changed_plan, jump_of
from app.forecasting.forecast import Forecast, forecast_curve
from app.forecasting.reach import FURTHEST_REACH, HIGHER_RATE, HIGHEST_RATE, MEASURED_REACH
from app.forecasting.unseen_rate import refuse_unheard_of
from app.laws.prior import Prior

# Lengths tried for the best decay, as shares of the steps that are left: of one shape, and of each of several.
LENGTHS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
LENGTHS_OF_SEVERAL = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)

SAME = 5e-4
"""Of the final level: ends that lie closer together than this are one, seeds differ by more."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The forecast under the plan that was asked about.

    caveat : in what it goes beyond what was ever measured, in words; None where it does not
    """

    question: Question
    plan: Plan
    forecast: Forecast
    caveat: str | None = None


def answer(
    curve: Curve, plan: Plan, question: Question, prior: Prior | None = None, *, measure: Measure = LOSS
) -> Answer:
    """Forecast `curve` under the changed plan, by the prior that its forecasts are made by.

    Raises `BadInput` where the question makes no sense, `CurveTooShort`, `RateNeverSeen`.
    """
    changed = changed_plan(plan, curve.cutoff, question)
    caveats = [
        beyond_the_measured(plan, changed.total_steps, curve.cutoff),
        beyond_the_rates(plan, changed, curve.cutoff),
        _across_a_jump(plan, curve.cutoff, question),
    ]
    refuse_unheard_of(changed, curve.cutoff)  # a rise that the run itself is planned to make
    forecast = forecast_curve(curve, changed, prior, measure=measure)
    return Answer(question, changed, forecast, " ".join(filter(None, caveats)) or None)


def beyond_the_rates(plan: Plan, changed: Plan, cutoff: int) -> str | None:
    """What is to be said of a rate that the run has not had and is not planned to have.

    Raises `BadInput` where it is so high that nothing can be said.
    """
    highest, asked = plan.schedule.peak, changed.schedule.since(cutoff).peak
    if asked <= HIGHER_RATE * highest:
        return None
    if asked > HIGHEST_RATE * highest:
        raise BadInput(
            f"That rate would rise to {asked:.3g}, more than {HIGHEST_RATE} times the run's peak of {highest:.3g}: "
            "nobody can say whether it would diverge. Ask for a lower one."
        )
    return (
        f"Its rate rises to {asked:.3g}, {asked / highest:.2g} times the run's peak. How the run takes such a rate is "
        "not known, nor whether it diverges."
    )


def beyond_the_measured(plan: Plan, total_steps: int, cutoff: int) -> str | None:
    """What is to be said of a total further away than forecasts were measured, and than the run is planned to go.

    Raises `BadInput` where it is so far away that nothing can be said.
    """
    came = max(cutoff, 1)
    furthest = max(FURTHEST_REACH * came, 2 * plan.total_steps)
    if total_steps > furthest:
        raise BadInput(
            f"That would end at step {total_steps:,}, more than {FURTHEST_REACH} times as far as the run has come, and "
            f"nothing measured says anything of that. Ask for an end at step {furthest:,} or before, or "
            "again when the run has come further."
        )
    if total_steps > max(MEASURED_REACH * came, plan.total_steps):
        return (
            f"Step {total_steps:,} is {total_steps / came:.2g} times as far as the run has come. Forecasts were "
            f"measured up to {MEASURED_REACH} times as far: beyond it nobody knows how often the band holds."
        )
    return None


def _across_a_jump(plan: Plan, cutoff: int, question: Question) -> str | None:
    jump = jump_of(plan, cutoff, question)
    if jump is None:
        return None
    return (
        f"Its rate jumps from {jump.before:.3g} to {jump.after:.3g} after step {jump.step:,}: it does not go on from "
        "where the run then is."
    )


def best_cooldown(
    curve: Curve,
    plan: Plan,
    shapes: Sequence[str] = ("linear",),
    prior: Prior | None = None,
    *,
    measure: Measure = LOSS,
    total_steps: int | None = None,
    final_fraction: float = 0.0,
    hold: bool = False,
) -> list[Answer]:
    """Cool-downs of these shapes and several lengths that all end with the budget, the one with the best median first.

    Parameters
    ----------
    total_steps : int, optional
        The budget; without it where the plan ends. [steps]
    hold : bool
        Until a cool-down begins the rate is kept as it is now, and not as planned.

    Raises
    ------
    BadInput
        Where nothing is left to cool down over, or a shape is not known (`COOLDOWN_SHAPES`).
    """
    end = plan.total_steps if total_steps is None else total_steps
    left = end - curve.cutoff
    if left < 2:
        raise BadInput("The run is at its end: there is nothing left to cool down over. Ask for a later total_steps.")
    shares = LENGTHS if len(shapes) == 1 else LENGTHS_OF_SEVERAL
    lengths = sorted({max(1, round(share * left)) for share in shares})
    questions = [
        Question(cooldown=Cooldown(steps, end - steps, shape, final_fraction), hold=hold)
        for shape in shapes
        for steps in lengths
    ]
    answers = [answer(curve, plan, question, prior, measure=measure) for question in questions]
    return sorted(answers, key=lambda one: one.forecast.final_quantiles[0.50], reverse=measure.rises)


def alike(answers: Sequence[Answer]) -> int:
    """How many of the answers end where the first does, as far as anybody can tell; it counts itself."""
    ends = [one.forecast.final_quantiles[0.50] for one in answers]
    return sum(abs(end - ends[0]) <= SAME * abs(ends[0]) for end in ends)


def in_a_tie(answers: Sequence[Answer]) -> str | None:
    """What is to be said where the best of a search is not told from others; None where it stands apart."""
    same = alike(answers)
    if same == 1:
        return None
    return (
        f"{same} of the {len(answers)} that were tried end within {100 * SAME:g} % of each other, less than seeds "
        "differ by: which of them is best is not known."
    )

"""One verdict: the estimate, the policy's ruling, the guards, the words."""

from __future__ import annotations

from dataclasses import replace

from app.verdicts.estimate import Estimate, estimate
from app.verdicts.guards import decay_start, guards
from app.verdicts.policies import Policy, Predictive, Ruling
from app.verdicts.situation import Situation
from app.verdicts.verdict import Comparison, Decision, Guard, Verdict

NEXT_LOOK = 0.05
"""Unless something is known to happen earlier, a verdict can change when so much more of the run has been seen."""


def judge(situation: Situation, policy: Policy | None = None) -> Verdict:
    """Whether a run is worth going on with.

    A stop that a guard forbids becomes undecided. Some milliseconds; the same situation gives the same verdict.

    Parameters
    ----------
    situation : Situation
    policy : Policy, optional
        By default `Predictive` as it ships.
    """
    chosen = policy or Predictive()
    lower = situation.oriented()
    judged = estimate(lower)
    ruling = chosen.rule(lower, judged)
    forbidding = guards(lower, judged)
    decision = Decision.UNDECIDED if ruling.decision is Decision.STOP and forbidding else ruling.decision
    sign = 1.0 if situation.lower_is_better else -1.0
    shown = None if judged is None else _signed(judged, sign)
    saved = situation.steps_left / situation.total_steps if situation.total_steps > 0 else 0.0
    next_step = _next_step(lower, decision)
    return Verdict(
        decision=decision,
        sentence=_sentence(situation, decision, ruling, shown, forbidding, saved, next_step),
        policy=chosen.name,
        probability=None if shown is None else shown.probability,
        reference="" if shown is None else shown.reference,
        expected_improvement=None if shown is None else shown.expected_improvement,
        saved=saved,
        saved_steps=situation.steps_left,
        regret=None if shown is None else shown.regret,
        regret_interval=None if shown is None else shown.regret_interval,
        next_step=next_step,
        guards=forbidding if ruling.decision is Decision.STOP or judged is None else (),
        comparisons=() if shown is None else shown.comparisons,
        evidence=_evidence(situation, shown),
    )


def _signed(judged: Estimate, sign: float) -> Estimate:
    comparisons: tuple[Comparison, ...] = tuple(replace(one, value=sign * one.value) for one in judged.comparisons)
    return replace(judged, level=sign * judged.level, comparisons=comparisons)


def _next_step(situation: Situation, decision: Decision) -> int | None:
    if decision is Decision.STOP or situation.steps_left == 0:
        return None
    step = min(situation.cutoff + max(round(NEXT_LOOK * situation.total_steps), 1), situation.total_steps)
    start = None if situation.outlook is None else decay_start(situation.outlook)
    return step if start is None or start <= situation.cutoff else min(step, start)


def _evidence(situation: Situation, judged: Estimate | None) -> dict[str, float]:
    evidence = {"cutoff": float(situation.cutoff), "total_steps": float(situation.total_steps)}
    if situation.best_so_far is not None:
        evidence["best_so_far"] = situation.best_so_far
    if situation.outlook is not None:
        evidence |= {
            "final_p05": situation.outlook.final.quantile(0.05),
            "final_p50": situation.outlook.median,
            "final_p95": situation.outlook.final.quantile(0.95),
        }
    if judged is not None:
        evidence["reference_level"] = judged.level
    return evidence


def _sentence(
    situation: Situation,
    decision: Decision,
    ruling: Ruling,
    judged: Estimate | None,
    forbidding: tuple[Guard, ...],
    saved: float,
    next_step: int | None,
) -> str:
    again = "" if next_step is None else f" Ask again at step {next_step:,}."
    if judged is None:
        words = " ".join(guard.sentence for guard in forbidding) or f"{ruling.reason.capitalize()}."
        return f"{words}{again}"
    behind = "above" if situation.lower_is_better else "below"
    against = f"{judged.reference} ({judged.level:.4g})"
    if decision is Decision.CONTINUE:
        return f"{percent(1 - judged.probability)} sure that this beats {against}: go on."
    sure = f"{percent(judged.probability)} sure that this ends {behind} {against}"
    if decision is Decision.STOP:
        return f"{sure}; stopping now saves {saved:.0%} of the run, expected regret {judged.regret:.2g}."
    if ruling.decision is Decision.STOP:
        return f"{sure}, but no stop: {' '.join(guard.sentence for guard in forbidding)}{again}"
    return f"{sure}: {ruling.reason}.{again}"


def percent(probability: float) -> str:
    """In words that never claim certainty."""
    if probability >= 0.995:
        return "More than 99 %"
    return "Less than 1 %" if probability < 0.005 else f"{100 * probability:.0f} %"

"""One verdict: the estimate, the policy's ruling, the guards, the words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from app.verdicts.estimate import compare, estimate, own_improvement
from app.verdicts.guards import guards
from app.verdicts.policies import Policy, Predictive, Ruling
from app.verdicts.situation import Situation
from app.verdicts.verdict import Comparison, Decision, Verdict

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
    if situation.is_broken:
        return _broken(situation, chosen)
    lower = situation.oriented()
    judged = estimate(lower)
    ruling = chosen.rule(lower, judged)
    forbidding = guards(lower, judged)
    compared = compare(lower)
    hardest = None if judged is None else _hardest(compared, judged.probability)
    decision = Decision.UNDECIDED if ruling.decision is Decision.STOP and forbidding else ruling.decision
    sign = 1.0 if situation.lower_is_better else -1.0
    saved = situation.steps_left / situation.total_steps if situation.total_steps > 0 else 0.0
    verdict = Verdict(
        decision=decision,
        sentence="",
        policy=chosen.name,
        probability=None if judged is None else judged.probability,
        reference="" if hardest is None else hardest.name,
        expected_improvement=own_improvement(lower),
        saved=saved,
        saved_steps=situation.steps_left,
        regret=None if judged is None else judged.regret,
        regret_interval=None if judged is None else judged.regret_interval(),
        next_step=_next_step(lower, decision),
        guards=forbidding,
        comparisons=tuple(replace(one, value=sign * one.value) for one in compared),
        reference_probability=None if hardest is None else hardest.probability,
        evidence=_evidence(situation, None if hardest is None else sign * hardest.value),
    )
    return replace(verdict, sentence=_sentence(situation, verdict, ruling))


def _hardest(compared: Sequence[Comparison], of_all: float) -> Comparison:
    """The reference that the run is least likely to beat; of those that it is as unlikely to, the lowest.

    Nothing is harder to beat than all of them together, whatever the last digits of two integrals say.
    """
    hardest = max(compared, key=lambda one: _rounded(one.probability))
    return replace(hardest, probability=min(hardest.probability, of_all))


def _broken(situation: Situation, policy: Policy) -> Verdict:
    """No policy is needed to stop a run whose loss has been NaN for long."""
    saved = situation.steps_left / situation.total_steps if situation.total_steps > 0 else 0.0
    since = situation.broken_since or 0
    return Verdict(
        decision=Decision.STOP,
        sentence=f"NaN or infinite since step {since:,}, for good; stopping now saves {100 * saved:.0f} % of the run.",
        policy=policy.name,
        probability=1.0,
        reference="",
        expected_improvement=0.0,
        saved=saved,
        saved_steps=situation.steps_left,
        regret=0.0,
        regret_interval=(0.0, 0.0),
        next_step=None,
        evidence={
            "broken_since": float(since),
            "cutoff": float(situation.cutoff),
            "total_steps": float(situation.total_steps),
        },
    )


def _next_step(situation: Situation, decision: Decision) -> int | None:
    if decision is Decision.STOP or situation.steps_left == 0:
        return None
    step = min(situation.cutoff + max(round(NEXT_LOOK * situation.total_steps), 1), situation.total_steps)
    start = None if situation.outlook is None else situation.outlook.decay_start
    return step if start is None or start <= situation.cutoff else min(step, start)


def _evidence(situation: Situation, reference_level: float | None) -> dict[str, float]:
    evidence = {"cutoff": float(situation.cutoff), "total_steps": float(situation.total_steps)}
    if situation.best_so_far is not None:
        evidence["best_so_far"] = situation.best_so_far
    if situation.outlook is not None:
        evidence |= {
            "final_p05": situation.outlook.final.quantile(0.05),
            "final_p50": situation.outlook.median,
            "final_p95": situation.outlook.final.quantile(0.95),
        }
    if reference_level is not None:
        evidence["reference_level"] = reference_level
    return evidence


def _sentence(situation: Situation, verdict: Verdict, ruling: Ruling) -> str:
    again = "" if verdict.next_step is None else f" Ask again at step {verdict.next_step:,}."
    forbidden = " ".join(guard.sentence for guard in verdict.guards)
    if verdict.probability is None or verdict.reference_probability is None or verdict.regret is None:
        return f"{forbidden or f'{ruling.reason.capitalize()}.'}{again}"
    if verdict.decision is Decision.CONTINUE:
        return f"{_odds(situation, verdict, 1 - verdict.probability, 1 - verdict.reference_probability)}: go on."
    sure = _odds(situation, verdict, verdict.probability, verdict.reference_probability, ruling.asked)
    if verdict.decision is Decision.STOP:
        regret = amount(verdict.regret, verdict.evidence["reference_level"])
        return f"{sure}; stopping now saves {100 * verdict.saved:.0f} % of the run, expected regret {regret}."
    if ruling.decision is Decision.STOP:
        return f"{sure}, but no stop: {forbidden}{again}"
    return f"{sure}: {ruling.reason}.{again}"


def _odds(situation: Situation, verdict: Verdict, of_all: float, of_one: float, asked: float | None = None) -> str:
    """How sure it is, of all references together; and of the hardest by itself where that is another number."""
    behind, ahead = ("above", "below") if situation.lower_is_better else ("below", "above")
    by = f"more than {situation.delta:g} " if situation.delta else ""
    if verdict.decision is Decision.CONTINUE:
        ends = f"ends {by}{ahead}"
    else:
        ends = f"does not end {by}{ahead}" if by else f"ends {behind}"
    hardest = f"{verdict.reference} ({verdict.evidence['reference_level']:.4g})"
    sure = percent(of_all, asked)
    if len(verdict.comparisons) == 1 or percent(of_one) == percent(of_all):
        return f"{sure} sure that this {ends} {hardest}"
    if verdict.decision is not Decision.CONTINUE:
        ends = f"does not end {by}{ahead}"
    return (
        f"{sure} sure that this {ends} all {len(verdict.comparisons)} that it is held to, {_within(percent(of_one))} "
        f"against the hardest alone, {hardest}"
    )


def _within(words: str) -> str:
    """The same inside a sentence."""
    return words[0].lower() + words[1:]


def amount(regret: float, level: float) -> str:
    """In words that claim no more digits than a level has that is known to one in ten thousand."""
    least = 10.0 ** (math.floor(math.log10(abs(level))) - 4) if level else 0.0
    return f"below {least:.0g}" if regret < least else f"{regret:.2g}"


def percent(probability: float, asked: float | None = None) -> str:
    """In words that never claim certainty, nor stand on the other side of what was asked than the probability does."""
    if asked is not None and probability < asked <= _rounded(probability):
        return f"{math.floor(1000 * probability) / 10:.1f} %"
    if probability >= 0.995:
        return "More than 99 %"
    if asked is not None and _rounded(probability) < asked <= probability:
        return f"{math.ceil(1000 * probability) / 10:.1f} %"
    return "Less than 1 %" if probability < 0.005 else f"{100 * probability:.0f} %"


def _rounded(probability: float) -> float:
    """To whole percents, as it would be shown."""
    return float(f"{100 * probability:.0f}") / 100

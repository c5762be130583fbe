"""One verdict: the estimate, the policy's ruling, the guards, the words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from app.verdicts.estimate import compare, estimate, own_improvement
from app.verdicts.guards import guards
from app.verdicts.policies import Policy, Predictive, Ruling
from app.verdicts.rivals import RivalKind
from app.verdicts.situation import Situation
from app.verdicts.verdict import Comparison, Decision, Verdict

LOOKS = 20
"""A run is worth looking at again at the next of so many marks along its way, those at which verdicts were measured,
or where its rate begins to fall. Marks stay where they are however often it is judged."""


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
    mark = situation.cutoff * LOOKS // situation.total_steps + 1
    step = max(math.ceil(mark * situation.total_steps / LOOKS), situation.cutoff + 1)
    start = None if situation.outlook is None else situation.outlook.decay_start
    return step if start is None or start <= situation.cutoff else min(step, start)


def ask_again(next_step: int) -> str:
    """The end of the sentence of a verdict that is undecided."""
    return f" Ask again at step {next_step:,}."


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
    again = "" if verdict.next_step is None else ask_again(verdict.next_step)
    forbidden = " ".join(guard.sentence for guard in verdict.guards)
    if not ruling.by_odds:
        return _own_words(situation, verdict, ruling, forbidden, again)
    if verdict.probability is None or verdict.regret is None:
        return f"{forbidden or f'{_capital(ruling.reason)}.'}{again}"
    sure = _odds(situation, verdict, is_ahead=verdict.decision is Decision.CONTINUE, asked=ruling.asked)
    if verdict.decision is Decision.CONTINUE:
        return f"{sure}: go on."
    if verdict.decision is Decision.STOP:
        return f"{sure}; stopping now saves {100 * verdict.saved:.0f} % of the run, {_regret(verdict)}."
    if ruling.decision is Decision.STOP:
        return f"{sure}, but no stop: {forbidden}{again}"
    return f"{sure}: {ruling.reason}.{again}"


def _own_words(situation: Situation, verdict: Verdict, ruling: Ruling, forbidden: str, again: str) -> str:
    """Of a policy that does not go by the odds: why it decides, and, apart from that, what the forecast makes of it."""
    reason = f"{_capital(ruling.reason)} ({verdict.policy})"
    forecast = ""
    if verdict.probability is not None:
        forecast = f" The forecast: {_within(_odds(situation, verdict, is_ahead=verdict.probability < 0.5))}"
    if verdict.decision is Decision.CONTINUE:
        return f"{reason}: go on.{forecast and f'{forecast}.'}"
    if verdict.decision is Decision.STOP:
        saved = f"{reason}; stopping now saves {100 * verdict.saved:.0f} % of the run."
        return f"{saved}{forecast and f'{forecast}, {_regret(verdict)}.'}"
    if ruling.decision is Decision.STOP:
        return f"{reason}, but no stop: {forbidden}{forecast and f'{forecast}.'}{again}"
    if situation.outlook is None and forbidden:
        return f"{forbidden}{again}"
    return f"{reason}.{forecast and f'{forecast}.'}{again}"


def _regret(verdict: Verdict) -> str:
    return f"expected regret {amount(verdict.regret or 0.0, verdict.evidence['reference_level'])}"


def _odds(situation: Situation, verdict: Verdict, *, is_ahead: bool, asked: float | None = None) -> str:
    """How sure it is, of all references together; and of the hardest by itself where that is another number.

    is_ahead : whether to say how sure it is that the run beats them, or that it does not
    """
    of_all, of_one = verdict.probability or 0.0, verdict.reference_probability or 0.0
    if is_ahead:
        of_all, of_one = 1 - of_all, 1 - of_one
    level = verdict.evidence["reference_level"]
    hardest = f"{verdict.reference} ({level:.4g})"
    sure = percent(of_all, asked)
    if len(verdict.comparisons) == 1 or percent(of_one) == percent(of_all):
        is_target = any(one.kind is RivalKind.TARGET and one.name == verdict.reference for one in verdict.comparisons)
        return f"{sure} sure that this {_ends(situation, 0.0 if is_target else situation.delta, is_ahead)} {hardest}"
    with_target = any(one.kind is RivalKind.TARGET for one in verdict.comparisons)
    aside = " (the target is met at its own level)" if situation.delta and with_target else ""
    return (
        f"{sure} sure that this {_ends(situation, situation.delta, is_ahead, of_many=True)} all "
        f"{len(verdict.comparisons)} that it is held to{aside}, {_within(percent(of_one))} against the hardest alone, "
        f"{hardest}"
    )


def _ends(situation: Situation, margin: float, is_ahead: bool, of_many: bool = False) -> str:
    """Where a run ends that beats references by so much, or does not: not below all of many is not above all."""
    behind, ahead = ("above", "below") if situation.lower_is_better else ("below", "above")
    by = f"more than {margin:g} " if margin else ""
    if is_ahead:
        return f"ends {by}{ahead}"
    return f"does not end {by}{ahead}" if by or of_many else f"ends {behind}"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


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

"""What verdicts would have come to in families that nothing of them was learned from.

Run ``python -m benchmarks.nested_verdicts [DIRECTORY]`` after `benchmarks.learn_errors`; it takes half an hour of one
core. How forecasts of siblings err is taken, for the groups of each family, as it was learned without that family
(`app/verdicts/errors.json`). For each family, of a few values of `confidence` the one is chosen that stops the fewest
best runs on the groups of all others, and of these the one that saves most; and for the service, on all groups. That
choice is made with forecasts of runs of which none was stopped; what is reported is replayed as ``losscast backtest
--verdicts`` does, where those that were stopped are heard no more.

Printed as Markdown: what each confidence comes to without each family, with the forecasts of the choice; and what came
of each family's groups with constants that have not seen them, at the confidence chosen so and at the shipped one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from app.cli.backtest_verdicts import Group
from app.verdicts.contest import Errors
from app.verdicts.outlook import Outlook
from app.verdicts.policies import Predictive
from app.verdicts.replay import GroupOutcome, Heard, replay, summarise
from benchmarks.held_out import runs_directory
from benchmarks.learn_errors import FAMILIES, errors_without, forecasts_of, read_groups
from benchmarks.usage import tell_if_asked

CONFIDENCES = (0.95, 0.96, 0.97, 0.98, 0.99)

STATED = (0.95, 0.99)
"""Probabilities that decide about stops: how far they can be believed is told apart."""

Kept = Mapping[tuple[int, int], Outlook]


def main() -> None:
    tell_if_asked(__doc__)
    groups = read_groups(runs_directory())
    kept = {group.name: forecasts_of(group) for group in groups}
    errors = errors_without()
    tried = {
        confidence: [
            judged(group, kept[group.name], Predictive(confidence), errors[family_of(group)]) for group in groups
        ]
        for confidence in CONFIDENCES
    }
    chosen = _choices(tried)
    nested = [group.outcome(Predictive(chosen[family_of(group)]), errors[family_of(group)]) for group in groups]
    shipped = [group.outcome(Predictive(), errors[family_of(group)]) for group in groups]
    for title, found in (("confidence chosen without the family", nested), ("confidence as it ships", shipped)):
        print(f"\n| {title} | groups | saved [%] | mean regret [%] | wrong | costly | stated 95 to 99 % | came true |")
        print("|---|---|---|---|---|---|---|---|")
        for family in (*FAMILIES, ""):
            print(_row(family or "all", [each for each in found if each.group.startswith(family)]))


def _choices(tried: Mapping[float, Sequence[GroupOutcome]]) -> dict[str, float]:
    """Of each family, by what came of all others; printed, with that by all."""
    print("| left out | " + " | ".join(f"{each:g}: saved [%], wrong" for each in CONFIDENCES) + " | chosen |")
    print("|---|" + "---|" * (len(CONFIDENCES) + 1))
    chosen = {}
    for family in (*FAMILIES, "none"):
        others = {each: [one for one in found if not one.group.startswith(family)] for each, found in tried.items()}
        chosen[family] = choice(others)
        print(f"| {family} | {' | '.join(_told(each) for each in others.values())} | {chosen[family]:g} |", flush=True)
    return chosen


def family_of(group: Group) -> str:
    return group.name.split(" ")[0]


def judged(group: Group, known: Kept, policy: Predictive, errors: Errors) -> GroupOutcome:
    """With forecasts of runs of which none was stopped."""

    def foresight(place: int, number: int, heard: Heard) -> Outlook | None:
        return known.get((place, number))

    return replay(group.name, group.runs, policy, foresight=foresight, errors=errors)


def choice(tried: Mapping[float, Sequence[GroupOutcome]]) -> float:
    """Fewest wrong stops, then most saved."""
    summaries = {confidence: summarise(found) for confidence, found in tried.items()}
    return min(summaries, key=lambda each: (summaries[each].wrong_stops, -summaries[each].saved))


def _told(found: Sequence[GroupOutcome]) -> str:
    summary = summarise(found)
    return f"{100 * summary.saved:.1f}, {sum(each.stopped_best for each in found)}"


def _row(name: str, found: Sequence[GroupOutcome]) -> str:
    summary = summarise(found)
    low, high = STATED
    said = [one for each in found for one in each.said if low <= one.probability < high]
    stated, true = np.mean([(one.probability, one.came_true) for one in said] or [(np.nan, False)], axis=0)
    wrong, costly = (sum(each) for each in zip(*((one.stopped_best, one.is_costly) for one in found), strict=True))
    figures = (
        f"{len(found)}",
        f"{100 * summary.saved:.1f}",
        f"{100 * summary.regret_mean:.2f}",
        f"{wrong}",
        f"{costly}",
    )
    return f"| {name} | {' | '.join(figures)} | {100 * stated:.1f} | {100 * true:.1f} of {len(said)} |"


if __name__ == "__main__":
    main()

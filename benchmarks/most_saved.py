"""What somebody who knew every end could save, were they bound by the guards.

Run ``python -m benchmarks.most_saved [DIRECTORY]``; it takes a few minutes of one core. Groups of siblings are those of
``losscast backtest --verdicts``, side by side. Whoever knows the ends stops all runs but the best, each at the first
checkpoint at which the rules of a row allow it, and is never wrong: no forecast, however good, saves more under them.
Each row has the rules of the row above as well.

Printed as Markdown: the share of the runs' lengths that is saved, each run of a group and each group counting the same;
and, of the groups of public sweeps, the share of a group's steps, and of all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from app.verdicts.guards import guards
from app.verdicts.replay import GroupOutcome, Moment, Summary, replay_oracle, summarise
from benchmarks.held_out import runs_directory
from benchmarks.learn_errors import FAMILIES, read_groups
from benchmarks.usage import tell_if_asked

PUBLIC = ("lr_scheduling", "multipowerlaw", "algoperf", "grokking")

NEVER_STOPPED = frozenset({"memorised", "stability_gap", "rewarm"})
"""Guards of a run that has memorised, or was re-warmed."""


def has_forecast(moment: Moment) -> bool:
    return moment.situation.is_broken or moment.situation.outlook is not None


def is_no_flat_phase(moment: Moment) -> bool:
    """Whether the planned rate is not held now, to fall later."""
    outlook = moment.situation.outlook
    return has_forecast(moment) and (outlook is None or outlook.decay_begins is None)


def is_in_no_state(moment: Moment) -> bool:
    return is_no_flat_phase(moment) and not NEVER_STOPPED & _guards(moment)


def has_no_raise_to_come(moment: Moment) -> bool:
    return is_in_no_state(moment) and "raise_to_come" not in _guards(moment)


def is_unguarded(moment: Moment) -> bool:
    return is_no_flat_phase(moment) and (moment.situation.is_broken or not _guards(moment))


RULES: Mapping[str, Callable[[Moment], bool]] = {
    "none": lambda moment: True,
    "once there is a forecast": has_forecast,
    "never in a flat phase before a decay": is_no_flat_phase,
    "never memorised, in a stability gap or after a re-warm": is_in_no_state,
    "never before a raise": has_no_raise_to_come,
    "by no guard at all": is_unguarded,
}


def main() -> None:
    tell_if_asked(__doc__)
    groups = read_groups(runs_directory())
    titles = (*FAMILIES, "all", "public sweeps", "by steps of a group", "of all steps")
    print("| rules | " + " | ".join(titles) + " |")
    print("|---|" + "---|" * len(titles))
    for name, may_stop in RULES.items():
        found = [replay_oracle(group.name, group.runs, may_stop) for group in groups]
        of_family = [_summary(found, (family,)).saved for family in FAMILIES]
        public = _summary(found, PUBLIC)
        cells = (*of_family, summarise(found).saved, public.saved, public.saved_steps, public.saved_pooled)
        print(f"| {name} | " + " | ".join(f"{100 * saved:.1f}" for saved in cells) + " |", flush=True)


def _summary(found: Sequence[GroupOutcome], families: Sequence[str]) -> Summary:
    return summarise([each for each in found if each.group.split(" ")[0] in families])


def _guards(moment: Moment) -> set[str]:
    return {guard.name for guard in guards(moment.situation, None)}


if __name__ == "__main__":
    main()

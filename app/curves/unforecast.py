"""What is not forecast although people watch it, by its name: why, and what to log in its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.curves.roles import FORECAST_ROLES, SAID, RoleMatch, assign_roles, spelling

AS_LOSSES_GO = "It is continued as losses go, which was never measured on others."


@dataclass(frozen=True, slots=True)
class Unforecast:
    """A kind of metric that no forecast is made of unasked.

    kind : with its article, as in "it is ..."
    pattern : of its name in the one spelling of `app.curves.roles`
    why : what keeps the laws of losses from it
    instead : what to log
    """

    kind: str
    pattern: str
    why: str
    instead: str


KINDS = (
    Unforecast(
        "a perplexity",
        r"(^|/)(ppl|perplexity)(/|$)",
        "it is the exponential of a loss and falls over orders of magnitude",
        "Log its logarithm, the cross-entropy, as train_loss or val_loss.",
    ),
    Unforecast(
        "an error rate of words or characters",
        r"(^|/)(wer|cer)(/|$)",
        "it counts errors, and no forecast of such a count was ever measured",
        "Log the loss on the same data as val_loss.",
    ),
    Unforecast(
        "a reward",
        r"(^|/)rewards?(/(mean|total|avg))?$|(^|/)critic/score/mean$",
        "it has no bound that is known, and more of it may be learned at any time",
        "Log the share of tasks that are solved as val_accuracy, if there is one.",
    ),
    Unforecast(
        "a score",
        r"(^|/)scores?$",
        "nothing says its bounds, nor whether more or less of it is better",
        "If it rises within 0 to 1 or 0 to 100, give it the role val_accuracy.",
    ),
)


def kind_of(metric: str) -> Unforecast | None:
    """None for names that are none of these: losses, accuracies, and what nobody would ask a forecast of."""
    if assign_roles([metric])[metric].role in FORECAST_ROLES:
        return None
    key = spelling(metric)
    return next((kind for kind in KINDS if re.search(kind.pattern, key)), None)


def why_unforecast(metric: str) -> str | None:
    """What it is, why it is not forecast, and what to log instead."""
    kind = kind_of(metric)
    return None if kind is None else f"{metric} looks like {kind.kind}: {kind.why}. {kind.instead}"


def why_none_of_these(metrics: Iterable[str]) -> list[str]:
    """The same of a run that logs nothing else: a sentence a kind, of its metric with the shortest name."""
    said: dict[str, str] = {}
    for metric in sorted(metrics, key=lambda name: (len(name), name)):
        kind, why = kind_of(metric), why_unforecast(metric)
        if kind is not None and why is not None:
            said.setdefault(kind.kind, why)
    return list(said.values())


def asked_all_the_same(metric: str, role: str) -> str | None:
    """What to say beside a forecast of a metric that was named to a command; None for a loss and an accuracy."""
    if role in FORECAST_ROLES:
        return None
    return f"{why_unforecast(metric) or _neither(metric)} {AS_LOSSES_GO}"


def said_to_be_forecast(metric: str, roles: Mapping[str, RoleMatch]) -> str | None:
    """What to say beside a forecast of a metric that a person gave its role; None where the name does not object."""
    why = why_unforecast(metric) if roles[metric].rule == SAID else None
    return None if why is None else f"{why} It is forecast because you gave it a role, which was never measured."


def _neither(metric: str) -> str:
    return f"{metric} looks like neither a loss nor an accuracy: nothing says whether more or less of it is better."

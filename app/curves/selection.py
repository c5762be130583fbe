"""Which of a run's metrics a refit looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.curves.planning.total import LENGTH_ROLES
from app.curves.roles import ACCURACY_ROLES, LOSS_ROLES, RoleMatch, assign_roles, best_metric, forecastable

# What is read besides what is forecast: the plan needs the rate and whatever says how long the run will be, the alert
# rules the norm of the gradient.
SUPPORTING_ROLES = ("lr", "grad_norm", *LENGTH_ROLES)

# A metric whose last step lies before this share of the run's own was given up by the job: it speaks of another phase.
SILENT_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Logged:
    """How much of a metric there is."""

    points: int
    first_step: int | None
    last_step: int | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Metrics by what they are good for.

    roles : every metric's role, and why
    losses, accuracies : those to forecast, of the losses the one that lists show first
    supporting : role -> the metric that stands for it, None where there is none
    """

    roles: Mapping[str, RoleMatch]
    losses: Sequence[str]
    supporting: Mapping[str, str | None]
    accuracies: Sequence[str] = ()

    @property
    def forecast(self) -> list[str]:
        """What is forecast, the metric that lists show first: a loss wherever there is one."""
        return [*self.losses, *self.accuracies]

    @property
    def metrics(self) -> list[str]:
        return [*self.forecast, *(metric for metric in self.supporting.values() if metric is not None)]


def select_metrics(logged: Mapping[str, Logged], overrides: Mapping[str, str]) -> Selection:
    """Choose among what a run has logged. `overrides` are roles set by a person."""
    roles = assign_roles(logged, overrides)
    points = {metric: amount.points for metric, amount in logged.items()}
    chosen = forecastable(roles, points)
    # A test accuracy that is logged once more at the end must not silence the losses: they are held to each other.
    losses = _still_logged([metric for metric in chosen if roles[metric].role in LOSS_ROLES], logged)
    return Selection(
        roles=roles,
        losses=losses,
        accuracies=[each for each in _still_logged(chosen, logged) if roles[each].role in ACCURACY_ROLES],
        supporting={role: best_metric(roles, role, points) for role in SUPPORTING_ROLES},
    )


def _still_logged(metrics: Sequence[str], logged: Mapping[str, Logged]) -> list[str]:
    reached = {metric: logged[metric].last_step or 0 for metric in metrics}
    furthest = max(reached.values(), default=0)
    start = min((logged[metric].first_step or 0 for metric in metrics), default=0)
    return [metric for metric in metrics if reached[metric] - start >= SILENT_SHARE * (furthest - start)]

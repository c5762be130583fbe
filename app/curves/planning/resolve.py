"""How long a run will be and what its learning rate will do: said, concluded or assumed, and why.

In order. The total: declared, the config, a total that the job logs, steps an epoch, the share done that the job logs,
the fit of the logged rate, else as long again as the run has been; one that the run has passed is none. The schedule:
known future rates, the declared family, the config's family, the fit of the logged rate, else the last rate is held.
The past is always what was logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from app.curves.config_keys import Config
from app.curves.curve import Curve
from app.curves.inference.inferred import InferredSchedule
from app.curves.plan import DECLARED, Plan
from app.curves.planning.agreement import LoggedRate
from app.curves.planning.chosen_schedule import as_configured, as_declared, as_logged, as_planned, whole_schedule
from app.curves.planning.read_off import read_off
from app.curves.planning.total import inferred_total, resolved_total, told_total
from app.curves.schedule import Schedule
from app.curves.warmup import unseen_warmup

_NOTHING_LOGGED: Mapping[str, Curve] = MappingProxyType({})


def resolve_plan(
    *,
    declared: Mapping[str, Any],
    config: Mapping[str, Any],
    rate: Curve | None,
    cutoff: int,
    epoch: Curve | None = None,
    planned: Schedule | None = None,
    lengths: Mapping[str, Curve] = _NOTHING_LOGGED,
    restarted_at: int | None = None,
) -> Plan:
    """The plan of a run from everything that is known of it.

    Parameters
    ----------
    declared : mapping
        `{"total_steps": int, "schedule": {"family": ...}}`, both optional, as `validate_declared_plan` returns it.
    config : mapping
        The run's config as its framework wrote it.
    rate, epoch : Curve or None
        The learning rate and the epoch logged so far.
    cutoff : int
        Last step seen of the run. [steps]
    planned : Schedule or None
        Future rates that are known, e.g. rows of a file that hold nothing else.
    lengths : mapping
        What was logged under each of `LENGTH_ROLES`; `epoch` may be given here as well.
    restarted_at : int or None
        First step of the job's newest start, where it was started more than once: what is declared may speak of the
        rest only. [steps]
    """
    flat = Config(config)
    logged = _usable(rate)
    said = lengths if epoch is None else {**lengths, "epoch": epoch}
    log = None if logged is None else LoggedRate(logged, restarted_at)
    told, outrun = told_total(declared, flat, planned, said, cutoff)

    @cache
    def inferred() -> InferredSchedule | None:
        """What the log says; asked for only where nobody said better, since it costs tens of milliseconds."""
        return None if log is None else read_off(log, told.steps if told else None)

    total = resolved_total(told or inferred_total(inferred(), cutoff, outrun), outrun, cutoff, logged)
    chosen = (
        as_planned(planned, logged, total)
        or as_declared(declared, flat, total, log, inferred)
        or as_configured(flat, total, log, inferred)
        or as_logged(inferred())
    )
    warmup = (
        0.0
        if logged is None or chosen.source == DECLARED
        else unseen_warmup(logged.steps, logged.values, logged.counts)
    )
    schedule = whole_schedule(chosen.schedule, logged, total.steps, warmup)
    why = chosen.why
    if warmup > 0:
        why += (
            f" The log begins late, at its highest rate: a warm-up over the {warmup:,.0f} steps before it is assumed."
        )
    return Plan(total.steps, total.source, total.why, schedule, chosen.source, chosen.family, why)


def _usable(rate: Curve | None) -> Curve | None:
    """The logged rate, if it is one: at least one value, none below zero, not all zero."""
    if rate is None or not len(rate) or rate.values.min() < 0 or rate.values.max() <= 0:
        return None
    return rate

"""What the logged rate says of its own future, of a job that may have been started again with another schedule."""

from __future__ import annotations

from app.curves.curve import Curve
from app.curves.inference.infer import infer_schedule
from app.curves.inference.inferred import InferredSchedule, held
from app.curves.planning.agreement import LoggedRate

_FLAT = 3e-3  # of its own peak: a rate that has moved by less since the restart is constant since then
_AT_RESTART = 0.05  # of the steps before it: the end of a decay cannot be told more exactly from the restart


def read_off(log: LoggedRate, total_steps: int | None) -> InferredSchedule:
    """Family and future of the rate: of the newest start alone where that has broken with what was before.

    A rate that falls until a restart and stands still from there on has not come to its floor: the schedule was cut
    off, and nobody has seen the new one.
    """
    newest = log.since_restart
    if newest is None or len(newest) < 2:
        return infer_schedule(log.curve, total_steps=total_steps)
    inferred = infer_schedule(newest if log.jumps_at_restart else log.curve, total_steps=total_steps)
    if not inferred.is_known and not log.jumps_at_restart:
        inferred = infer_schedule(newest, total_steps=total_steps)
    if not inferred.is_known or not _is_flat(newest) or not _ends_at(inferred, newest):
        return inferred
    why = (
        f"The learning rate has been constant since the job's restart at step {log.restarted_at:,}; a later decay "
        f"cannot be seen coming, so {newest.values[-1]:.3g} is held."
    )
    return held(log.curve.steps, log.curve.values, total_steps, why)


def _is_flat(rate: Curve) -> bool:
    return float(rate.values.min()) >= (1.0 - _FLAT) * float(rate.values.max())


def _ends_at(inferred: InferredSchedule, newest: Curve) -> bool:
    """Whether the decay that was read off ends where the newest start begins."""
    begins = float(newest.steps[0])
    return inferred.decay_end is not None and abs(inferred.decay_end - begins) <= _AT_RESTART * abs(begins)

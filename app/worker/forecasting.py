"""The forecasts that a refit makes, and what to tell where it makes none."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np

from app.curves.curve import Curve
from app.curves.measure import LOSS, measure_of
from app.curves.plan import Plan
from app.curves.unforecast import said_to_be_forecast, why_none_of_these
from app.errors import CurveTooShort, NotAnAccuracy, NotFinite, RateNeverSeen, StepsBelowZero
from app.forecasting.forecast import Forecast, forecast_curve
from app.forecasting.unseen_rate import unheard_of
from app.runs import RunStatus
from app.storage.priors import StoredPrior
from app.worker.loading import Loaded
from app.worker.run_plan import FURTHEST_STEP

log = logging.getLogger(__name__)

# A forecast is stored again when the run has gone on by this share of its length: less cannot change it visibly, and
# without it a run of weeks would store one every second.
LEAST_PROGRESS = 0.002


def new_forecasts(
    loaded: Loaded, plan: Plan | None, priors: dict[str, StoredPrior]
) -> tuple[dict[str, Forecast], list[str]]:
    """The forecasts worth storing, and what to tell where there is none."""
    if plan is None and loaded.cutoff is not None and loaded.cutoff < 0:
        return {}, [str(StepsBelowZero())]
    if plan is None and loaded.selected.forecast:
        return {}, [f"Steps beyond {FURTHEST_STEP:,} cannot be forecast; is the step that was logged really one?"]
    if plan is None:
        none = "No loss or accuracy has been logged yet. Metrics are known by name; a role can be set by hand."
        return {}, [none, *why_none_of_these(loaded.selected.roles)]
    if loaded.run.status is RunStatus.FINISHED:
        first = "first forecast since its restart" if loaded.run.segment > 1 else "first forecast"
        return {}, [] if loaded.previous else [f"The run finished before its {first}; nothing is left to forecast."]
    made: dict[str, Forecast] = {}
    notes: list[str] = []
    for metric in loaded.selected.forecast:
        if loaded.is_broken(metric):
            notes.append(str(NotFinite(metric)))
            continue
        curve = loaded.reduction(metric).to_curve()
        if (rise := unheard_of(plan, curve.cutoff)) is not None:
            notes.append(f"{metric}: {RateNeverSeen(rise.sentence)}")
            continue
        if not (_has_moved(loaded, metric, plan, curve.cutoff) or _hears_others(loaded, metric, priors.get(metric))):
            continue
        try:
            forecast = _forecast(loaded, curve, plan, metric, priors)
        except (CurveTooShort, NotAnAccuracy) as error:
            notes.append(f"{metric}: {error}")
        except Exception:
            # A curve that the numerics cannot take must not keep the run's alerts from firing.
            log.exception("no forecast of %s in run %s", metric, loaded.run.id)
            notes.append(f"{metric} could not be forecast: a fault of ours, which the worker's log describes.")
        else:
            if np.isfinite(forecast.quantiles).all() and math.isfinite(forecast.final_mean):
                made[metric] = _with_caveat(forecast, said_to_be_forecast(metric, loaded.selected.roles))
            else:
                notes.append(f"{metric} could not be forecast: the fit came to no finite number.")
    return made, notes


def _with_caveat(forecast: Forecast, caveat: str | None) -> Forecast:
    return forecast if caveat is None else replace(forecast, notes=(caveat, *forecast.notes))


def _forecast(loaded: Loaded, curve: Curve, plan: Plan, metric: str, priors: dict[str, StoredPrior]) -> Forecast:
    """By the project's prior; where that comes to nothing, by the population's, until the others are compared again."""
    measure = measure_of(loaded.selected.roles[metric].role, curve)
    if measure != LOSS:
        return forecast_curve(curve, plan, measure=measure)
    heard = priors.get(metric)
    if heard is not None and heard.prior is not None:
        try:
            forecast = forecast_curve(curve, plan, heard.prior)
            if np.isfinite(forecast.quantiles).all():
                return forecast
            log.error("the prior of the project leads %s to no finite number and is left out", metric)
        except CurveTooShort:
            raise
        except Exception:
            log.exception("the prior of the project does not serve %s and is left out", metric)
        priors[metric] = heard.silenced()
    return forecast_curve(curve, plan)


def _hears_others(loaded: Loaded, metric: str, heard: StoredPrior | None) -> bool:
    """Whether others speak than when the last forecast was made, or have more to say."""
    previous = loaded.previous.get(metric)
    return previous is not None and heard is not None and previous.siblings != heard.siblings


def _has_moved(loaded: Loaded, metric: str, plan: Plan, cutoff: int) -> bool:
    previous = loaded.previous.get(metric)
    if previous is None or previous.horizon != plan.total_steps or cutoff < previous.cutoff:
        return True
    if (previous.schedule["source"], previous.schedule["family"]) != (plan.schedule_source, plan.schedule_family):
        return True
    first = loaded.reduction(metric).origin or 0
    return cutoff - previous.cutoff > LEAST_PROGRESS * (previous.cutoff - first)

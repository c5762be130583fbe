"""What a forecast says, in the form in which verdicts read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from app.curves.plan import ASSUMED, Plan
from app.forecasting.forecast import LEVELS, UNLIKE, Forecast
from app.forecasting.scores import NARROWEST, QuantileForecast
from app.forecasting.unseen_rate import UNSEEN_RATE

Array = npt.NDArray[np.float64]

FALL_OF_RATE = 0.8
"""A decay is to come where the planned rate falls below this share of what it is now; a raise, where a rate to come
falls below this share of one after it."""

LEAST_RAISE = 0.05
"""A raise is one of at least so much of the highest rate to come: between rates of next to nothing it does nothing."""


LEAST_FALL = 1e-9
"""Between two steps of the path, of the highest rate to come: less is rounding, not a fall."""


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """Where one metric of one run is going.

    cutoff, horizon : last step seen, last step of the run                                            [steps]
    final : distribution of the final level                                                           [of the metric]
    path_steps : int64, shape (n,), from just after the cutoff to the horizon                         [steps]
    quantiles : float64, shape (5, n); rows belong to `app.forecasting.forecast.LEVELS`               [of the metric]
    rates : float64, shape (n,), planned learning rate on the path; None where nobody knows it
    schedule_known, total_known : declared or inferred; False where only assumed
    is_atypical : the curve is unlike what the forecasters know
    is_unforeseen : the planned rate goes where nobody has seen one (`app.forecasting.unseen_rate`)
    """

    metric: str
    lower_is_better: bool
    cutoff: int
    horizon: int
    final: QuantileForecast
    path_steps: npt.NDArray[np.int64]
    quantiles: Array
    rates: Array | None = None
    schedule_known: bool = True
    total_known: bool = True
    is_atypical: bool = False
    is_unforeseen: bool = False

    @staticmethod
    def from_parts(
        *,
        metric: str,
        cutoff: int,
        horizon: int,
        final_quantiles: Mapping[float, float],
        path_steps: npt.NDArray[np.int64],
        quantiles: Array,
        rates: Sequence[float] | Array | None,
        schedule_source: str,
        total_source: str,
        notes: Sequence[str] = (),
        lower_is_better: bool = True,
    ) -> Outlook:
        """From what storage keeps of a forecast (`StoredForecast`) and of the plan (`Summary.total_source`)."""
        return Outlook(
            metric=metric,
            lower_is_better=lower_is_better,
            cutoff=cutoff,
            horizon=horizon,
            final=QuantileForecast.from_levels(final_quantiles),
            path_steps=np.asarray(path_steps, dtype=np.int64),
            quantiles=np.asarray(quantiles, dtype=np.float64),
            rates=None if rates is None else np.asarray(rates, dtype=np.float64),
            schedule_known=schedule_source != ASSUMED,
            total_known=total_source != ASSUMED,
            is_atypical=any(note.startswith(UNLIKE) for note in notes),
            is_unforeseen=any(note.startswith(UNSEEN_RATE) for note in notes),
        )

    @staticmethod
    def from_forecast(forecast: Forecast, plan: Plan, metric: str, *, lower_is_better: bool = True) -> Outlook:
        """From a forecast just made."""
        return Outlook.from_parts(
            metric=metric,
            cutoff=forecast.cutoff,
            horizon=forecast.horizon,
            final_quantiles=forecast.final_quantiles,
            path_steps=forecast.path_steps,
            quantiles=forecast.quantiles,
            rates=plan.schedule.rate_at(forecast.path_steps),
            schedule_source=plan.schedule_source,
            total_source=plan.total_source,
            notes=forecast.notes,
            lower_is_better=lower_is_better,
        )

    def oriented(self) -> Outlook:
        """The same with the metric better when lower."""
        if self.lower_is_better:
            return self
        # The levels are symmetric about one half, so that turning the rows over keeps them in their places.
        return replace(self, lower_is_better=True, final=self.final.mirrored(), quantiles=-self.quantiles[::-1])

    @property
    def median(self) -> float:
        """Of the final level."""
        return self.final.quantile(0.5)

    @property
    def decay_start(self) -> int | None:
        """The first step of the path at which the planned rate lies well below that of now; None: it never does."""
        if self.rates is None or not len(self.rates):
            return None
        return self._first(self.rates < FALL_OF_RATE * self.rates[0])

    @property
    def decay_begins(self) -> int | None:
        """The first step of the path at which the rate is on its way down to that of `decay_start`.

        None where it is falling already when the path begins, and where no decay is to come.
        """
        if self.rates is None or self.decay_start is None:
            return None
        reached = int(np.searchsorted(self.path_steps, self.decay_start))
        stays = np.flatnonzero(np.diff(self.rates[: reached + 1]) >= -LEAST_FALL * self.rates.max())
        return int(self.path_steps[stays[-1] + 2]) if len(stays) else None

    @property
    def raise_start(self) -> int | None:
        """The first step of the path at which the planned rate lies well above one before it; None: it never does.

        A rise that is under way is none: that is a warm-up, as every forecaster knows it, or has begun already.
        """
        if self.rates is None or not len(self.rates):
            return None
        is_rising = np.append(np.diff(self.rates) > 0, False)
        under_way = int(is_rising.argmin())
        lowest = np.minimum.accumulate(self.rates[under_way:])
        later = FALL_OF_RATE * (self.rates[under_way:] - LEAST_RAISE * self.rates.max()) > lowest
        return self._first(np.concatenate([np.zeros(under_way, dtype=np.bool_), later]))

    def _first(self, holds: npt.NDArray[np.bool_]) -> int | None:
        return int(self.path_steps[int(holds.argmax())]) if holds.any() else None

    def widened(self, factor: float) -> Outlook:
        """The same final level, its quantiles so many times as far from the median."""
        return replace(self, final=self.final.widened(factor))

    def chances_below(self, level: float) -> Array:
        """Probability of lying at or below a level at each step of the path, shape (n,)."""
        return np.asarray(ndtr(self.scores_of(level)))

    def scores_of(self, level: float) -> Array:
        """Normal score of a level at each step of the path, shape (n,).

        As `QuantileForecast.normal_scores` of every column: straight between and beyond the quantiles.
        """
        edges = ndtri(np.array(LEVELS))
        rows = np.maximum.accumulate(self.quantiles, axis=0)
        slopes = np.diff(rows, axis=0) / np.diff(edges)[:, None]
        slopes = np.concatenate([slopes[:1], slopes, slopes[-1:]])
        piece = (rows <= level).sum(axis=0)
        anchor, places = np.maximum(piece - 1, 0), np.arange(rows.shape[1])
        slope = np.maximum(slopes[piece, places], NARROWEST * np.abs(rows).max() + 1e-300)
        return np.asarray(edges[anchor] + (level - rows[anchor, places]) / slope)

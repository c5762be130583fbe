"""How far off forecasts of finished runs were, and what that says of another that is about as sure and as early."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FAMILIAR_FORECASTS = 2.0
"""That a forecast is off by as much as it says counts for so many others that were just as sure."""

UNBIASED_FORECASTS = 4.0
"""That it errs to neither side counts for so many others that were just as sure and just as early."""

RATIO_SCALE = 3.0
"""A forecast that was three times as sure, or a third as sure, counts for exp(-1/2)."""

SHARE_SCALE = 0.1
"""One that was made a tenth of the way earlier or later counts for exp(-1/2) of what is said of the side."""

MOST_DEVIATIONS = 3.0
"""One that was further off counts as if it had been so far off: the next run need not be so odd."""


@dataclass(frozen=True, slots=True)
class PastErrors:
    """Forecasts of runs whose ends are known; tuples of one length, empty where there are none.

    shares : of its way, from which the run's end was forecast                                                     [1]
    foreseen : deviation that was stated, in the unit that forecasts are made in (the level of a positive loss)    [1]
    off : by how many of these deviations the end lay above the median
    counts : in [0, 1], how alike the run is to the one to forecast
    """

    shares: tuple[float, ...] = ()
    foreseen: tuple[float, ...] = ()
    off: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()

    def shift_and_stretch(self, share: float, foreseen: float) -> tuple[float, float]:
        """By how many of its stated deviations a forecast should move, and how many times they should be.

        The errors of a law are of a size of their own: who is very sure late in a decay is off by more of the stated
        deviations than who is unsure early on. So forecasts count by how nearly they were as sure as this one. To which
        side they err is a matter of what is still to come, so of that only those speak that were about as early.

        The stretch is a root mean square of how far off they were, about their own medians: the shift is not taken out
        of it, being known from few.
        """
        if not self.off or not foreseen > 0:
            return 0.0, 1.0
        apart = np.log(np.asarray(self.foreseen) / foreseen) / np.log(RATIO_SCALE)
        earlier = (np.asarray(self.shares) - share) / SHARE_SCALE
        off = np.clip(self.off, -MOST_DEVIATIONS, MOST_DEVIATIONS)
        as_sure = np.asarray(self.counts) * np.exp(-(apart**2) / 2)
        as_early = as_sure * np.exp(-(earlier**2) / 2)
        shift = as_early @ off / (UNBIASED_FORECASTS + as_early.sum())
        stretch = np.sqrt((FAMILIAR_FORECASTS + as_sure @ off**2) / (FAMILIAR_FORECASTS + as_sure.sum()))
        return float(shift), float(stretch)

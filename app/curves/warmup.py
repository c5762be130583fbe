"""A warm-up that a log leaves out.

Published logs, and jobs that log their rate late, often begin at the end of the warm-up. Taken at face value such a
rate was at its top from step 0 on, and the first steps count as training at the full rate.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LATE_ROWS = 5
LATE_SHARE = 0.25
"""A log that begins after more than so many of its own row spacings, but within this share of what it covers, left its
beginning out. Beyond that share it is rather the log of a resumed run."""


def unseen_warmup(steps: Array, rates: Array, counts: npt.ArrayLike = 1) -> float:
    """Length of the warm-up that a log must have left out, 0 where there is no sign of one. [steps]

    Parameters
    ----------
    steps, rates : shape (n_rows,)
        The learning rate as logged, or means over bins of it.
    counts : int or shape (n_rows,)
        Rows in each bin.
    """
    if len(steps) < LATE_ROWS:
        return 0.0
    rows = np.broadcast_to(np.asarray(counts, dtype=np.float64), steps.shape)
    # Centres of neighbouring bins lie half of their rows apart.
    spacing = float(np.median(np.diff(steps) / ((rows[1:] + rows[:-1]) / 2)))
    first = float(steps[0]) - (rows[0] - 1) / 2 * spacing
    begins_late = first > LATE_ROWS * spacing
    at_its_top = rates[0] > 0 and rates[0] >= rates.max() * (1 - 1e-9)
    return first - 1 if begins_late and at_its_top and first <= LATE_SHARE * steps[-1] else 0.0

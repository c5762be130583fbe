"""How high invented curves begin: what `app.pfn.reading.HIGHEST_BEGINNINGS` was read off.

Run ``python -m benchmarks.pfn_beginnings``; it takes some seconds. For each share of what was seen: how much higher a
curve was by then than since, as a multiple of its fall since. Printed as Markdown, over 20,000 curves.
"""

from __future__ import annotations

import numpy as np

from app.pfn.prior.sampling import sample_tasks
from app.pfn.reading import HIGHEST_BEGINNINGS, height_of_beginning
from benchmarks.usage import tell_if_asked

N_CURVES = 20_000
SEED = 0
QUANTILES = (0.5, 0.8, 0.9, 0.95, 0.99)


def main() -> None:
    tell_if_asked(__doc__)
    tasks = sample_tasks(np.random.default_rng(SEED), N_CURVES).tasks
    curves = [
        (values[seen].astype(np.float64), (positions[seen] / cutoff).astype(np.float64))
        for values, positions, seen, cutoff in zip(tasks.values, tasks.positions, tasks.seen, tasks.cutoff, strict=True)
    ]
    print("| share of what was seen | curves | " + " | ".join(f"{100 * each:g} %" for each in QUANTILES) + " |")
    print("|---|---|" + "---|" * len(QUANTILES))
    for share in HIGHEST_BEGINNINGS:
        heights = [height_of_beginning(*curve, share) for curve in curves]
        found = [height.times for height in heights if height is not None]
        cells = " | ".join(f"{each:.1f}" for each in np.quantile(found, QUANTILES))
        print(f"| {100 * share:g} % | {len(found):,} | {cells} |")


if __name__ == "__main__":
    main()

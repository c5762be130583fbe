"""How much invented curves surprise the shipped network: where `app.forecasting.typicality` calls a curve atypical.

Run ``python -m benchmarks.pfn_typicality [N]``. Each of N invented tasks (default 4,000) is asked for noisy values up
to 1.67 times its cutoff, as a real curve is when its last 40 % are hidden. Printed: quantiles of the mean surprise.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from app.forecasting.typicality import ATYPICAL, HIDDEN_SHARE, LEAST_BINS, surprises
from app.pfn.prior import sample_tasks
from app.pfn.runtime import shipped_predictor
from benchmarks.usage import tell_if_asked

SEED = 99
BATCH = 100
LEAST_QUESTIONS = 3


def main() -> None:
    tell_if_asked(__doc__)
    n_tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    rng = np.random.default_rng(SEED)
    found = np.concatenate([_surprises(rng) for _ in range(-(-n_tasks // BATCH))])
    print(f"{len(found)} of {n_tasks} tasks have enough bins and questions. Mean surprise of a task, 1 as expected:")
    for level in (0.5, 0.9, 0.95, 0.98, 0.99, 0.995):
        print(f"{level:7.1%}  {np.quantile(found, level):5.2f}")
    print(f"above {ATYPICAL}, and so atypical: {(found > ATYPICAL).mean():.1%}")


def _surprises(rng: np.random.Generator) -> np.ndarray:
    labelled = sample_tasks(rng, BATCH)
    tasks = labelled.tasks
    surprise = surprises(shipped_predictor().predict(tasks).cdf(labelled.targets))
    near = tasks.queries <= tasks.cutoff[:, None] / (1 - HIDDEN_SHARE)
    asked = near & ~tasks.minimum & np.isfinite(tasks.averaged)
    n_asked = asked.sum(axis=1)
    enough = (n_asked >= LEAST_QUESTIONS) & (tasks.seen.sum(axis=1) >= LEAST_BINS)
    return np.asarray(np.where(asked, surprise, 0.0).sum(axis=1)[enough] / n_asked[enough])


if __name__ == "__main__":
    main()

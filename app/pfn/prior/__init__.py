"""Training curves worth learning from: what the network believes before it sees a run.

Every curve is invented from a seed. Ranges come from papers and from reason, each with its source beside it; none is
fitted to a run. `docs/pfn_prior.md` says it in words and shows samples beside real curves.
"""

from enum import StrEnum

import numpy as np

from app.pfn.prior.sampling import PRIOR_VERSION, sample_tasks
from app.pfn.prior.tractable.sampling import EARLY_SHARE, sample_tractable_tasks
from app.pfn.tasks import Labelled

__all__ = ["PRIOR_VERSION", "Prior", "sample_tasks"]


class Prior(StrEnum):
    """What a network is trained on."""

    WHOLE = "whole"
    TRACTABLE = "tractable"
    TRACTABLE_EARLY = "tractable-early"

    @property
    def judged(self) -> "Prior":
        """What a network trained on this is judged on: the same, whatever the training is given more of."""
        return Prior.TRACTABLE if self is Prior.TRACTABLE_EARLY else self

    def sample(self, rng: np.random.Generator, n: int) -> Labelled:
        """Invent `n` tasks."""
        if self is Prior.WHOLE:
            return sample_tasks(rng, n)
        return sample_tractable_tasks(rng, n, early_share=EARLY_SHARE if self is Prior.TRACTABLE_EARLY else 0.0)

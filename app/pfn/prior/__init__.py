"""Training curves worth learning from: what the network believes before it sees a run.

Every curve is invented from a seed. Ranges come from papers and from reason, each with its source beside it; none is
fitted to a run. `docs/pfn_prior.md` says it in words and shows samples beside real curves.
"""

from app.pfn.prior.sampling import PRIOR_VERSION, sample_tasks

__all__ = ["PRIOR_VERSION", "sample_tasks"]

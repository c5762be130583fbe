"""Which further scalars would let more be said of a run, whatever it does."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

WORTH_LOGGING: Mapping[str, str] = MappingProxyType(
    {
        "train_loss": "nearly everything is read off it",
        "lr": "without it a raised rate looks like a spike, and a plateau cannot be told from a schedule",
        "grad_norm": "before clipping: it tells a spike from noise and rises tens of steps before some divergences",
        "val_loss": "overfitting shows in it alone",
        "max_attn_logit": "in a transformer its trend may show a divergence hundreds of steps ahead",
    }
)
"""Signal -> what it would add; the most useful first."""


def worth_logging(logged: Mapping[str, str]) -> dict[str, str]:
    """What of it a run does not log.

    Parameters
    ----------
    logged : mapping
        Signal -> the metric that stands for it.
    """
    return {signal: why for signal, why in WORTH_LOGGING.items() if signal not in logged}

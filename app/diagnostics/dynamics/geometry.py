r"""The phases that the geometry of features goes through while a language model is trained.

By the rank of the features [1]_: first it falls (*warm-up*: the features fall together onto what is most frequent),
then it grows while the model learns by heart (*entropy-seeking*), then it falls again, slowly, while abilities come
(*compression-seeking*). None of them is a fault, and a loss shows none of them. A raised rate throws the rank back too:
that is no phase, and called by its name.

.. [1] M. Z. Li et al., "Tracing the Representation Geometry of Language Models from Pretraining to Post-training,"
   arXiv:2509.23024, 2025.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from app.diagnostics.dynamics.dynamic import Dynamic, Floats, now

FEWEST_POINTS = 12
MOST_POINTS = 200

TURN = 1.25
"""A phase is another one from where the rank has gone back by this factor: probe batches are small and noisy."""

WARM_UP, ENTROPY, COMPRESSION = "warm-up", "entropy-seeking", "compression-seeking"
_NUMBERS = {WARM_UP: 1.0, ENTROPY: 2.0, COMPRESSION: 3.0}

THROWN_BACK = "thrown back by a raised rate"
RAISED = 1.2
"""From one look at the features to the next."""


@dataclass(frozen=True, slots=True)
class Phase:
    """name : of the phase; since : where it began [steps]; rank : there"""

    name: str
    since: float
    rank: float


def phases_of(steps: Floats, ranks: Floats) -> list[Phase]:
    """The phases so far, in order; empty as long as the rank has not moved by `TURN`.

    A turn is where the rank was lowest or highest, and is known once the rank has left it by `TURN`.
    """
    found: list[Phase] = []
    low = high = 0
    for at in range(len(ranks)):
        low, high = (at if ranks[at] < ranks[low] else low), (at if ranks[at] > ranks[high] else high)
        is_growing = bool(found) and found[-1].name == ENTROPY
        if not is_growing and ranks[at] >= TURN * ranks[low]:
            found.append(Phase(ENTROPY, float(steps[low]), float(ranks[low])))
            high = at
        elif (is_growing or not found) and ranks[at] * TURN <= ranks[high]:
            name = COMPRESSION if found else WARM_UP
            found.append(Phase(name, float(steps[high]), float(ranks[high])))
            low = at
    return found


def geometry_phase(metric: str, steps: Floats, ranks: Floats, rates: Floats | None = None) -> Dynamic | None:
    """What is said of it; None with too few points, or where the rank has hardly moved.

    Parameters
    ----------
    steps : shape (n,), increasing [steps]
    ranks : shape (n,)
        RankMe or effective rank of the features of one probe batch.
    rates : shape (n,), optional
        Learning rate at these steps.
    """
    used = ranks > 0
    if used.sum() < FEWEST_POINTS:
        return None
    pieces = np.array_split(np.flatnonzero(used), min(MOST_POINTS, int(used.sum())))
    at = np.array([steps[piece[0]] for piece in pieces])
    blocks = np.array([float(np.median(ranks[piece])) for piece in pieces])
    # The first point stays itself: a warm-up is over within few of them.
    levels = np.array([float(np.median(blocks[max(0, i - 1) : i + 2])) if i else blocks[0] for i in range(len(blocks))])
    phases = phases_of(at, levels)
    if not phases:
        return None
    if rates is not None:
        phases = _without_raises(phases, steps[1:][rates[1:] > RAISED * rates[:-1]])
    newest, level = phases[-1], now(ranks[used])
    way = ", ".join(f"{phase.name} from step {phase.since:,.0f} (rank {phase.rank:.3g})" for phase in phases)
    return Dynamic(
        kind="geometry_phase",
        metrics=(metric,),
        text=f"{metric}: {way}; {level:.3g} now. These are phases of language models; elsewhere they mean nothing.",
        numbers={"phase": _NUMBERS.get(newest.name), "since_step": newest.since, "now": level},
    )


def _without_raises(phases: list[Phase], raised_at: Floats) -> list[Phase]:
    """Phases of compression in which the rate was raised are none."""
    ends = [*(phase.since for phase in phases[1:]), math.inf]
    return [
        replace(phase, name=THROWN_BACK)
        if phase.name == COMPRESSION and ((phase.since <= raised_at) & (raised_at <= end)).any()
        else phase
        for phase, end in zip(phases, ends, strict=True)
    ]

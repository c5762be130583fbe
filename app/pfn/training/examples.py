"""Invented curves as the network reads them: chunk by chunk, each from its own seed, here or in another process."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt

from app.pfn.bars import LARGEST_ANSWER
from app.pfn.features import Inputs, read_features
from app.pfn.intrinsic_time import Array
from app.pfn.prior import Prior

CHUNK = 1024
"""Curves made at a time: the generator and the features spend little on Python's own work then."""

VALIDATION_SEED = 20_260_722
"""Apart from every training seed: those start a sequence with the run's seed and the number of the chunk."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """What the network reads, what it should answer, and what a report needs.

    answers : float32, (n, Q), targets in the features' location and unit
    targets : float64, (n, Q)                        [of the metric]
    seen_share : float64, (n,), cutoff over the last step asked
    """

    inputs: Inputs
    answers: npt.NDArray[np.float32]
    targets: Array
    seen_share: Array

    def __len__(self) -> int:
        return len(self.answers)


def make_examples(prior: Prior, seed: tuple[int, ...], n: int) -> Examples:
    """Curves of a prior from a seed: the same seed gives the same ones."""
    labelled = prior.sample(np.random.default_rng(seed), n)
    inputs = read_features(labelled.tasks)
    targets = labelled.targets.astype(np.float64)
    answers = np.clip((targets - inputs.location) / inputs.unit, -LARGEST_ANSWER, LARGEST_ANSWER)
    share = labelled.tasks.cutoff / labelled.tasks.queries.max(axis=1)
    return Examples(inputs, answers.astype(np.float32), targets, share.astype(np.float64))


def validation_examples(n: int, prior: Prior = Prior.WHOLE) -> Examples:
    """The fixed set that variants are chosen by."""
    return make_examples(prior.judged, (VALIDATION_SEED,), n)


def training_chunks(prior: Prior, seed: int, first: int, workers: int) -> Generator[Examples, None, None]:
    """Chunks without end, from number `first` on; the same whether made here or by worker processes."""
    number = first
    if workers == 0:
        while True:
            yield make_examples(prior, (seed, number), CHUNK)
            number += 1
    # Spawned, not forked: torch's threads do not survive a fork.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        ahead: deque[Future[Examples]] = deque()
        while True:
            while len(ahead) <= workers:
                ahead.append(pool.submit(make_examples, prior, (seed, number), CHUNK))
                number += 1
            yield ahead.popleft().result()

"""A training that is given more early cutoffs sees the same runs there, and is judged like any other."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from app.pfn.prior import Prior
from app.pfn.prior.tractable.sampling import EARLY, EARLY_SHARE
from app.pfn.tasks import Labelled
from app.pfn.training.examples import validation_examples

DOUBTFUL = 1e-3
"""Fixed seeds; with twice as many of one family, or noise that is off by a fifth, it would be 1e-5 and below."""


def sample(prior: Prior, seed: int, n: int) -> Labelled:
    return prior.sample(np.random.default_rng(seed), n)


def early(cutoffs: NDArray[np.float32]) -> NDArray[np.bool_]:
    return (cutoffs >= EARLY[0]) & (cutoffs <= EARLY[1])


@pytest.fixture(scope="module")
def drawn() -> tuple[Labelled, Labelled]:
    """As they come, and with more early ones."""
    return sample(Prior.TRACTABLE, 1, 3000), sample(Prior.TRACTABLE_EARLY, 2, 1500)


def test_as_many_more_have_an_early_cutoff_as_was_asked_for(drawn: tuple[Labelled, Labelled]) -> None:
    shares = [early(each.tasks.cutoff).mean() for each in drawn]
    assert shares[1] == pytest.approx(EARLY_SHARE + (1 - EARLY_SHARE) * shares[0], abs=0.05)
    # In no order: a batch is as mixed as the whole.
    halves = np.array_split(early(drawn[1].tasks.cutoff), 2)
    assert halves[0].mean() == pytest.approx(halves[1].mean(), abs=0.1)


def test_runs_with_an_early_cutoff_are_the_same_either_way(drawn: tuple[Labelled, Labelled]) -> None:
    plain, more = (each.rows(np.flatnonzero(early(each.tasks.cutoff))) for each in drawn)
    for name in ("cutoff", "counts", "values", "spreads", "rates"):
        ours, theirs = (getattr(each.tasks, name).reshape(len(each), -1).mean(axis=1) for each in (more, plain))
        assert stats.ks_2samp(ours, theirs).pvalue > DOUBTFUL, name
    ours, theirs = (each.targets[:, -1] / each.tasks.values[:, 0] for each in (more, plain))
    assert stats.ks_2samp(ours, theirs).pvalue > DOUBTFUL


def test_both_are_judged_on_the_same_curves() -> None:
    plain, more = (validation_examples(50, prior) for prior in (Prior.TRACTABLE, Prior.TRACTABLE_EARLY))
    assert np.array_equal(plain.targets, more.targets)
    assert Prior.WHOLE.judged is Prior.WHOLE

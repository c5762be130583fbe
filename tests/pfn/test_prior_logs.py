"""Which points are logged, the bins that they fall in, and the noise that is left in those."""

from dataclasses import replace

import numpy as np
import pytest

from app.pfn.prior.logs import Logs, sample_logs
from app.pfn.prior.noise import Noise, sample_noise, sampled_spreads
from app.pfn.prior.schedules import sample_schedules
from app.pfn.tasks import MAX_BINS, bin_edges, bin_of


def logged(*, first: float, cutoff: float, n_points: int) -> Logs:
    interval = (cutoff - first) / (n_points - 1)
    one = np.ones(1)
    return Logs(first * one, cutoff * one, interval * one, n_points * one, first * one, first * one)


def quiet(n: int, **changes: object) -> Noise:
    """White noise of deviation 1 in `n` runs, unless said."""
    zero, no = np.zeros(n), np.zeros(n, bool)
    noise = Noise(np.ones(n), zero, np.ones(n), zero, zero, no, zero, zero, zero)
    return replace(noise, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("n_points", [5, 37, 1_000, 200_000])
@pytest.mark.parametrize("first", [1e-6, 0.01, 0.3])
def test_bins_hold_the_points_that_the_rule_gives_them(first: float, n_points: int) -> None:
    bins = logged(first=first, cutoff=0.6, n_points=n_points).bins()
    points = np.linspace(first, 0.6, n_points)
    place = bin_of(points, bin_edges([first], [0.6])[0])
    counts = np.bincount(place, minlength=MAX_BINS)
    # A point on an edge may fall on either side of it, by rounding.
    assert np.abs(bins.counts[0] - counts).max() <= 1
    assert bins.counts.sum() == n_points
    same = (counts == bins.counts[0]) & (counts > 0)
    sums = np.bincount(place, points, minlength=MAX_BINS)
    assert bins.centres[0, same] == pytest.approx(sums[same] / counts[same], rel=2e-2 if n_points < 100 else 1e-3)


@pytest.mark.parametrize("n_points", [1_000, 200_000])
def test_three_nodes_stand_for_all_points_of_a_bin(n_points: int) -> None:
    first = 0.6 / n_points
    bins = logged(first=first, cutoff=0.6, n_points=n_points).bins()
    points = np.linspace(first, 0.6, n_points)
    place = bin_of(points, bin_edges([first], [0.6])[0])
    counts = np.bincount(place, minlength=MAX_BINS)
    exact = np.bincount(place, (points + 0.01) ** -0.5, minlength=MAX_BINS) / np.maximum(counts, 1)
    nodes = bins.nodes().reshape(MAX_BINS, 3)
    means = ((nodes + 0.01) ** -0.5).mean(axis=1)
    same = (counts == bins.counts[0]) & (counts > 0)
    assert same.sum() > 30
    assert means[same] == pytest.approx(exact[same], rel=1e-4)


def test_logs_end_before_the_horizon_and_hold_a_handful_of_points_at_least() -> None:
    rng = np.random.default_rng(0)
    logs = sample_logs(rng, sample_schedules(rng, 5_000))
    assert ((logs.first > 0) & (logs.first < logs.cutoff) & (logs.cutoff < 1)).all()
    assert logs.n_points.min() >= 5
    assert logs.n_points.max() > 5e5
    assert (logs.bins().counts.sum(axis=1) == logs.n_points).all()


def test_the_edges_of_bins_are_half_even_in_the_step_and_half_in_its_logarithm() -> None:
    edges = bin_edges([0.02], [1.0])[0]
    place = 0.5 * (edges - 0.02) / 0.98 + 0.5 * (1 + np.log(edges) / np.log(50))
    assert place == pytest.approx(np.linspace(0, 1, MAX_BINS + 1), abs=1e-12)


def test_means_of_correlated_noise_are_as_uncertain_as_those_of_an_ar1_process() -> None:
    n, per_mean, memory_in_points = 4_000, 50, 20.0
    rng = np.random.default_rng(0)
    kept = np.exp(-1 / memory_in_points)
    process = np.empty((n, per_mean))
    process[:, 0] = rng.standard_normal(n)
    for k in range(1, per_mean):
        process[:, k] = kept * process[:, k - 1] + np.sqrt(1 - kept**2) * rng.standard_normal(n)
    means = process.mean(axis=1)
    noise = quiet(n, correlated=np.ones(n), memory=np.full(n, memory_in_points))
    ones = np.ones((n, 1))
    errors, variances = noise.means(rng, ones, 100 * ones, per_mean * ones, np.ones(n))
    # 4000 draws know a variance to 2.2 %.
    assert errors.var() == pytest.approx(means.var(), rel=0.1)
    assert variances.mean() == pytest.approx(process.var(axis=1).mean(), rel=0.03)


def test_the_mean_of_many_white_points_is_known_by_the_root_of_their_number() -> None:
    n = 4_000
    counts = np.broadcast_to([1.0, 100.0, np.inf], (n, 3))
    positions = np.broadcast_to([1.0, 2.0, 3.0], (n, 3))
    errors, variances = quiet(n).means(np.random.default_rng(0), np.ones((n, 3)), positions, counts, np.ones(n))
    assert errors.std(axis=0) == pytest.approx([1.0, 0.1, 0.0], rel=0.05)
    assert (variances == 1).all()


def test_heavy_tails_have_the_same_variance_and_wither_in_means() -> None:
    n = 200_000
    counts = np.broadcast_to([1.0, 400.0], (n, 2))
    positions = np.broadcast_to([1.0, 2.0], (n, 2))
    noise = quiet(n, heavy=np.ones(n, bool))
    errors, _ = noise.means(np.random.default_rng(0), np.ones((n, 2)), positions, counts, np.ones(n))
    far = (np.abs(errors) > 4 * np.array([1.0, 0.05])).mean(axis=0)
    normal = 6.3e-5
    assert far[0] > 20 * normal
    assert far[1] < 4 * normal
    assert errors.std(axis=0) == pytest.approx([1.0, 0.05], rel=0.1)  # of Student's t with 3 degrees: known slowly


def test_noise_stays_within_its_range() -> None:
    fall = np.full(10_000, 0.5)
    noise = sample_noise(np.random.default_rng(0), fall)
    assert (noise.deviation >= 0.5e-5).all()
    assert (noise.deviation <= 1.0).all()


def test_spreads_scatter_as_sample_deviations_do() -> None:
    rng = np.random.default_rng(0)
    for count in (2.0, 5.0, 50.0):
        spreads = sampled_spreads(rng, np.ones(20_000), np.full(20_000, count))
        exact = rng.standard_normal((20_000, int(count))).std(axis=1, ddof=1)
        # The cube-root approximation is coarse for two points alone.
        assert spreads.mean() == pytest.approx(exact.mean(), rel=0.03)
        assert spreads.std() == pytest.approx(exact.std(), rel=0.08)
    assert not sampled_spreads(rng, np.ones(10), np.ones(10)).any()

"""From tasks to what the network reads: numbers without units, the same for training and for service.

Adding a constant to a curve, multiplying it by a positive one, changing the unit of its steps or the order of its bins
changes nothing, but for one number: how large the scale is beside the level, which tells a language model's loss from
an accuracy. All arrays of the batch are worked on at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.pfn.bank import GAINS, Bank, BankForecast, columns_at
from app.pfn.intrinsic_time import N_LAGS, Array, KnownSchedule, RateView, along_rows
from app.pfn.tasks import Tasks

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

N_GLOBAL = 16
N_TOKEN = 14 + N_LAGS + N_GLOBAL
N_QUERY = 18 + 2 * N_LAGS + len(GAINS) + N_GLOBAL

OUTLIER = 4.0
"""A bin this many of its own deviations off the median of its neighbours is believed less."""

LARGEST_FEATURE = 12.0
"""No feature is larger: few are, in training, and a spike of 1e30 must not lead where the network has never been."""


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What the network reads, and the unit of what it answers: value = location + unit * answer.

    tokens : float32, (B, T, N_TOKEN)
    seen : bool, (B, T)
    queries : float32, (B, Q, N_QUERY)
    location, unit : float64, (B, Q)                      [of the metric]
    centre, scale : float64, (B, 1), recent level, and how far the curve has moved  [of the metric]
    """

    tokens: Floats
    seen: Flags
    queries: Floats
    location: Array
    unit: Array
    centre: Array
    scale: Array


def read_features(tasks: Tasks) -> Inputs:
    """Every feature of every task."""
    bins = _SortedBins.of(tasks)
    ruler = _Ruler.of(bins)
    schedule = KnownSchedule.of(tasks)
    at_bins, at_cutoff, at_queries = schedule.at_each(bins.positions, bins.cutoff, tasks.queries)
    values = (bins.values - ruler.centre) / ruler.scale
    errors = ruler.errors(bins) / ruler.scale
    bins_columns = columns_at(at_bins.time, bins.positions / bins.cutoff, at_bins.lags)
    trust = _trust(bins, values, errors)
    bank = Bank.fit(bins_columns, values, errors**2, trust)
    fitted = bank.at(bins_columns)
    asked = np.asarray(tasks.queries, dtype=np.float64)
    forecast = bank.at(columns_at(at_queries.time, asked / bins.cutoff, at_queries.lags))
    noise = ruler.noise / ruler.scale / np.sqrt(np.maximum(tasks.averaged, 1.0))
    unit = _unit(forecast.spread, noise, _recent_misfit(bins, trust, values - fitted.mean), np.log(asked / bins.cutoff))
    shared = _of_the_whole(tasks, bins, ruler, at_cutoff, bank)
    return Inputs(
        tokens=_join(_of_bins(bins, values, errors, ruler, at_bins, at_cutoff, fitted), shared),
        seen=bins.seen,
        queries=_join(_of_queries(tasks, bins, at_queries, at_cutoff, forecast, noise, unit), shared),
        location=ruler.centre + ruler.scale * forecast.mean,
        unit=ruler.scale * unit,
        centre=ruler.centre,
        scale=ruler.scale,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _SortedBins:
    """Context bins by position, padding last; (B, T) but for the cutoff, (B, 1)."""

    positions: Array
    values: Array
    spreads: Array
    counts: Array
    seen: Flags
    cutoff: Array
    n: Array  # (B, 1)

    @staticmethod
    def of(tasks: Tasks) -> _SortedBins:
        # Bins at the same place (float32) are put in order by their values, so that their order never matters.
        order = np.lexsort((tasks.values, np.where(tasks.seen, tasks.positions, np.inf)), axis=1)
        cutoff = np.asarray(tasks.cutoff, dtype=np.float64)[:, None]

        def sorted_(array: npt.NDArray[np.floating], padding: float | Array) -> Array:
            return np.where(seen, along_rows(array, order).astype(np.float64), padding)

        seen = along_rows(tasks.seen, order)
        return _SortedBins(
            positions=sorted_(tasks.positions, cutoff),
            values=sorted_(tasks.values, 0.0),
            spreads=sorted_(tasks.spreads, 0.0),
            counts=sorted_(tasks.counts, 1.0),
            seen=seen,
            cutoff=cutoff,
            n=seen.sum(axis=1, keepdims=True).astype(np.float64),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Ruler:
    """Centre and unit of each curve, and its noise; (B, 1), of the metric.

    centre : the recent level, a median over the last sixth of the bins (three at least)
    scale : how far the curve lay from it, typically, and the noise of a bin
    noise : standard deviation of a single point, from how far bins lie off the line through their neighbours
    roughness : the same of a bin as it is, whatever the number of its points: sees noise that neighbours share
    inside : median standard deviation inside the bins; 0 where no bin has two points
    """

    centre: Array
    scale: Array
    noise: Array
    roughness: Array
    inside: Array

    @staticmethod
    def of(bins: _SortedBins) -> _Ruler:
        index = np.arange(bins.values.shape[1])[None, :]
        tail = np.maximum(np.ceil(bins.n / 6), 3)
        centre = _quantile_of(bins.values, bins.seen & (index >= bins.n - tail))
        distance = np.abs(bins.values - centre)
        off, expected = _off_neighbours(bins)
        recent = bins.seen[:, 2:] & (index[:, 1:-1] >= np.minimum(bins.n // 2, bins.n - 4))
        noise = _quantile_of(off / expected, recent) / 0.6745
        roughness = _quantile_of(off, recent) / 0.6745
        inside = _quantile_of(bins.spreads, bins.seen & (bins.counts > 1))
        later = bins.seen & (bins.positions > 0.2 * bins.cutoff)
        scale = _quantile_of(distance, later) + roughness
        # A curve that fell at once and lies still since: the fall is still worth a word. Not the largest: spikes.
        scale = np.maximum(scale, 0.01 * _quantile_of(distance, bins.seen, at=0.75))
        # float32 values are known to a part in ten million.
        scale = np.maximum(scale, 1e-6 * np.abs(centre) + 1e-30)
        return _Ruler(centre, scale, noise, roughness, inside)

    def errors(self, bins: _SortedBins) -> Array:
        """Standard deviation of each bin's mean, (B, T), never under what float32 rounds away."""
        inside = np.where(bins.counts > 1, bins.spreads, self.noise)
        point = np.maximum(self.noise, np.minimum(inside, 10 * self.noise))
        return np.maximum(point / np.sqrt(bins.counts), 1e-4 * self.scale)


def _off_neighbours(bins: _SortedBins) -> tuple[Array, Array]:
    """How far each inner bin lies off the line through its neighbours, and how far with noise 1 a point, (B, T - 2)."""
    # Against the logarithm: a falling loss is nearly straight there, and its bend is not taken for noise.
    axis = np.log(bins.positions)
    width = np.maximum(axis[:, 2:] - axis[:, :-2], 1e-12)
    share = np.clip((axis[:, 1:-1] - axis[:, :-2]) / width, 0.0, 1.0)
    values, each = bins.values, 1.0 / bins.counts
    off = np.abs(values[:, 1:-1] - (1 - share) * values[:, :-2] - share * values[:, 2:])
    expected = np.sqrt(each[:, 1:-1] + (1 - share) ** 2 * each[:, :-2] + share**2 * each[:, 2:])
    return off, expected


def _trust(bins: _SortedBins, values: Array, errors: Array) -> Array:
    """1 for a bin that is believed, less for outliers, 0 for padding, (B, T)."""
    padded = np.pad(np.where(bins.seen, values, np.nan), ((0, 0), (2, 2)), constant_values=np.nan)
    windows = np.stack([padded[:, shift : shift + values.shape[1]] for shift in range(5)], axis=2)
    middle = _quantile_of(windows, ~np.isnan(windows))[..., 0]
    off = np.abs(values - middle)
    typical = _quantile_of(off, bins.seen) / 0.6745
    excess = np.maximum(off / (OUTLIER * np.maximum(errors, typical) + 1e-12), 1.0)
    return np.where(bins.seen, 1.0 / excess**2, 0.0)


def _recent_misfit(bins: _SortedBins, trust: Array, off: Array) -> Array:
    """Root mean square of what the bank leaves, later bins counting more, (B, 1), in scales."""
    weights = trust * (bins.positions / bins.cutoff) ** 2
    square = (weights * np.minimum(np.abs(off), 10.0) ** 2).sum(axis=1, keepdims=True)
    misfit: Array = np.sqrt(square / weights.sum(axis=1, keepdims=True))
    return misfit


def _unit(spread: Array, noise: Array, misfit: Array, ahead: Array) -> Array:
    """About how far the bank may be off, (B, Q), in scales: only the order of magnitude matters.

    ahead : (B, Q), logarithm of the query over the cutoff
    """
    return np.sqrt(spread**2 + noise**2 + (misfit * (0.3 + 3 * ahead)) ** 2 + (0.1 * ahead) ** 2 + 1e-6)


def _of_bins(
    bins: _SortedBins, values: Array, errors: Array, ruler: _Ruler, rate: RateView, now: RateView, fitted: BankForecast
) -> list[Array]:
    return [
        np.arcsinh(values),
        np.clip(values, -3.0, 3.0),
        np.arcsinh(values * ruler.scale / np.maximum(ruler.roughness, 1e-4 * ruler.scale)) / 4,
        np.arcsinh((values - fitted.mean) / errors) / 4,
        np.arcsinh(10 * (values - fitted.mean)) / 2,
        _log_ratio(errors, 1.0),
        np.where(bins.counts > 1, _log_ratio(bins.spreads, ruler.scale), 0.0),
        (bins.counts > 1) * 1.0,
        np.log(bins.counts) / 5,
        _log_ratio(bins.positions, bins.cutoff),
        bins.positions / bins.cutoff,
        _log_ratio(rate.time, 1.0),
        rate.rate,
        _log_ratio(rate.rate, now.rate),
        rate.lags,
    ]


def _of_queries(
    tasks: Tasks, bins: _SortedBins, rate: RateView, now: RateView, forecast: BankForecast, noise: Array, unit: Array
) -> list[Array]:
    cutoff = bins.cutoff
    asked = np.asarray(tasks.queries, dtype=np.float64)
    left = np.maximum(np.asarray(tasks.horizon, dtype=np.float64)[:, None] - cutoff, 1e-6 * cutoff)
    exact = np.isinf(tasks.averaged)
    return [
        _log_ratio(asked, cutoff),
        _log_ratio(asked - cutoff, cutoff),
        np.where(tasks.horizon_known[:, None], np.clip((asked - cutoff) / left, 0.0, 2.0), 0.0),
        _log_ratio(rate.time, 1.0),
        rate.rate,
        rate.rate - now.rate,
        _log_ratio(rate.rate, now.rate),
        1 / np.sqrt(np.maximum(tasks.averaged, 1.0)),
        exact * 1.0,
        np.where(exact, 0.0, np.log(np.where(exact, 1.0, np.maximum(tasks.averaged, 1.0)))) / 5,
        tasks.minimum * 1.0,
        np.arcsinh(forecast.mean),
        np.clip(forecast.mean, -3.0, 3.0),
        _log_ratio(forecast.spread, 1.0),
        _log_ratio(unit, 1.0),
        _log_ratio(noise, unit),
        np.arcsinh((forecast.in_steps - forecast.mean) / unit),
        np.clip(forecast.mean / unit, -10.0, 10.0) / 3,
        rate.lags,
        rate.lags - now.lags,
        np.arcsinh((forecast.by_gain - forecast.mean[:, :, None]) / unit[:, :, None]),
    ]


def _of_the_whole(tasks: Tasks, bins: _SortedBins, ruler: _Ruler, now: RateView, bank: Bank) -> Array:
    """What every token and query is told of the curve, (B, 1, N_GLOBAL)."""
    known = tasks.horizon_known[:, None]
    fraction = bins.cutoff / np.maximum(np.asarray(tasks.horizon, dtype=np.float64)[:, None], bins.cutoff)
    entropy = -(bank.weights * np.log(np.maximum(bank.weights, 1e-30))).sum(axis=1, keepdims=True)
    first = bins.positions[:, :1]
    columns = [
        _log_ratio(ruler.noise, ruler.scale),
        _log_ratio(ruler.roughness, ruler.scale),
        _log_ratio(ruler.inside, ruler.scale),
        (ruler.inside > 0) * 1.0,
        _log_ratio(ruler.scale, ruler.scale + np.abs(ruler.centre)),
        np.log(bins.n) / 2 - 1,
        _log_ratio(first, bins.cutoff),
        known * 1.0,
        np.where(known, _log_ratio(fraction, 1.0), 0.0),
        np.where(known, fraction, 0.0),
        tasks.past_known[:, None] * 1.0,
        tasks.future_known[:, None] * 1.0,
        now.rate,
        np.log(bank.residual),
        entropy / 4,
        np.log(np.sum(bins.counts, axis=1, where=bins.seen, keepdims=True)) / 5,
    ]
    return np.concatenate(columns, axis=1)[:, None, :]


def _join(columns: list[Array], shared: Array) -> Floats:
    parts = [column if column.ndim == 3 else column[:, :, None] for column in columns]
    n, length = parts[0].shape[:2]
    parts.append(np.broadcast_to(shared, (n, length, shared.shape[2])))
    return np.clip(np.concatenate(parts, axis=2), -LARGEST_FEATURE, LARGEST_FEATURE).astype(np.float32)


def _log_ratio(above: Array, below: Array | float) -> Array:
    """log(above / below), held within a factor 10,000: a zero is not minus infinity."""
    # 0 / 0, a rate that stays at zero, is no change.
    return np.log(np.clip((above + 1e-200) / (below + 1e-200), 1e-4, 1e4)) / 3


def _quantile_of(values: Array, chosen: Flags, at: float = 0.5) -> Array:
    """Median, or another quantile, over the last axis of what is chosen, that axis kept; 0 where nothing is."""
    count = np.count_nonzero(chosen, axis=-1)[..., None]
    ordered = np.where(chosen, values, np.inf)
    ordered.sort(axis=-1)
    rows = ordered.reshape(-1, ordered.shape[-1])
    place = (at * np.maximum(count - 1, 0)).reshape(-1, 1)
    low, high = (along_rows(rows, end(place).astype(np.intp)) for end in (np.floor, np.ceil))
    return np.where(count > 0, ((low + high) / 2).reshape(count.shape), 0.0)

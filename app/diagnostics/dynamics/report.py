"""All that can be said of how a run moves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from app.curves.roles import spelling
from app.diagnostics.dynamics.dynamic import Dynamic, Floats
from app.diagnostics.dynamics.effective_rate import effective_rate
from app.diagnostics.dynamics.geometry import geometry_phase
from app.diagnostics.dynamics.gradient import gradient_phase, noise_scale
from app.diagnostics.dynamics.massive_activations import massive_activations
from app.diagnostics.dynamics.unjudged import unjudged, unjudged_among
from app.diagnostics.dynamics.weight_distance import weight_distance

MOST_LAYERS = 12
"""Of more layers so many are fitted, evenly spread: it takes some hundredths of a second each."""

PROBED: Mapping[str, str] = {
    "massive_ratio": r"(^|/)massive/(ratio|activations?)$",
    "noise_scale": r"(^|/)noise/scale$|(^|/)critical/batch(/size)?$",
    "snr": r"(^|/)(grad\w*/)?(snr|signal/to/noise)$",
}
"""What a probe logs -> the pattern of its names, spelled as in app.curves.roles."""

SIGNALS = ("lr", "param_norm", "update_norm", "weight_distance", "batch_size", "feature_rank")
"""`app.diagnostics.signals` that are read beside them."""

Logged = Mapping[str, tuple[npt.NDArray[np.int64], Floats]]


def metrics_to_read(names: Iterable[str], signals: Mapping[str, str]) -> list[str]:
    """What of a run's metrics `dynamics_of` reads.

    Parameters
    ----------
    names : all metrics of the run
    signals : mapping
        Signal -> the metric that stands for it, as in `app.diagnostics.signals.Inputs`.
    """
    names = list(names)
    probed = [name for what in PROBED for name in _named(what, names)]
    probed += unjudged_among(names).values()
    if not probed and not {"weight_distance", "param_norm", "feature_rank"} & signals.keys():
        return []
    return list(dict.fromkeys([*probed, *(signals[signal] for signal in SIGNALS if signal in signals)]))


def dynamics_of(logged: Logged, signals: Mapping[str, str]) -> list[Dynamic]:
    """What can be said; empty where no probe has logged enough.

    Parameters
    ----------
    logged : mapping
        Metric -> (steps, values), of those that `metrics_to_read` names; steps strictly increasing.
    signals : mapping
        As there.
    """
    return [one for one in _asked(logged, signals) if one is not None]


def _asked(logged: Logged, signals: Mapping[str, str]) -> Iterator[Dynamic | None]:
    for name in _named("noise_scale", logged)[:1]:
        steps, scales = logged[name]
        used = ~np.isnan(scales)
        yield noise_scale(name, steps[used].astype(float), scales[used], _batch(logged, signals))
    for name in _named("snr", logged)[:1]:
        steps, ratios = logged[name]
        yield gradient_phase(name, steps.astype(float), ratios)
    yield _effective_rate(logged, signals)
    distance = signals.get("weight_distance", "")
    if distance in logged:
        at, distances = _finite(*logged[distance])
        yield weight_distance(distance, at, distances, _at(at, logged, signals.get("lr", "")))
    rank = signals.get("feature_rank", "")
    if rank in logged:
        at, ranks = _finite(*logged[rank])
        yield geometry_phase(rank, at, ranks, _at(at, logged, signals.get("lr", "")))
    for signal, metric in unjudged_among(logged).items():
        at, values = _finite(*logged[metric])
        yield unjudged(signal, metric, at, values, _at(at, logged, signals.get("lr", "")))
    layers = _named("massive_ratio", logged)
    for layer in np.unique(np.linspace(0, len(layers) - 1, min(MOST_LAYERS, len(layers))).round().astype(int)):
        yield massive_activations(layers[layer], *_finite(*logged[layers[layer]]))


def _effective_rate(logged: Logged, signals: Mapping[str, str]) -> Dynamic | None:
    rate, norm, update = (signals.get(signal, "") for signal in ("lr", "param_norm", "update_norm"))
    if rate not in logged or norm not in logged:
        return None
    steps, norms = _finite(*logged[norm])
    rates, updates = _at(steps, logged, rate), _at(steps, logged, update)
    if rates is None:
        return None
    return effective_rate((rate, norm), rates, norms, None if updates is None else (update, updates))


def _named(what: str, names: Iterable[str]) -> list[str]:
    """Layers in the order of their numbers: 2 before 10."""
    found = [name for name in names if re.search(PROBED[what], spelling(name))]
    return sorted(found, key=lambda name: [(not part.isdigit(), part.zfill(9)) for part in re.split(r"(\d+)", name)])


def _finite(steps: npt.NDArray[np.int64], values: Floats) -> tuple[Floats, Floats]:
    used = np.isfinite(values)
    return steps[used].astype(np.float64), values[used]


def _at(steps: Floats, logged: Logged, metric: str) -> Floats | None:
    """The values of a metric at other steps: the newest before each, the first before the first."""
    if metric not in logged:
        return None
    own, values = _finite(*logged[metric])
    if not len(own):
        return None
    return values[np.maximum(np.searchsorted(own, steps, side="right") - 1, 0)]


def _batch(logged: Logged, signals: Mapping[str, str]) -> tuple[str, float] | None:
    metric = signals.get("batch_size", "")
    values = _finite(*logged[metric])[1] if metric in logged else np.empty(0)
    return (metric, float(values[-1])) if len(values) else None

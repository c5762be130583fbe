"""The probes as a training loop calls them: nothing raises, and every metric is there at every call."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Dict, List, Tuple

from losscast.notices import Notices
from losscast.probe import activations, generated, neural_collapse, parameters, spectrum
from losscast.probe.arrays import Array, ProbeError, choose_rows, rows_of, to_labels, to_matrix

MAX_ROWS = 4096
"""Rows that are looked at unless a job says otherwise: the spectrum of 1024 units takes half a second of one core."""

_notices = Notices()


def features(
    values: Array, *, name: str = "features", max_rows: int = MAX_ROWS, seed: int = 0, strict: bool = False
) -> Dict[str, float]:
    """Rank and spectrum of a layer's features: see `losscast.probe.spectrum.spectrum`.

    Parameters
    ----------
    values : array, shape (..., n_units)
        Features of a fixed probe batch; all leading dimensions are rows. At least four times as many rows as units.
    name : str
        What the metrics' names begin with.
    max_rows, seed : int
        Of more rows, so many are looked at, chosen by the seed: the same ones every time.
    strict : bool
        Raise `ProbeError` instead of warning once and answering NaN.
    """
    return _sheltered(
        name, spectrum.MEASURES, strict, lambda: spectrum.spectrum(to_matrix(values, max_rows=max_rows, seed=seed))
    )


def classes(
    values: Array,
    labels: Array,
    weight: Array = None,
    bias: Array = None,
    *,
    name: str = "classes",
    max_rows: int = MAX_ROWS,
    seed: int = 0,
    strict: bool = False,
) -> Dict[str, float]:
    """Neural collapse, NC1 to NC4: see `losscast.probe.neural_collapse.class_measures`.

    `weight` and `bias` are the last linear layer's; the other arguments are those of `features`.
    """

    def measure() -> Dict[str, float]:
        matrix, kept = _labelled(values, labels, max_rows, seed)
        return neural_collapse.class_measures(matrix, kept, weight, bias)

    return _sheltered(name, neural_collapse.CLASS_MEASURES, strict, measure)


def tokens(
    values: Array,
    labels: Array,
    weight: Array = None,
    bias: Array = None,
    *,
    name: str = "tokens",
    fewest: int = neural_collapse.FEWEST_TOKENS,
    max_rows: int = 16 * MAX_ROWS,
    seed: int = 0,
    strict: bool = False,
) -> Dict[str, float]:
    """Neural collapse of next-token prediction: see `losscast.probe.neural_collapse.token_measures`.

    `labels` are the next tokens, negative where there is none; tokens with less than `fewest` rows are left out.
    """

    def measure() -> Dict[str, float]:
        matrix, kept = _labelled(values, labels, max_rows, seed)
        return neural_collapse.token_measures(matrix, kept, weight, bias, fewest=fewest)

    return _sheltered(name, neural_collapse.TOKEN_MEASURES, strict, measure)


def units(
    values: Array, *, name: str = "units", max_rows: int = MAX_ROWS, seed: int = 0, strict: bool = False
) -> Dict[str, float]:
    """Dead and dormant units, massive activations: see `losscast.probe.activations.unit_measures`."""
    return _sheltered(
        name,
        activations.MEASURES,
        strict,
        lambda: activations.unit_measures(to_matrix(values, max_rows=max_rows, seed=seed, fewest=1)),
    )


def samples(
    values: Array,
    modes: Array = None,
    *,
    real: Array = None,
    real_modes: Array = None,
    name: str = "samples",
    max_rows: int = MAX_ROWS,
    seed: int = 0,
    strict: bool = False,
) -> Dict[str, float]:
    """Modes and spread of generated samples: see `losscast.probe.generated.sample_measures`.

    `modes` says of each sample which mode or class it belongs to, negative: none. `real` and `real_modes` are the same
    of real samples, and always the same ones. The other arguments are those of `features`.

    Measures that nothing was handed in for are left out.
    """

    def measure() -> Dict[str, float]:
        drawn, of_modes = _with_modes(values, modes, max_rows, seed)
        reference, of_real = (None, None) if real is None else _with_modes(real, real_modes, max_rows, seed)
        return generated.sample_measures(drawn, of_modes, reference, of_real)

    has_modes = modes is not None
    asked = {
        "relative_spread": real is not None,
        **dict.fromkeys(generated.OF_MODES, has_modes),
        "relative_modes": has_modes and real_modes is not None,
    }
    measures = [one for one in generated.MEASURES if asked.get(one, True)]
    return _sheltered(name, measures, strict, measure)


def weights(
    of: parameters.Parameters,
    *,
    initial: parameters.Parameters = None,
    rate: float | None = None,
    name: str = "weights",
    strict: bool = False,
) -> Dict[str, float]:
    """Norm, way from the start, effective rate: see `losscast.probe.parameters.weight_measures`.

    Measures that nothing was handed in for are left out.
    """
    # Iterators are used up by looking: they must be looked at once.
    measures = [one for one in parameters.MEASURES if _is_asked_for(one, initial is not None, rate is not None)]
    return _sheltered(name, measures, strict, lambda: parameters.weight_measures(of, initial=initial, rate=rate))


def _is_asked_for(measure: str, has_start: bool, has_rate: bool) -> bool:
    return {"norm": True, "effective_rate": has_rate}.get(measure, has_start)


def _with_modes(values: Array, modes: Array, max_rows: int, seed: int) -> Tuple[Array, List[int] | None]:
    if modes is None:
        return to_matrix(values, max_rows=max_rows, seed=seed), None
    return _labelled(values, modes, max_rows, seed)


def _labelled(values: Array, labels: Array, max_rows: int, seed: int) -> Tuple[Array, List[int]]:
    numbers = to_labels(labels)
    n_rows = int(rows_of(values).shape[0])
    if n_rows != len(numbers):
        raise ProbeError(f"{n_rows} rows of features have {len(numbers)} labels")
    matrix = to_matrix(values, max_rows=max_rows, seed=seed)
    chosen = choose_rows(len(numbers), max_rows, seed)
    return matrix, numbers if chosen is None else [numbers[row] for row in chosen]


def _sheltered(
    name: str, measures: Sequence[str], strict: bool, measure: Callable[[], Dict[str, float]]
) -> Dict[str, float]:
    measured: Dict[str, float] = {}
    try:
        measured = measure()
    except Exception as error:
        if strict:
            raise error if isinstance(error, ProbeError) else ProbeError(f"{name}: {error}") from error
        _notices.once(f"probe {name}", "no %s: %s", name, error)
    return {f"{name}/{one}": measured.get(one, math.nan) for one in measures}

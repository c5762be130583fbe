"""Numpy arrays and torch tensors, made into matrices of doubles without depending on either.

A tensor's library is the one it came from: whoever has a torch tensor has imported torch. numpy is imported only for
what is no tensor. Both libraries share the names used in this package (`@`, `sum(axis)`, `linalg.eigvalsh`).
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Sequence
from typing import Any, List

Array = Any
"""A numpy array or a torch tensor: there are no types without the libraries."""


class ProbeError(ValueError):
    """What was handed to a probe cannot be measured; the text says why."""


def library(array: Array) -> Any:
    """The module that this array's functions are in."""
    if _is_tensor(array):
        return sys.modules["torch"]
    try:
        return importlib.import_module("numpy")
    except ImportError:
        raise ProbeError(
            f"{type(array).__name__} is no torch tensor, and numpy is not installed: losscast.probe needs one of them"
        ) from None


def to_doubles(array: Array) -> Array:
    """The same numbers in double precision, apart from any graph of gradients.

    A tensor stays on its device, unless the device knows no doubles (Apple's) or holds the tensor in pieces.
    """
    xp = library(array)
    if not _is_tensor(array):
        try:
            doubles = xp.asarray(array, dtype=xp.float64)
        except (TypeError, ValueError) as error:
            raise ProbeError(f"{type(array).__name__} is no array of numbers: {error}") from None
        return doubles
    tensor = array.detach()
    if hasattr(tensor, "full_tensor"):  # sharded over devices
        tensor = tensor.full_tensor()
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).to(dtype=xp.float64)


def to_matrix(array: Array, *, max_rows: int, seed: int, fewest: int = 2) -> Array:
    """Rows of features as doubles, shape (n_rows, n_units): all leading dimensions are rows.

    Of more than `max_rows`, as many are chosen by `seed`, the same ones at every call with as many rows.
    """
    # Rows are chosen before anything is copied: activations can be large.
    flat = rows_of(array)
    n = int(flat.shape[0])
    if n < fewest or int(flat.shape[1]) < 1:
        raise ProbeError(f"it takes at least {fewest} rows of features; the shape is {tuple(flat.shape)}")
    chosen = choose_rows(n, max_rows, seed)
    matrix = to_doubles(flat if chosen is None else flat[chosen])
    if not bool(library(matrix).isfinite(matrix).all()):
        raise ProbeError("the features are not finite")
    return matrix


def choose_rows(n_rows: int, max_rows: int, seed: int) -> List[int] | None:
    """Which rows are looked at; None: all of them."""
    if max_rows < 2:
        raise ProbeError(f"max_rows is {max_rows}; it takes at least 2")
    return None if n_rows <= max_rows else sorted(random.Random(seed).sample(range(n_rows), max_rows))


def to_labels(labels: Array) -> List[int]:
    """Whole numbers in a flat list."""
    numbers = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    flat = _flattened(numbers)
    if any(number != int(number) for number in flat):
        raise ProbeError("labels are whole numbers")
    return [int(number) for number in flat]


def like(values: Sequence[Any], array: Array, *, whole: bool = False) -> Array:
    """A new array of the same library and on the same device."""
    xp = library(array)
    dtype = xp.int64 if whole else xp.float64
    if _is_tensor(array):
        return xp.tensor(values, dtype=dtype, device=array.device)
    return xp.asarray(values, dtype=dtype)


def zeros(rows: int, columns: int, array: Array) -> Array:
    """A new matrix of the same library and on the same device."""
    if _is_tensor(array):
        return array.new_zeros((rows, columns))
    return library(array).zeros((rows, columns))


def without_diagonal(grid: Array, fill: float) -> Array:
    """A copy of a square matrix whose diagonal is `fill`."""
    xp = library(grid)
    n = int(grid.shape[0])
    diagonal = xp.eye(n, device=grid.device) if _is_tensor(grid) else xp.eye(n)
    return xp.where(diagonal > 0, fill, grid)


def eigenvalues(matrix: Array) -> List[float]:
    """Of the Gram matrix of the rows or of the columns, whichever is smaller; falling, never negative.

    These are the squared singular values, at a fraction of their price. What lies below the rounding error of the
    largest one is zero: a layer of rank one has rank one.
    """
    n, d = (int(size) for size in matrix.shape)
    gram = matrix @ matrix.T if n < d else matrix.T @ matrix
    values = sorted((float(value) for value in library(matrix).linalg.eigvalsh(gram).tolist()), reverse=True)
    floor = max(n, d) * sys.float_info.epsilon * values[0]
    return [value if value > floor else 0.0 for value in values]


def squares(array: Array) -> float:
    """Sum of the squared elements."""
    return float((array * array).sum())


def rows_of(array: Array) -> Array:
    """The same numbers, shape (n_rows, n_units)."""
    if not hasattr(array, "shape"):
        array = to_doubles(array)
    shape = tuple(int(size) for size in array.shape)
    if len(shape) < 2:
        raise ProbeError(f"features have rows and units; the shape is {shape}")
    # Without -1: reshape cannot tell the number of rows of an empty array.
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return array.reshape(rows, shape[-1])


def _flattened(numbers: Any) -> List[Any]:
    if not isinstance(numbers, list):
        return [numbers]
    return [inner for number in numbers for inner in _flattened(number)]


def _is_tensor(array: Array) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)

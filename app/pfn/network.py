"""The network in numpy: one forward pass, float32, no other library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.pfn.features import Inputs

Floats = npt.NDArray[np.float32]

_NORM_EPSILON = 1e-5  # torch.nn.LayerNorm's


@dataclass(frozen=True, slots=True)
class Size:
    """How large a network is.

    width : numbers a row carries from block to block
    inner : width inside a block's own small network
    bars : knots of the answer
    """

    width: int = 64
    layers: int = 3
    heads: int = 4
    inner: int = 128
    bars: int = 500


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Parameters by the names that they have in training.

    parameters : float32 arrays, e.g. "blocks.0.look.weight", shape (out, in) as in torch
    """

    size: Size
    parameters: Mapping[str, Floats]

    def logits(self, inputs: Inputs) -> Floats:
        """Logits of the bars, (B, Q, bars)."""
        return self.answers(self.asked(inputs))

    def answers(self, asked: Floats) -> Floats:
        """Logits of the bars from the rows of the queries."""
        return self._linear("answer", _silu(self._linear("hidden", asked)))

    def asked(self, inputs: Inputs) -> Floats:
        """Each query after it looked at the context, (B, Q, width)."""
        n_context = inputs.tokens.shape[1]
        rows = np.concatenate(
            [self._read("read_token", inputs.tokens), self._read("read_query", inputs.queries)], axis=1
        )
        mask = np.where(inputs.seen, np.float32(0), np.float32(-np.inf))[:, None, :, None]
        *before, last = (f"blocks.{layer}" for layer in range(self.size.layers))
        for name in before:
            rows = self._block(name, rows, n_context, mask, 0)
        # Nobody looks at what the last block would make of the context.
        return self._norm("norm", self._block(last, rows, n_context, mask, n_context))

    def _read(self, name: str, features: Floats) -> Floats:
        return self._linear(f"{name}.2", _silu(self._linear(f"{name}.0", features)))

    def _block(self, name: str, rows: Floats, n_context: int, mask: Floats, first: int) -> Floats:
        """All rows in, those from `first` on out."""
        normed = self._norm(f"{name}.norm_attention", rows)
        rows, looking = rows[:, first:], normed[:, first:]
        keys, values = np.split(self._linear(f"{name}.show", normed[:, :n_context]), 2, axis=-1)
        queries = self._linear(f"{name}.look", looking)
        queries *= np.float32((self.size.width // self.size.heads) ** -0.5)
        queries, keys, values = (self._by_head(each) for each in (queries, keys, values))
        # A context bin a row: numpy's maxima and sums down the columns take a tenth of those along short rows.
        scores: Floats = keys @ queries.swapaxes(-1, -2)
        scores += mask
        scores -= scores.max(axis=-2, keepdims=True)
        np.exp(scores, out=scores)
        found: Floats = scores.swapaxes(-1, -2) @ values
        found /= scores.sum(axis=-2)[..., None]
        rows = np.add(rows, self._linear(f"{name}.gather", found.swapaxes(1, 2).reshape(rows.shape)))
        widened = _silu(self._linear(f"{name}.widen", self._norm(f"{name}.norm_rows", rows)))
        rows += self._linear(f"{name}.narrow", widened)
        return rows

    def _by_head(self, rows: Floats) -> Floats:
        batch, length, width = rows.shape
        heads: Floats = rows.reshape(batch, length, self.size.heads, width // self.size.heads).swapaxes(1, 2)
        return heads

    def _linear(self, name: str, rows: Floats) -> Floats:
        product: Floats = rows @ self.parameters[f"{name}.weight"].T
        product += self.parameters[f"{name}.bias"]
        return product

    def _norm(self, name: str, rows: Floats) -> Floats:
        width = np.float32(rows.shape[-1])
        normed: Floats = rows - _row_sums(rows) / width
        variance = _row_sums(normed * normed) / width
        normed /= np.sqrt(variance + np.float32(_NORM_EPSILON))
        normed *= self.parameters[f"{name}.weight"]
        normed += self.parameters[f"{name}.bias"]
        return normed


def _row_sums(rows: Floats) -> Floats:
    """Over the last axis, kept. A product with ones takes a third of the time of `sum`, whose rows are short here."""
    sums: Floats = rows @ np.ones((rows.shape[-1], 1), dtype=rows.dtype)
    return sums


def _silu(rows: Floats) -> Floats:
    # exp(-88) is the least that float32 holds; SiLU is zero long before.
    divisor: Floats = np.maximum(rows, np.float32(-80))
    np.negative(divisor, out=divisor)
    np.exp(divisor, out=divisor)
    divisor += 1
    return np.divide(rows, divisor, out=divisor)

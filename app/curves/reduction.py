"""A curve kept up to date at a cost that does not grow with the length of the run.

The worker keeps one `Reduction` for a metric beside its points and feeds it what has arrived since. It is a function of
the points alone: however they were cut into batches, and whether it grew with the run or was rebuilt from storage, it
has the same bins with the same counts and extremes, and means equal to rounding.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from app.curves.bins import LARGEST_VALUE, Bins, bin_starts, widths_for
from app.curves.curve import Curve, checked_points, offsets_from
from app.errors import BadInput

_MAGIC = b"LCRD"
_VERSION = 1
_HEADER = struct.Struct("<4sBxxxIqq?")  # magic, version, bins, origin, first non-finite step, has one


@dataclass(frozen=True, slots=True, eq=False)
class Reduction:
    """Bins of one metric and the few numbers that go with them.

    A value beyond `LARGEST_VALUE` (1e150) counts as not finite: its square overflows, and it is as much a broken number
    as an infinity.
    """

    origin: int | None  # first step of all; bins are counted from it   [steps]
    bins: Bins
    first_nonfinite_step: int | None

    @staticmethod
    def empty() -> Reduction:
        return Reduction(origin=None, bins=Bins.empty(), first_nonfinite_step=None)

    @property
    def last_step(self) -> int | None:
        """Last step seen, with a finite value or not."""
        return None if self.origin is None else self.origin + int(self.bins.last_offsets[-1])

    @property
    def last_value(self) -> float | None:
        """The value at `last_step`, as it was logged: may be NaN or infinite."""
        return None if self.origin is None else float(self.bins.last_values[-1])

    @property
    def n_points(self) -> int:
        """Points seen, finite or not."""
        return int(self.bins.counts.sum()) + self.nonfinite

    @property
    def nonfinite(self) -> int:
        """Points seen that were NaN, infinite or beyond `LARGEST_VALUE`."""
        return int(self.bins.nonfinite.sum())

    @property
    def last_nonfinite_step(self) -> int | None:
        if self.origin is None or self.first_nonfinite_step is None:
            return None
        return self.origin + int(self.bins.last_nonfinite.max())

    def extend(self, steps: npt.ArrayLike, values: npt.ArrayLike) -> Reduction:
        """With new points behind the old ones.

        Parameters
        ----------
        steps : int64, shape (n_points,)
            Strictly increasing and beyond `last_step`; for points that come late see `truncated`. [steps]
        values : float64, shape (n_points,)
            NaN and the infinities are data.
        """
        new_steps, new_values = checked_points(steps, values)
        if not len(new_steps):
            return self
        if self.last_step is not None and new_steps[0] <= self.last_step:
            raise BadInput(f"Step {new_steps[0]} is not beyond the last one, {self.last_step}; truncate first.")
        origin = int(new_steps[0]) if self.origin is None else self.origin
        bins = self.bins.extended(offsets_from(origin, new_steps), new_values)
        first_nonfinite_step = self.first_nonfinite_step
        if first_nonfinite_step is None:
            broken = np.flatnonzero(~(np.abs(new_values) <= LARGEST_VALUE))
            first_nonfinite_step = int(new_steps[broken[0]]) if len(broken) else None
        return Reduction(origin, bins, first_nonfinite_step)

    def truncated(self, step: int) -> tuple[Reduction, int]:
        """Forget everything from the bin that holds `step` on, to read it again with points that came late.

        Returns
        -------
        Reduction
            What is left: empty where `step` lies before the first point, or where what is left is so much shorter that
            it deserves narrower bins than were kept.
        int
            The first step to read again from storage, at most `step`. [steps]
        """
        if self.origin is None or self.last_step is None or step <= self.origin:
            return Reduction.empty(), step
        if step > self.last_step:
            return self, self.last_step + 1
        widths = widths_for(self.last_step - self.origin)
        offset = np.array([step - self.origin], dtype=np.uint64)
        cut = bin_starts(offset, *widths)[0]
        kept = self.bins.first(int(np.searchsorted(self.bins.starts, cut)))
        if not len(kept) or widths_for(int(kept.last_offsets[-1])) != widths:
            return Reduction.empty(), self.origin
        reread_from = self.origin + int(cut)
        still_broken = self.first_nonfinite_step is not None and self.first_nonfinite_step < reread_from
        return Reduction(self.origin, kept, self.first_nonfinite_step if still_broken else None), reread_from

    def to_curve(self) -> Curve:
        """The curve, at most `app.curves.bins.MAX_BINS` bins."""
        if self.origin is None or self.last_step is None:
            return Curve.from_points(np.empty(0, np.int64), np.empty(0))
        return Curve.from_bins(self.bins, origin=self.origin, cutoff=self.last_step)

    def to_bytes(self) -> bytes:
        """Versioned and compact: some 20 to 60 bytes a bin."""
        has_broken = self.first_nonfinite_step is not None
        header = _HEADER.pack(
            _MAGIC, _VERSION, len(self.bins), self.origin or 0, self.first_nonfinite_step or 0, has_broken
        )
        return header + _packed(self.bins)

    @staticmethod
    def from_bytes(data: bytes) -> Reduction:
        """The inverse of `to_bytes`. Raises `BadInput` on anything else: rebuild from the points then."""
        try:
            magic, version, n_bins, origin, first_broken, has_broken = _HEADER.unpack_from(data)
            if magic != _MAGIC or version != _VERSION:
                raise BadInput(f"Not a reduction of version {_VERSION}; rebuild it from the points.")
            bins = _unpacked(data[_HEADER.size :], n_bins)
        except (struct.error, zlib.error, ValueError) as error:
            raise BadInput("These bytes hold no whole reduction; rebuild it from the points.") from error
        if not n_bins:
            return Reduction.empty()
        return Reduction(origin, bins, first_broken if has_broken else None)


_FIELDS = tuple(field.name for field in fields(Bins))
_SORTED = ("starts", "last_offsets")  # written as differences, which are mostly alike and shrink to nothing


def _packed(bins: Bins) -> bytes:
    """Every array as 8-byte words, all first bytes before all second bytes: like comes to lie by like, for zlib."""
    words = np.empty((len(_FIELDS), len(bins)), "<u8")
    for row, name in zip(words, _FIELDS, strict=True):
        column = getattr(bins, name)
        row[:] = np.diff(column, prepend=np.uint64(0)) if name in _SORTED else column.view(np.uint64)
    return zlib.compress(words.view(np.uint8).reshape(len(_FIELDS), len(bins), 8).transpose(0, 2, 1).tobytes())


def _unpacked(data: bytes, n_bins: int) -> Bins:
    planes = np.frombuffer(zlib.decompress(data), np.uint8).reshape(len(_FIELDS), 8, n_bins)
    words = np.ascontiguousarray(planes.transpose(0, 2, 1)).view("<u8")[:, :, 0].astype(np.uint64)
    blank = Bins.empty()
    arrays: dict[str, Any] = {
        name: np.cumsum(row, dtype=np.uint64) if name in _SORTED else row.view(getattr(blank, name).dtype)
        for name, row in zip(_FIELDS, words, strict=True)
    }
    return Bins(**arrays)

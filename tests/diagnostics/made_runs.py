"""Curves made up for tests of formulas, and a way to read what an engine said of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from app.diagnostics.engine import Engine
from app.diagnostics.event import Event, Risk
from app.diagnostics.signals import choose_inputs

Floats = npt.NDArray[np.float64]
Logged = dict[str, tuple[npt.NDArray[np.int64], Floats]]


def falling_loss(n_points: int, *, noise: float = 0.02, seed: int = 0, start: float = 8.0, end: float = 2.0) -> Floats:
    """A power of the step with multiplicative noise."""
    steps = np.arange(1, n_points + 1)
    curve = end + (start - end) * steps**-0.5
    return np.asarray(curve * np.exp(noise * np.random.default_rng(seed).standard_normal(n_points)), np.float64)


def steady_norm(n_points: int, *, noise: float = 0.1, seed: int = 1) -> Floats:
    return np.exp(noise * np.random.default_rng(seed).standard_normal(n_points))


def logged(*, every: int = 1, **metrics: npt.ArrayLike) -> Logged:
    columns = {name: np.asarray(values, float) for name, values in metrics.items()}
    return {name: (np.arange(len(values)) * every, values) for name, values in columns.items()}


def engine_for(run: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]) -> Engine:
    return Engine(choose_inputs({metric: len(np.asarray(values)) for metric, (_, values) in run.items()}))


def last_words(events: Iterable[Event]) -> list[Event]:
    newest = {event.id: event for event in events}
    return sorted(newest.values(), key=lambda event: (event.raised_at, event.id))


def events_of(run: Logged, *, segment_starts: Sequence[int] = (), kinds: Iterable[str] | None = None) -> list[Event]:
    """The last version of each event, of some kinds only if asked for."""
    wanted = None if kinds is None else set(kinds)
    found = engine_for(run).observe(run, segment_starts)
    return [event for event in last_words(found.events) if wanted is None or event.kind in wanted]


def in_pieces(
    run: Logged, cuts: Sequence[int], *, segment_starts: Sequence[int] = (), through_bytes: bool = True
) -> tuple[list[Event], list[Risk], Engine]:
    """The same run shown piece by piece; a cut is the last step of a piece."""
    engine = engine_for(run)
    events: list[Event] = []
    risks: list[Risk] = []
    low = -(2**62)
    for cut in (*cuts, 2**62):
        piece = {
            metric: (steps[(steps > low) & (steps <= cut)], values[(steps > low) & (steps <= cut)])
            for metric, (steps, values) in run.items()
        }
        found = engine.observe(piece, segment_starts)
        events.extend(found.events)
        risks.extend(found.risks)
        low = cut
        if through_bytes:
            engine = Engine.from_bytes(engine.to_bytes())
    return last_words(events), risks, engine

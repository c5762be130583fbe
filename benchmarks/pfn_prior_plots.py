"""A page of invented runs under real ones, to be looked at: would a practitioner believe them?

Run ``python -m benchmarks.pfn_prior_plots docs/images/pfn_prior.svg [SEED]``. The invented ones are the first that the
seed gives, none is picked. The real ones are the demo's and the tests' logs; they were not used to make the prior.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.curves.curve import Curve
from app.importers.curve_file import read_curve_file
from app.pfn.prior.runs import sample_runs
from app.pfn.prior.sampling import tasks_of
from app.pfn.prior.schedules import FAMILIES
from app.pfn.tasks import bin_edges, bin_of
from benchmarks.usage import tell_if_asked

Array = npt.NDArray[np.float64]

REAL = (
    ("app/demo/data/lm_wsd.csv", "train_loss"),
    ("app/demo/data/lm_wsd.csv", "val_loss"),
    ("app/demo/data/lm_cosine.csv", "train_loss"),
    ("app/demo/data/lm_too_hot.csv", "train_loss"),
    ("app/demo/data/gpt2_undeclared.csv", "val_loss"),
    ("app/demo/data/deepspeech_diverges.csv", "train_loss"),
    ("app/demo/data/grok_modular_addition.jsonl", "val_loss"),
    ("app/demo/data/grok_modular_addition.jsonl", "val_acc"),
    ("tests/data/multipowerlaw_25M_cosine_24000.csv", "val_loss"),
    ("tests/data/multipowerlaw_25M_constant_24000.csv", "val_loss"),
    ("tests/data/multipowerlaw_25M_wsdld.csv", "val_loss"),
    ("tests/data/multipowerlaw_25M_wsdcon_3.csv", "val_loss"),
)
COLUMNS, INVENTED_ROWS = 6, 7
WIDTH, HEIGHT, HEAD = 190, 124, 30
PLOT_WIDTH, PLOT_HEIGHT = 170, 84
TRANSIENT = 6
"""The first bins, one in so many, may run out of the frame: else the fall is all that one sees."""

INK, RATE, COMING, FAINT = "#1f2933", "#e08a00", "#2563eb", "#9aa5b1"


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One run; positions over the horizon, all arrays one-dimensional.

    coming : of an invented run, the level after the cutoff
    """

    title: str
    positions: Array
    values: Array
    spreads: Array
    knots: Array
    rates: Array
    coming_positions: Array
    coming: Array


def real_panels() -> Iterator[Panel]:
    for name, metric in REAL:
        read = read_curve_file(Path(name), metric)
        curve = Curve.from_points(read.points.steps, read.points.values)
        horizon = float(curve.cutoff)
        positions = np.maximum(curve.steps, 1.0) / horizon
        bins = _binned(positions, curve)
        logged = read.rate
        known = logged is not None and len(logged) > 0
        yield Panel(
            title=f"{Path(name).stem.removeprefix('multipowerlaw_')}, {metric}",
            positions=bins[0],
            values=bins[1],
            spreads=bins[2],
            knots=logged.steps / horizon if logged is not None and known else np.empty(0),
            rates=logged.values / np.nanmax(logged.values) if logged is not None and known else np.empty(0),
            coming_positions=np.empty(0),
            coming=np.empty(0),
        )


def _binned(positions: Array, curve: Curve) -> tuple[Array, Array, Array]:
    """Positions, values and spreads of a curve's bins, merged by the network's rule."""
    place = bin_of(positions, bin_edges(positions[0], 1.0))

    def mean(values: Array) -> Array:
        points = np.bincount(place, curve.counts)
        total = np.bincount(place, curve.counts * values)
        return np.asarray(total[points > 0] / points[points > 0])

    values = mean(curve.values)
    squares = mean(curve.values**2 + curve.spreads**2)
    return mean(positions), values, np.sqrt(np.maximum(squares - values**2, 0.0))


def invented_panels(seed: int, count: int) -> Iterator[Panel]:
    rng = np.random.default_rng(seed)
    runs = sample_runs(rng, count)
    tasks = tasks_of(rng, runs, n_queries=20).tasks
    levels = runs.units.of(runs.levels)
    for row in range(count):
        seen = tasks.seen[row]
        yield Panel(
            title=f"{list(FAMILIES)[runs.schedules.family[row]]}, {int(runs.logs.n_points[row]):,} points",
            positions=tasks.positions[row, seen].astype(float),
            values=tasks.values[row, seen].astype(float),
            spreads=tasks.spreads[row, seen].astype(float),
            knots=runs.schedules.knots[row],
            rates=runs.schedules.rates[row],
            coming_positions=runs.future[row],
            coming=levels[row],
        )


def page(real: list[Panel], invented: list[Panel]) -> str:
    """The SVG: real runs above, invented ones below."""
    real_rows = -(-len(real) // COLUMNS)
    below = HEAD + real_rows * HEIGHT
    height = below + HEAD + -(-len(invented) // COLUMNS) * HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {COLUMNS * WIDTH} {height}" '
        f'font-family="system-ui, sans-serif" font-size="9.5" fill="{INK}">',
        f'<rect width="{COLUMNS * WIDTH}" height="{height}" fill="#ffffff"/>',
        _heading("Real runs", 0),
        *(_placed(panel, index, HEAD) for index, panel in enumerate(real)),
        _heading("Invented runs", below),
        *(_placed(panel, index, below + HEAD) for index, panel in enumerate(invented)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _heading(text: str, top: int) -> str:
    return f'<text x="8" y="{top + 20}" font-size="14" font-weight="600">{text}</text>'


def _placed(panel: Panel, index: int, top: int) -> str:
    x, y = index % COLUMNS * WIDTH + 8, top + index // COLUMNS * HEIGHT
    return f'<g transform="translate({x} {y})">{_drawn(panel)}</g>'


def _drawn(panel: Panel) -> str:
    settled = panel.values[len(panel.values) // TRANSIENT :]
    shown = np.concatenate([settled, panel.coming])
    low, high = float(shown.min()), float(shown.max())
    margin = 0.08 * (high - low) or 1.0
    low, high = low - margin, high + margin

    def x_of(positions: Array) -> Array:
        return PLOT_WIDTH * np.clip(positions, 0.0, 1.0)

    def y_of(values: Array) -> Array:
        return 14 + PLOT_HEIGHT * np.clip((high - values) / (high - low), -0.02, 1.02)

    x, tops, bottoms = x_of(panel.positions), y_of(panel.values + panel.spreads), y_of(panel.values - panel.spreads)
    inside = panel.values < high
    bars = "".join(
        f"M{a:.1f} {b:.1f}V{c:.1f}"
        for a, b, c in zip(x[inside], tops[inside], bottoms[inside], strict=True)
        if c - b > 1
    )
    dots = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x[inside], y_of(panel.values)[inside], strict=True))
    rate = _line(PLOT_WIDTH * panel.knots, 14 + PLOT_HEIGHT * (1 - panel.rates))
    coming = _line(x_of(panel.coming_positions), y_of(panel.coming))
    return (
        f'<text y="9">{escape(panel.title)}</text>'
        f'<rect y="14" width="{PLOT_WIDTH}" height="{PLOT_HEIGHT}" fill="none" stroke="{FAINT}" stroke-width=".5"/>'
        f'<path d="{rate}" fill="none" stroke="{RATE}" stroke-width=".8"/>'
        f'<path d="{bars}" stroke="{FAINT}" stroke-width=".8"/>'
        f'<path d="{coming}" fill="none" stroke="{COMING}" stroke-width="1.4"/>'
        f'<path d="{dots}" stroke="{INK}" stroke-width="2.2" stroke-linecap="round"/>'
        f'<text x="2" y="{14 + PLOT_HEIGHT + 9}" font-size="8" fill="#616e7c">{low:.3g} to {high:.3g}</text>'
    )


def _line(x: Array, y: Array) -> str:
    """A path through points, without those that lie within a fifth of a pixel of the last."""
    if not len(x):
        return ""
    kept = [0]
    for index in range(1, len(x)):
        if abs(x[index] - x[kept[-1]]) + abs(y[index] - y[kept[-1]]) > 0.2 or index == len(x) - 1:
            kept.append(index)
    return "M" + "L".join(f"{x[index]:.1f} {y[index]:.1f}" for index in kept)


def main() -> None:
    tell_if_asked(__doc__)
    if len(sys.argv) < 2:
        sys.exit("Say where to write the page: python -m benchmarks.pfn_prior_plots FILE.svg [SEED]")
    output, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    drawn = page(list(real_panels()), list(invented_panels(seed, COLUMNS * INVENTED_ROWS)))
    Path(output).write_text(drawn, encoding="utf-8")
    print(f"{output}: {len(drawn) / 1000:.0f} kB")


if __name__ == "__main__":
    main()

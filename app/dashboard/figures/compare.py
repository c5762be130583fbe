"""Several runs in one chart: what each has logged, and the fan of where it is going."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.dashboard.figures.axes import (
    Floats,
    axis,
    axis_title,
    base_layout,
    plain_list,
    step_axis,
    value_range,
    value_ticks,
)
from app.dashboard.figures.empty import sentence
from app.dashboard.figures.loss_chart import Scale
from app.dashboard.figures.loss_marks import LABEL_OPACITY
from app.dashboard.figures.smooth import smoothed
from app.dashboard.formatting import chart_text, format_band
from app.dashboard.theme import Display, Palette, translucent
from app.runs import StoredForecast

MOST_RUNS = 6  # more fans than this hide each other
BEGINNING = 0.1  # of each run's steps: in focus its first drop may leave the top of the chart
ODD_SHARE = 2  # percent of a run's later values that a spike may push out of the focused chart
FEW_POINTS = 40  # below this a curve is drawn as it is: there is nothing to smooth
MOST_STRETCH = 3  # how many times the chart may grow for one more run before that run leaves the focus
LABEL_GAP = 0.05  # of the height between the numbers of two runs that end close together
LABEL_REACH = 0.04  # of the width: runs that end further apart cannot cover each other's number


class Along(StrEnum):
    """What the runs are laid out along."""

    STEPS = "steps"
    SHARE = "share"  # of each run's own length, so that long and short runs line up


@dataclass(frozen=True, slots=True, eq=False)
class RunLine:
    """One run in the chart.

    steps, values : float64, shape (n_points,), finite, steps strictly increasing   [steps], [of the metric]
    end : the run's length, where it is known                                       [steps]
    forecast : None before the first one, and of runs that have ended
    is_broken : its last value was no finite number
    """

    number: int  # its row in the table, from 1
    name: str
    steps: Floats
    values: Floats
    end: int | None
    forecast: StoredForecast | None = None
    is_broken: bool = False

    @property
    def last_value(self) -> float | None:
        """Where the line ends: predicted where there is a forecast, else as logged."""
        if self.forecast is not None:
            return self.forecast.final_quantiles.get(0.5, self.forecast.final_mean)
        return float(self.line()[1][-1]) if len(self.values) else None

    @property
    def is_smoothed(self) -> bool:
        return len(self.steps) >= FEW_POINTS

    def line(self) -> tuple[Floats, Floats]:
        """The smoothed curve, or the points themselves where they are few."""
        return smoothed(self.steps, self.values) if self.is_smoothed else (self.steps, self.values)


@dataclass(frozen=True, slots=True, eq=False)
class CompareChart:
    """What the chart shows. Along shares, runs of unknown length are left out.

    rises : more is better
    why_empty : what stands in place of the chart where no run can be drawn
    """

    metric: str
    lines: Sequence[RunLine] = field(default=())
    along: Along = Along.STEPS
    scale: Scale = Scale.FOCUS
    rises: bool = False
    why_empty: str = ""

    @property
    def drawn(self) -> list[RunLine]:
        return [line for line in self.lines if len(line.steps) and (self.along is Along.STEPS or line.end)]

    @property
    def out_of_focus(self) -> list[RunLine]:
        """Runs that the focused scale makes no room for: they would flatten all the better ones."""
        _, numbers = _value_range(self)
        return [line for line in self.drawn if line.number in numbers]

    @property
    def not_on_log(self) -> list[RunLine]:
        """Runs with values that a log scale has no place for."""
        return [line for line in self.drawn if np.any(line.values <= 0)] if self.scale is Scale.LOG else []


def run_colour(number: int, palette: Palette) -> str:
    """Of a run, by its row in the table (from 1)."""
    colours = (palette.loss, *palette.others)
    return colours[(number - 1) % len(colours)]


def compare_figure(chart: CompareChart, display: Display) -> go.Figure:
    """A colour and a number a run: bands below, logged curves solid, predicted medians dashed."""
    palette = display.palette
    figure = go.Figure()
    for line in chart.drawn:
        figure.add_traces(_band(line, chart, palette))
    for line in chart.drawn:
        figure.add_traces(_curves(line, chart, palette))
    values, outside = _value_range(chart)
    along = _along_range(chart)
    layout = base_layout(palette, narrow=display.narrow)
    layout["margin"] |= {"t": 34 if display.narrow else 48, "r": 26}
    layout |= {
        "uirevision": f"{chart.metric}|{chart.along}",
        "showlegend": not display.narrow,
        "legend": {
            "orientation": "h",
            "traceorder": "normal",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"size": 12, "color": palette.text},
            "bgcolor": "rgba(0,0,0,0)",
        },
        "xaxis": _along_axis(chart.along, along, palette),
        "yaxis": axis(
            palette,
            type="log" if chart.scale is Scale.LOG else "linear",
            range=list(values),
            fixedrange=True,
            uirevision=f"{chart.scale}|{values}",
            tickformat="~g" if chart.scale is Scale.LOG else value_ticks(*values),
            nticks=8,
        ),
        "annotations": [*_numbers(chart, along, values, palette), *_outside_note(outside, chart.rises, palette)],
    }
    if not chart.drawn:  # axes without a line would promise data
        layout["xaxis"]["visible"] = layout["yaxis"]["visible"] = False
        layout["annotations"] = [sentence(chart.why_empty, palette)] if chart.why_empty else []
    figure.update_layout(layout)
    return figure


def _along_axis(along: Along, shown: tuple[float, float], palette: Palette) -> dict[str, Any]:
    spikes = {"showspikes": True, "spikemode": "across", "spikethickness": 1, "spikedash": "dot"}
    if along is Along.STEPS:
        return step_axis(palette, range=list(shown), spikecolor=palette.muted, **spikes)
    title = axis_title(palette, "share of the run's own steps")
    return axis(
        palette,
        title=title,
        range=list(shown),
        tickvals=[0, 25, 50, 75, 100],
        ticktext=["0 %", "25 %", "50 %", "75 %", "100 %"],
        hoverformat=".1f",
        showgrid=False,
        spikecolor=palette.muted,
        **spikes,
    )


def _at(steps: Floats, line: RunLine, along: Along) -> Floats:
    """Where steps lie along the chart."""
    return steps if along is Along.STEPS or not line.end else 100.0 * steps / line.end


def _drawable(values: Floats, scale: Scale) -> Floats:
    return np.where(values > 0, values, np.nan) if scale is Scale.LOG else values


def _quantile(forecast: StoredForecast, level: float) -> Floats:
    return np.asarray(forecast.quantiles[forecast.levels.index(level)], np.float64)


def _has_band(line: RunLine) -> bool:
    forecast = line.forecast
    return forecast is not None and len(forecast.path_steps) > 0 and {0.05, 0.5, 0.95} <= set(forecast.levels)


def _band(line: RunLine, chart: CompareChart, palette: Palette) -> list[go.Scatter]:
    """The 90 % band alone: the 50 % bands of six runs on top of each other tell nobody anything."""
    forecast = line.forecast
    if forecast is None or not _has_band(line):
        return []
    at = plain_list(_at(forecast.path_steps.astype(np.float64), line, chart.along))
    edge: dict[str, Any] = {"mode": "lines", "hoverinfo": "skip", "showlegend": False, "legendgroup": str(line.number)}
    colour = run_colour(line.number, palette)
    rim = {"color": translucent(colour, 0.35), "width": 0.8}
    return [
        go.Scatter(x=at, y=plain_list(_drawable(_quantile(forecast, 0.05), chart.scale)), line=rim, **edge),
        go.Scatter(
            x=at,
            y=plain_list(_drawable(_quantile(forecast, 0.95), chart.scale)),
            line=rim,
            fill="tonexty",
            fillcolor=translucent(colour, 0.85 * palette.outer_opacity),
            name=f"{line.number} 90 % band",
            **edge,
        ),
    ]


def _curves(line: RunLine, chart: CompareChart, palette: Palette) -> list[go.Scatter]:
    colour, group = run_colour(line.number, palette), str(line.number)
    name = f"{line.number}. {chart_text(line.name, longest=32)}"
    steps, values = line.line()
    traces = []
    if line.is_smoothed:
        traces.append(
            go.Scatter(
                x=plain_list(_at(line.steps, line, chart.along)),
                y=plain_list(_drawable(line.values, chart.scale)),
                mode="lines",
                line={"color": translucent(colour, 0.22), "width": 1},
                hoverinfo="skip",
                showlegend=False,
                legendgroup=group,
            )
        )
    traces.append(
        go.Scatter(
            x=plain_list(_at(steps, line, chart.along)),
            y=plain_list(_drawable(values, chart.scale)),
            mode="lines" if line.is_smoothed else "lines+markers",
            name=name,
            legendgroup=group,
            line={"color": colour, "width": 2},
            marker={"size": 5, "color": colour},
            hovertemplate="%{y:.4g}",
        )
    )
    forecast = line.forecast
    if forecast is not None and _has_band(line):
        low, middle, high = (_quantile(forecast, level) for level in (0.05, 0.5, 0.95))
        traces.append(
            go.Scatter(
                x=plain_list(_at(forecast.path_steps.astype(np.float64), line, chart.along)),
                y=plain_list(_drawable(middle, chart.scale)),
                mode="lines",
                name=f"{name}, predicted",
                legendgroup=group,
                showlegend=False,
                line={"color": colour, "width": 2, "dash": "5px,4px"},
                customdata=[format_band(*ends) for ends in zip(low.tolist(), high.tolist(), strict=True)],
                hovertemplate="%{y:.4g}  (90 %: %{customdata})",
            )
        )
    return traces


def _ends_at(line: RunLine, along: Along) -> float:
    if line.forecast is not None:
        return float(_at(np.asarray([line.forecast.horizon], np.float64), line, along)[0])
    return float(_at(line.steps[-1:], line, along)[0])


def _along_range(chart: CompareChart) -> tuple[float, float]:
    if chart.along is Along.SHARE:
        return -1.5, 101.5
    ends = [_ends_at(line, chart.along) for line in chart.drawn] or [1.0]
    return -0.015 * max(ends), 1.015 * max(ends)


def _value_range(chart: CompareChart) -> tuple[tuple[float, float], list[int]]:
    """The range of the value axis in its own units, and the numbers of runs that lie outside it.

    In focus what counts is how runs go on: beginnings and lone spikes may leave the chart, and so does a run that
    would flatten all the better ones. Which are better is told by how runs end: one that blew up was as low as the
    others before.
    """
    lines = chart.drawn
    if chart.scale is not Scale.FOCUS:
        everything = [line.values for line in lines] + [edge for line in lines for edge in _fan(line)]
        return value_range(everything, log=chart.scale is Scale.LOG) or (0.0, 1.0), []
    # What rises is turned over, so that lower is better.
    sign = -1.0 if chart.rises else 1.0
    if not lines:
        return (0.0, 1.0), []
    best, *others = sorted(lines, key=lambda line: (line.is_broken, _badness(line, sign)))
    low, high = _extent(best, sign)
    outside = []
    for line in others:
        other_low, other_high = _extent(line, sign)
        is_worse = line.is_broken or max(other_low, _badness(line, sign)) > high
        if is_worse and max(high, other_high) - min(low, other_low) > MOST_STRETCH * (high - low):
            outside.append(line.number)
        else:
            low, high = min(low, other_low), max(high, other_high)
    return value_range([sign * np.asarray([low, high])], log=False) or (0.0, 1.0), sorted(outside)


def _badness(line: RunLine, sign: float) -> float:
    """Where a run ends, or is predicted to; with the sign lower is better."""
    end = line.last_value
    return sign * end if end is not None and np.isfinite(end) else np.inf


def _extent(line: RunLine, sign: float) -> tuple[float, float]:
    """The best and the worst of what of a run is of interest; with the sign lower is better."""
    later = line.values[line.steps >= line.steps[0] + BEGINNING * (line.steps[-1] - line.steps[0])]
    seen: list[Floats] = [np.percentile(later, [ODD_SHARE / 2, 100 - ODD_SHARE / 2])]
    seen += [edge[len(edge) // 2 :] for edge in _fan(line)]  # just after the cutoff the noise of the loss rules
    together = sign * np.concatenate(seen)
    return float(np.nanmin(together)), float(np.nanmax(together))


def _fan(line: RunLine) -> list[Floats]:
    forecast = line.forecast
    if forecast is None or not _has_band(line):
        return []
    return [_quantile(forecast, level) for level in (0.05, 0.95)]


def _numbers(
    chart: CompareChart, along: tuple[float, float], values: tuple[float, float], palette: Palette
) -> list[dict[str, Any]]:
    """The number of each run where its line ends, moved apart where two would cover each other."""
    log = chart.scale is Scale.LOG
    ends = [
        (_ends_at(line, chart.along), float(np.log10(value)) if log else value, line.number)
        for line in chart.drawn
        if (value := line.last_value) is not None and np.isfinite(value) and (value > 0 or not log)
    ]
    broken = {line.number for line in chart.drawn if line.is_broken}
    # What broke is marked at the edge that it left by; of others beyond the edge the note there tells.
    ends = [(at, min(max(end, values[0]), values[1]) if number in broken else end, number) for at, end, number in ends]
    ends = [end for end in ends if values[0] <= end[1] <= values[1]]
    gap, reach = LABEL_GAP * (values[1] - values[0]), LABEL_REACH * (along[1] - along[0])
    annotations = []
    for column in _columns(sorted(ends), reach):
        column = sorted(column, key=lambda end: end[1])
        heights = within(spread([end[1] for end in column], gap), *values)
        for (at, _, number), height in zip(column, heights, strict=True):
            annotations.append(
                {
                    "text": f"<b>{number}{' ✕' if number in broken else ''}</b>",
                    "x": at,
                    "y": height,
                    "xanchor": "left",
                    "xshift": 3,
                    "yanchor": "middle",
                    "showarrow": False,
                    "font": {"size": 13, "color": run_colour(number, palette)},
                }
            )
    return annotations


def _outside_note(outside: Sequence[int], rises: bool, palette: Palette) -> list[dict[str, Any]]:
    if not outside:
        return []
    ends = "ends" if len(outside) == 1 else "end"
    where = (
        f"↓ {', '.join(map(str, outside))} {ends} below" if rises else f"↑ {', '.join(map(str, outside))} {ends} above"
    )
    text = {
        "text": f"{where}: see Full or Log",
        "xref": "paper",
        "yref": "paper",
        "x": 0.995,
        "y": 0.01 if rises else 0.99,
        "xanchor": "right",
        "yanchor": "bottom" if rises else "top",
        "showarrow": False,
        "bgcolor": translucent(palette.surface, LABEL_OPACITY),
        "font": {"size": 12, "color": palette.muted},
    }
    return [text]


def _columns(ends: Sequence[tuple[float, float, int]], reach: float) -> list[list[tuple[float, float, int]]]:
    """Ends that lie one above the other; `ends` in the order of where they lie along the chart."""
    columns: list[list[tuple[float, float, int]]] = []
    for end in ends:
        if columns and end[0] - columns[-1][-1][0] < reach:
            columns[-1].append(end)
        else:
            columns.append([end])
    return columns


def within(heights: Sequence[float], low: float, high: float) -> list[float]:
    """Increasing heights, moved together as little as can be to lie between two edges; none falls below the lower."""
    if not heights:
        return []
    down = min(high - heights[-1], 0.0)
    up = max(low - (heights[0] + down), 0.0)
    return [height + down + up for height in heights]


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Increasing heights moved apart to `gap`, as little as can be (least squares: pools of neighbours, averaged)."""
    pools: list[list[float]] = []
    for position, height in enumerate(heights):
        pools.append([height - position * gap])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    levels = [float(np.mean(pool)) for pool in pools for _ in pool]
    return [level + position * gap for position, level in enumerate(levels)]

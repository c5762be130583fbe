"""What is drawn of an event, and where."""

from __future__ import annotations

import re
from urllib.parse import unquote

import numpy as np

from app.dashboard.readings.event_plots import PLOTTED, drawn, line_mask, metrics_of, read_event_plots, shown_steps
from app.diagnostics.event import Event, Severity
from app.runs import Points, Series
from app.storage.database import Database
from app.storage.diagnoses import read_health
from app.storage.runs import list_series
from tests.dashboard.seeding import Seeder, decaying

WATCHED = {"train_loss": "loss", "val_loss": "val", "grad_norm": "norm", "feature_rank": "rank"}


def event(kind: str = "spike", step: int = 500, resolved_at: int | None = 520) -> Event:
    return Event(kind, Severity.WARNING, step, step + 2, "said", ("loss",), resolved_at=resolved_at)


def series(metric: str, *, last_step: int = 1000, points: int = 1001) -> Series:
    return Series(1, "run", metric, points, 0, last_step, 1.0)


def known(*metrics: str) -> dict[str, Series]:
    return {metric: series(metric) for metric in metrics}


def points(values: np.ndarray, first: int = 0) -> Points:
    return Points(np.arange(first, first + len(values)), values, np.full(len(values), np.nan))


def coordinates(mask: str) -> list[list[tuple[float, float]]]:
    """Of each unbroken line."""
    lines = re.findall(r"points='([^']*)'", unquote(mask))
    pairs = [[pair.split(",") for pair in line.split()] for line in lines]
    return [[(float(x), float(y)) for x, y in line] for line in pairs]


def test_a_spike_is_drawn_with_the_loss_and_the_gradient_norm_that_are_logged() -> None:
    assert metrics_of(event(), WATCHED, known("loss", "norm", "rank")) == [["loss"], ["norm"]]
    assert metrics_of(event(), WATCHED, known("loss", "rank")) == [["loss"]]


def test_overfit_is_drawn_with_both_losses_over_one_height() -> None:
    assert metrics_of(event("overfit"), WATCHED, known("loss", "val", "norm")) == [["loss", "val"]]


def test_a_collapse_is_drawn_with_the_rank() -> None:
    assert metrics_of(event("dimensional_collapse"), WATCHED, known("rank", "loss")) == [["rank"], ["loss"]]


def test_a_spike_is_shown_with_what_lies_around_it_and_a_collapse_with_the_whole_run() -> None:
    assert shown_steps(event(), [series("loss")]) == (460, 560)
    assert shown_steps(event("rank_loss"), [series("rank")]) == (0, 1000)


def test_a_step_far_beyond_what_was_read_stretches_no_drawing() -> None:
    far = Series(1, "run", "loss", 401, -5, 10**15, 1.0)
    assert shown_steps(event("rank_loss", 300, None), [far], 399) == (0, 399)
    first, last = shown_steps(event("spike", 300, 310), [far], 399)
    assert 0 < first < 300 < 310 < last < 399


def test_what_is_logged_rarely_is_shown_further_around() -> None:
    assert shown_steps(event(step=50_000, resolved_at=None), [series("loss", last_step=100_000, points=101)]) == (
        10_000,
        90_002,
    )


def test_a_line_breaks_where_a_value_is_not_finite() -> None:
    values = np.array([1.0, 2.0, np.nan, 3.0, 2.0, np.inf, 1.0])
    first, second = coordinates(line_mask(np.arange(7), values, 0, 6, 1.0, 3.0))
    assert [len(first), len(second)] == [2, 2]
    assert second[0][1] == 3.0, "the largest value is at the top, three below the edge"


def test_what_spans_orders_of_magnitude_is_drawn_as_its_logarithm() -> None:
    plot = drawn(event(), [["norm"]], {"norm": points(np.geomspace(0.01, 100.0, 101))}, 0, 100)
    assert plot is not None
    (panel,) = plot.panels
    assert panel.is_logarithmic
    assert (panel.low, panel.high) == (0.01, 100.0)
    [line] = coordinates(panel.lines[0].mask)
    slopes = np.diff([y for _, y in line])
    assert np.ptp(slopes) < 0.11, "a geometric series is a straight line, to the tenth that coordinates keep"


def test_an_accuracy_is_never_drawn_as_its_logarithm() -> None:
    read = {"acc": points(np.geomspace(0.001, 1.0, 50))}
    plot = drawn(event(), [["acc"]], read, 0, 100, ["acc"])
    assert plot is not None
    assert not plot.panels[0].is_logarithmic


def test_a_loss_below_zero_is_never_drawn_as_its_logarithm() -> None:
    plot = drawn(event(), [["loss"]], {"loss": points(np.linspace(-1.0, 100.0, 50))}, 0, 100)
    assert plot is not None
    assert not plot.panels[0].is_logarithmic


def test_an_open_event_is_marked_to_the_end_of_the_drawing() -> None:
    read = {"loss": points(np.linspace(2.0, 1.0, 1001))}
    over = drawn(event(), [["loss"]], read, 0, 1000)
    still = drawn(event(resolved_at=None), [["loss"]], read, 0, 1000)
    assert over is not None
    assert still is not None
    assert (over.begin, over.end) == (50.0, 52.0)
    assert still.end == 100.0


def test_nothing_finite_is_nothing_to_draw() -> None:
    assert drawn(event(), [["loss"]], {"loss": points(np.full(10, np.nan))}, 0, 100) is None


def test_names_from_outside_are_no_markup_in_a_drawing(database: Database, seed: Seeder) -> None:
    steps = np.arange(1, 401)
    name = "loss'/><script>alert(1)</script>"
    seed.open("run", roles={name: "train_loss"})
    seed.log("run", steps, {name: np.concatenate([decaying(steps[:380]), np.linspace(6.0, 9.0, 20)])})
    with database.read() as connection:
        health = read_health(connection, "run")
        plots = read_event_plots(connection, "run", health, list_series(connection, "run"))
    assert 0 < len(plots) <= PLOTTED
    for plot in plots.values():
        for panel in plot.panels:
            assert [line.name for line in panel.lines] == [name]
            assert "script" not in unquote(panel.lines[0].mask)

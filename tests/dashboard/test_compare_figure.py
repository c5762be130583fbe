"""The chart of several runs: what is drawn, where, and what may leave it."""

from datetime import UTC, datetime

import numpy as np
import pytest

from app.dashboard.figures.compare import Along, CompareChart, RunLine, compare_figure, spread
from app.dashboard.figures.loss_chart import Scale
from app.dashboard.readings.compared_runs import CompareForm
from app.dashboard.theme import DARK, Display
from app.forecasting.forecast import LEVELS
from app.runs import StoredForecast

STEPS = np.arange(1.0, 501.0)


def falling(floor: float) -> np.ndarray:
    return floor + 3.0 * STEPS**-0.5


def forecast(final: float, horizon: int = 1000) -> StoredForecast:
    path = np.linspace(501, horizon, 40).round().astype(np.int64)
    quantiles = np.stack([np.full(40, final + offset) for offset in (-0.2, -0.1, 0.0, 0.1, 0.2)])
    return StoredForecast(
        id=1,
        run_id="run",
        metric="loss",
        made_at=datetime(2026, 11, 1, tzinfo=UTC),
        cutoff=500,
        horizon=horizon,
        final_mean=final,
        final_quantiles=dict(zip(LEVELS, quantiles[:, -1].tolist(), strict=True)),
        levels=LEVELS,
        path_steps=path,
        quantiles=quantiles,
        schedule={},
        forecasters={},
        notes=(),
    )


def line(number: int, floor: float = 2.0, **said: object) -> RunLine:
    known = {"end": 1000, "forecast": forecast(floor)} | said
    return RunLine(number, f"run {number}", STEPS, falling(floor), **known)  # type: ignore[arg-type]


def numbers(figure: object) -> dict[str, tuple[float, float]]:
    """The numbers at the ends of the lines, and where they stand."""
    return {
        note.text.strip("<b>/"): (note.x, note.y)
        for note in figure.layout.annotations  # type: ignore[attr-defined]
        if note.text.startswith("<b>")
    }


def test_each_run_has_a_colour_of_its_own_a_band_and_a_number_at_its_end() -> None:
    figure = compare_figure(CompareChart("loss", [line(1), line(2, 2.5), line(3, 3.0)]), Display(DARK))
    shown = [trace for trace in figure.data if trace.showlegend is not False]
    assert [trace.name for trace in shown] == ["1. run 1", "2. run 2", "3. run 3"]
    assert len({trace.line.color for trace in shown}) == 3
    assert sum(trace.fill == "tonexty" for trace in figure.data) == 3
    assert numbers(figure) == {"1": (1000, 2.0), "2": (1000, 2.5), "3": (1000, 3.0)}


def test_along_shares_long_and_short_runs_end_together() -> None:
    long = line(2, 2.6, end=50_000, forecast=forecast(2.6, horizon=50_000))
    figure = compare_figure(CompareChart("loss", [line(1), long], along=Along.SHARE), Display())
    assert {at for at, _ in numbers(figure).values()} == {100.0}
    assert max(x for trace in figure.data for x in trace.x) == 100.0


def test_a_run_of_unknown_length_has_no_place_along_shares() -> None:
    endless = line(2, end=None, forecast=None)
    assert [one.number for one in CompareChart("loss", [line(1), endless], along=Along.SHARE).drawn] == [1]
    assert [one.number for one in CompareChart("loss", [line(1), endless]).drawn] == [1, 2]


def test_a_run_far_above_leaves_the_focus_and_is_named() -> None:
    chart = [line(1), line(2, 2.1), line(3, 40.0)]
    focused = compare_figure(CompareChart("loss", chart), Display())
    assert focused.layout.yaxis.range[1] < 5
    assert "↑ 3 ends above" in str([note.text for note in focused.layout.annotations])
    assert set(numbers(focused)) == {"1", "2"}
    whole = compare_figure(CompareChart("loss", chart, scale=Scale.FULL), Display())
    assert whole.layout.yaxis.range[1] > 40
    assert set(numbers(whole)) == {"1", "2", "3"}


def test_an_accuracy_far_below_leaves_the_focus() -> None:
    good = [
        RunLine(number, f"run {number}", STEPS, 0.9 - 0.5 * STEPS**-0.5 - 0.01 * number, 500, None) for number in (1, 2)
    ]
    bad = RunLine(3, "run 3", STEPS, np.full(500, 0.1), 500, None)
    figure = compare_figure(CompareChart("val/accuracy", [*good, bad], rises=True), Display())
    assert figure.layout.yaxis.range[0] > 0.5
    assert "↓ 3 ends below" in str([note.text for note in figure.layout.annotations])
    assert set(numbers(figure)) == {"1", "2"}


def test_a_run_that_ended_in_nan_is_crossed_out() -> None:
    figure = compare_figure(CompareChart("loss", [line(1), line(2, 2.5, forecast=None, is_broken=True)]), Display())
    assert set(numbers(figure)) == {"1", "2 ✕"}


def blown_up(number: int, *, is_broken: bool) -> RunLine:
    """As low as any for four fifths of its way, then up by the factor of 20."""
    values = falling(1.9) * np.where(STEPS > 400, np.exp((STEPS - 400) / 33), 1.0)
    return RunLine(number, "too fast", STEPS, values, 500, None, is_broken=is_broken)


@pytest.mark.parametrize("is_broken", [True, False])
def test_a_run_that_blew_up_after_leading_leaves_the_focus_to_the_others(is_broken: bool) -> None:
    healthy = [line(1, forecast=None), line(2, 2.2, forecast=None)]
    alone = compare_figure(CompareChart("loss", healthy), Display())
    chart = CompareChart("loss", [blown_up(3, is_broken=is_broken), *healthy])
    together = compare_figure(chart, Display())
    assert together.layout.yaxis.range == alone.layout.yaxis.range
    assert [one.number for one in chart.out_of_focus] == [3]
    assert "↑ 3 ends above" in str([note.text for note in together.layout.annotations])
    marked = numbers(together)
    assert set(marked) == ({"1", "2", "3 ✕"} if is_broken else {"1", "2"})
    assert marked.get("3 ✕", (500, together.layout.yaxis.range[1])) == (500, together.layout.yaxis.range[1])


def test_a_spike_that_recovers_stays_in_the_focus() -> None:
    spiked = falling(2.0) + np.where((STEPS > 300) & (STEPS < 330), 5.0, 0.0)
    recovered = RunLine(3, "spiked", STEPS, spiked, 500, None)
    assert CompareChart("loss", [line(1), line(2, 2.2), recovered]).out_of_focus == []


def test_numbers_that_are_moved_apart_stay_inside_the_chart() -> None:
    close = [RunLine(number, "run", STEPS, falling(2.0 + 1e-3 * number), 500, None) for number in range(1, 6)]
    high = RunLine(6, "high", STEPS, falling(60.0), 500, None)
    figure = compare_figure(CompareChart("loss", [*close, high], scale=Scale.FULL), Display())
    low, top = figure.layout.yaxis.range
    assert len(numbers(figure)) == 6
    assert all(low <= height <= top for _, height in numbers(figure).values())


def test_a_log_axis_draws_what_has_a_logarithm() -> None:
    below = RunLine(1, "reward", STEPS, falling(-1.0), 1000, forecast(-1.0))
    figure = compare_figure(CompareChart("reward", [below, line(2)], scale=Scale.LOG), Display())
    drawn = [y for trace in figure.data for y in trace.y if y is not None]
    assert min(drawn) > 0
    assert set(numbers(figure)) == {"2"}
    assert np.isfinite(figure.layout.yaxis.range).all()


def test_a_chart_of_nothing_is_a_chart() -> None:
    assert len(compare_figure(CompareChart("loss"), Display()).data) == 0


@pytest.mark.parametrize(
    ("heights", "apart"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        ([1.0, 1.0], [0.75, 1.25]),
        ([0.0, 1.0, 1.1, 5.0], [0.0, 0.8, 1.3, 5.0]),
        ([], []),
    ],
)
def test_numbers_are_moved_apart_as_little_as_can_be(heights: list[float], apart: list[float]) -> None:
    assert spread(heights, 0.5) == pytest.approx(apart)


def test_names_from_outside_are_text_not_markup() -> None:
    evil = RunLine(1, "<a href='x'>%{y}", STEPS, falling(2.0), 1000)
    (name,) = [trace.name for trace in compare_figure(CompareChart("loss", [evil]), Display()).data if trace.name]
    assert "<a" not in name
    assert "%{" not in name


@pytest.mark.parametrize(
    "form",
    [
        CompareForm(),
        CompareForm(("a/b", "c d&e"), project="größe <1>", metric="val/loss", along=Along.SHARE, scale=Scale.LOG),
    ],
)
def test_what_is_chosen_is_what_the_address_says(form: CompareForm) -> None:
    assert CompareForm.from_query("?" + form.query()) == form


def test_an_address_that_nobody_wrote_is_read_as_far_as_it_can_be() -> None:
    form = CompareForm.from_query("?run=a&run=a&run=b&along=sideways&scale=&project=&metric=" + "&run=x" * 3)
    assert form == CompareForm(("a", "b", "x"))


def test_an_empty_chart_says_why_and_promises_no_data() -> None:
    figure = compare_figure(CompareChart("nope", [], why_empty="No run here has logged nope"), Display())
    assert (figure.layout.xaxis.visible, figure.layout.yaxis.visible) == (False, False)
    assert [note.text for note in figure.layout.annotations] == ["No run here has logged nope"]
    assert compare_figure(CompareChart("loss", [line(1)]), Display()).layout.xaxis.visible is None


def test_a_chart_tells_which_runs_its_focus_leaves_out() -> None:
    lines = [line(1), line(2, 2.2), line(3, 40.0)]
    assert [one.number for one in CompareChart("loss", lines).out_of_focus] == [3]
    assert CompareChart("loss", lines, scale=Scale.FULL).out_of_focus == []


def test_a_log_scale_tells_which_runs_have_values_that_it_cannot_show() -> None:
    lines = [line(1), line(2, -2.5)]
    assert [one.number for one in CompareChart("loss", lines, scale=Scale.LOG).not_on_log] == [2]
    assert CompareChart("loss", lines).not_on_log == []

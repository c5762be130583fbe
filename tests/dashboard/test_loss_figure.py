import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from app.curves.schedule import Schedule
from app.dashboard.figures.loss import loss_figure
from app.dashboard.figures.loss_chart import LossChart, Restart, Scale
from app.dashboard.figures.spoken import spoken_chart
from app.dashboard.theme import DARK, Display
from app.runs import Points, StoredForecast

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def points(values: Any, first: int = 1, every: int = 1) -> Points:
    values = np.asarray(values, np.float64)
    steps = first + every * np.arange(len(values), dtype=np.int64)
    return Points(steps, values, np.full(len(values), np.nan))


def falling(n: int = 500) -> Points:
    return points(3.0 + 8.0 / np.sqrt(np.arange(1, n + 1)))


def forecast(cutoff: int = 500, horizon: int = 1000, source: str = "declared") -> StoredForecast:
    steps = np.linspace(cutoff + 1, horizon, 50).astype(np.int64)
    middle = np.full(50, 3.2)
    return StoredForecast(
        id=1,
        run_id="run",
        metric="loss",
        made_at=datetime(2026, 11, 22, tzinfo=UTC),
        cutoff=cutoff,
        horizon=horizon,
        final_mean=3.2,
        final_quantiles=dict(zip(LEVELS, (3.0, 3.1, 3.2, 3.3, 3.4), strict=True)),
        levels=LEVELS,
        path_steps=steps,
        quantiles=np.stack([middle + shift for shift in (-0.2, -0.1, 0.0, 0.1, 0.2)]),
        schedule={"source": source, "steps": [cutoff + 1, horizon], "rates": [1e-3, 0.0]},
        forecasters={},
        notes=(),
    )


def draw(*, display: Display | None = None, **parts: Any) -> dict[str, Any]:
    """The figure as the browser gets it."""
    chart = LossChart(**{"metric": "loss", "points": falling(), **parts})
    drawn: dict[str, Any] = json.loads(loss_figure(chart, display or Display()).to_json())
    return drawn


def trace(figure: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in figure["data"] if one.get("name") == name)


def names(figure: dict[str, Any]) -> set[str]:
    return {one["name"] for one in figure["data"] if one.get("name")}


def test_the_fan_has_both_bands_and_the_median() -> None:
    figure = draw(forecast=forecast())
    assert {"90 % band", "50 % band", "predicted", "loss"} <= names(figure)
    assert trace(figure, "90 % band")["fill"] == "tonexty"
    assert trace(figure, "90 % band")["y"][0] == pytest.approx(3.4)
    # The trace right before holds the lower edge that the fill reaches down to.
    before = figure["data"][figure["data"].index(trace(figure, "90 % band")) - 1]
    assert before["y"][0] == pytest.approx(3.0)


def test_the_outer_band_has_an_edge_and_the_inner_has_none() -> None:
    figure = draw(forecast=forecast())
    assert trace(figure, "90 % band")["line"]["width"] == 1
    assert trace(figure, "50 % band")["line"]["width"] == 0


def test_a_loss_that_hardly_moves_has_no_number_twice_on_its_axis() -> None:
    axis = draw(points=points(np.linspace(1.0003, 0.9998, 500)))["layout"]["yaxis"]
    low, high = axis["range"]
    digits = int(axis["tickformat"].removeprefix(".").removesuffix("~g"))
    written = [f"{value:.{digits}g}" for value in np.arange(np.ceil(low * 1e4), high * 1e4) / 1e4]
    assert len(written) == len(set(written)) > 4


def test_nothing_travels_as_a_typed_array() -> None:
    text = loss_figure(LossChart("loss", falling(), forecast=forecast()), Display()).to_json()
    assert '"bdata"' not in text


def test_nan_and_both_infinities_are_drawn_apart() -> None:
    values = np.full(200, 3.0)
    values[[50, 100, 150]] = np.nan, np.inf, -np.inf
    figure = draw(points=points(values))
    assert trace(figure, "NaN logged")["x"] == [51]
    assert trace(figure, "+Inf logged")["x"] == [101]
    assert trace(figure, "-Inf logged")["x"] == [151]
    assert trace(figure, "loss")["y"][50] is None


def test_a_nan_of_another_loss_is_drawn_with_its_name() -> None:
    figure = draw(others={"val_loss": points([3.0, np.nan, 3.0])})
    assert trace(figure, "NaN logged")["text"] == ["val_loss"]


def test_a_finite_point_between_two_nans_keeps_a_dot() -> None:
    values = np.full(200, np.nan)
    values[:100] = 3.0
    values[150] = 4.0
    figure = draw(points=points(values))
    dots = [one for one in figure["data"] if one.get("mode") == "markers" and one.get("legendgroup") == "loss"]
    assert [one["x"] for one in dots] == [[151]]


def test_a_run_of_nothing_but_nan_is_drawn() -> None:
    figure = draw(points=points(np.full(100, np.nan)))
    assert len(trace(figure, "NaN logged")["x"]) == 100


@pytest.mark.parametrize("scale", list(Scale))
def test_a_spike_late_in_the_run_is_always_in_view(scale: Scale) -> None:
    values = falling(1000).values.copy()
    values[700] = 40.0
    _low, high = draw(points=points(values), scale=scale)["layout"]["yaxis"]["range"]
    assert (10**high if scale is Scale.LOG else high) > 40.0


def test_the_focused_scale_cuts_the_first_drop_and_says_so() -> None:
    figure = draw(points=falling(1000))
    assert figure["layout"]["yaxis"]["range"][1] < 11.0
    assert any("up to 11.00" in note["text"] for note in figure["layout"]["annotations"])


def test_the_full_scale_holds_everything() -> None:
    figure = draw(points=falling(1000), scale=Scale.FULL)
    assert figure["layout"]["yaxis"]["range"][1] > 11.0


def test_a_loss_of_another_size_does_not_flatten_the_chosen_one() -> None:
    near, far = points(np.full(500, 3.5)), points(np.full(500, 900.0))
    _low, high = draw(others={"near": near, "far": far})["layout"]["yaxis"]["range"]
    assert 3.5 < high < 20


def test_values_at_or_below_zero_leave_gaps_on_a_log_axis() -> None:
    figure = draw(points=points([1.0, 0.0, -1.0, 0.1]), scale=Scale.LOG)
    assert trace(figure, "loss")["y"] == [1.0, None, None, 0.1]
    assert all(np.isfinite(figure["layout"]["yaxis"]["range"]))


def test_a_flat_loss_has_an_axis_with_a_height() -> None:
    low, high = draw(points=points(np.full(100, 2.0)))["layout"]["yaxis"]["range"]
    assert low < 2.0 < high


def test_the_planned_rate_is_dashed_from_the_cutoff_on() -> None:
    figure = draw(forecast=forecast(), rate=points(np.full(500, 1e-3)))
    assert trace(figure, "learning rate")["x"][-1] == 500
    planned = trace(figure, "planned rate")
    assert planned["x"][0] == 500
    assert planned["line"]["dash"] != "solid"


def test_a_declared_rate_that_is_not_logged_is_drawn_dashed_from_the_first_step_on() -> None:
    said = Schedule(np.array([0.0, 100.0, 1000.0]), np.array([0.0, 2e-3, 0.0]))
    figure = draw(forecast=forecast(), unlogged_rate=said)
    planned = trace(figure, "planned rate")
    assert planned["x"][:3] == [0, 100, 500]
    assert planned["y"][:2] == [0.0, 2e-3]
    assert planned["x"] == sorted(set(planned["x"]))
    assert "learning rate" not in names(figure)


def test_a_constant_rate_of_one_knot_is_drawn_from_the_first_step_on() -> None:
    figure = draw(forecast=forecast(), unlogged_rate=Schedule(np.array([0.0]), np.array([1e-3])))
    planned = trace(figure, "planned rate")
    assert (planned["x"][0], planned["y"][0]) == (0, 1e-3)


def test_a_rate_that_nobody_told_is_not_drawn() -> None:
    figure = draw(forecast=forecast(source="assumed"))
    assert not {"learning rate", "planned rate"} & names(figure)


def test_restarts_and_the_cutoff_stand_as_lines() -> None:
    figure = draw(forecast=forecast(), restarts=[Restart(2, 120), Restart(3, 300)])
    assert [shape["x0"] for shape in figure["layout"]["shapes"]] == [500, 120, 300]
    texts = [note["text"] for note in figure["layout"]["annotations"]]
    assert {"restart 1", "restart 2", "forecast from 500"} <= set(texts)


def test_many_restarts_keep_their_lines_and_lose_their_labels() -> None:
    figure = draw(restarts=[Restart(number, 10 * number) for number in range(2, 40)])
    assert len(figure["layout"]["shapes"]) == 38
    assert not any("restart" in note["text"] for note in figure["layout"]["annotations"])


def test_a_forecast_that_has_reached_its_horizon_marks_no_cutoff() -> None:
    assert draw(forecast=forecast(cutoff=1000, horizon=1000))["layout"].get("shapes", []) == []


def test_a_zoomed_view_sets_the_steps_and_fits_the_height_to_them() -> None:
    figure = draw(points=falling(1000), view=(800.0, 900.0))
    assert figure["layout"]["xaxis"]["range"] == [800.0, 900.0]
    assert figure["layout"]["yaxis"]["range"][1] < 3.4


def test_zoom_survives_an_update_but_not_another_metric() -> None:
    before, after = draw(points=falling(500)), draw(points=falling(510))
    other = draw(metric="val_loss")
    assert before["layout"]["xaxis"]["uirevision"] == after["layout"]["xaxis"]["uirevision"]
    assert before["layout"]["xaxis"]["uirevision"] != other["layout"]["xaxis"]["uirevision"]


def test_smoothing_is_drawn_over_the_raw_values() -> None:
    noisy = points(3.0 + 0.5 * (-1.0) ** np.arange(2000))
    figure = draw(points=noisy, smooth=True)
    line = np.array(trace(figure, "loss (smoothed)")["y"], float)
    assert np.abs(line - 3.0).max() < 0.1
    assert any(len(one["x"]) == 2000 for one in figure["data"])


def test_names_from_outside_stay_text() -> None:
    evil = "<img src=x onerror=alert(1)>%{y}"
    figure = draw(metric=evil, points=points([1.0, np.nan]), others={evil + "2": points([np.inf])})
    shown = [*names(figure), *(note["text"] for note in figure["layout"]["annotations"])]
    shown += [text for one in figure["data"] for text in one.get("text", [])]
    assert len(shown) >= 5
    assert not any("<img" in text or "%{" in text for text in shown)


def test_a_phone_scrolls_instead_of_zooming() -> None:
    assert draw(display=Display(DARK, narrow=True))["layout"]["dragmode"] is False


def test_every_figure_has_the_same_panels() -> None:
    for figure in (draw(), draw(forecast=forecast(), rate=points(np.full(500, 1e-3)))):
        assert {one.get("yaxis", "y") for one in figure["data"]} >= {"y", "y2", "y3"}


def test_an_empty_chart_is_a_chart() -> None:
    assert draw(points=Points.empty())["layout"]["yaxis"]["range"] == [0.0, 1.0]


def test_an_update_is_drawn_at_once_since_its_page_may_be_left() -> None:
    assert "transition" not in draw()["layout"]


def test_of_an_accuracy_the_beginning_leaves_the_bottom_of_the_focused_chart() -> None:
    rising = points(0.9 - 0.9 / np.arange(1, 501) ** 0.7)
    focused, full = draw(points=rising, rises=True), draw(points=rising, rises=True, scale=Scale.FULL)
    assert focused["layout"]["yaxis"]["range"][0] > 0.5
    assert focused["layout"]["yaxis"]["range"][1] > 0.88
    assert full["layout"]["yaxis"]["range"][0] < 0.05
    (note,) = [one for one in focused["layout"]["annotations"] if "the start lies below" in one["text"]]
    assert note["text"].endswith("down to 0")
    assert note["yanchor"] == "bottom"
    assert not [one for one in full["layout"]["annotations"] if "the start lies" in one["text"]]


def test_the_ground_is_the_cards_so_that_the_pointers_line_is_not_outlined_in_white() -> None:
    layout = draw(display=Display(DARK), points=falling())["layout"]
    assert (layout["plot_bgcolor"], layout["paper_bgcolor"]) == (DARK.surface, "rgba(0,0,0,0)")


def test_the_note_on_the_start_makes_room_for_the_mark_of_a_forecast_near_the_left_edge() -> None:
    high = points(np.concatenate([np.full(5, 60.0), falling(495).values]))

    def heights(horizon: int) -> tuple[float, float]:
        annotations = draw(points=high, forecast=forecast(500, horizon), last_step=500)["layout"]["annotations"]
        note = next(one for one in annotations if "the start lies above" in one["text"])
        mark = next(one for one in annotations if one["text"].startswith("forecast from"))
        return note["y"], mark["y"]

    near, far = heights(5000), heights(800)
    assert near[0] < near[1] - 0.1
    assert far[0] > 0.95


def overfitting() -> Points:
    """A validation loss, logged now and then, that turns and rises well above the training loss."""
    steps = np.arange(25, 501, 25)
    return points(3.6 + np.where(steps < 200, 20.0 / steps, 20.0 / 200 + 0.006 * (steps - 200)), first=25, every=25)


def test_the_newest_validation_loss_is_in_the_focused_view_with_air_above() -> None:
    validation = overfitting()
    low, high = draw(others={"val_loss": validation})["layout"]["yaxis"]["range"]
    assert high > validation.values[-1] + 0.01 * (high - low)


def test_where_another_loss_is_now_stays_in_view_though_its_past_does_not_fit() -> None:
    came_down = points(np.linspace(60.0, 3.4, 20), every=25)
    low, high = draw(others={"val_loss": came_down})["layout"]["yaxis"]["range"]
    assert low < 3.4 < high < 10


def test_a_loss_that_a_warning_names_is_in_the_focused_view_where_another_would_be_left_out() -> None:
    chosen = points(np.linspace(1.2, 1.0, 200))
    overfitting = points(np.linspace(1.1, 2.5, 20), first=10, every=10)
    unasked, named = (
        draw(points=chosen, others={"val_loss": overfitting}, warned_of=warned_of)
        for warned_of in (frozenset[str](), frozenset(["val_loss"]))
    )
    assert unasked["layout"]["yaxis"]["range"][1] < 2.5 < named["layout"]["yaxis"]["range"][1]
    assert not any("val_loss" in note["text"] for note in named["layout"]["annotations"])
    both = draw(
        points=chosen,
        others={"val_loss": overfitting, "loss/eval": points([1.1, 1.9, 2.0])},
        warned_of=frozenset(["val_loss"]),
    )
    assert not any("lies above" in note["text"] for note in both["layout"]["annotations"])
    twin = draw(
        points=chosen, others={"val_loss": overfitting, "loss/eval": overfitting}, warned_of=frozenset(["val_loss"])
    )
    drawn_in_order = [one["name"] for one in twin["data"] if one.get("name")]
    assert drawn_in_order.index("val_loss") > drawn_in_order.index("loss/eval")
    far = points(np.linspace(1.0, 9e9, 20), first=10, every=10)
    drawn = draw(points=chosen, others={"val_loss": far}, warned_of=frozenset(["val_loss"]))
    assert drawn["layout"]["yaxis"]["range"][1] < 10
    assert any("val_loss lies above" in note["text"] for note in drawn["layout"]["annotations"])


def test_a_line_that_ends_outside_the_focused_view_says_where_it_is() -> None:
    figure = draw(others={"val_loss": points(np.full(20, 900.0), every=25), "tiny": points(np.full(20, -80.0))})
    notes = [
        note for note in figure["layout"]["annotations"] if note["text"][0] in "↑↓" and "start" not in note["text"]
    ]
    assert [note["text"] for note in notes] == ["↑ val_loss lies above, at 900.0", "↓ tiny lies below, at -80.00"]
    assert not any(
        "lies" in note["text"]
        for note in draw(others={"near": overfitting()}, scale=Scale.FULL)["layout"]["annotations"]
    )


def test_of_a_handful_of_points_none_is_cut_off() -> None:
    figure = draw(points=points([9.0, 5.0, 4.0, 3.5]))
    assert figure["layout"]["yaxis"]["range"][1] > 9.0


def test_a_few_validation_points_lie_on_top_of_a_dense_training_loss() -> None:
    order = [one.get("name") for one in draw(others={"val_loss": overfitting()})["data"]]
    assert order.index("loss") < order.index("val_loss")
    order = [one.get("name") for one in draw(others={"other_loss": falling()})["data"]]
    assert order.index("other_loss") < order.index("loss")


def test_a_chart_in_words_has_its_last_value_and_its_forecast() -> None:
    said = spoken_chart(LossChart("loss", points([4.0, 3.35]), forecast=forecast()))
    assert said.startswith("loss to step 2, last 3.350; forecast ")
    assert "90 %" in said


def test_a_chart_without_a_point_or_a_forecast_says_no_more_than_it_shows() -> None:
    assert spoken_chart(LossChart("loss", points([]))) == "loss, no point in view"
    assert spoken_chart(LossChart("loss", points([4.0, np.nan]))) == "loss to step 2, last NaN"

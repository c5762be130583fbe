"""What is not finite, openly or written as zero."""

from __future__ import annotations

import numpy as np
import pytest

from tests.diagnostics.made_runs import events_of, falling_loss, logged, steady_norm

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(("value", "spelled"), [(NAN, "NaN"), (INF, "Infinity"), (1e200, 1e200)])
def test_a_loss_that_is_not_finite_is_said_at_once(value: float, spelled: object) -> None:
    loss = falling_loss(50)
    loss[40] = value
    [event] = events_of(logged(train_loss=loss), kinds=["nonfinite"])
    assert (event.step, event.raised_at, event.severity) == (40, 40, "critical")
    assert event.evidence["value"] == spelled
    assert event.evidence["last_finite_step"] == 39


def test_a_gradient_that_breaks_first_warns_and_the_loss_that_follows_makes_it_critical() -> None:
    loss, norm = falling_loss(60), steady_norm(60)
    norm[50:] = INF
    [warning] = events_of(logged(train_loss=loss, grad_norm=norm), kinds=["nonfinite"])
    assert (warning.severity, warning.inputs) == ("warning", ("grad_norm",))
    loss[52:] = NAN
    [event] = events_of(logged(train_loss=loss, grad_norm=norm), kinds=["nonfinite"])
    assert (event.step, event.severity, event.inputs) == (50, "critical", ("grad_norm", "train_loss"))


def test_twenty_finite_points_in_a_row_are_a_recovery() -> None:
    loss = falling_loss(100)
    loss[30:33] = NAN
    [event] = events_of(logged(train_loss=loss), kinds=["nonfinite"])
    assert (event.resolved_at, event.outcome) == (52, "recovered")


def test_a_restart_ends_it_and_a_new_nan_is_a_new_event() -> None:
    loss = falling_loss(100)
    loss[30:35] = NAN
    loss[36] = NAN
    first, second = events_of(logged(train_loss=loss), segment_starts=(0, 35), kinds=["nonfinite"])
    assert (first.resolved_at, first.outcome, second.step) == (35, "restarted", 36)


def test_a_loss_of_exactly_zero_after_positive_ones_is_a_filtered_nan() -> None:
    loss = falling_loss(60)
    loss[50:] = 0.0
    [event] = events_of(logged(train_loss=loss), kinds=["nonfinite"])
    assert event.step == 51, "one zero may be an empty batch, two are not"
    assert "logging_nan_inf_filter" in event.message


def test_a_loss_that_had_come_near_zero_may_become_zero() -> None:
    loss = np.concatenate([np.geomspace(1.0, 1e-6, 60), np.zeros(20)])
    assert not events_of(logged(train_loss=loss), kinds=["nonfinite"])


def test_a_metric_that_is_no_loss_may_be_what_it_likes() -> None:
    assert not events_of(logged(train_loss=falling_loss(50), entropy=np.full(50, NAN)), kinds=["nonfinite"])

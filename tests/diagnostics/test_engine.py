"""The engine says the same however its input is cut, kept and read again."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pytest

from app.diagnostics import engine as engine_module
from app.diagnostics.diagnosis import Window
from app.diagnostics.engine import Engine
from app.diagnostics.event import Event, Severity
from app.diagnostics.registry import DIAGNOSES
from app.diagnostics.signals import choose_inputs
from app.errors import BadInput
from tests.diagnostics.made_runs import Logged, engine_for, falling_loss, in_pieces, last_words, logged, steady_norm

SEGMENTS = (0, 2600)


def eventful_run(n_points: int = 3000) -> Logged:
    """Everything that can happen to a run, one after the other."""
    loss, norm, rate = falling_loss(n_points), steady_norm(n_points), np.full(n_points, 1e-3)
    rate[:50] = np.linspace(0, 1e-3, 50)
    loss[300:330] *= np.geomspace(2.0, 1.0, 30)  # a spike that recovers
    norm[300:310] *= 20
    rate[700:] *= 10  # a raise, with a rise of the loss that goes away
    loss[700:800] *= np.geomspace(1.3, 1.0, 100)
    loss[1200:] *= 1.4  # a spike that lasts
    norm[1200:1204] *= 30
    loss[1700:1760] = 9.0  # half of all progress lost, then regained
    loss[2100:2110] = np.nan
    norm[2095:2110] = np.inf
    norm[2300:2360] *= np.geomspace(1, 60, 60)  # a precursor without a fault
    run = logged(train_loss=loss, grad_norm=norm, lr=rate, max_attn_logit=np.linspace(2, 3, n_points) ** 3)
    evaluated = np.arange(0, n_points, 40)
    run["val_loss"] = (evaluated, falling_loss(len(evaluated), seed=5) * np.linspace(1, 1.5, len(evaluated)))
    return run


@pytest.mark.parametrize("seed", range(6))
def test_any_split_of_the_input_says_the_same(seed: int) -> None:
    run = eventful_run()
    [*whole], whole_risks, whole_engine = in_pieces(run, [], segment_starts=SEGMENTS)
    rng = np.random.default_rng(seed)
    cuts = sorted(rng.choice(3000, size=(3, 40)[seed % 2], replace=False).tolist())
    events, risks, engine = in_pieces(run, cuts, segment_starts=SEGMENTS)
    assert events == whole
    assert risks == whole_risks
    assert engine.to_bytes() == whole_engine.to_bytes()
    assert {event.kind for event in whole} >= {"nonfinite", "spike", "divergence"}


def test_point_by_point_says_the_same_as_all_at_once() -> None:
    run = {metric: (steps[steps < 900], values[steps < 900]) for metric, (steps, values) in eventful_run().items()}
    whole, whole_risks, whole_engine = in_pieces(run, [])
    events, risks, engine = in_pieces(run, list(range(900)), through_bytes=False)
    assert (events, risks) == (whole, whole_risks)
    assert engine.to_bytes() == whole_engine.to_bytes()


def test_nothing_said_at_a_step_depends_on_what_comes_after() -> None:
    run = eventful_run()
    whole, _, _ = in_pieces(run, [])
    for end in (301, 1230, 1703, 2101, 2350):
        so_far = {metric: (steps[steps <= end], values[steps <= end]) for metric, (steps, values) in run.items()}
        # Inputs are chosen from the whole run: what is logged at all is known from the first row.
        engine = engine_for(run)
        said = last_words(engine.observe(so_far).events)
        assert [event.id for event in said] == [event.id for event in whole if event.raised_at <= end]
        resolved = {event.id: event for event in whole if event.resolved_at is not None and event.resolved_at <= end}
        assert {event.id: event for event in said if event.resolved_at is not None} == resolved


def test_going_back_for_late_points_ends_as_if_they_had_been_in_time() -> None:
    run = eventful_run()
    whole, _, whole_engine = in_pieces(run, [])
    engine = engine_for(run)
    engine.observe(run)
    engine, read_from = engine.truncated(2200)
    assert read_from is not None
    assert 1024 <= read_from <= 2200, "a checkpoint lies every 1024 rows"
    again = {metric: (steps[steps >= read_from], values[steps >= read_from]) for metric, (steps, values) in run.items()}
    events = engine.observe(again).events
    assert engine.to_bytes() == whole_engine.to_bytes()
    assert {event.id for event in events} >= {event.id for event in whole if event.raised_at >= read_from}


def test_going_back_before_the_first_checkpoint_begins_anew() -> None:
    run = eventful_run()
    engine = engine_for(run)
    engine.observe(run)
    engine, read_from = engine.truncated(500)
    assert read_from is None
    assert engine.last_step is None


def test_going_back_to_what_was_never_seen_changes_nothing() -> None:
    engine = engine_for(eventful_run())
    engine.observe(eventful_run())
    before = engine.to_bytes()
    same, read_from = engine.truncated(5000)
    assert (same.to_bytes(), read_from) == (before, 3000)


def test_points_that_were_seen_are_refused() -> None:
    engine = engine_for(eventful_run())
    engine.observe(eventful_run())
    with pytest.raises(BadInput, match="truncate first"):
        engine.observe({"train_loss": ([2999], [1.0])})


def test_the_state_stays_small_however_long_the_run() -> None:
    n_points = 70_000
    run = logged(train_loss=falling_loss(n_points), grad_norm=steady_norm(n_points), lr=np.full(n_points, 1e-3))
    engine = engine_for(run)
    engine.observe(run)
    assert len(engine.to_bytes()) < 40_000


@pytest.mark.parametrize("damage", [b"", b"LCDX", b"LCDX\x63rest", b"LCDX\x01not zlib"])
def test_bytes_that_hold_no_state_are_refused(damage: bytes) -> None:
    with pytest.raises(BadInput, match="rebuild"):
        Engine.from_bytes(damage)


def test_a_state_of_other_diagnoses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Engine(choose_inputs({"train_loss": 1}))
    data.observe({"train_loss": ([0], [1.0])})
    saved = data.to_bytes()
    monkeypatch.setattr(engine_module, "DIAGNOSES", (*DIAGNOSES, Newcomer))
    with pytest.raises(BadInput, match="other diagnoses"):
        Engine.from_bytes(saved)


@dataclasses.dataclass(slots=True)
class Newcomer:
    """A diagnosis as the package's docstring asks for it."""

    name: ClassVar[str] = "newcomer"
    kinds: ClassVar[tuple[str, ...]] = ("newcomer",)

    heard: int = 0

    @property
    def state(self) -> str:
        return f"heard {self.heard}"

    def observe(self, window: Window):  # type: ignore[no-untyped-def]
        self.heard += len(window.said)
        if window.said and self.heard == len(window.said):
            yield Event("newcomer", Severity.INFO, window.last_step, window.last_step, "Heard something.", ("x",))


def test_a_newcomer_hears_what_the_others_said_and_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "DIAGNOSES", (*DIAGNOSES, Newcomer))
    run = logged(train_loss=np.array([2.0, np.nan, np.nan]))
    engine = engine_for(run)
    found = engine.observe(run)
    assert [event.kind for event in found.events] == ["nonfinite", "newcomer"]
    assert Engine.from_bytes(engine.to_bytes()).states["newcomer"] == "heard 1"


def test_a_metric_that_comes_later_is_taken_up_and_one_that_changes_its_meaning_is_not() -> None:
    engine = Engine(choose_inputs({"train_loss": 10}))
    engine.observe({"train_loss": ([0], [1.0])})
    engine.with_inputs(choose_inputs({"train_loss": 20, "grad_norm": 3}))
    assert engine.inputs.metric("grad_norm") == "grad_norm"
    with pytest.raises(BadInput, match="another meaning"):
        engine.with_inputs(choose_inputs({"train_loss": 20}, {"train_loss": "val_loss"}))

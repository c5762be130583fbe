from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.dashboard.liveness import LOOKS, Liveness, liveness
from app.runs import Run, RunStatus

NOW = datetime(2026, 11, 22, tzinfo=UTC)
RUN = Run("id", "p", "n", RunStatus.RUNNING, {}, (), {}, {}, NOW, NOW, None, None, 1, 0, None)


@pytest.mark.parametrize(
    ("silent_seconds", "state"), [(0, Liveness.RUNNING), (200, Liveness.LATE), (3600, Liveness.LOST)]
)
def test_silence_makes_a_running_run_late_and_then_lost(silent_seconds: float, state: Liveness) -> None:
    assert liveness(replace(RUN, last_seen_at=NOW - timedelta(seconds=silent_seconds)), NOW) is state


def test_a_finished_run_may_be_silent() -> None:
    run = replace(RUN, status=RunStatus.FINISHED, last_seen_at=NOW - timedelta(days=30))
    assert liveness(run, NOW) is Liveness.FINISHED


def test_every_state_has_a_word_and_a_shape_of_its_own() -> None:
    assert set(LOOKS) == set(Liveness)
    assert len({look.shape for look in LOOKS.values()}) == len(Liveness)
    assert len({look.word for look in LOOKS.values()}) == len(Liveness)

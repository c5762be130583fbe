"""A decay pays: on real language models, a future whose rate falls is forecast to end below one whose rate stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.curves.schedule import Schedule
from app.forecasting.forecast import NETWORK, Forecast, forecast_curve, mix
from app.forecasting.recorded_run import RecordedRun
from app.importers.recorded_run_file import read_recorded_run

DATA = Path(__file__).parents[1] / "data"
DEMO = Path(__file__).parents[2] / "app" / "demo" / "data"
MULTIPOWERLAW = ("constant_24000", "cosine_24000", "wsd_20000_24000", "wsdcon_3", "wsdcon_9", "wsdld")
RUNS = [
    *((DATA / f"multipowerlaw_25M_{name}.csv", "val_loss") for name in MULTIPOWERLAW),
    # lr_scheduling
    (DEMO / "lm_cosine.csv", "train_loss"),
    (DEMO / "lm_wsd.csv", "train_loss"),
    # modded_nanogpt
    (DEMO / "gpt2_undeclared.csv", "train_loss"),
]
CUTS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

STILL_HIGH = 0.3
"""Share of the peak that the rate must have at the cut: what has decayed before has little left to give."""

DECAYS = (1.0, 0.5, 0.2)
"""Last shares of what is left over which the rate falls to zero."""

LITTLE_HARM = 0.05
"""Of the 90 % band."""


@dataclass(frozen=True)
class Cut:
    """A run up to a step, and its futures."""

    run: RecordedRun
    curve: Curve

    @property
    def rate(self) -> float:
        return float(self.past.rate_at([self.curve.cutoff])[0])

    @property
    def past(self) -> Schedule:
        assert self.run.schedule is not None
        return self.run.schedule.until(float(self.curve.cutoff))

    @property
    def constant(self) -> Plan:
        return self._under(
            Schedule.constant(self.rate, first=float(self.curve.cutoff), last=float(self.run.total_steps))
        )

    def decayed(self, share: float) -> Plan:
        """Held, and linear to zero over that last share of what is left."""
        cutoff, end = float(self.curve.cutoff), float(self.run.total_steps)
        knots = np.unique([cutoff, end - share * (end - cutoff), end])
        return self._under(Schedule(knots, np.append(np.full(len(knots) - 1, self.rate), 0.0)))

    def _under(self, future: Schedule) -> Plan:
        return replace(self.run.plan(), schedule=self.past.then(future))


def cuts_of(path: Path, metric: str) -> Iterator[Cut]:
    run = read_recorded_run(path, metric)
    assert run.schedule is not None
    for share in CUTS:
        cut = Cut(run, run.seen(share))
        if cut.rate > STILL_HIGH * run.schedule.peak:
            yield cut


def by_the_network(curve: Curve, plan: Plan) -> Forecast:
    return mix(curve, plan, ((NETWORK, 1.0),))


@pytest.mark.parametrize(("path", "metric"), RUNS, ids=[path.stem for path, _ in RUNS])
def test_the_forecast_of_a_decayed_future_lies_below_that_of_a_constant_one(path: Path, metric: str) -> None:
    cuts = list(cuts_of(path, metric))
    assert len(cuts) >= 3
    for cut in cuts:
        held = forecast_curve(cut.curve, cut.constant)
        for share in DECAYS:
            fallen = forecast_curve(cut.curve, cut.decayed(share))
            assert fallen.final_quantiles[0.5] < held.final_quantiles[0.5], (cut.curve.cutoff, share)
            assert fallen.final_mean < held.final_mean, (cut.curve.cutoff, share)


@pytest.mark.parametrize(("path", "metric"), RUNS, ids=[path.stem for path, _ in RUNS])
def test_the_network_by_itself_believes_in_a_cool_down(path: Path, metric: str) -> None:
    """And where all that is left is spent on decaying, at least in no more than a small harm.

    That gives up half of the progress; on 17 of 442 cuts the network's median is above (docs/forecasting.md).
    """
    for cut in cuts_of(path, metric):
        held = by_the_network(cut.curve, cut.constant).final_quantiles
        for share in DECAYS:
            fallen = by_the_network(cut.curve, cut.decayed(share)).final_quantiles
            allowed = LITTLE_HARM * (held[0.95] - held[0.05]) if share == 1.0 else 0.0
            assert fallen[0.5] < held[0.5] + allowed, (cut.curve.cutoff, share)

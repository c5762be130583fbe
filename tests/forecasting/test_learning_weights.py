"""Weights learned from backtests: what is mixed is what the product says, and the better forecaster gets the say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.forecasting.forecast import LEVELS, forecast_curve
from app.forecasting.siblings import Sibling, learn_prior
from app.forecasting.weights import NetworkShare, shipped_network_share
from app.importers.recorded_run_file import read_recorded_run
from app.laws.shipped import shipped_population
from benchmarks.held_out import HeldOutForecast, held_out_forecasts
from benchmarks.learn_weights import Backtests, Trial, learned, reported, training_of

DATA = Path(__file__).parents[1] / "data"
RUNS = [
    read_recorded_run(DATA / f"multipowerlaw_25M_{name}.csv", "val_loss")
    for name in ("wsdld", "cosine_24000", "wsdcon_9")
]


def test_a_held_out_forecast_mixes_as_the_product_does() -> None:
    forecasts = list(held_out_forecasts("multipowerlaw", RUNS, shipped_population(), (0.5,)))
    assert [each.finished_runs for each in forecasts] == [0, 2, 2] * len(RUNS)
    siblings = [Sibling(run.seen(1.0), run.schedule) for run in RUNS[1:] if run.schedule is not None]
    prior = learn_prior(siblings, shipped_population())
    for kind, heard in (("population", None), ("siblings", prior)):
        ours = next(each for each in forecasts if (each.run, each.kind) == (RUNS[0].name, kind))
        product = forecast_curve(RUNS[0].seen(0.5), RUNS[0].plan(), heard)
        said = [product.final_quantiles[level] for level in LEVELS]
        assert ours.mixed(shipped_network_share()) == pytest.approx(said, rel=1e-9)


def held_out(
    *, family: str, lawful: float, law: float, pfn: float, law_width: float = 1.0, pfn_width: float = 1.0
) -> HeldOutForecast:
    """Of a run that ends at 2; law and network say so much, with bands of so many times 0.1."""
    spread = np.array([-0.05, -0.02, 0.0, 0.02, 0.05])
    return HeldOutForecast(
        family=family,
        metric="val_loss",
        run="run",
        kind="population",
        seen=0.5,
        finished_runs=0,
        actual=2.0,
        lawful=lawful,
        stretch=1.0,
        law=tuple(law + law_width * spread),
        pfn=tuple(pfn + pfn_width * spread),
    )


def test_who_was_right_on_a_kind_of_run_gets_the_say_there() -> None:
    followed = [held_out(family="a", lawful=1.0, law=2.0, pfn=pfn) for pfn in (1.8, 2.2)]
    jumped = [held_out(family="b", lawful=0.0, law=law, pfn=2.0) for law in (1.8, 2.2)]
    share = learned(Backtests.of(followed + jumped))
    assert share.lawful < 0.05
    assert share.abrupt > 0.95


def test_where_both_err_alike_to_either_side_both_count() -> None:
    forecasts = [held_out(family="a", lawful=lawful, law=1.9, pfn=2.1) for lawful in (0.0, 1.0)]
    share = learned(Backtests.of(forecasts))
    assert share.lawful == pytest.approx(0.5, abs=0.05)
    assert share.abrupt == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("pfn_width", "least", "most"), [(1.5, 0.75, 1.0), (0.5, 0.0, 0.05)])
def test_whose_width_would_have_held_sets_the_width(pfn_width: float, least: float, most: float) -> None:
    """Both err by 0.06, a little more than the law's band: a network that is wider is right, a narrower one is not."""
    forecasts = [
        held_out(family="a", lawful=0.5, law=2 + off, pfn=2 + off, pfn_width=pfn_width) for off in (-0.06, 0.06)
    ]
    assert least <= learned(Backtests.of(forecasts)).width <= most


def test_backtests_mix_as_single_forecasts_do() -> None:
    share = NetworkShare(lawful=0.3, abrupt=0.6, width=0.8)
    forecasts = [held_out(family="a", lawful=lawful, law=1.9, pfn=2.2, pfn_width=3.0) for lawful in (0.0, 0.4, 1.0)]
    expected = [np.array(each.mixed(share)) / each.actual for each in forecasts]
    np.testing.assert_allclose(Backtests.of(forecasts).mixed(share), expected, rtol=1e-12)


def test_a_family_teaches_nothing_of_the_weights_it_is_reported_with() -> None:
    mine, other = (held_out(family=name, lawful=1.0, law=2.0, pfn=2.0) for name in ("mine", "other"))
    trials = [
        Trial(mine, frozenset({"mine"})),
        Trial(other, frozenset({"other"})),  # by a prior that has seen mine
        Trial(mine, frozenset({"mine", "other"})),
        Trial(other, frozenset({"mine", "other"})),
    ]
    assert [id(each) for each in training_of(trials, "mine")] == [id(other)]
    assert [each.family for each in reported(trials)] == ["mine", "other"]

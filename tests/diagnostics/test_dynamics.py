"""Laws, trends and phases: on curves made by the formula that is to be found again, and on real runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from app.diagnostics.dynamics.effective_rate import effective_rate
from app.diagnostics.dynamics.geometry import geometry_phase
from app.diagnostics.dynamics.gradient import gradient_phase, noise_scale
from app.diagnostics.dynamics.massive_activations import MassiveLaw, departure, fit_massive_law, massive_activations
from app.diagnostics.dynamics.report import MOST_LAYERS, dynamics_of, metrics_to_read
from app.diagnostics.dynamics.unjudged import UNJUDGED, unjudged, unjudged_among
from app.diagnostics.dynamics.weight_distance import weight_distance
from app.diagnostics.risk import CRITICAL, PRECURSORS
from app.diagnostics.signals import choose_inputs
from app.importers.curve_file import points_by_metric
from app.importers.run_files import read_file

RUNS = Path(__file__).parents[1] / "data" / "small_runs"
STEPS = np.linspace(0, 140_000, 100)

EARLY_PEAK = MassiveLaw(400.0, 20.0, 0.05, 1e-3, 1.0, 1.0, 0.0)
LOGARITHM = MassiveLaw(250.0, 10.0, 0.0, 2e-3, 1.0, 1.0, 0.0)


def noisy(values: np.ndarray, noise: float, seed: int = 0) -> np.ndarray:
    return values + noise * np.random.default_rng(seed).standard_normal(len(values))


def real_dynamics(name: str) -> dict[str, list[str]]:
    """Kind -> texts."""
    logged = points_by_metric(list(read_file(RUNS / (name if "." in name else f"{name}.jsonl")).batches))
    signals = choose_inputs({metric: len(points) for metric, points in logged.items()}).metrics
    read = {metric: (logged[metric].steps, logged[metric].values) for metric in metrics_to_read(logged, signals)}
    found: dict[str, list[str]] = {}
    for dynamic in dynamics_of(read, signals):
        found.setdefault(dynamic.kind, []).append(dynamic.text)
    return found


def test_the_turn_of_the_law_is_where_it_is_largest() -> None:
    at = EARLY_PEAK.turn
    around = EARLY_PEAK.at(np.array([0.98 * at, at, 1.02 * at]))
    assert around[1] > max(around[0], around[2])


def test_an_early_peak_is_found_again_within_its_noise() -> None:
    law = fit_massive_law(STEPS, noisy(EARLY_PEAK.at(STEPS), 10.0))
    assert law is not None
    assert law.explained > 0.98
    assert law.turn == pytest.approx(EARLY_PEAK.turn, rel=0.1)


def test_growth_like_the_logarithm_has_no_peak_in_sight() -> None:
    said = massive_activations("layer", STEPS, noisy(LOGARITHM.at(STEPS), 10.0))
    assert said is not None
    assert "like the logarithm" in said.text
    assert said.numbers["turn_step"] is None


def test_noise_follows_no_law_and_none_of_its_parameters_are_told() -> None:
    said = massive_activations("layer", STEPS, noisy(np.full(100, 300.0), 50.0))
    assert said is not None
    assert "no law" in said.text
    assert said.numbers["amplitude"] is None


def test_growth_by_the_law_is_no_departure_and_a_jump_is() -> None:
    ratios = noisy(LOGARITHM.at(STEPS), 10.0)
    jumped = ratios + np.where(STEPS > 0.9 * STEPS[-1], 300.0, 0.0)
    growing, away = departure(STEPS, ratios), departure(STEPS, jumped)
    assert growing is not None
    assert abs(growing) < 6
    assert away is not None
    assert away > 6


def test_too_few_points_of_a_layer_say_nothing() -> None:
    assert massive_activations("layer", STEPS[:10], LOGARITHM.at(STEPS[:10])) is None


@pytest.mark.parametrize(
    ("distances", "words"),
    [
        (lambda t: 3 + 2 * np.log(t), "ultra-slow diffusion"),
        (lambda t: 0.1 * t**0.5, "step^0.50: diffusion"),
        (lambda t: 0.01 * t**0.95, "nearly straight"),
        (lambda t: 2 + np.sin(t / 500), "neither"),
    ],
)
def test_the_way_of_the_weights_is_named_by_the_law_that_holds(distances, words: str) -> None:  # type: ignore[no-untyped-def]
    steps = np.arange(100, 20_000, 100.0)
    said = weight_distance("distance", steps, noisy(distances(steps), 1e-3))
    assert said is not None
    assert words in said.text


def test_a_rate_that_changed_is_named_beside_the_way_of_the_weights() -> None:
    steps = np.arange(100, 20_000, 100.0)
    said = weight_distance("distance", steps, np.log(steps), np.linspace(1e-3, 1e-4, len(steps)))
    steady = weight_distance("distance", steps, np.log(steps), np.full(len(steps), 1e-3))
    assert said is not None
    assert steady is not None
    assert "the rate changed" in said.text
    assert "the rate changed" not in steady.text


def test_at_the_critical_batch_size_a_step_makes_half_of_the_progress() -> None:
    steps = np.arange(100.0, 10_100.0, 100.0)
    said = noise_scale("noise", steps, np.full(100, 512.0), ("batch", 512.0))
    assert said is not None
    assert said.numbers["step_efficiency"] == said.numbers["sample_efficiency"] == 0.5


def test_a_noise_scale_that_grows_is_told_with_its_power() -> None:
    steps = np.arange(100.0, 10_100.0, 100.0)
    said = noise_scale("noise", steps, 3.0 * steps**0.7)
    assert said is not None
    assert "step^0.70" in said.text


def test_no_signal_above_the_noise_is_no_number() -> None:
    steps = np.arange(100.0, 10_100.0, 100.0)
    said = noise_scale("noise", steps, np.where(steps > 5000, np.inf, 100.0))
    assert said is not None
    assert said.numbers["now"] is None
    assert "no signal" in said.text


def test_drift_turns_to_diffusion_where_the_ratio_falls_below_one() -> None:
    steps = np.arange(0.0, 10_000.0, 50.0)
    said = gradient_phase("snr", steps, noisy(np.where(steps < 3000, 4.0, 0.2), 0.05))
    assert said is not None
    assert said.text.startswith("Gradients: diffusion since step")
    assert said.numbers["since_step"] == pytest.approx(3000, abs=500), "a block of a twenty-fourth of the run"


def test_a_ratio_below_zero_is_noise_and_not_missing() -> None:
    said = gradient_phase("snr", np.arange(50.0), np.full(50, -0.1))
    assert said is not None
    assert said.numbers["is_drift"] == 0.0


def test_the_fall_of_the_effective_rate_is_shared_between_schedule_and_weights() -> None:
    rates, norms = np.geomspace(1e-3, 1e-4, 101), np.linspace(10, 20, 101)
    said = effective_rate(("lr", "norm"), rates, norms)
    assert said is not None
    numbers = {name: value for name, value in said.numbers.items() if value is not None}
    assert numbers["by_schedule"] * numbers["by_weights"] == pytest.approx(
        numbers["now"] / numbers["largest"], rel=0.01
    )
    assert numbers["by_weights"] == pytest.approx((10 / 19) ** 2, rel=0.01)


def test_a_run_without_a_probe_has_nothing_read_and_nothing_said() -> None:
    signals = {"train_loss": "loss", "lr": "lr", "batch_size": "batch_size"}
    assert metrics_to_read(["loss", "lr", "batch_size"], signals) == []
    assert dynamics_of({}, signals) == []


def test_of_many_layers_some_are_fitted_from_first_to_last_in_their_order() -> None:
    steps = np.arange(0, 3000, 100, dtype=np.int64)
    logged = {
        f"layer{at}/massive_ratio": (steps, np.add(300.0 + at, np.sqrt(steps), dtype=np.float64)) for at in range(40)
    }
    fitted = [dynamic.metrics[0] for dynamic in dynamics_of(logged, {})]
    assert len(fitted) == MOST_LAYERS
    assert (fitted[0], fitted[-1]) == ("layer0/massive_ratio", "layer39/massive_ratio")
    numbers = [int(name.removeprefix("layer").split("/")[0]) for name in fitted]
    assert numbers == sorted(numbers)


def test_nothing_finite_breaks_nothing() -> None:
    steps = np.arange(0, 3000, 100)
    broken = (steps, np.full(30, math.nan))
    names = ("layer0/massive_ratio", "gradient/noise_scale", "gradient/snr", "weights/norm", "lr")
    signals = {"param_norm": "weights/norm", "lr": "lr"}
    said = dynamics_of(dict.fromkeys(names, broken), signals)
    assert said == []


def test_a_real_language_model_with_every_probe_is_told_in_all_respects() -> None:
    said = real_dynamics("lm_probed")
    assert {kind: len(texts) for kind, texts in said.items()} == {
        "noise_scale": 1,
        "gradient_phase": 1,
        "effective_rate": 1,
        "weight_distance": 1,
        "massive_activations": 4,
    }
    assert "growing like step^" in said["noise_scale"][0]
    assert "diffusion since step" in said["gradient_phase"][0]
    assert all("nothing massive so far" in text for text in said["massive_activations"]), "it is far too small for them"


def test_a_real_language_model_loses_rank_at_first_and_then_seeks_entropy() -> None:
    (said,) = real_dynamics("lm_wsd")["geometry_phase"]
    assert "warm-up from step 0 (rank 19.2), entropy-seeking from step 20" in said
    assert "compression" not in said


def test_a_rank_that_goes_back_from_its_height_is_the_third_phase() -> None:
    steps = np.arange(0.0, 10_000.0, 50.0)
    ranks = np.interp(steps, [0, 300, 6000, 10_000], [20, 3, 60, 30])
    said = geometry_phase("rankme", steps, noisy(ranks, 0.3))
    assert said is not None
    assert said.numbers["phase"] == 3
    assert said.numbers["since_step"] == pytest.approx(6000, abs=200)


def test_a_rank_that_a_raised_rate_throws_back_is_in_no_phase() -> None:
    steps = np.arange(0.0, 10_000.0, 50.0)
    ranks = np.interp(steps, [0, 300, 6000, 6300, 10_000], [20, 3, 60, 30, 32])
    said = geometry_phase("rankme", steps, ranks, np.where(steps < 6100, 1e-4, 1e-3))
    assert said is not None
    assert "thrown back by a raised rate" in said.text
    assert "compression" not in said.text
    assert said.numbers["phase"] is None


def test_a_rank_that_only_wavers_has_no_phase() -> None:
    steps = np.arange(0.0, 5000.0, 50.0)
    assert geometry_phase("rankme", steps, noisy(np.full(100, 20.0), 1.0)) is None
    assert geometry_phase("rankme", steps[:8], np.geomspace(20, 3, 8)) is None


def test_what_no_rule_reads_is_shown_with_the_reason() -> None:
    (said,) = real_dynamics("lm_wsd")["not_judged"]
    assert said.startswith("logz_mean is 5.")
    assert "No alert and no verdict rests on it" in said
    assert UNJUDGED["log_z"].why in said
    assert not UNJUDGED.keys() & {*CRITICAL, *PRECURSORS}, "what a rule reads is not called unread"


def test_a_sharpness_is_shown_beside_the_edge_that_it_rises_to() -> None:
    steps = np.arange(0.0, 2000.0, 100.0)
    said = unjudged("sharpness", "sharpness", steps, np.full(20, 150.0), np.full(20, 0.01))
    assert said is not None
    assert said.numbers["times_rate"] == pytest.approx(1.5)
    assert unjudged_among(["sharpness", "train_loss", "features/alpha", "policy_entropy"]) == {
        "sharpness": "sharpness",
        "alpha": "features/alpha",
        "entropy": "policy_entropy",
    }


def test_the_law_holds_in_a_real_network_that_rests_its_attention_on_the_first_token() -> None:
    first, middle, last = real_dynamics("attention_sink.csv")["massive_activations"]
    assert "has risen since (R² 0.94)" in first
    assert "rises like the logarithm of the step (R² 0.99)" in middle
    assert "has risen since (R² 0.97)" in last
    assert all("nothing massive so far" in text for text in (first, middle, last))


def test_a_layer_is_fitted_anew_only_when_another_block_is_whole() -> None:
    steps = np.arange(0.0, 1400.0)
    ratios = noisy(LOGARITHM.at(100 * steps), 10.0)
    before = massive_activations("layer", steps[:1312], ratios[:1312])
    assert massive_activations("layer", steps[:1340], ratios[:1340]) is before, "blocks of 32 points"
    assert massive_activations("layer", steps[:1344], ratios[:1344]) is not before


@pytest.mark.parametrize("n", [25, 40, 64, 80])
def test_the_logarithm_is_found_at_any_number_of_points(n: int) -> None:
    """At forty, a decay that leaves nothing of the law once explained everything, by underflow."""
    steps = 100.0 * np.linspace(16, 1260, n)
    law = fit_massive_law(steps, noisy(LOGARITHM.at(steps), 10.0))
    assert law is not None
    assert law.explained > 0.98

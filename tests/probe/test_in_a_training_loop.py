"""What a job relies on: nothing raises, torch and numpy say the same, and neither is needed to import the package."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.curves.roles import assign_roles
from losscast import probe
from losscast.notices import Notices
from losscast.probe import sheltered

CLIENT = Path(__file__).parents[2] / "client"


@pytest.fixture(autouse=True)
def unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings are said once a process; here, once a test."""
    monkeypatch.setattr(sheltered, "_notices", Notices())


def make_probe_batch(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(240) % 4
    features = rng.standard_normal((4, 10))[labels] + 0.4 * rng.standard_normal((240, 10))
    return features, labels, rng.standard_normal((4, 10)), rng.standard_normal(4)


def everything(features: Any, labels: Any, weight: Any, bias: Any) -> dict[str, float]:
    return {
        **probe.features(features, strict=True),
        **probe.classes(features, labels, weight, bias, strict=True),
        **probe.tokens(features, labels, weight, bias, strict=True),
        **probe.units(features, strict=True),
        **probe.weights([weight, bias], initial=[2 * weight, bias], rate=0.1, strict=True),
        **probe.GradientNoise(strict=True).observe_gradients([features[0], features[1]], batch=4),
    }


def test_torch_and_numpy_say_the_same() -> None:
    torch = pytest.importorskip("torch")
    batch = make_probe_batch()

    tensors = [torch.tensor(one) for one in batch]
    tensors[2].requires_grad_()

    assert everything(*tensors) == pytest.approx(everything(*batch), rel=1e-9, abs=1e-9, nan_ok=True)


def test_a_torch_module_and_its_half_precision_features_are_measured() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = torch.nn.Linear(6, 3)
    start = probe.snapshot(layer)
    with torch.no_grad():
        layer.weight.mul_(2.0)

    measured = probe.weights(layer, initial=start)

    assert 0 < measured["weights/relative_distance"] < 1
    assert probe.features(layer(torch.randn(32, 6)).bfloat16(), strict=True)["features/rankme"] > 1


@pytest.mark.parametrize(
    "bad",
    [
        np.full((10, 4), np.nan),
        np.array([1.0, 2.0]),
        np.zeros((0, 4)),
        np.zeros((10, 4)),
        None,
        "features",
        [["a", "b"], ["c", "d"]],
        object(),
    ],
    ids=["nan", "one dimension", "empty", "zeros", "None", "text", "texts", "object"],
)
def test_what_cannot_be_measured_is_not_a_number_and_one_warning(bad: object, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        measured = probe.features(bad)
        assert all(math.isnan(value) for value in measured.values())
    assert set(measured) == set(probe.features(make_probe_batch()[0]))
    assert len(caplog.records) == 1

    with pytest.raises(probe.ProbeError):
        probe.features(bad, strict=True)


def test_labels_that_do_not_fit_are_not_a_number() -> None:
    features, labels, weight, _ = make_probe_batch()

    assert all(math.isnan(value) for value in probe.classes(features, labels[:-1]).values())
    assert all(math.isnan(value) for value in probe.classes(features, labels * 0).values())
    assert all(math.isnan(value) for value in probe.classes(features, labels, weight[:2]).values())
    assert all(math.isnan(value) for value in probe.tokens(features, labels - 4).values())


def test_names_do_not_look_like_what_they_are_not() -> None:
    """A forecast of a probe, or a learning rate read from one, would be worse than no probe."""
    names = everything(*make_probe_batch())

    assert {match.role for match in assign_roles(names).values()} == {"probe"}


def test_the_package_needs_neither_numpy_nor_torch_to_be_imported() -> None:
    said = run_without_numpy("""
        from losscast import probe
        import sys
        assert "numpy" not in sys.modules and "torch" not in sys.modules
        print(probe.features([[1.0, 2.0], [3.0, 4.0]])["features/rankme"])
    """)

    assert said.stdout.strip() == "nan"
    assert "losscast.probe needs one of them" in said.stderr


def run_without_numpy(code: str) -> subprocess.CompletedProcess[str]:
    blocked = "import sys, logging; logging.basicConfig(); sys.modules['numpy'] = None\n" + textwrap.dedent(code)
    blocked = blocked.replace('assert "numpy" not in sys.modules', 'assert sys.modules["numpy"] is None')
    return subprocess.run(
        [sys.executable, "-c", blocked], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(CLIENT)}
    )

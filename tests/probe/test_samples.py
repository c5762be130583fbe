"""Modes and spread of generated samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from losscast import probe

MODES = np.repeat(np.arange(8), 50)
CENTRES = 2 * np.stack([np.cos(np.arange(8) * math.pi / 4), np.sin(np.arange(8) * math.pi / 4)], axis=1)
RING = CENTRES[MODES]


def test_samples_of_all_modes_cover_them_evenly() -> None:
    measured = probe.samples(RING, MODES, real=RING, real_modes=MODES)

    assert measured == pytest.approx(
        {
            "samples/spread": 2.0,
            "samples/relative_spread": 1.0,
            "samples/hit_share": 1.0,
            "samples/modes_covered": 8.0,
            "samples/mode_perplexity": 8.0,
            "samples/relative_modes": 1.0,
        }
    )


def test_a_few_stray_samples_cover_no_mode_and_misses_are_no_mode() -> None:
    modes = np.concatenate([np.zeros(300), [1, 2, 3], np.full(97, -1)]).astype(int)
    measured = probe.samples(RING, modes, real=RING, real_modes=MODES)

    assert measured["samples/modes_covered"] == 1
    assert measured["samples/hit_share"] == pytest.approx(303 / 400)
    assert 1 < measured["samples/mode_perplexity"] < 1.1


def test_only_what_was_handed_in_is_measured() -> None:
    assert list(probe.samples(RING)) == ["samples/spread"]
    assert list(probe.samples(RING, real=RING, name="faces")) == ["faces/spread", "faces/relative_spread"]
    assert probe.samples(RING, MODES)["samples/modes_covered"] == 8


def test_samples_that_hit_nothing_have_no_modes_and_no_error() -> None:
    measured = probe.samples(RING, np.full(400, -1), real=RING, real_modes=MODES, strict=True)

    assert (measured["samples/hit_share"], measured["samples/mode_perplexity"]) == (0, 0)


def test_labels_of_another_number_of_samples_are_refused() -> None:
    with pytest.raises(probe.ProbeError, match="3 labels"):
        probe.samples(RING, [1, 2, 3], strict=True)
    assert all(math.isnan(value) for value in probe.samples(RING, [1, 2, 3]).values())


def test_tensors_and_arrays_measure_the_same() -> None:
    torch = pytest.importorskip("torch")
    tensors = probe.samples(torch.tensor(RING), torch.tensor(MODES), real=torch.tensor(RING), max_rows=100)

    assert tensors == pytest.approx(probe.samples(RING, MODES, real=RING, max_rows=100))

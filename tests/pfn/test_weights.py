"""The files that ship: whole, described, and refused when they are not what the card says."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import Unavailable
from app.pfn.weights import CARD, PARAMETERS, read_network, shipped_folder
from tests.pfn.untrained import SIZE, random_network


def write_network(folder: Path) -> None:
    network = random_network()
    knots = {"knots.places": np.arange(SIZE.bars, dtype=float), "knots.left_tail": 1.0, "knots.right_tail": 2.0}
    arrays: dict[str, Any] = {**network.parameters, **knots}
    np.savez(folder / PARAMETERS, **arrays)
    size = {name: getattr(SIZE, name) for name in ("width", "layers", "heads", "inner", "bars")}
    digest = hashlib.sha256((folder / PARAMETERS).read_bytes()).hexdigest()
    (folder / CARD).write_text(json.dumps({"sha256": digest, "size": size}))


def test_a_network_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_network(tmp_path)
    network, knots, card = read_network(tmp_path)
    for name, expected in random_network().parameters.items():
        assert np.array_equal(network.parameters[name], expected)
    assert network.size == SIZE
    assert (knots.left_tail, knots.right_tail) == (1.0, 2.0)
    assert card["size"]["bars"] == len(knots.places)


def test_parameters_that_were_changed_are_refused(tmp_path: Path) -> None:
    write_network(tmp_path)
    content = bytearray((tmp_path / PARAMETERS).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / PARAMETERS).write_bytes(content)
    with pytest.raises(Unavailable, match="not the one its card describes"):
        read_network(tmp_path)


@pytest.mark.parametrize("name", [CARD, PARAMETERS])
def test_a_missing_file_is_said_to_be_missing(tmp_path: Path, name: str) -> None:
    write_network(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(Unavailable, match="missing"):
        read_network(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"sha256": 1, "size": {"depth": 3}}', b"\xff\xfe"])
def test_a_card_that_cannot_be_read_is_named(tmp_path: Path, content: str | bytes) -> None:
    write_network(tmp_path)
    (tmp_path / CARD).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Unavailable, match=CARD):
        read_network(tmp_path)


def test_the_shipped_network_is_small_and_its_card_complete() -> None:
    network, _, card = read_network(shipped_folder())
    assert len(shipped_folder().joinpath(PARAMETERS).read_bytes()) < 1_000_000
    assert card["licence"] == "MIT"
    assert card["n_parameters"] == sum(array.size for array in network.parameters.values())
    assert {"prior_version", "curves", "seed", "commit"} <= set(card["trained"])

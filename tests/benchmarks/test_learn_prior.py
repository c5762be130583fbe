"""Is the prior that is kept the one that the code makes?"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from benchmarks.learn_prior import check

MADE: dict[str, Any] = {
    "commit": "0" * 40,
    "sha256_of_names_and_finals": "a",
    "prior": {"exponent": {"median": 0.45, "points": [0.1, 0.2]}, "live_runs": 0},
    "within": {"exponent": 0.1},
}


def test_a_prior_that_is_made_again_to_rounding_is_the_same() -> None:
    kept = copy.deepcopy(MADE)
    kept["prior"]["exponent"]["median"] *= 1 + 1e-6
    check(MADE, kept, Path("kept.json"))


def test_what_differs_is_named_with_the_commit_that_made_it() -> None:
    kept = copy.deepcopy(MADE)
    kept["prior"]["exponent"]["points"][1] = 0.25
    del kept["prior"]["live_runs"]
    kept["sha256_of_names_and_finals"] = "b"
    with pytest.raises(SystemExit) as said:
        check(MADE, kept, Path("kept.json"))
    lines = str(said.value).splitlines()
    assert lines[0] == f"kept.json (made at {'0' * 40}) differs:"
    assert lines[1] == "other runs than the file was made from"
    assert [line.split(":")[0] for line in lines[2:]] == ["prior.exponent.points[1]", "prior.live_runs"]

"""Several values after one flag."""

from __future__ import annotations

import pytest

from app.cli.greedy_options import repeated

OPTIONS = {"fractions": float, "name": str}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("--fractions 0.2 0.4 runs --json", "--fractions 0.2 --fractions 0.4 runs --json"),
        ("runs --fractions 0.2 0.4", "runs --fractions 0.2 --fractions 0.4"),
        ("--fractions 0.2 --fractions 0.4 runs", "--fractions 0.2 --fractions 0.4 runs"),
        ("--fractions=0.2 0.4 runs", "--fractions=0.2 --fractions 0.4 runs"),
        ("--fractions half runs", "--fractions half runs"),
        ("--fractions 0.2 -- 0.4 runs", "--fractions 0.2 -- 0.4 runs"),
        ("-- --fractions 0.2 0.4", "-- --fractions 0.2 0.4"),
        ("--plot 0.2 0.4", "--plot 0.2 0.4"),
        ("--name a b --json", "--name a --name b --json"),
        ("--fractions", "--fractions"),
        ("", ""),
    ],
)
def test_a_flag_takes_values_for_as_long_as_they_are_of_its_kind(given: str, read: str) -> None:
    assert repeated(given.split(), OPTIONS) == read.split()

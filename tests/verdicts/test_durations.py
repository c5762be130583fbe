"""Lengths of time in words."""

import pytest

from app.verdicts.durations import format_duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (59.4, "59 s"),
        (59.6, "60 s"),
        (99, "2 min"),
        (3600, "1 h"),
        (9000, "2 h 30 min"),
        (86_399, "1 d"),
        (180_000, "2 d 2 h"),
        (99 * 86_400 + 3600, "99 d 1 h"),
        (12_345 * 86_400 + 3600, "12,345 d"),
    ],
)
def test_durations_are_told_in_two_units_at_most(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words

import pytest

from app.curves.schedule_text import read_schedules, write_schedule
from app.errors import BadInput


@pytest.mark.parametrize(
    ("words", "specs"),
    [
        ([], []),
        (["cosine"], [{"family": "cosine"}]),
        (["cosine", "final_fraction=0.1", "wsd"], [{"family": "cosine", "final_fraction": "0.1"}, {"family": "wsd"}]),
        (["cosine final_fraction=0.1 wsd"], [{"family": "cosine", "final_fraction": "0.1"}, {"family": "wsd"}]),
        (["step milestones=[4,8]"], [{"family": "step", "milestones": [4, 8]}]),
        (['{"family": "explicit", "steps": [0, 9]}'], [{"family": "explicit", "steps": [0, 9]}]),
    ],
)
def test_schedules_are_read_as_they_are_typed(words: list[str], specs: list[dict[str, object]]) -> None:
    assert read_schedules(words) == specs


@pytest.mark.parametrize("word", ["final_fraction=0.1", "{family: cosine}", "step milestones=[4", "{"])
def test_what_is_no_schedule_is_refused(word: str) -> None:
    with pytest.raises(BadInput):
        read_schedules([word])


def test_what_is_written_is_read_back() -> None:
    spec = {"family": "wsd_linear", "total_steps": "30000", "peak": "3e-4"}
    assert read_schedules([write_schedule({**spec, "decay_steps": None, "warmup_steps": ""})]) == [spec]

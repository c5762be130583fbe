"""Why no other run of the project was heard."""

import pytest

from app.dashboard.pages.siblings import sibling_list
from app.dashboard.readings.run import SiblingsReading


@pytest.mark.parametrize(
    ("finished", "going", "said"),
    [
        (1, 0, "this project has one finished run, which is not alike enough."),
        (0, 1, "this project has one run still going, which is not alike enough."),
        (6, 0, "this project has 6 finished runs, none of them alike enough."),
        (6, 2, "this project has 6 finished runs and 2 still going, none of them alike enough."),
    ],
)
def test_runs_that_are_not_alike_are_counted_in_a_sentence(finished: int, going: int, said: str) -> None:
    reading = SiblingsReading(heard=(), finished=finished, may_speak=finished, going=going)
    assert said in str(sibling_list(reading))

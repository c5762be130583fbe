"""What was acknowledged is read back, whichever way it came and whether or not it was compacted since."""

import math

import numpy as np
import pytest
from sqlalchemy import text

from app.errors import NotFound, UnknownMetric
from app.runs import Points
from app.storage.batches import PendingBatch, write_batches
from app.storage.database import Database
from app.storage.points import thinned
from app.storage.runs import get_run
from tests.storing import compact, make_batch, read, shown, start, store

WHEN = pytest.mark.parametrize("is_compacted", [False, True], ids=["from the log", "from chunks"])


def maybe(is_compacted: bool, database: Database) -> None:
    if is_compacted:
        assert compact(database) > 0


@WHEN
def test_nan_and_the_infinities_stay_apart(database: Database, is_compacted: bool) -> None:
    start(database)
    store(database, make_batch([1, 2, 3, 4], loss=[math.nan, math.inf, -math.inf, 1e300]), seq=0)
    maybe(is_compacted, database)
    values = read(database).values
    assert np.isnan(values[0])
    assert values[1:].tolist() == [math.inf, -math.inf, 1e300]


@WHEN
def test_no_value_is_not_nan(database: Database, is_compacted: bool) -> None:
    start(database)
    store(database, make_batch([1, 2, 3], loss=[1.0, None, math.nan], val_loss=[None, 2.0, None]), seq=0)
    maybe(is_compacted, database)
    assert read(database).steps.tolist() == [1, 3]
    assert shown(database, "val_loss") == {2: 2.0}


@WHEN
def test_steps_of_any_size_and_sign_are_exact(database: Database, is_compacted: bool) -> None:
    steps = [-(2**63), -5, 0, 2**40, 2**53 + 1, 2**63 - 1]
    start(database)
    store(database, make_batch(steps, loss=[float(at) for at in range(len(steps))]), seq=0)
    maybe(is_compacted, database)
    assert read(database).steps.tolist() == steps


@WHEN
def test_the_same_batch_twice_is_stored_once(database: Database, is_compacted: bool) -> None:
    start(database)
    first = store(database, make_batch([1, 2], loss=[2.0, 1.9]), seq=7)
    maybe(is_compacted, database)
    again = store(database, make_batch([1, 2], loss=[5.0, 5.0]), seq=7)
    assert (first.duplicate, again.duplicate) == (False, True)
    assert shown(database) == {1: 2.0, 2: 1.9}


@WHEN
def test_the_later_seq_wins_even_when_it_arrives_first(database: Database, is_compacted: bool) -> None:
    start(database)
    store(database, make_batch([10], loss=[2.0]), seq=2)
    maybe(is_compacted, database)
    store(database, make_batch([10, 11], loss=[9.0, 3.0]), seq=1)  # a late retry
    assert shown(database) == {10: 2.0, 11: 3.0}
    compact(database)
    assert shown(database) == {10: 2.0, 11: 3.0}


def test_of_equal_steps_in_one_batch_the_last_row_wins(database: Database) -> None:
    start(database)
    store(database, make_batch([5, 4, 5], loss=[1.0, 2.0, 3.0]), seq=0)
    assert shown(database) == {4: 2.0, 5: 3.0}
    compact(database)
    assert shown(database) == {4: 2.0, 5: 3.0}


@WHEN
def test_a_restart_replaces_what_came_after_its_first_step(database: Database, is_compacted: bool) -> None:
    start(database)
    store(database, make_batch([100, 200, 300], loss=[3.0, 2.0, 1.0]), seq=0)
    segment = start(database, session="second")
    assert segment == 2
    maybe(is_compacted, database)
    store(database, make_batch([210, 250], loss=[1.8, 1.7]), segment=segment, seq=0)
    assert shown(database) == {100: 3.0, 200: 2.0, 210: 1.8, 250: 1.7}


@WHEN
@pytest.mark.parametrize("goes_on_at", [200, 201, 250])
def test_a_restart_keeps_the_checkpoint_s_step_unless_it_is_logged_again(
    database: Database, is_compacted: bool, goes_on_at: int
) -> None:
    start(database)
    before = make_batch([100, 200, 210, 300], loss=[3.0, 2.0, 1.9, 1.0], val_loss=[None, 2.5, None, 1.5])
    store(database, before, seq=0)
    segment = start(database, session="second", resume_step=200)
    maybe(is_compacted, database)
    store(database, make_batch([goes_on_at, 260], loss=[1.8, 1.7]), segment=segment, seq=0)
    assert shown(database) == {100: 3.0, 200: 2.0, goes_on_at: 1.8, 260: 1.7}
    assert shown(database, "val_loss") == {200: 2.5}


def test_a_restart_replaces_nothing_before_it_has_logged(database: Database) -> None:
    start(database)
    store(database, make_batch([100, 200, 300], loss=[3.0, 2.0, 1.0]), seq=0)
    start(database, session="died", resume_step=200)
    segment = start(database, session="third", resume_step=200)
    assert shown(database) == {100: 3.0, 200: 2.0, 300: 1.0}
    store(database, make_batch([201], loss=[1.9]), segment=segment, seq=0)
    assert shown(database) == {100: 3.0, 200: 2.0, 201: 1.9}


def test_the_largest_of_all_steps_may_be_a_checkpoint(database: Database) -> None:
    start(database)
    store(database, make_batch([1, 2**63 - 1], loss=[3.0, 2.0]), seq=0)
    segment = start(database, session="second", resume_step=2**63 - 1)
    store(database, make_batch([2**63 - 1], loss=[1.0]), segment=segment, seq=0)
    assert shown(database) == {1: 3.0, 2**63 - 1: 1.0}


def test_what_a_restart_replaced_is_kept_in_storage(database: Database) -> None:
    start(database)
    store(database, make_batch([1, 2, 3], loss=[3.0, 2.0, 1.0]), seq=0)
    segment = start(database, session="second")
    store(database, make_batch([1], loss=[4.0]), segment=segment, seq=0)
    compact(database)
    assert shown(database) == {1: 4.0}
    with database.read() as connection:
        kept = connection.execute(text("SELECT sum(n_points) FROM series_chunk WHERE segment = 1")).scalar_one()
    assert kept == 3


def test_the_same_session_gets_the_same_segment(database: Database) -> None:
    assert [start(database, session=name) for name in ("a", "b", "a", "b", "c")] == [1, 2, 1, 2, 3]


def test_a_segment_that_was_never_opened_is_no_reason_to_lose_points(database: Database) -> None:
    start(database)
    answer = store(database, make_batch([1], loss=[1.0]), segment=99, seq=0)
    assert answer.segment == 1
    assert answer.warning is not None
    assert store(database, make_batch([1], loss=[1.0]), segment=99, seq=0).duplicate
    assert shown(database) == {1: 1.0}


def test_an_unknown_run_does_not_cost_its_neighbours_their_points(database: Database) -> None:
    start(database)
    batch = make_batch([1], loss=[1.0])
    with database.write() as connection:
        answers = write_batches(connection, [PendingBatch("nobody", batch), PendingBatch("run", batch, seq=0)])
    assert isinstance(answers[0], NotFound)
    assert shown(database) == {1: 1.0}


def test_batches_without_a_number_never_take_one_that_a_sender_counts_to(database: Database) -> None:
    start(database)
    numbers = [store(database, make_batch([step], loss=[1.0])).seq for step in (1, 2)]
    assert numbers == [2**62, 2**62 + 1]
    counted = [store(database, make_batch([3 + seq], loss=[1.0]), seq=seq).duplicate for seq in range(3)]
    assert counted == [False, False, False]
    assert store(database, make_batch([9], loss=[1.0])).seq == 2**62 + 2


def test_many_compactions_fill_chunks_and_lose_nothing(database: Database) -> None:
    start(database)
    rng = np.random.default_rng(0)
    expected: dict[int, float] = {}
    for seq in range(60):
        steps = np.unique(rng.integers(0, 40_000, 1500))  # overlapping, far out of order
        values = rng.normal(size=len(steps))
        store(database, make_batch(steps.tolist(), loss=values.tolist()), seq=seq)
        expected.update(zip(steps.tolist(), values.tolist(), strict=True))
        if seq % 7 == 6:
            compact(database)
    assert shown(database) == expected
    compact(database)
    assert shown(database) == expected
    with database.read() as connection:
        sizes = connection.execute(text("SELECT n_points, octet_length(data) FROM series_chunk")).all()
    assert max(size for size, _ in sizes) <= 16_384
    assert sum(size for size, _ in sizes) == len(expected)


def test_a_range_reads_both_of_its_ends(database: Database) -> None:
    start(database)
    store(database, make_batch(list(range(100)), loss=[float(step) for step in range(100)]), seq=0)
    compact(database)
    assert read(database, from_step=10, to_step=12).steps.tolist() == [10, 11, 12]
    assert len(read(database, from_step=500, to_step=600)) == 0


def test_an_unknown_metric_is_answered_with_the_known_ones(database: Database) -> None:
    start(database)
    store(database, make_batch([1], loss=[1.0]), seq=0)
    with pytest.raises(UnknownMetric, match="loss"):
        read(database, "los")


def make_points(values: np.ndarray) -> Points:
    return Points(np.arange(len(values), dtype=np.int64), values, np.full(len(values), np.nan))


def test_thinning_keeps_every_spike_and_every_kind_of_broken_value() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=100_000)
    values[12_345], values[77_777] = 50.0, -50.0
    values[500], values[60_000], values[60_001] = math.nan, math.inf, -math.inf
    kept = thinned(make_points(values), 1000)
    assert len(kept) <= 1000
    assert {500, 12_345, 60_000, 60_001, 77_777} <= set(kept.steps.tolist())
    assert kept.steps[[0, -1]].tolist() == [0, 99_999]


def test_thinning_a_series_of_nothing_but_nan_keeps_its_ends() -> None:
    kept = thinned(make_points(np.full(10_000, math.nan)), 100)
    assert 2 <= len(kept) <= 100
    assert np.isnan(kept.values).all()


def test_a_series_that_fits_is_not_thinned() -> None:
    points = make_points(np.arange(50.0))
    assert thinned(points, 50) is points


def test_a_negative_step_after_a_restart_hides_nothing_of_before(database: Database) -> None:
    start(database)
    store(database, make_batch([0, 1, 2, 3], loss=[1.0, 1.0, 1.0, 1.0]))
    start(database, session="second")
    for steps in ([-1], [2, -7], [3]):
        store(database, make_batch(steps, loss=[2.0] * len(steps)))
    assert shown(database) == {-7: 2.0, -1: 2.0, 0: 1.0, 1: 1.0, 2: 2.0, 3: 2.0}


def test_charts_leave_out_what_is_far_beyond_and_everything_else_keeps_it(database: Database) -> None:
    start(database)
    store(database, make_batch([*range(50), 2**62, -3], loss=[1.0] * 52))
    assert read(database, max_points=1000).steps.tolist() == list(range(50))
    assert len(read(database)) == 52
    assert read(database, from_step=40, max_points=1000).steps.tolist() == [*range(40, 50), 2**62]


@pytest.mark.parametrize(
    ("steps", "last"), [([5, 2**62], 5), ([2**62, 5], 5), ([2**62, 2**62 + 9], 2**62 + 9), ([-4], -4)]
)
def test_the_next_row_without_a_step_follows_what_was_counted(database: Database, steps: list[int], last: int) -> None:
    start(database)
    for step in steps:
        store(database, make_batch([step], loss=[1.0]))
    with database.read() as connection:
        assert get_run(connection, "run").last_step == last

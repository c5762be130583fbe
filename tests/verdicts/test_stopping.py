"""The way from a verdict to a stop: who may say what, and what it takes."""

from __future__ import annotations

import itertools

import pytest

from app.verdicts.stopping import (
    Author,
    Mode,
    Standing,
    StopEvent,
    is_confirmed,
    may_stop,
    next_event,
    stop_words,
)

STANDINGS = [
    None,
    *(Standing(event, author, segment) for event, author, segment in itertools.product(StopEvent, Author, (1, 2))),
]


def follow(
    standing: Standing | None, mode: Mode, *, is_stop: bool, confirmed: bool, segment: int = 2
) -> Standing | None:
    event = next_event(standing, segment, mode, is_stop=is_stop, confirmed=confirmed)
    return standing if event is None else Standing(event, Author.POLICY, segment)


@pytest.mark.parametrize("standing", STANDINGS, ids=str)
def test_judging_the_same_twice_adds_nothing(standing: Standing | None) -> None:
    for mode, verdict in itertools.product(Mode, ((False, False), (True, False), (True, True))):
        is_stop, confirmed = verdict
        once = follow(standing, mode, is_stop=is_stop, confirmed=confirmed)
        assert follow(once, mode, is_stop=is_stop, confirmed=confirmed) == once


@pytest.mark.parametrize("standing", STANDINGS, ids=str)
def test_no_job_is_told_where_only_advice_is_wanted(standing: Standing | None) -> None:
    assert not may_stop(standing, 2, Mode.ADVISE)
    after = follow(standing, Mode.ADVISE, is_stop=True, confirmed=True)
    assert after == standing or (after is not None and after.event is StopEvent.WITHDRAWN)


@pytest.mark.parametrize("standing", STANDINGS, ids=str)
@pytest.mark.parametrize("mode", Mode)
def test_a_policy_alone_stops_nobody_who_is_to_be_asked_about(standing: Standing | None, mode: Mode) -> None:
    after = follow(standing, mode, is_stop=True, confirmed=True)
    told = may_stop(after, 2, mode)
    if mode is Mode.ASK and after is not None and after.event is StopEvent.ORDERED:
        assert told == (after.author is Author.PERSON and after.segment == 2)
    if told:
        assert after is not None
        assert after.segment == 2, "another start of the run is not meant"


@pytest.mark.parametrize("standing", STANDINGS, ids=str)
@pytest.mark.parametrize("mode", Mode)
def test_only_a_confirmed_stop_begins_anything(standing: Standing | None, mode: Mode) -> None:
    for is_stop in (False, True):
        event = next_event(standing, 2, mode, is_stop=is_stop, confirmed=False)
        assert event in (None, StopEvent.WITHDRAWN)


@pytest.mark.parametrize("mode", Mode)
def test_a_persons_no_outlasts_verdicts_and_restarts(mode: Mode) -> None:
    declined = Standing(StopEvent.DECLINED, Author.PERSON, 1)
    assert next_event(declined, 5, mode, is_stop=True, confirmed=True) is None
    assert not may_stop(declined, 5, mode)


def test_a_persons_yes_is_not_undone_by_a_verdict_but_by_the_mode() -> None:
    agreed = Standing(StopEvent.ORDERED, Author.PERSON, 1)
    assert next_event(agreed, 1, Mode.ASK, is_stop=False, confirmed=False) is None
    assert may_stop(agreed, 1, Mode.ASK)
    assert next_event(agreed, 1, Mode.ADVISE, is_stop=True, confirmed=True) is StopEvent.WITHDRAWN


def test_a_mode_that_changes_takes_an_order_back_to_a_question_and_on() -> None:
    ordered = Standing(StopEvent.ORDERED, Author.POLICY, 1)
    assert not may_stop(ordered, 1, Mode.ASK)
    assert next_event(ordered, 1, Mode.ASK, is_stop=True, confirmed=True) is StopEvent.PROPOSED
    proposed = Standing(StopEvent.PROPOSED, Author.POLICY, 1)
    assert next_event(proposed, 1, Mode.STOP, is_stop=True, confirmed=True) is StopEvent.ORDERED


@pytest.mark.parametrize(
    ("since", "step", "looks", "confirmed"),
    [(500, 530, 3, True), (500, 529, 9, False), (500, 530, 2, False), (900, 979, 9, True), (900, 980, 9, False)],
)
def test_a_stop_counts_once_it_has_held_and_while_something_is_left(
    since: int, step: int, looks: int, confirmed: bool
) -> None:
    assert is_confirmed(since_step=since, step=step, looks=looks, total_steps=1000) is confirmed


@pytest.mark.parametrize("standing", STANDINGS, ids=str)
@pytest.mark.parametrize("mode", Mode)
def test_the_words_say_what_the_job_is_told(standing: Standing | None, mode: Mode) -> None:
    words = stop_words(standing, 2, mode)
    if may_stop(standing, 2, mode):
        assert "told to stop" in words
    elif "told to stop" in words:
        assert "no job is told" in words or "has asked and was told" in words


def test_a_question_to_a_person_stays_until_another_verdict_has_settled() -> None:
    proposed = Standing(StopEvent.PROPOSED, Author.POLICY, 1)
    for_now = next_event(proposed, 1, Mode.ASK, is_stop=False, confirmed=False, settled=False)
    assert for_now is None
    assert next_event(proposed, 1, Mode.ASK, is_stop=False, confirmed=False) is StopEvent.WITHDRAWN


def test_an_order_is_withdrawn_once_another_verdict_has_settled_and_not_before() -> None:
    ordered = Standing(StopEvent.ORDERED, Author.POLICY, 1)
    assert next_event(ordered, 1, Mode.STOP, is_stop=False, confirmed=False, settled=False) is None
    assert next_event(ordered, 1, Mode.STOP, is_stop=False, confirmed=False) is StopEvent.WITHDRAWN


@pytest.mark.parametrize(("taken_back", "needed"), [(0, 30), (1, 60), (2, 120), (3, 240), (9, 240)])
def test_each_stop_that_was_taken_back_doubles_how_long_the_next_must_hold(taken_back: int, needed: int) -> None:
    held = {"since_step": 100, "looks": 99, "total_steps": 1000, "taken_back": taken_back}
    assert is_confirmed(step=100 + needed, **held)
    assert not is_confirmed(step=100 + needed - 1, **held)

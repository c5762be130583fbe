"""Questions that take a core are answered some at a time; the others are sent away with a time to ask again."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.calculations import Calculations
from app.errors import BadInput, Busy
from tests.api.sent_runs import send
from tests.service import Web


def test_no_more_are_worked_out_at_once_than_may_be_and_no_more_wait() -> None:
    gate, at_once, most = threading.Event(), 0, 0
    lock = threading.Lock()

    def question(answer: int) -> int:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        assert gate.wait(30)
        with lock:
            at_once -= 1
        return answer

    async def ask() -> list[object]:
        calculations = Calculations(most_running=2, most_waiting=3, seconds=7.0)
        asked = [asyncio.create_task(calculations.run(question, at)) for at in range(9)]
        await asyncio.sleep(0)
        gate.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert await calculations.run(question, 9) == 9  # there is room again
        return list(answers)

    answers = asyncio.run(ask())
    assert answers[:5] == [0, 1, 2, 3, 4]
    assert all(isinstance(answer, Busy) and answer.retry_after_seconds == 7.0 for answer in answers[5:])
    assert most == 2


def test_a_question_that_fails_or_whose_asker_left_makes_room_again() -> None:
    def fail() -> None:
        raise BadInput("not so")

    async def ask() -> None:
        calculations = Calculations(most_running=1, most_waiting=0, seconds=1.0)
        for _ in range(3):
            with pytest.raises(BadInput, match="not so"):
                await calculations.run(fail)
            await asyncio.sleep(0.05)
        gate = threading.Event()
        left = asyncio.create_task(calculations.run(gate.wait, 30))
        await asyncio.sleep(0.05)
        left.cancel()
        await asyncio.sleep(0)
        with pytest.raises(Busy):  # nobody waits for it, but its thread is still at it
            await calculations.run(int)
        gate.set()
        while True:
            try:
                assert await calculations.run(int) == 0
                return
            except Busy:
                await asyncio.sleep(0.01)

    asyncio.run(ask())


def test_many_fits_at_once_are_answered_or_told_when_to_ask_again(web: Web, api_database_url: str) -> None:
    run_id = send(web, api_database_url, "cosine_24000")
    body = {"runs": [run_id], "schedules": ["linear"]}

    def ask(_: int) -> int:
        answer = web.http.post("/api/v1/fit", json=body)
        if answer.status_code == 429:
            assert int(answer.headers["Retry-After"]) >= 1
            assert answer.json()["error"] == "overloaded"
            assert "ask again" in answer.json()["message"]
        return answer.status_code

    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(ask, at) for at in range(12)]
        assert web.http.get("/api/v1/projects").status_code == 200  # others are answered meanwhile
        counts = Counter(answer.result() for answer in answers)
    assert set(counts) == {200, 429}
    assert counts[200] >= 5

"""Questions that take a core for a second or more: some at a time, some that wait, the others are sent away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from app.errors import Busy

Asked = ParamSpec("Asked")
Result = TypeVar("Result")


class Calculations:
    """Threads of their own for one kind of question, so that many of them keep no other request from being answered.

    Parameters
    ----------
    most_running, most_waiting : int
        Questions that are worked out at once, and that may wait for it; one more is refused with `Busy`.
    seconds : float
        About what one takes: after so long it is worth asking again.
    """

    def __init__(self, *, most_running: int, most_waiting: int, seconds: float) -> None:
        self._most_running, self._most_waiting, self._seconds = most_running, most_waiting, seconds
        self._threads = ThreadPoolExecutor(most_running, thread_name_prefix="losscast-calculation")
        self._asked = 0

    async def run(self, question: Callable[Asked, Result], *args: Asked.args, **kwargs: Asked.kwargs) -> Result:
        """The answer, worked out in a thread. Raises `Busy`."""
        if self._asked >= self._most_running + self._most_waiting:
            raise Busy(self._seconds, self._most_running, self._asked - self._most_running)
        self._asked += 1
        working = self._threads.submit(question, *args, **kwargs)
        # Counted until it is done, even where whoever asked has gone: the thread goes on.
        loop = asyncio.get_running_loop()
        working.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done))
        return await asyncio.wrap_future(working)

    def _done(self) -> None:
        self._asked -= 1

    def close(self) -> None:
        """Start none of those that wait."""
        self._threads.shutdown(wait=False, cancel_futures=True)

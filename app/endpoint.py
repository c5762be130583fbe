"""The API as a sender sees it: requests that are sent again until they are answered. For the demo and the importer."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from app.errors import BadInput, LosscastError, NotFound, Unavailable
from app.runs import Batch

FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 3.0
GIVE_UP_SECONDS = 180.0  # without an answer: a restart takes seconds, an upgrade a minute or two
RETRYABLE = frozenset({408, 409, 425, 429})


class Stopped(Exception):
    """Whoever started us wants us to end."""


class KeyRefused(BadInput):
    """The service asks for a key, and not for this one."""


class Endpoint:
    """The API at `base_url`. Not for use by several threads at once.

    `give_up_seconds` is how long it goes on without an answer; setting `stop` ends the waiting with `Stopped`.
    `on_wait` is told, once a request, why it has to be sent again.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        stop: threading.Event | None = None,
        give_up_seconds: float | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        _require_address(base_url)
        # Without the environment's proxies: the demo talks to this machine, or to where it was told.
        self._client = httpx.Client(
            base_url=f"{base_url.rstrip('/')}/api/v1", headers=headers, timeout=30.0, trust_env=False
        )
        self._base_url = base_url
        self._stop = stop or threading.Event()
        self._give_up_seconds = GIVE_UP_SECONDS if give_up_seconds is None else give_up_seconds
        self._on_wait = on_wait
        self.retries = 0

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def post(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Send the same request until it is answered. Safe, since ours name their run, session and seq."""
        return self._until_answered(path, lambda: self._client.post(path, json=document))

    def get(self, path: str, **parameters: str | int) -> dict[str, Any]:
        return self._until_answered(path, lambda: self._client.get(path, params=parameters))

    def delete(self, path: str) -> dict[str, Any]:
        """Of two that reach the server only the first finds something to delete; `NotFound` for the second."""
        return self._until_answered(path, lambda: self._client.delete(path))

    def download(self, path: str, **parameters: str) -> Iterator[bytes]:
        """The bytes of an answer as they come.

        Asked once: of what was cut short nobody can tell how far it is good. `Unavailable` then, as without an answer.
        """
        try:
            with self._client.stream("GET", path, params=parameters) as response:
                if not response.is_success:
                    response.read()
                    raise _refusal(path, response) or Unavailable(
                        f"{self._base_url} answered {path} with {response.status_code}: {_said(response)}"
                    )
                yield from response.iter_bytes()
        except httpx.TransportError as error:
            raise Unavailable(
                f"{self._base_url} did not send all of {path} ({type(error).__name__}: {error}). Is it running? "
                "Try again."
            ) from error

    def post_once(self, path: str, document: Mapping[str, Any]) -> None:
        """For last words: nobody waits for the answer."""
        try:
            self._client.post(path, json=document, timeout=2.0)
        except httpx.HTTPError:
            return

    def _until_answered(self, path: str, send: Callable[[], httpx.Response]) -> dict[str, Any]:
        give_up_at = time.monotonic() + self._give_up_seconds
        wait = FIRST_WAIT_SECONDS
        while True:
            if self._stop.is_set():
                raise Stopped
            try:
                response = send()
            except httpx.TransportError as error:
                reason, asked = f"{type(error).__name__}: {error}", 0.0
            else:
                if response.is_success:
                    answer: dict[str, Any] = response.json()
                    return answer
                if refusal := _refusal(path, response):
                    raise refusal
                reason, asked = f"{response.status_code}: {_said(response)}", _retry_after(response)
            if time.monotonic() > give_up_at:
                raise Unavailable(
                    f"{self._base_url} did not take {path} for {self._give_up_seconds:g} s ({reason}). Is it running? "
                    "'losscast up' starts it."
                )
            if self._on_wait is not None and wait == FIRST_WAIT_SECONDS:
                self._on_wait(reason)
            self.retries += 1
            self._stop.wait(max(wait, asked))
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def _require_address(base_url: str) -> None:
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError, ValueError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise BadInput(
            f"{base_url!r} is no address of a service. Write it as http://HOST:PORT, as http://127.0.0.1:8700."
        )


def _refusal(path: str, response: httpx.Response) -> LosscastError | None:
    """What asking again would not change."""
    if response.status_code == 404:
        return NotFound(_said(response))
    if response.status_code in (401, 403):
        return KeyRefused(f"{path} was refused with {response.status_code}: {_said(response)}")
    if response.status_code in RETRYABLE or response.is_server_error:
        return None
    return BadInput(f"{path} was refused with {response.status_code}: {_said(response)}")


def _said(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return min(float(value), 60.0) if value.isascii() and value.isdigit() else 0.0


def columns_of(batch: Batch) -> dict[str, Any]:
    """A batch as the API takes it: null where there is no value, the non-finite by name."""
    metrics = {
        metric: [_cell(value) if here else None for value, here in zip(values, present, strict=True)]
        for metric, values, present in zip(batch.metrics, batch.values.tolist(), batch.present.tolist(), strict=True)
        if any(present)
    }
    times = [time if math.isfinite(time) else None for time in batch.times.tolist()]
    known = {"times": times} if any(time is not None for time in times) else {}
    return {"steps": batch.steps.tolist(), "metrics": metrics, **known}


def _cell(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"

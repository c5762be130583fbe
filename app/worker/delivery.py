"""Sending the messages that are due, and recording what became of each."""

from __future__ import annotations

import hashlib
import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from app.notify.delivery import DeliveryResult, Outcome, deliver, next_retry_seconds
from app.notify.message import AlertMessage
from app.notify.targets import mask_target
from app.storage.alerts import (
    Delivery,
    Target,
    claim_deliveries,
    due_channels,
    record_delivered,
    record_failed,
)
from app.storage.database import Database

log = logging.getLogger(__name__)


def targets_of(urls: Sequence[str]) -> dict[Target, str]:
    """Configured channels by what the database may know of them."""
    return {Target(hashlib.sha256(url.encode()).hexdigest()[:16], mask_target(url)): url for url in urls}


class Deliveries:
    """Sends what is due, each channel in a thread of its own while it has anything to send.

    A receiver that takes ten seconds to fail holds up its own messages, not those to others, and no refit.
    """

    def __init__(
        self,
        database: Database,
        targets: Mapping[Target, str],
        allowed_schemes: Collection[str],
        allowed_hosts: Collection[str],
        run_url: Callable[[str], str],
    ) -> None:
        self._database = database
        self._urls = {target.hash: url for target, url in targets.items()}
        self._allowed_schemes, self._allowed_hosts, self._run_url = allowed_schemes, allowed_hosts, run_url
        self._lock = threading.Lock()
        self._at_work: dict[str, threading.Thread] = {}
        self._asked_again: set[str] = set()
        self._closing = threading.Event()

    def wake(self) -> None:
        """Have everything sent that is due now. Does not wait for it."""
        with self._database.read() as connection:
            due = due_channels(connection)
        with self._lock:
            for channel in due:
                if channel in self._at_work:
                    self._asked_again.add(channel)
                elif not self._closing.is_set():
                    thread = threading.Thread(target=self._serve, args=(channel,), name="losscast-alerts", daemon=True)
                    self._at_work[channel] = thread
                    thread.start()

    def close(self, timeout_seconds: float = 15.0) -> None:
        """Begin nothing new, and let what is being sent arrive: else it would be sent twice."""
        self._closing.set()
        with self._lock:
            threads = list(self._at_work.values())
        until = time.monotonic() + timeout_seconds
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _serve(self, channel: str) -> None:
        try:
            while True:
                while not self._closing.is_set() and self._send_one(channel):
                    pass
                with self._lock:
                    if channel not in self._asked_again:
                        del self._at_work[channel]
                        return
                    self._asked_again.discard(channel)
        except Exception:
            log.exception("alerts cannot be delivered now; the sweep asks again")
            with self._lock:
                self._asked_again.discard(channel)
                del self._at_work[channel]

    def _send_one(self, channel: str) -> bool:
        """False where nothing is due."""
        # One at a time: each is recorded before the next is claimed, so that a crash repeats one message at most.
        with self._database.write() as connection:
            claimed = claim_deliveries(connection, limit=1, target_hash=channel)
        for delivery in claimed:
            _record(self._database, delivery, self._sent(delivery))
        return bool(claimed)

    def _sent(self, delivery: Delivery) -> DeliveryResult:
        url = self._urls.get(delivery.target_hash)
        if url is None:
            return DeliveryResult(Outcome.FAILED, "this channel is no longer configured")
        return deliver(
            _message(delivery, self._run_url),
            url,
            allowed_schemes=self._allowed_schemes,
            allowed_hosts=self._allowed_hosts,
        )


def _record(database: Database, delivery: Delivery, result: DeliveryResult) -> None:
    with database.write() as connection:
        if result.outcome is Outcome.DELIVERED:
            record_delivered(connection, delivery.id)
            return
        wait = None
        if result.outcome is Outcome.RETRY:
            wait = next_retry_seconds(
                delivery.attempts, jitter=random.random(), retry_after_seconds=result.retry_after_seconds
            )
        log.warning("alert %d was not delivered (try %d): %s", delivery.alert.id, delivery.attempts, result.detail)
        record_failed(connection, delivery.id, result.detail, wait)


def _message(delivery: Delivery, run_url: Callable[[str], str]) -> AlertMessage:
    alert = delivery.alert
    return AlertMessage(
        alert_id=alert.id,
        kind=alert.kind,
        severity=alert.severity,
        run_id=alert.run_id,
        run_name=alert.run_name,
        project=alert.project,
        url=run_url(alert.run_id),
        metric=alert.metric,
        step=alert.step,
        message=alert.message,
        evidence=alert.evidence,
        fired_at=alert.fired_at,
        # A message that fired is still the message that fired, even if it goes out after the cause has passed.
        resolved_at=alert.resolved_at if delivery.event == "resolved" else None,
    )

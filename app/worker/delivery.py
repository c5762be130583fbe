"""Sending the messages that are due, and recording what became of each."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Callable, Collection, Mapping, Sequence

from app.notify.delivery import DeliveryResult, Outcome, deliver, next_retry_seconds
from app.notify.message import AlertMessage
from app.notify.targets import mask_target
from app.storage.alerts import (
    Delivery,
    Target,
    claim_deliveries,
    record_delivered,
    record_failed,
)
from app.storage.database import Database

log = logging.getLogger(__name__)


def targets_of(urls: Sequence[str]) -> dict[Target, str]:
    """Configured channels by what the database may know of them."""
    return {Target(hashlib.sha256(url.encode()).hexdigest()[:16], mask_target(url)): url for url in urls}


def deliver_due(
    database: Database,
    targets: Mapping[Target, str],
    allowed_schemes: Collection[str],
    allowed_hosts: Collection[str],
    run_url: Callable[[str], str],
) -> int:
    """Send everything that is due; returns how many messages arrived."""
    urls = {target.hash: url for target, url in targets.items()}
    arrived = 0
    while True:
        # One at a time: each is recorded before the next is claimed, so that a crash repeats one message at most.
        with database.write() as connection:
            claimed = claim_deliveries(connection, limit=1)
        if not claimed:
            return arrived
        delivery = claimed[0]
        url = urls.get(delivery.target_hash)
        if url is None:
            result = DeliveryResult(Outcome.FAILED, "this channel is no longer configured")
        else:
            message = _message(delivery, run_url)
            result = deliver(message, url, allowed_schemes=allowed_schemes, allowed_hosts=allowed_hosts)
        arrived += result.outcome is Outcome.DELIVERED
        _record(database, delivery, result)


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

"""Sending one alert to one target, and when to try again."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

import httpx

from app.errors import BadInput
from app.notify.message import AlertMessage
from app.notify.targets import (
    SERVER_SCHEMES,
    WEBHOOK_SCHEMES,
    UnresolvedHost,
    Webhook,
    check_target,
    is_server,
    mask_target,
    resolve_webhook,
    scheme_of,
)

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
ADDRESSES_TRIED = 3

# Ten attempts over 23 hours: a receiver that restarts gets the alert within a minute or two, one that is down overnight
# still gets it. [s]
RETRY_SECONDS = (15, 60, 240, 900, 1800, 3600, 10_800, 21_600, 43_200)
JITTER_SHARE = 0.2

# Severity in apprise's words, which choose a colour and an icon.
NOTIFY_TYPES = {"critical": "failure", "warning": "warning", "info": "info"}

# Answers that the same request may not get again.
RETRYABLE_STATUSES = frozenset({408, 425, 429})


class Outcome(StrEnum):
    """What became of an attempt."""

    DELIVERED = "delivered"
    RETRY = "retry"
    FAILED = "failed"  # for good: the same attempt would fail again


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """How an attempt went; `detail` names no secret and may be shown."""

    outcome: Outcome
    detail: str
    status: int | None = None  # of HTTP
    retry_after_seconds: float | None = None  # what the receiver asked for


def deliver(
    message: AlertMessage, target: str, *, allowed_schemes: Collection[str], allowed_hosts: Collection[str]
) -> DeliveryResult:
    """Send `message` to `target` once. Blocks for some seconds at most; does not raise for what a target can do wrong.

    The target is checked again: since it was stored the operator may have tightened the lists, and its name may have
    been pointed at an internal address.
    """
    try:
        scheme = scheme_of(target, allowed_schemes)
        if scheme in WEBHOOK_SCHEMES:
            return _post(message, resolve_webhook(target, allowed_hosts))
        check_target(target, allowed_schemes=allowed_schemes, allowed_hosts=allowed_hosts)
    except UnresolvedHost as error:
        return DeliveryResult(Outcome.RETRY, str(error))
    except BadInput as error:
        return DeliveryResult(Outcome.FAILED, str(error))
    return _notify(message, target, scheme)


def next_retry_seconds(attempt: int, *, jitter: float = 0.5, retry_after_seconds: float | None = None) -> float | None:
    """How long to wait after failed attempt number `attempt`, None to give up.

    Parameters
    ----------
    attempt : int
        Attempts made so far, from 1.
    jitter : float
        A random number in [0, 1): spreads the retries of many alerts by up to 20 % to either side.
    retry_after_seconds : float, optional
        What the receiver asked for; never shortens the wait.
    """
    if not 1 <= attempt <= len(RETRY_SECONDS):
        return None
    wait = RETRY_SECONDS[attempt - 1] * (1 + JITTER_SHARE * (2 * jitter - 1))
    return max(wait, min(retry_after_seconds or 0.0, RETRY_SECONDS[-1]))


def _post(message: AlertMessage, webhook: Webhook) -> DeliveryResult:
    """POST our own document to one of the addresses that were checked, whatever the name says by now."""
    failure = "no address"
    context = httpx.create_ssl_context()  # honours SSL_CERT_FILE; trust_env=False keeps proxies and .netrc out
    with httpx.Client(verify=context, trust_env=False, follow_redirects=False, timeout=TIMEOUT_SECONDS) as client:
        for address in webhook.addresses[:ADDRESSES_TRIED]:
            request = client.build_request(
                "POST",
                webhook.url.copy_with(host=address),
                json=message.to_json(),
                headers={"Host": webhook.url.netloc.decode("ascii"), "User-Agent": "Losscast"},
                extensions={"sni_hostname": webhook.host},
            )
            try:
                # Streamed and never read: only the status counts, and a receiver may not fill our memory.
                with contextlib.closing(client.send(request, stream=True)) as response:
                    return _judge(response, webhook)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = _reason(error)
            except httpx.HTTPError as error:
                return DeliveryResult(Outcome.RETRY, f"{webhook.host} did not answer: {_reason(error)}.")
    return DeliveryResult(Outcome.RETRY, f"{webhook.host} cannot be reached: {failure}.")


def _judge(response: httpx.Response, webhook: Webhook) -> DeliveryResult:
    status, host = response.status_code, webhook.host
    if response.is_success:
        return DeliveryResult(Outcome.DELIVERED, f"{host} answered {status}.", status)
    if response.is_redirect:
        detail = f"{host} answered {status}, a redirect, which is not followed. Enter the final address."
        return DeliveryResult(Outcome.FAILED, detail, status)
    if status in RETRYABLE_STATUSES or response.is_server_error:
        detail = f"{host} answered {status}."
        return DeliveryResult(Outcome.RETRY, detail, status, _retry_after(response))
    return DeliveryResult(Outcome.FAILED, f"{host} answered {status}; the same alert would be refused again.", status)


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds only: the other form, a date, needs two clocks that agree."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None


def _notify(message: AlertMessage, target: str, scheme: str) -> DeliveryResult:
    import apprise  # 0.8 s, so only a worker that has such a target pays for it

    masked = mask_target(target)
    # No templates: they are files or URLs that apprise would read. Memory: nothing of the URL is written to disk.
    asset = apprise.AppriseAsset(
        app_id="Losscast", storage_mode="memory", allow_templates=False, service_timeout=3 * TIMEOUT_SECONDS
    )
    plugin = apprise.Apprise.instantiate(target, asset=asset)
    if plugin is None:
        return DeliveryResult(Outcome.FAILED, f"{masked} is not a complete {scheme} address; see docs/alerts.md.")
    if scheme in SERVER_SCHEMES and not is_server(target, plugin.host, plugin.port):
        # Two parsers may read one odd URL differently: what counts is where apprise would connect.
        return DeliveryResult(Outcome.FAILED, f"{masked} can be read in two ways. Write it as {scheme}://host/token.")
    channel = apprise.Apprise(asset=asset)
    channel.add(plugin)
    notify_type = "success" if message.resolved else NOTIFY_TYPES.get(message.severity, "info")
    try:
        taken = bool(channel.notify(title=message.title, body=message.text, notify_type=notify_type))
    except Exception:  # a hundred plugins, each with faults of its own: none of them may end the worker's task
        logger.exception("apprise failed on %s", masked)
        return DeliveryResult(Outcome.RETRY, f"{masked} failed in a way that apprise did not expect; see the log.")
    if taken:
        return DeliveryResult(Outcome.DELIVERED, f"{masked} took it.")
    # apprise does not say why, so a wrong token looks like an outage. The number of retries bounds the harm.
    return DeliveryResult(Outcome.RETRY, f"{masked} did not take it. Check the address and its token.")


def _reason(error: httpx.HTTPError) -> str:
    return (str(error) or type(error).__name__).rstrip(".")

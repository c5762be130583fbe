"""`losscast.init`, and `log` and `finish` on the run that it made last."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Dict

from losscast import sigterm
from losscast.buffer import Buffer
from losscast.environment import Environment, read_environment
from losscast.notices import Notices
from losscast.registration import Registration
from losscast.run import FINISH_SECONDS, UNNAMED, Run
from losscast.schedule import describe_schedule
from losscast.sender import Sender
from losscast.stop_watch import StopWatch
from losscast.transport import BadAddress, Transport
from losscast.values import to_json, to_name, to_step, to_text

LARGEST_CONFIG = 2**20
"""Bytes of JSON."""

LONGEST_RUN_ID = 200
LONGEST_LABEL = 500
"""Characters of a project, a name or a tag. These are the server's limits, and so is the next."""

MOST_TAGS = 100

_current: Run | None = None
_used_environment_ids: set[str] = set()
_notices = Notices()


def init(
    *,
    project: str | None = None,
    name: str | None = None,
    config: Any = None,
    tags: Iterable[str] | None = None,
    total_steps: int | None = None,
    schedule: Any = None,
    roles: Mapping[str, str] | None = None,
    id: str | None = None,
    resume_step: int | None = None,
    url: str | None = None,
    api_key: str | None = None,
    stop_on_sigterm: bool | None = None,
) -> Run:
    """Start reporting a run. Returns at once, whether or not there is a server.

    Parameters
    ----------
    project, name : str, optional
        Where the run is listed, and as what.
    config : mapping, argparse.Namespace or dataclass, optional
        Settings of the job. Sent as JSON; what JSON cannot carry is sent as text.
    tags : iterable of str, optional
        Free labels.
    total_steps : int, optional
        The last step of training. Says how far the forecast has to reach. [steps]
    schedule : optional
        The learning rate, past and to come: see :func:`losscast.schedule.describe_schedule` for its forms.
    roles : mapping of metric to role, optional
        What metrics mean, where their names do not say so: "train_loss", "val_loss", "lr", "grad_norm", ...
    id : str, optional
        Names the run; the same id again continues it after a restart. Made up if not given.
    resume_step : int, optional
        The checkpoint's own step, the last that a restart does not make again. Once it logs, what an earlier start
        logged beyond that step is replaced; at the step itself only what is logged again. [steps]
    url, api_key : str, optional
        The server. These and `id` and `project` come from LOSSCAST_ variables where not given.
    stop_on_sigterm : bool, optional
        A SIGTERM first sends what waits, for up to 5 seconds, and marks the run as stopped. Then it does what it did
        before: ends the process, or calls the job's own handler, where `init` finds one. Off by default.
    """
    global _current
    notices = Notices()
    environment = read_environment(os.environ, notices)
    chosen_project = _text(project) or environment.project[:LONGEST_LABEL]
    run_id = _run_id(id, environment, notices)
    resumed_at = _whole("resume_step", resume_step, notices)
    sender = stop_watch = None
    if environment.muted is None:
        registration = Registration(
            run_id=run_id,
            session=uuid.uuid4().hex,
            project=chosen_project,
            name=_text(name),
            config=_config(config, notices),
            tags=_tags(tags, notices),
            plan=_plan(total_steps, schedule, notices),
            roles=_roles(roles, notices),
            resume_step=resumed_at,
        )
        transport = _transport(url or environment.url, api_key or environment.api_key, notices)
        if transport is not None:
            sender = Sender(registration, transport, Buffer(), notices)
            stop_watch = StopWatch(run_id, transport.another(), notices)
    else:
        notices.tell("not reporting: %s", environment.muted)
    first_step = 1 if resumed_at is None else resumed_at + 1
    _current = Run(run_id, chosen_project, sender, notices, first_step=first_step, stop_watch=stop_watch)
    if sender is not None and (environment.stop_on_sigterm if stop_on_sigterm is None else stop_on_sigterm):
        sigterm.stop_on_sigterm(_current, notices)
    return _current


def log(metrics: Mapping[str, Any], step: int | None = None) -> None:
    """:meth:`Run.log` on the current run."""
    if _current is None:
        _notices.once("log", "log() was called before init(); nothing is sent")
    else:
        _current.log(metrics, step)


def finish(status: str = "finished", message: str | None = None, timeout: float = FINISH_SECONDS) -> None:
    """:meth:`Run.finish` on the current run."""
    global _current
    if _current is None:
        _notices.once("finish", "finish() was called before init()")
    else:
        _current.finish(status, message, timeout)


def should_stop() -> bool:
    """:meth:`Run.should_stop` on the current run."""
    if _current is None:
        _notices.once("should_stop", "should_stop() was called before init()")
        return False
    return _current.should_stop()


def _transport(url: str, api_key: str | None, notices: Notices) -> Transport | None:
    try:
        return Transport(str(url), None if api_key is None else str(api_key))
    except BadAddress as error:
        notices.warn("nothing will be sent: %s", error)
    except Exception as error:  # no ssl in this Python, or its certificates unreadable
        notices.warn("nothing will be sent: %r", error)
    return None


def _run_id(given: Any, environment: Environment, notices: Notices) -> str:
    asked = _text(given)
    if asked is None and environment.run_id is not None:
        if environment.run_id in _used_environment_ids:
            notices.warn("LOSSCAST_RUN_ID named an earlier run of this process; this one gets an id of its own")
        else:
            _used_environment_ids.add(environment.run_id)
            asked = environment.run_id
    if asked is None:
        return _made_up_id()
    run_id = re.sub(r"[^A-Za-z0-9._~-]", "-", asked).lstrip("._~-")[:LONGEST_RUN_ID] or _made_up_id()
    if run_id != asked:
        notices.warn("the run id %r is sent as %r: letters, digits and ._~- are what an address carries", asked, run_id)
    return run_id


def _made_up_id() -> str:
    return uuid.uuid4().hex[:16]  # not from `random`: jobs seed that, and would all be the same run


def _plan(total_steps: Any, schedule: Any, notices: Notices) -> Dict[str, Any]:
    plan: Dict[str, Any] = {}
    total = _whole("total_steps", total_steps, notices)
    if total is not None and total < 1:
        notices.warn("total_steps=%r is ignored: it is the last step of training, at least 1", total_steps)
        total = None
    if total is not None:
        plan["total_steps"] = total
    if schedule is not None:
        described = describe_schedule(schedule, total, notices)
        if described is not None:
            plan["schedule"] = described
    return plan


def _config(config: Any, notices: Notices) -> Mapping[str, Any]:
    if config is None:
        return {}
    try:
        cleaned = to_json(config)
        size = len(json.dumps(cleaned))
    except Exception as error:
        notices.warn("the config is not sent: %r", error)
        return {}
    if not isinstance(cleaned, dict):
        notices.warn("the config is not sent: it must be a mapping, a namespace or a dataclass, not %s", type(config))
        return {}
    if size > LARGEST_CONFIG:
        notices.warn("the config is not sent: %d bytes are more than the %d allowed", size, LARGEST_CONFIG)
        return {}
    return cleaned


def _tags(tags: Any, notices: Notices) -> tuple[str, ...]:
    if tags is None:
        return ()
    try:
        return tuple(filter(None, map(_text, [tags] if isinstance(tags, str) else tags)))[:MOST_TAGS]
    except Exception as error:
        notices.warn("the tags are not sent: %r", error)
        return ()


def _roles(roles: Any, notices: Notices) -> Dict[str, str]:
    try:
        return {to_name(metric) or UNNAMED: to_text(role) or "" for metric, role in dict(roles or {}).items()}
    except Exception as error:
        notices.warn("the roles are not sent: %r", error)
        return {}


def _whole(what: str, value: Any, notices: Notices) -> int | None:
    if value is None:
        return None
    number = to_step(value)
    if number is None:
        notices.warn("%s=%r is ignored: it must be a whole number", what, value)
    return number


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return (to_text(value) or "").strip()[:LONGEST_LABEL] or None

"""From a verdict to a job that stops: who may say so, and when it counts.

A project's mode says what a stop verdict does. `advise`: it is shown. `ask`: a person is asked, and the job is told
when they say yes. `stop`: the job is told. Each step on that way is an entry in a log; the newest entry is where the
run stands, so that no job is ever told to stop without an entry that says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

CONFIRMED_SHARE = 0.03
"""A stop verdict counts when it has held for this share of the run. A run is judged with each forecast, hundreds of
times: one that looks hopeless once in a while must not be stopped by chance (docs/stopping.md: measured)."""

CONFIRMED_LOOKS = 3
"""And for so many judgements at least: of a run that logs seldom, the share alone may be one look."""

MOST_DOUBLINGS = 3
"""Each stop that was taken back doubles how long the next must hold, up to so often: to a quarter of the run."""

LAST_SHARE = 0.02
"""In its last steps a run is let finish: where it comes to is worth more to its siblings than a stop would save."""


class Mode(StrEnum):
    """What a stop verdict does."""

    ADVISE = "advise"
    ASK = "ask"
    STOP = "stop"


class StopEvent(StrEnum):
    """One entry of the log."""

    PROPOSED = "proposed"  # a person is asked
    ORDERED = "ordered"  # the job is told when it asks
    DECLINED = "declined"  # a person wants the run to go on, whatever verdicts say
    WITHDRAWN = "withdrawn"  # the verdict or the mode changed before anybody acted
    HEARD = "heard"  # the job asked and was told


class Author(StrEnum):
    """Who made an entry."""

    POLICY = "policy"
    PERSON = "person"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest entry of a run's log: `segment` is the (re)start that it was made in."""

    event: StopEvent
    author: Author
    segment: int


def is_confirmed(*, since_step: int, step: int, looks: int, total_steps: int, taken_back: int = 0) -> bool:
    """Whether a stop verdict has held for long enough to count, and the run is not as good as over.

    taken_back : stops of this start of the run that a verdict took back: the more there were, the longer it takes
    """
    needed = CONFIRMED_SHARE * 2 ** min(taken_back, MOST_DOUBLINGS) * total_steps
    held = has_held(since_step=since_step, step=step, looks=looks, total_steps=total_steps)
    return held and step - since_step >= needed and total_steps - step > LAST_SHARE * total_steps


def has_held(*, since_step: int, step: int, looks: int, total_steps: int) -> bool:
    """Whether a verdict of any kind is more than chance by now."""
    return looks >= CONFIRMED_LOOKS and step - since_step >= CONFIRMED_SHARE * total_steps


def next_event(
    standing: Standing | None, segment: int, mode: Mode, *, is_stop: bool, confirmed: bool, settled: bool = True
) -> StopEvent | None:
    """What a judgement adds to the log; None: nothing.

    A person's no holds for the whole run, restarts included; what else was said holds for its segment. A person's yes
    is not withdrawn because the next verdict differs. What the policy said is, where the other verdict is `settled`: a
    question that comes and goes with every forecast cannot be answered, nor such an order be followed. Until then no
    job is told of the order: see `app.storage.stops.StopState`.
    """
    here = _in_force(standing, segment)
    if here is None:
        return _asked_for(mode) if is_stop and confirmed else None
    if here.event in (StopEvent.DECLINED, StopEvent.HEARD):
        return None
    if mode is Mode.ADVISE:
        return StopEvent.WITHDRAWN
    if here.author is Author.PERSON:
        return None
    if not is_stop:
        return StopEvent.WITHDRAWN if settled else None
    wanted = _asked_for(mode)
    return wanted if confirmed and wanted is not here.event else None


def may_stop(standing: Standing | None, segment: int, mode: Mode) -> bool:
    """Whether the log says so and the mode still allows that a job that asks now is told to stop."""
    here = _in_force(standing, segment)
    if here is None or mode is Mode.ADVISE:
        return False
    if here.event is StopEvent.HEARD:
        return True
    return here.event is StopEvent.ORDERED and (mode is Mode.STOP or here.author is Author.PERSON)


def stop_words(standing: Standing | None, segment: int, mode: Mode) -> str:
    """Where a run stands on its way to a stop, in words for people."""
    here = _in_force(standing, segment)
    if here is not None and here.event is StopEvent.HEARD:
        return "The job has asked and was told to stop."
    if here is not None and here.event is StopEvent.DECLINED:
        return "A person wants it to go on, whatever verdicts say."
    if mode is Mode.ADVISE:
        return "The project only wants advice: no job is told to stop."
    if may_stop(standing, segment, mode):
        who = (
            "A person agreed" if here is not None and here.author is Author.PERSON else "The project's policy wants it"
        )
        return f"{who}: the job is told to stop when it asks."
    if here is not None and here.event is StopEvent.PROPOSED:
        return "A stop is proposed and waits for a person to say yes or no."
    return "No stop is asked for: one is when a stop verdict has held for a while."


def _asked_for(mode: Mode) -> StopEvent | None:
    return {Mode.STOP: StopEvent.ORDERED, Mode.ASK: StopEvent.PROPOSED, Mode.ADVISE: None}[mode]


def _in_force(standing: Standing | None, segment: int) -> Standing | None:
    if standing is None or standing.event is StopEvent.WITHDRAWN:
        return None
    return standing if standing.segment == segment or standing.event is StopEvent.DECLINED else None

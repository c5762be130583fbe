"""A project's track record in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from app.dashboard.formatting import format_percent
from app.forecasting.track_record import Bucket, Coverage, Keeping, keeping
from app.storage.project_record import NEWEST_RUNS, ProjectTrackRecord

PROMISE = 0.9
"""The band that is spoken of; the figure beside has the others."""

VERDICTS = {
    Keeping.SHORT: "The bands are too narrow there.",
    Keeping.PERHAPS_SHORT: "That is fewer than promised, though among so many counts one may be so by chance.",
    Keeping.PERHAPS_OVER: "That is more than promised, though among so many counts one may be so by chance.",
    Keeping.OVER: "The bands could be narrower there.",
}


def empty_text(record: ProjectTrackRecord) -> str:
    """What is missing before anything can be said."""
    if record.n_waiting:
        return (
            f"The forecasts of {counted(record.n_waiting, 'finished run')} are being scored; this takes some seconds."
        )
    if record.n_finished:
        return (
            f"No run of this project has finished with forecasts yet. {counted(record.n_finished, 'run')} finished "
            "before the first forecast, or not in a finite number."
        )
    if record.n_running:
        return (
            f"No run of this project has finished with forecasts yet; {counted(record.n_running, 'run')} "
            f"{'is' if record.n_running == 1 else 'are'} still going on. When one has finished, its forecasts are held "
            "to the loss that it ended at."
        )
    return (
        "No run of this project has finished with forecasts yet. Failed and stopped runs are scored on their own pages."
    )


def in_words(record: ProjectTrackRecord, half_way: Sequence[Coverage], shares: Sequence[Bucket]) -> list[str]:
    """How often the bands held, by the figure's count and by all of the table's, and how far off the medians were."""
    judged = judgement(looks_at(half_way, shares))
    if not half_way:
        none_near = f"{counted(len(record.runs), 'finished run')}, none of which had a forecast near half-way."
        return [" ".join([none_near, *judged]), *left_out(record)]
    held = _promised(half_way)
    counts = f"Of {counted(held.n_runs, 'finished run')}, the 90 % band at half-way held {held.held:.0f}."
    errors = [abs(run.half_way.score.error) for run in record.runs if run.half_way is not None]
    error = f"The median error at half-way was {format_error(float(np.median(errors)))} of the final loss."
    return [" ".join([counts, *judged]), error, *left_out(record)]


def looks_at(half_way: Sequence[Coverage], shares: Sequence[Bucket]) -> dict[str, Coverage]:
    """Every count of the 90 % band that the page shows, by where in the runs the forecasts were made."""
    looks = {"half-way": _promised(half_way)} if half_way else {}
    for one in shares:
        if one.coverage:
            looks[f"{100 * one.low:.0f} to {100 * one.high:.0f} % seen"] = _promised(one.coverage)
    return looks


def _promised(found: Sequence[Coverage]) -> Coverage:
    return next(one for one in found if one.stated == PROMISE)


def judgement(looks: Mapping[str, Coverage]) -> list[str]:
    """Where the counts contradict the promise; only where none does, that it is kept."""
    found = {where: keeping(held, len(looks)) for where, held in looks.items()}
    lines = []
    for verdict, words in VERDICTS.items():
        places = [where for where in looks if found[where] is verdict]
        if places:
            held = "; ".join(f"at {where} the band held {_share(looks[where])}" for where in places)
            lines.append(f"{held[0].upper()}{held[1:]}. {words}")
    if lines or not looks:
        return lines
    if Keeping.KEPT not in found.values():
        return ["Too few runs to say whether the bands keep their promise."]
    least = min(looks, key=lambda where: looks[where].share)
    if looks[least].share >= PROMISE:
        return ["Nowhere along the runs did it hold less often than promised, as far as so many runs can tell."]
    return [
        f"No count along the runs contradicts the promise, as far as so many runs can tell; the lowest is at {least}: "
        f"{_share(looks[least])}."
    ]


def _share(held: Coverage) -> str:
    interval = f"{100 * held.low:.0f} to {100 * held.high:.0f} %"
    return f"{format_percent(held.share)} of {counted(held.n_runs, 'run')} (95 % interval {interval})"


def left_out(record: ProjectTrackRecord) -> list[str]:
    """Runs that are not in the record, and why."""
    sentences = []
    if len(record.runs) == NEWEST_RUNS:
        sentences.append(f"The newest {NEWEST_RUNS} runs are counted.")
    if record.n_waiting:
        sentences.append(f"{counted(record.n_waiting, 'finished run')} still to be scored.")
    untold = record.n_finished - len(record.runs) - record.n_waiting
    if untold > 0 and len(record.runs) < NEWEST_RUNS:
        others = counted(untold, "other finished run")
        sentences.append(f"{others} ended in NaN or before a first forecast: nothing to hold a forecast to.")
    if record.n_ended_otherwise:
        others = counted(record.n_ended_otherwise, "run")
        sentences.append(f"{others} failed or stopped: scored on the run's own page, not counted here.")
    return [" ".join(sentences)] if sentences else []


def format_error(error: float) -> str:
    """A relative error in percent, to two digits: 0.31 %, 2.0 %, 12 %."""
    percent = 100 * error
    return f"{percent:.0f} %" if percent >= 100 else f"{percent:#.2g}".rstrip(".") + " %"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")

"""What is said to the people who run the job: through `logging`, and each thing once."""

from __future__ import annotations

import logging

logger = logging.getLogger("losscast")

LONGEST_NOTICE = 1000
"""Characters. Servers' answers and exceptions are quoted in notices, and may be anything."""

MAX_KEYS = 1000
"""Different things that are remembered as said; a job that finds more to complain about has heard enough."""


class Notices:
    """Says a thing once. Speaking never fails: a logging handler that raises must not stop a training job."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def once(self, key: str, message: str, *args: object) -> None:
        """Warn, unless something was said under this key before."""
        if key not in self._said and len(self._said) < MAX_KEYS:
            self._said.add(key)
            self.warn(message, *args)

    def warn(self, message: str, *args: object) -> None:
        _speak(logging.WARNING, message, args)

    def tell(self, message: str, *args: object) -> None:
        """For the record: Python shows no INFO unless asked to."""
        _speak(logging.INFO, message, args)


def _speak(level: int, message: str, args: tuple[object, ...]) -> None:
    try:
        logger.log(level, "losscast: %s", plain(message % args if args else message, LONGEST_NOTICE))
    except Exception:
        pass  # there is nobody left to tell


def plain(text: str, longest: int) -> str:
    """The text on one line and not too long: what moves a terminal's cursor or its direction of writing is escaped."""
    cut = text if len(text) <= longest else text[:longest] + f"... ({len(text)} characters)"
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)

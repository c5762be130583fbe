"""What a metric is called in the database: as it was logged, where that can be stored."""

from __future__ import annotations

import hashlib

from app.storage.json import storable_text

LONGEST_METRIC = 512  # characters; a btree entry must stay under 2,704 bytes at 4 bytes each
UNNAMED = "unnamed"


def stored_metric(name: str) -> str:
    """The name under which a metric is kept, and by which it is found: the same for a stored name as for what made it.

    A longer name ends in a sum of the whole: two that begin alike stay two metrics. `to_name` in the client's
    `losscast/values.py` does the same.
    """
    clean = storable_text(name)
    if len(clean) > LONGEST_METRIC:
        ending = "~" + hashlib.sha256(clean.encode()).hexdigest()[:8]
        return clean[: LONGEST_METRIC - len(ending)] + ending
    return clean or UNNAMED

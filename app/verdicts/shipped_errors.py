"""How forecasts of siblings err, as it was learned from public runs; the file says from how many, when, and how."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources

from app.verdicts.contest import Errors

FILE = "errors.json"


@lru_cache(maxsize=1)
def shipped_errors() -> Errors:
    """Learned from every public family (``python -m benchmarks.learn_errors``)."""
    content = json.loads(resources.files("app.verdicts").joinpath(FILE).read_text(encoding="utf-8"))
    return Errors(**content["errors"])

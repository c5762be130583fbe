"""The population prior that ships with the package, read once; `python -m benchmarks.learn_prior` makes it."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources

from app.laws.population import Population
from app.laws.prior import prior_from_dict

FILE = "population.json"


@lru_cache(maxsize=1)
def shipped_population() -> Population:
    """Learned from every public family; the file says from which, how many runs, when, and by which command."""
    content = json.loads(resources.files("app.laws").joinpath(FILE).read_text(encoding="utf-8"))
    return Population(prior_from_dict(content["prior"]), content["within"])

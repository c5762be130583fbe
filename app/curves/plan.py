"""How long a run will be and what its learning rate will do; :mod:`app.curves.planning` finds it out."""

from __future__ import annotations

from dataclasses import dataclass

from app.curves.schedule import Schedule
from app.errors import BadInput

DECLARED, INFERRED, ASSUMED = "declared", "inferred", "assumed"
ENDED = "ended"
"""Of a total only: the run is over, and that is where."""

LARGEST_STEP = 2**62
"""What somebody declares or logs beyond this is no step."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Total steps and schedule of a run, with where each is from.

    Parameters
    ----------
    total_steps : int
        The horizon: the last step of training. [steps]
    total_source, schedule_source : str
        "declared" (a person, the job or its config said so), "inferred" (from the logged data), "assumed"; of a run
        that has finished its total is "ended".
    total_why, schedule_why : str
        One plain sentence for the user.
    schedule : Schedule
        Learning rate of the whole run, past and planned. Of unit peak where no rate is known.
    schedule_family : str
        A family of `app.curves.families`, or "hold".
    """

    total_steps: int
    total_source: str
    total_why: str
    schedule: Schedule
    schedule_source: str
    schedule_family: str
    schedule_why: str

    def __post_init__(self) -> None:
        sources = (DECLARED, INFERRED, ASSUMED)
        for source, known in ((self.total_source, (*sources, ENDED)), (self.schedule_source, sources)):
            if source not in known:
                raise BadInput(f"A plan's source is declared, inferred or assumed, not {source!r}.")

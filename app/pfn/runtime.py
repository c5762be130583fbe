"""The network in service: tasks in, distributions out, by numpy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from app.pfn.bars import Bars, Knots
from app.pfn.features import Inputs, read_features
from app.pfn.network import Network
from app.pfn.reading import Reading
from app.pfn.tasks import Tasks
from app.pfn.weights import read_network, shipped_folder


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """A trained network with everything it needs.

    card : what it was trained on, when, and how good it is on invented curves
    """

    network: Network
    knots: Knots
    card: Mapping[str, Any]

    def predict(self, tasks: Tasks) -> Bars:
        """What was asked, as distributions, (B, Q). Each query is answered by itself, whatever else is asked."""
        return self.judge(read_features(tasks))

    def answer(self, readings: Sequence[Reading]) -> list[Bars]:
        """What each reading asks, (1, Q), in its metric's own unit.

        All in one pass: most of its cost is calls, and a second run adds half as much as the first.
        """
        inputs = read_features(Tasks.together([reading.tasks for reading in readings]))
        rows = self.network.asked(inputs)
        answers = []
        for row, reading in enumerate(readings):
            asked = slice(row, row + 1), slice(reading.tasks.queries.shape[1])
            logits = self.network.answers(rows[asked])
            bars = Bars.of_logits(self.knots, logits, inputs.location[asked], inputs.unit[asked])
            answers.append(reading.restored(bars))
        return answers

    def judge(self, inputs: Inputs) -> Bars:
        """The same from features that were read before."""
        return Bars.of_logits(self.knots, self.network.logits(inputs), inputs.location, inputs.unit)


@lru_cache(maxsize=1)
def shipped_predictor() -> Predictor:
    """The network that ships with the package, read and checked once."""
    return Predictor(*read_network(shipped_folder()))

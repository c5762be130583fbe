r"""Learn how forecasts of siblings err, and write it where verdicts read it.

Run ``python -m benchmarks.learn_errors [DIRECTORY]``, with a folder of folders of runs; it takes ten minutes of one
core. Groups of siblings are those of ``losscast backtest --verdicts``. All runs of a group go side by side to their
ends, nobody is stopped, and each hears its siblings as in the service; at each twentieth there is a forecast of every
end. Left out are those of which more is known (`app.verdicts.estimate`): in a memorised state, and before a raise.

The constants of `app.verdicts.contest.Errors` are the likeliest by the log score, in two steps, each group counting the
same:

1. `stretch`, `surprise`, `reach`: of single ends, by the normal score :math:`z` of what came in the forecast of it,
   which has the density :math:`(1 - s)\,\varphi(z; w) + s\,\varphi(z; k w)`;
2. `correlation`: of pairs of runs at one share of their way, by which of the two ends lower. Both may err foreseeably,
   with correlated normal scores; where either is a surprise, nothing is shared.

What is reported of a family is nested: constants learned on the groups of all others. They are written beside the
shipped ones, for `benchmarks.nested_verdicts`. Beside them stands what pairs would score if only a part of the
correlation were left between runs of unlike peak rates, the part learned with it (docs/verdicts.md says why it is not).
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, ndtr, ndtri
from scipy.stats import norm

from app.cli.backtest_verdicts import Group, as_groups, group_files, replay_groups
from app.forecasting.scores import QuantileForecast
from app.importers.run_files import find_run_files
from app.verdicts.contest import Errors
from app.verdicts.estimate import MEMORISED, Estimate
from app.verdicts.outlook import Outlook
from app.verdicts.policies import Ruling
from app.verdicts.replay import Heard, ReplayedRun, replay
from app.verdicts.shipped_errors import FILE
from app.verdicts.situation import Situation
from app.verdicts.verdict import Decision
from benchmarks.held_out import runs_directory
from benchmarks.usage import tell_if_asked

Array = npt.NDArray[np.float64]

FAMILIES = ("lr_scheduling", "multipowerlaw", "grokking", "algoperf", "small_runs", "modded_nanogpt")
OUTPUT = Path(__file__).parents[1] / "app" / "verdicts" / FILE

MOST_PAIRS = 250
"""Of one group, drawn by chance: the pairs of a large one say little that is new."""

SEED = 0

MOST_SCORE = 15.0
"""Of what came: further off is as good as impossible, and must not outweigh all others."""

LEAST_CHANCE = 1e-4
"""Of what came to be the order of a pair, likewise."""

CORRELATIONS = np.round(np.arange(0, 0.951, 0.05), 2)
"""Candidates. Above the last the quadrature of a contest is too coarse."""

PARTS = np.round(np.arange(0, 1.01, 0.1), 1)
"""Of the correlation, left between runs of unlike peak rates: candidates of what is tried beside."""

SAME_RATE = 1.25
"""Two peak rates are alike that are within a quarter of the lower one."""

N_SCORES = 161
WIDEST = 6.0
"""What one end of a pair may come to is laid out at so many of its normal scores, from -6 to 6."""


@dataclass(frozen=True, slots=True, eq=False)
class End:
    """A forecast of where a run ends, and where it did.

    run : its place in the group
    number : of the checkpoint at which the forecast was made
    """

    group: str
    run: int
    number: int
    final: QuantileForecast
    actual: float
    peak_rate: float | None

    @property
    def family(self) -> str:
        return self.group.split(" ")[0]


@dataclass(frozen=True, slots=True)
class GoOn:
    """The policy that stops nobody."""

    name: ClassVar[str] = "go on"

    def rule(self, situation: Situation, estimate: Estimate | None) -> Ruling:
        return Ruling(Decision.CONTINUE, "nobody is stopped")


def main() -> None:
    tell_if_asked(__doc__)
    groups = read_groups(runs_directory())
    ends = [end for group in groups for end in ends_of(group, forecasts_of(group))]
    pairs = list(pairs_of(ends))
    shipped = learned(ends, pairs)
    without = {family: learned(*without_family(ends, pairs, family)) for family in FAMILIES}
    _print_left_out(ends, pairs, shipped, without)
    _write(shipped, without, n_ends=len(ends), n_pairs=len(pairs))


def read_groups(directory: Path) -> list[Group]:
    """Every group of siblings of the public families, replayed alone; what cannot be read is named."""
    files = [(path, family) for family in FAMILIES for path in find_run_files(directory / family)]
    replayed, skipped = replay_groups(group_files(files, None), None, None, n_processes=1)
    for one in skipped:
        print(f"skipped {one.file}: {one.why}", file=sys.stderr)
    return as_groups(replayed, None, None)


def forecasts_of(group: Group) -> dict[tuple[int, int], Outlook]:
    """Of each run at each checkpoint, while all go on."""
    made: dict[tuple[int, int], Outlook] = {}

    def remember(place: int, number: int, heard: Heard) -> Outlook | None:
        outlook = group.learner(place, number, heard)
        if outlook is not None:
            made[place, number] = outlook
        return outlook

    replay(group.name, group.runs, GoOn(), foresight=remember)
    return made


def ends_of(group: Group, forecasts: Mapping[tuple[int, int], Outlook]) -> Iterator[End]:
    """Every forecast of an end that is known, where it errs as usual."""
    for (place, number), outlook in sorted(forecasts.items()):
        run = group.runs[place]
        if np.isfinite(run.final) and _errs_as_usual(run, number, outlook):
            schedule = group.told[place].recorded.schedule
            peak = None if schedule is None else schedule.peak
            yield End(group.name, place, number, outlook.final, run.final, peak)


def _errs_as_usual(run: ReplayedRun, number: int, outlook: Outlook) -> bool:
    state = run.moments[number].situation.states.get("grokking")
    return state not in MEMORISED and outlook.raise_start is None


Pair = tuple[End, End]


def pairs_of(ends: Sequence[End]) -> Iterator[Pair]:
    """Pairs of runs of a group at the same checkpoint, at most `MOST_PAIRS` a group."""
    rng = np.random.default_rng(SEED)
    for name in dict.fromkeys(end.group for end in ends):
        inside = [end for end in ends if end.group == name]
        pairs = [(a, b) for a, b in combinations(inside, 2) if a.number == b.number]
        for place in rng.permutation(len(pairs))[:MOST_PAIRS]:
            yield pairs[place]


def without_family(ends: Sequence[End], pairs: Sequence[Pair], family: str) -> tuple[list[End], list[Pair]]:
    return [end for end in ends if end.family != family], [pair for pair in pairs if pair[0].family != family]


def learned(ends: Sequence[End], pairs: Sequence[Pair]) -> Errors:
    """The likeliest constants."""
    single = learned_of_singles(ends)
    correlation, _ = learned_of_pairs(PairScores.of(pairs, single), parts=(1.0,))
    return dataclasses.replace(single, correlation=correlation)


def learned_of_pairs(scores: PairScores, parts: Sequence[float] | Array) -> tuple[float, float]:
    """The likeliest correlation, and the part of it that is left between runs of unlike rates."""
    candidates = [(float(correlation), float(part)) for correlation in CORRELATIONS for part in parts]
    return min(candidates, key=lambda each: scores.negative_log_score(*each))


def learned_of_singles(ends: Sequence[End]) -> Errors:
    """How wide forecasts err, each by itself."""
    weights = _weights([end.group for end in ends])
    scores = _scores_of(ends)

    def badness(free: Array) -> float:
        return -float(weights @ np.log(_density(scores, *_of_free(free))))

    starts = (np.array(each) for each in ([-2.5, 0.0, 1.0], [-1.5, -0.2, 1.0]))
    found = min((minimize(badness, start, method="Nelder-Mead") for start in starts), key=lambda one: float(one.fun))
    surprise, stretch, reach = _of_free(found.x)
    return Errors(stretch=round(stretch, 2), surprise=round(surprise, 3), reach=round(reach, 1))


def single_score(ends: Sequence[End], errors: Errors) -> float:
    """Negative log score of the normal scores of single ends; groups count the same."""
    density = _density(_scores_of(ends), errors.surprise, errors.stretch, errors.reach)
    return -float(_weights([end.group for end in ends]) @ np.log(density))


def _of_free(free: Array) -> tuple[float, float, float]:
    """Surprise, stretch and reach from numbers without bounds."""
    return float(expit(free[0])), float(np.exp(free[1])), float(np.exp(free[2]))


def _density(scores: Array, surprise: float, stretch: float, reach: float) -> Array:
    usual, far = norm.pdf(scores, 0, stretch), norm.pdf(scores, 0, reach * stretch)
    density: Array = (1 - surprise) * usual + surprise * far + 1e-300
    return density


def _scores_of(ends: Sequence[End]) -> Array:
    scores = np.array([float(end.final.normal_scores([end.actual])[0]) for end in ends])
    return np.asarray(np.clip(scores, -MOST_SCORE, MOST_SCORE))


def _weights(groups: Sequence[str]) -> Array:
    """Each group counts the same; they sum to 1."""
    names, place = np.unique(groups, return_inverse=True)
    weights: Array = 1.0 / (len(names) * np.bincount(place)[place])
    return weights


@dataclass(frozen=True, slots=True, eq=False)
class PairScores:
    r"""What each correlation makes of pairs, whose single ends err as was learned.

    With scores :math:`z_a, z_b` of correlation r, and what the first may come to read off where the second does,

    .. math:: P(a < b) = \int \Phi\!\left(\frac{z_a(x_b) - r z_b}{\sqrt{1 - r^2}}\right) \varphi(z_b) \, dz_b .

    losses : (n_pairs, n_correlations), negative log of the probability of what came, by correlation
    of_one_rate : bool, (n_pairs,)
    weights : (n_pairs,)
    """

    losses: Array
    of_one_rate: npt.NDArray[np.bool_]
    weights: Array

    @staticmethod
    def of(pairs: Sequence[Pair], single: Errors) -> PairScores:
        z = np.linspace(-WIDEST, WIDEST, N_SCORES)
        mass = norm.pdf(z)
        mass /= mass.sum()
        usual, far = single.stretch, single.stretch * single.reach
        odds = {usual: 1 - single.surprise, far: single.surprise}
        losses = np.empty((len(pairs), len(CORRELATIONS)))
        for row, (a, b) in enumerate(pairs):
            apart = 0.0
            for width_a, share_a in odds.items():
                for width_b, share_b in odds.items():
                    scores = a.final.normal_scores(_value_at(b.final, width_b * z)) / width_a
                    if width_a == width_b == usual:
                        given = (scores - CORRELATIONS[:, None] * z) / np.sqrt(1 - CORRELATIONS[:, None] ** 2)
                        both = share_a * share_b * (ndtr(given) @ mass)
                    else:
                        apart += share_a * share_b * float(ndtr(scores) @ mass)
            chance = both + apart
            came = chance if a.actual < b.actual else 1 - chance
            losses[row] = -np.log(np.clip(came, LEAST_CHANCE, 1))
        of_one_rate = np.array([is_of_one_rate(a.peak_rate, b.peak_rate) for a, b in pairs])
        return PairScores(losses, of_one_rate, _weights([a.group for a, _ in pairs]))

    def negative_log_score(self, correlation: float, part: float = 1.0) -> float:
        """Mean over groups of that of their pairs, where a part of the correlation is left between unlike rates."""
        near, far = self._at(correlation), self._at(correlation * part)
        return float(self.weights @ np.where(self.of_one_rate, near, far))

    def _at(self, correlation: float) -> Array:
        place = min(int(np.searchsorted(CORRELATIONS, correlation, side="right")), len(CORRELATIONS) - 1)
        low, high = CORRELATIONS[place - 1], CORRELATIONS[place]
        part = (correlation - low) / (high - low)
        found: Array = (1 - part) * self.losses[:, place - 1] + part * self.losses[:, place]
        return found


def is_of_one_rate(one: float | None, other: float | None) -> bool:
    """Runs whose rates nobody knows are taken for runs of one."""
    if one is None or other is None:
        return one is other
    return max(one, other) <= SAME_RATE * min(one, other)


def _value_at(final: QuantileForecast, scores: Array) -> Array:
    """What a forecast says at normal scores, however large: straight beyond its outer quantiles."""
    known = ndtri(final.levels)
    slopes = np.diff(final.values) / np.diff(known)
    inside = np.interp(scores, known, final.values)
    below, above = np.minimum(scores - known[0], 0), np.maximum(scores - known[-1], 0)
    values: Array = inside + slopes[0] * below + slopes[-1] * above
    return values


def _print_left_out(ends: Sequence[End], pairs: Sequence[Pair], shipped: Errors, without: Mapping[str, Errors]) -> None:
    """Of each family by constants that have not seen it; and, of pairs, if rates were heeded."""
    print(f"shipped: {shipped}")
    heads = ["family left out", "correlation", "stretch", "surprise", "reach", "single ends", "pairs"]
    print(f"| {' | '.join(heads)} | pairs, by rates | correlation of one rate, of two |")
    print("|---" * (len(heads) + 2) + "|")
    for family, errors in without.items():
        constants = errors.correlation, errors.stretch, errors.surprise, errors.reach
        by_rates = learned_of_pairs(PairScores.of(without_family(ends, pairs, family)[1], errors), PARTS)
        scores = PairScores.of([pair for pair in pairs if pair[0].family == family], errors)
        figures = (
            single_score([end for end in ends if end.family == family], errors),
            scores.negative_log_score(errors.correlation),
            scores.negative_log_score(*by_rates),
        )
        told = [family, *(f"{each:g}" for each in constants), *(f"{each:.3f}" for each in figures)]
        print(f"| {' | '.join(told)} | {by_rates[0]:g}, {by_rates[0] * by_rates[1]:.2g} |")


def _write(shipped: Errors, without: Mapping[str, Errors], n_ends: int, n_pairs: int) -> None:
    content: dict[str, Any] = {
        "made_by": "python -m benchmarks.learn_errors",
        "made_on": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "ends": n_ends,
        "pairs": n_pairs,
        "errors": dataclasses.asdict(shipped),
        "without": {family: dataclasses.asdict(errors) for family, errors in without.items()},
    }
    OUTPUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def errors_without() -> dict[str, Errors]:
    """The constants learned without each family, as they were written."""
    content = json.loads(OUTPUT.read_text(encoding="utf-8"))
    return {family: Errors(**constants) for family, constants in content["without"].items()}


if __name__ == "__main__":
    main()

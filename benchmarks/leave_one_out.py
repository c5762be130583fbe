"""How far off forecasts of the final loss are with priors that never saw the family they are reported on.

Run ``python -m benchmarks.leave_one_out [DIRECTORY]``, with folders as for `benchmarks.forecast_accuracy`. For each
family a population prior is learned from all the others, and its runs are forecast with that alone and with finished
runs of their own family (`benchmarks.held_out`), by the law, by the network, and by both, mixed with weights learned
without the family too (`benchmarks.learn_weights` keeps them beside the shipped ones).

Printed as Markdown: median |error| of the final loss [%] by the law, by the network and by both, in brackets the share
of runs inside the 90 % band of both [%]; the median width of that band at each share seen [%]; and the mean CRPS of all
three over the final loss [%], in which a single forecast counts for 100 at most. Then, for the validation losses of
the three families of language models together, the median |error| of both: mean over families, and over all runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from app.forecasting.forecast import LEVELS
from app.forecasting.scores import QuantileForecast, ValueScore, score_value
from app.forecasting.weights import NetworkShare
from benchmarks.forecast_accuracy import FAMILIES, SEEN
from benchmarks.held_out import KINDS, METRICS, HeldOutForecast, held_out_forecasts, read_runs, runs_directory
from benchmarks.learn_prior import learn, read_families
from benchmarks.learn_weights import shares_without
from benchmarks.usage import tell_if_asked

NAMES = ("law", "pfn", "both")

LANGUAGE_MODELS = ("multipowerlaw", "lr_scheduling", "modded_nanogpt")

MOST_CRPS = 1.0
"""Of one forecast, over the final loss: one run that diverged must not outweigh all others."""


def main() -> None:
    tell_if_asked(__doc__)
    directory = runs_directory()
    shares = shares_without()
    cuts = " | ".join(f"{seen:.0%}" for seen in SEEN)
    print(f"| runs | n | prior | {cuts} | band | CRPS |")
    print("|---|---|---|" + "---|" * (len(SEEN) + 2))
    validated: dict[str, list[HeldOutForecast]] = {}
    for family in FAMILIES:
        population = learn(read_families(directory, without=[family]))
        for metric in METRICS:
            runs = read_runs(directory / family, metric)
            forecasts = list(held_out_forecasts(family, runs, population, SEEN))
            for label, group in _groups(family, forecasts):
                for kind in KINDS:
                    row = _row([each for each in group if each.kind == kind], shares[family])
                    print(f"| {label} {metric} | {len({each.run for each in group})} | {kind} | {row} |")
            if metric == "val_loss" and family in LANGUAGE_MODELS:
                validated[family] = forecasts
    _print_together(validated, shares)


def _print_together(by_family: Mapping[str, Sequence[HeldOutForecast]], shares: Mapping[str, NetworkShare]) -> None:
    """Median |error| by share seen [%]: mean over families, each counting alike, and over all their runs."""
    print(f"\n| language models, val_loss | {' | '.join(f'{seen:.0%}' for seen in SEEN)} |")
    print("|---|" + "---|" * len(SEEN))
    for kind in KINDS:
        errors = [
            [
                [
                    100 * abs(scored(each, each.mixed(shares[family])).error)
                    for each in forecasts
                    if (each.kind, each.seen) == (kind, seen)
                ]
                for family, forecasts in by_family.items()
            ]
            for seen in SEEN
        ]
        means = [float(np.mean([np.median(family) for family in families])) for families in errors]
        pooled = [float(np.median(np.concatenate(families))) for families in errors]
        for how, numbers in (("mean over families", means), ("all runs", pooled)):
            print(f"| {kind}, {how} | {' | '.join(f'{each:.2f}' for each in numbers)} |")


def _groups(family: str, forecasts: Sequence[HeldOutForecast]) -> list[tuple[str, list[HeldOutForecast]]]:
    """Families apart where their schedules are: a cosine tells about its decay from the start, a WSD does not."""
    if not forecasts:
        return []
    if family != "lr_scheduling":
        return [(family, list(forecasts))]
    cosine = [each for each in forecasts if "cos-" in each.run]
    return [(f"{family} WSD", [each for each in forecasts if each not in cosine]), (f"{family} cosine", cosine)]


def _row(forecasts: Sequence[HeldOutForecast], share: NetworkShare) -> str:
    cells, bands, crps = [], [], []
    for seen in SEEN:
        asked = [each for each in forecasts if each.seen == seen]
        said = [[quantiles_by(each, name, share) for each in asked] for name in NAMES]
        scores = [[scored(*pair) for pair in zip(asked, each, strict=True)] for each in said]
        errors = [100 * np.median([abs(score.error) for score in each]) for each in scores]
        inside = 100 * np.mean([score.cover90 for score in scores[-1]])
        cells.append(f"{_joined(errors, '.2f')} ({inside:.0f})")
        widths = [(high - low) / abs(each.actual) for each, (low, *_, high) in zip(asked, said[-1], strict=True)]
        bands.append(100 * np.median(widths))
        crps.append([np.mean([min(score.crps_rel, MOST_CRPS) for score in each]) for each in scores])
    return f"{' | '.join(cells)} | {_joined(bands, '.2g')} | {_joined(100 * np.mean(crps, axis=0), '.3g')}"


def _joined(numbers: Iterable[float], form: str) -> str:
    return "/".join(f"{each:{form}}" for each in numbers)


def quantiles_by(forecast: HeldOutForecast, name: str, share: NetworkShare) -> tuple[float, ...]:
    """What the law, the network or both said."""
    return {"law": forecast.law, "pfn": forecast.pfn}.get(name) or forecast.mixed(share)


def scored(forecast: HeldOutForecast, quantiles: Sequence[float]) -> ValueScore:
    return score_value(QuantileForecast.from_levels(dict(zip(LEVELS, quantiles, strict=True))), forecast.actual)


if __name__ == "__main__":
    main()

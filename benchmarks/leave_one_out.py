"""How far off forecasts of the final loss are with priors that never saw the family they are reported on.

Run ``python -m benchmarks.leave_one_out [DIRECTORY]``, with folders as for `benchmarks.forecast_accuracy`. For each
family a population prior is learned from all the others, and its runs are forecast with that alone and with finished
runs of their own family (`benchmarks.held_out`), by the law, by the network, and by both, mixed with weights learned
without the family too (`benchmarks.learn_weights` keeps them beside the shipped ones).

Printed as Markdown: median |error| of the final loss [%], in brackets the share of runs inside the 90 % band [%]; for
the law the median width of that band [%] as well; and the mean CRPS of all three over the final loss [%], in which a
single forecast counts for 100 at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from app.forecasting.forecast import LEVELS
from app.forecasting.scores import QuantileForecast, ValueScore, score_value
from app.forecasting.weights import NetworkShare
from benchmarks.forecast_accuracy import FAMILIES, SEEN
from benchmarks.held_out import KINDS, METRICS, HeldOutForecast, held_out_forecasts, read_runs, runs_directory
from benchmarks.learn_prior import learn, read_families
from benchmarks.learn_weights import shares_without

MOST_CRPS = 1.0
"""Of one forecast, over the final loss: one run that diverged must not outweigh all others."""


def main() -> None:
    directory = runs_directory()
    shares = shares_without()
    cuts = " | ".join(f"{seen:.0%}" for seen in SEEN)
    print(f"| runs | n | prior | forecaster | {cuts} | band | CRPS |")
    print("|---|---|---|---|" + "---|" * (len(SEEN) + 2))
    for family in FAMILIES:
        population = learn(read_families(directory, without=[family]))
        for metric in METRICS:
            runs = read_runs(directory / family, metric)
            forecasts = list(held_out_forecasts(family, runs, population, SEEN))
            for label, group in _groups(family, forecasts):
                for kind in KINDS:
                    asked = [each for each in group if each.kind == kind]
                    for row in _rows(asked, shares[family]):
                        print(f"| {label} {metric} | {kind} | {row} |")


def _groups(family: str, forecasts: Sequence[HeldOutForecast]) -> list[tuple[str, list[HeldOutForecast]]]:
    """Families apart where their schedules are: a cosine tells about its decay from the start, a WSD does not."""
    if family != "lr_scheduling":
        return [(family, list(forecasts))]
    cosine = [each for each in forecasts if "cos-" in each.run]
    return [(f"{family} WSD", [each for each in forecasts if each not in cosine]), (f"{family} cosine", cosine)]


def _rows(forecasts: Sequence[HeldOutForecast], share: NetworkShare) -> Iterator[str]:
    for name in ("law", "pfn", "both"):
        cells, bands, crps = [], [], []
        for seen in SEEN:
            said = [(each, quantiles_by(each, name, share)) for each in forecasts if each.seen == seen]
            scores = [scored(each, quantiles) for each, quantiles in said]
            if not scores:
                cells.append("-")
                continue
            error = np.median([abs(score.error) for score in scores])
            cells.append(f"{100 * error:.2f} ({100 * np.mean([score.cover90 for score in scores]):.0f})")
            bands.append(np.median([(values[-1] - values[0]) / abs(each.actual) for each, values in said]))
            crps.append(np.mean([min(score.crps_rel, MOST_CRPS) for score in scores]))
        widths, scored_by = ("/".join(f"{100 * each:.2g}" for each in row) for row in (bands, crps))
        yield f"{name} | {' | '.join(cells)} | {widths} | {scored_by}"


def quantiles_by(forecast: HeldOutForecast, name: str, share: NetworkShare) -> tuple[float, ...]:
    """What the law, the network or both said."""
    return {"law": forecast.law, "pfn": forecast.pfn}.get(name) or forecast.mixed(share)


def scored(forecast: HeldOutForecast, quantiles: Sequence[float]) -> ValueScore:
    return score_value(QuantileForecast.from_levels(dict(zip(LEVELS, quantiles, strict=True))), forecast.actual)


if __name__ == "__main__":
    main()

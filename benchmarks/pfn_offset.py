"""How much a metric's distance from zero moves the network's forecast of it: one real curve, raised by constants.

Run ``python -m benchmarks.pfn_offset [FILE.csv [METRIC]]``; without a file, a language model that ships with the demo.
Its first 60 % is forecast to its end under its own schedule, with a constant added before and taken away after. Only
the size of the fall beside the level differs, which is the one number by which the network knows the metric's zero.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from app.demo.demo_runs import DATA
from app.forecasting.forecast import NETWORK, mix
from app.importers.recorded_run_file import read_recorded_run
from benchmarks.usage import tell_if_asked

SEEN = 0.6
CONSTANTS = (0.0, 1.0, 10.0, 100.0, 1000.0)


def main() -> None:
    tell_if_asked(__doc__)
    path, *metric = sys.argv[1:] or [str(DATA / "lm_wsd.csv")]
    run = read_recorded_run(Path(path), metric[0] if metric else None)
    curve, plan = run.seen(SEEN), run.plan()
    print(f"{run.name}, {run.metric}: {curve.values[-1]:.3f} after {SEEN:.0%}, {run.final_loss():.3f} at its end\n")
    print("| added | 5 % | median | 95 % |")
    print("|---|---|---|---|")
    for constant in CONSTANTS:
        raised = replace(curve, values=curve.values + constant)
        final = mix(raised, plan, ((NETWORK, 1.0),)).final_quantiles
        print(f"| {constant:g} | " + " | ".join(f"{final[level] - constant:.3f}" for level in (0.05, 0.5, 0.95)) + " |")


if __name__ == "__main__":
    main()

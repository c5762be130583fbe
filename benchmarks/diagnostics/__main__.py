"""All tables, one after another."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import diagnostics
from benchmarks.diagnostics.fallen_back import print_fallen_back
from benchmarks.diagnostics.tables import (
    print_failures,
    print_false_events,
    print_outcomes,
    print_rms_ratios,
    print_speed,
    print_spikes,
    print_trends,
    print_warnings,
)
from benchmarks.diagnostics.watched_runs import FAILED, NOT_HEALTHY, data_folder, read_run
from benchmarks.usage import tell_if_asked

LOGIT_RUNS = ("lm_", "lrsens_")


def main() -> None:
    tell_if_asked(diagnostics.__doc__)
    data = data_folder()
    if data is None:
        print("No runs: give a folder, e.g. python -m benchmarks.diagnostics ../shared/data")
        return
    runs = [read_run(path, data) for path in sorted((*data.glob("*/*.csv"), *data.glob("*/*.jsonl")))]
    runs = [run for run in runs if run.inputs.metric("loss") is not None and not run.name.startswith("rank_collapse")]
    healthy = [run for run in runs if not Path(run.name).name.startswith(NOT_HEALTHY)]
    failed = [run for run in runs if Path(run.name).name.startswith(FAILED)]
    print_false_events(healthy)
    print_failures(failed)
    print_spikes(runs)
    print_outcomes(healthy)
    print_trends([run for run in runs if Path(run.name).name.startswith(LOGIT_RUNS)])
    if len(sys.argv) > 2:
        folder = Path(sys.argv[2])
        print_trends([read_run(path, folder) for path in sorted(folder.glob("*.jsonl"))])
    if len(sys.argv) > 3:
        folder = Path(sys.argv[3])
        print_fallen_back([read_run(path, folder) for path in sorted(folder.glob("*.csv"))])
    print_warnings(runs)
    print_rms_ratios(runs)
    print_speed()


if __name__ == "__main__":
    main()

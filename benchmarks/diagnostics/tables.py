"""The tables, printed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.stats import chi2

from app.diagnostics.engine import Engine
from app.diagnostics.risk import HORIZONS
from app.diagnostics.signals import choose_inputs
from benchmarks.diagnostics.published_rules import RULES
from benchmarks.diagnostics.watched_runs import (
    ALARMS,
    NOT_HEALTHY,
    Run,
    alarms,
    doublings,
    events_of,
    fault_row,
    merged,
    regimes,
    rule_rows,
    spacing,
    told_to_people,
)


def print_false_events(healthy: list[Run]) -> None:
    found = {run.name: alarms(run) for run in healthy}
    points = sum(len(run.steps) for run in healthy)
    steps = sum(int(run.steps[-1] - run.steps[0]) for run in healthy)
    print(f"\nFalse events in {len(healthy)} healthy runs: {points:,} logged points, {steps:,} steps")
    print(f"{'rule':34s} {'events':>7s} {'per M points':>13s} {'95 % interval':>18s} {'per M steps':>12s}")
    print_rate("losscast, all alarms", sum(map(len, found.values())), points, steps)
    for kind in sorted(ALARMS):
        print_rate(f"  {kind}", sum(e.kind == kind for es in found.values() for e in es), points, steps)
    for name, rule in RULES.items():
        print_rate(name, sum(len(merged(rule_rows(run, rule))) for run in healthy), points, steps)
    for name, events in found.items():
        for event in events:
            print(f"    {name}: {event.kind} at step {event.raised_at}")


def print_rate(name: str, events: int, points: int, steps: int) -> None:
    low, high = (1e6 * bound / points for bound in poisson_interval(events))
    print(f"{name:34s} {events:7d} {1e6 * events / points:13.1f} {f'{low:.1f} to {high:.1f}':>18s} "
          f"{1e6 * events / steps:12.2f}")  # fmt: skip


def poisson_interval(events: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a Poisson mean (Garwood)."""
    tail = (1 - level) / 2
    low = chi2.ppf(tail, 2 * events) / 2 if events else 0.0
    return float(low), float(chi2.ppf(1 - tail, 2 * events + 2) / 2)


def print_failures(failed: list[Run]) -> None:
    print(f"\nRuns that failed: delay of the first alarm after the fault, in logged points (of {len(failed)} runs)")
    delays: dict[str, list[float]] = {name: [] for name in ("losscast", *RULES)}
    for run in failed:
        fault = fault_row(run)
        if fault is None:
            print(f"    {run.name}: no fault in the log")
            continue
        rows = np.searchsorted(run.steps, [event.raised_at for event in told_to_people(run)]).tolist()
        name = run.name.split("/")[1][:70]
        delays["losscast"].append(_delay(rows, fault))
        print(f"    {name:70s} fault at step {run.steps[fault]:6d}, alarm {_delay(rows, fault):+.0f}")
        for rule_name, rule in RULES.items():
            delays[rule_name].append(_delay(np.flatnonzero(rule_rows(run, rule)).tolist(), fault))
    print(f"{'rule':34s} {'caught':>8s} {'by 3 points':>12s} {'median':>7s} {'worst':>7s}")
    for name, found in delays.items():
        caught = [delay for delay in found if delay < math.inf]
        print(f"{name:34s} {f'{len(caught)}/{len(found)}':>8s} {f'{sum(d <= 3 for d in found)}/{len(found)}':>12s} "
              f"{_number(np.median(found)):>7s} {_number(max(found)):>7s}")  # fmt: skip


def _delay(rows: Iterable[int], fault: int) -> float:
    """Points from the fault to the first alarm that concerns it: up to 20 points before it an alarm foresaw it."""
    return min((row - fault for row in rows if row >= fault - 20), default=math.inf)


def print_spikes(runs: list[Run]) -> None:
    print("\nSpikes: labelled where the loss first doubles over the median of the 100 points before, or by the recipe")
    print(f"{'run':28s} {'spikes':>7s} {'spike':>7s} {'benign':>7s} {'foreseen':>9s} {'lead p50':>9s} {'lead p10':>9s}"
          f" {'warnings':>9s} {'followed':>9s}")  # fmt: skip
    for run in runs:
        name = Path(run.name).name
        if not name.startswith(("adamspike", "lm_badbatch")):
            continue
        starts = [400, 700, 1000] if name.startswith("lm_badbatch") else doublings(*run.logged["train_loss"])
        events = events_of(run)
        spikes = [e for e in events if e.kind in ("spike", "divergence")]
        risks = [e for e in events if e.kind == "divergence_risk"]
        caught = [next((e for e in spikes if start - 5 <= e.raised_at <= start + 20), None) for start in starts]
        benign = sum(e is not None and e.outcome == "benign" for e in caught)
        leads = [max((s - e.raised_at for e in risks if s - 100 <= e.raised_at < s), default=0) for s in starts]
        seen = [lead for lead in leads if lead > 0]
        followed = sum(any(0 < s - e.raised_at <= 100 for s in starts) for e in risks)
        print(f"{name[:28]:28s} {len(starts):7d} {sum(e is not None for e in caught):7d} {benign:7d} {len(seen):9d} "
              f"{_quantile(seen, 0.5):>9s} {_quantile(seen, 0.1):>9s} {len(risks):9d} {followed:9d}")  # fmt: skip


def print_outcomes(healthy: list[Run]) -> None:
    """Spikes put into real runs, since few real ones last: a pulse that decays, or a jump that stays."""
    right = {"benign": 0, "lasting": 0}
    made = dict.fromkeys(right, 0)
    detected = dict.fromkeys(right, 0)
    rng = np.random.default_rng(0)
    for run in healthy:
        metric, norm = run.inputs.metric("train_loss"), run.inputs.metric("grad_norm")
        if metric is None or norm is None or len(run.logged[metric][0]) < 600:
            continue
        for outcome in ("benign", "lasting") * 2:
            at = int(rng.integers(200, len(run.logged[metric][0]) - 300))
            changed, step = _with_spike(run, metric, norm, at, outcome, rng)
            spikes = [e for e in events_of(changed) if e.kind == "spike" and abs(e.step - step) <= 5 * spacing(run)]
            made[outcome] += 1
            if spikes:
                detected[outcome] += 1
                right[outcome] += (spikes[0].outcome == "benign") == (outcome == "benign")
    print("\nSpikes put into real healthy runs (loss up by 1.2 to 2 times, gradient by 5 to 20)")
    for outcome in right:
        print(
            f"    {outcome}: {made[outcome]} made, {detected[outcome]} detected, {right[outcome]} of those told rightly"
        )


def _with_spike(run: Run, metric: str, norm: str, at: int, outcome: str, rng: np.random.Generator) -> tuple[Run, int]:
    steps, values = run.logged[metric]
    height = math.log(rng.uniform(1.2, 2.0))
    length = len(values) - at
    shape = np.exp(-np.arange(length) / rng.uniform(1.0, 4.0)) if outcome == "benign" else np.ones(length)
    values = values.copy()
    values[at:] *= np.exp(height * shape)
    norm_steps, norms = run.logged[norm]
    norms = norms.copy()
    hit = int(np.searchsorted(norm_steps, steps[at]))
    norms[hit : hit + 4] *= rng.uniform(5.0, 20.0)
    logged = {**run.logged, metric: (steps, values), norm: (norm_steps, norms)}
    return Run(run.name, logged, run.inputs), int(steps[at])


def print_trends(runs: list[Run]) -> None:
    """The trend of the largest attention logit, asked at every point, against what happened."""
    from app.diagnostics import risk

    print("\nTrend of max_attn_logit to its level: events raised, and what came of them")
    for level in (1e3, 3e3, 5e3):
        kept = risk.CRITICAL
        risk.CRITICAL = {**kept, "max_attn_logit": (level, "")}
        leads, false, late, missed = [], 0, 0, 0
        for run in runs:
            steps, values = run.logged["max_attn_logit"]
            crossed = np.flatnonzero(values > level)
            start = max((c for c in regimes(run)), default=0)
            events = [e for e in events_of(run)
                      if e.kind == "divergence_risk" and e.evidence["source"] == "max_attn_logit"]  # fmt: skip
            if not len(crossed):
                false += len(events)
            elif steps[crossed[0]] - start < 100:
                late += 1
            else:
                then = int(steps[crossed[0]])
                # A warning that had passed by then foresaw nothing.
                standing = [e for e in events if e.raised_at < then <= (e.resolved_at or then)]
                leads += [then - e.raised_at for e in standing]
                missed += not standing
                false += sum(e.raised_at < then and e not in standing for e in events)
        risk.CRITICAL = kept
        print(f"    level {level:5.0f}: leads {leads}, median {_quantile(leads, 0.5)}, missed {missed}, false {false}, "
              f"{late} crossed it within 100 steps of the start or a raised rate; {len(runs)} runs")  # fmt: skip


def print_warnings(runs: list[Run]) -> None:
    """What `app.diagnostics.risk.PRECURSORS` was counted from."""
    print("\nWarnings by the gradient norm: how many were followed by a fault that was detected, within so many steps")
    shares = []
    watched = [run for run in runs if run.inputs.metric("grad_norm") is not None]
    for run in watched:
        engine = Engine(run.inputs)
        engine.observe(run.logged)
        record = engine.warnings.get("grad_norm")
        if record is not None and record.warnings:
            shares.append([followed / record.warnings for followed in record.followed])
            within = ", ".join(f"{n} in {h:,}" for n, h in zip(record.followed, HORIZONS, strict=True))
            print(f"    {run.name.split('/')[1][:54]:54s} {record.warnings:3d} warnings, followed: {within}")
    mean = ", ".join(f"{share:.2f} in {h:,}" for share, h in zip(np.mean(shares, axis=0), HORIZONS, strict=True))
    print(f"    mean share of the {len(shares)} runs that warned, of {len(watched)}: {mean}")


RMS_LEVEL = 2.3
"""Of the gradient over Adam's estimate of it: M. Wortsman et al., arXiv:2304.13013, read second-hand."""

RMS_METRICS = ("rms_ratio_max", "rms_ratio_unembed")


def print_rms_ratios(runs: list[Run]) -> None:
    """Why no rule reads them: what would have been said at that level, from the hundredth step on."""
    print(f"\nRMS ratio above {RMS_LEVEL}, events 100 steps apart: followed within 100 steps by a spike or divergence?")
    for run in runs:
        metric = next((one for one in RMS_METRICS if one in run.logged), None)
        if metric is None:
            continue
        steps, values = run.logged[metric]
        events: list[int] = []
        for step in steps[(steps > 100) & (values > RMS_LEVEL)].tolist():
            if not events or step - events[-1] > 100:
                events.append(step)
        faults = [event.step for event in events_of(run) if event.kind in ("spike", "divergence", "nonfinite")]
        followed = sum(any(0 < fault - step <= 100 for fault in faults) for step in events)
        name = run.name.split("/")[1]
        is_healthy = not name.startswith(NOT_HEALTHY)
        print(f"    {name[:40]:40s} {'healthy' if is_healthy else '':8s}{(steps > 100).sum():6d} points, "
              f"{len(events)} events, {followed} followed")  # fmt: skip


def print_speed() -> None:
    n = 1_000_000
    rng = np.random.default_rng(0)
    logged = {
        "train_loss": (np.arange(n), (2 + 6 * np.arange(1, n + 1) ** -0.5) * np.exp(0.02 * rng.standard_normal(n))),
        "grad_norm": (np.arange(n), np.exp(0.1 * rng.standard_normal(n))),
        "lr": (np.arange(n), 3e-4 * (1 + np.cos(np.linspace(0, np.pi, n)))),
    }
    engine = Engine(choose_inputs(dict.fromkeys(logged, n)))
    began = time.process_time()
    engine.observe(logged)
    print(f"\n{n:,} steps of three metrics: {time.process_time() - began:.1f} s of one core, "
          f"state of {len(engine.to_bytes()):,} bytes")  # fmt: skip


def _quantile(values: list[int], level: float) -> str:
    return f"{np.quantile(values, level):.0f}" if values else "-"


def _number(value: float) -> str:
    return f"{value:+.0f}" if math.isfinite(value) else "never"

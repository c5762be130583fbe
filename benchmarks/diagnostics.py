"""What the diagnoses catch, how early, and how often they cry wolf, beside published rules on the same runs.

`python -m benchmarks.diagnostics [DATA [LOGITS]]`: DATA, or LOSSCAST_DATA, or ../shared/data, is a folder of folders of
runs; LOGITS one of runs by `python -m benchmarks.made_runs.attention_logits`, for more cases of the trend.

Everything is causal: a rule sees a point and what came before it. Alarms within 100 logged points are one event.
A *false event* is one in a run that is healthy as far as its own log shows. A *fault* of a run that failed begins at
the first logged point from which on some loss or gradient is not finite, or a training loss lies above 1.1 times its
first value at three points running: a label made with hindsight, from all that is logged. *Delay* is counted from there
in logged points.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from app.diagnostics.engine import Engine
from app.diagnostics.event import Event, Severity
from app.diagnostics.risk import HORIZONS
from app.diagnostics.signals import Inputs, choose_inputs
from app.importers.curve_file import points_by_metric
from app.importers.run_files import read_file

Floats = npt.NDArray[np.float64]
Rule = Callable[[Floats, Floats, Floats], npt.NDArray[np.bool_]]

ALARMS = frozenset({"nonfinite", "cold_start", "spike", "divergence", "divergence_risk", "plateau", "dead"})
MERGED = 100
FAILED = ("DIVERGED", "lm_sgd_diverge", "lm_lrjump_diverge", "dead_lr", "cos-zero_slimpajama_L12_d768_lr0.005")
NOT_HEALTHY = (*FAILED, "SPIKE", "STUCK", "OVERFIT", "GROK", "NOGROK", "grok", "nogrok", "adamspike", "lm_badbatch",
               "lm_overfit", "lm_b2", "lrsens_qkFalse_lr3e-1", "lrsens_qkFalse_lr3e-2", "dead", "gan",
               "simsiam_collapse", "ss_nosg")  # fmt: skip
LOGIT_RUNS = ("lm_", "lrsens_")


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    name: str
    logged: Mapping[str, tuple[npt.NDArray[np.int64], Floats]]
    inputs: Inputs

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        return np.unique(np.concatenate([steps for steps, _ in self.logged.values()]))

    def aligned(self, signal: str, steps: npt.NDArray[np.int64]) -> Floats:
        """Its values at some steps: NaN where none was logged, infinite where what was logged is not finite."""
        metric = self.inputs.metric(signal)
        values = np.full(len(steps), np.nan)
        if metric is not None:
            own, logged = self.logged[metric]
            values[np.searchsorted(steps, own)] = np.where(np.isfinite(logged), logged, np.inf)
        return values


def main() -> None:
    data = _data_folder()
    if data is None:
        print("No runs: give a folder, e.g. python -m benchmarks.diagnostics ../shared/data")
        return
    runs = [_read(path, data) for path in sorted((*data.glob("*/*.csv"), *data.glob("*/*.jsonl")))]
    runs = [run for run in runs if run.inputs.metric("loss") is not None and not run.name.startswith("rank_collapse")]
    healthy = [run for run in runs if not Path(run.name).name.startswith(NOT_HEALTHY)]
    failed = [run for run in runs if Path(run.name).name.startswith(FAILED)]
    _print_false_events(healthy)
    _print_failures(failed)
    _print_spikes(runs)
    _print_outcomes(healthy)
    _print_trends([run for run in runs if Path(run.name).name.startswith(LOGIT_RUNS)])
    if len(sys.argv) > 2:
        folder = Path(sys.argv[2])
        _print_trends([_read(path, folder) for path in sorted(folder.glob("*.jsonl"))])
    _print_warnings(runs)
    _print_rms_ratios(runs)
    _print_speed()


def _print_false_events(healthy: list[Run]) -> None:
    found = {run.name: _alarms(run) for run in healthy}
    points = sum(len(run.steps) for run in healthy)
    steps = sum(int(run.steps[-1] - run.steps[0]) for run in healthy)
    print(f"\nFalse events in {len(healthy)} healthy runs: {points:,} logged points, {steps:,} steps")
    print(f"{'rule':34s} {'events':>7s} {'per M points':>13s} {'95 % interval':>18s} {'per M steps':>12s}")
    _print_rate("losscast, all alarms", sum(map(len, found.values())), points, steps)
    for kind in sorted(ALARMS):
        _print_rate(f"  {kind}", sum(e.kind == kind for es in found.values() for e in es), points, steps)
    for name, rule in RULES.items():
        _print_rate(name, sum(len(_merged(_rule_rows(run, rule))) for run in healthy), points, steps)
    for name, events in found.items():
        for event in events:
            print(f"    {name}: {event.kind} at step {event.raised_at}")


def _print_rate(name: str, events: int, points: int, steps: int) -> None:
    low, high = (1e6 * bound / points for bound in poisson_interval(events))
    print(f"{name:34s} {events:7d} {1e6 * events / points:13.1f} {f'{low:.1f} to {high:.1f}':>18s} "
          f"{1e6 * events / steps:12.2f}")  # fmt: skip


def poisson_interval(events: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a Poisson mean (Garwood)."""
    tail = (1 - level) / 2
    low = chi2.ppf(tail, 2 * events) / 2 if events else 0.0
    return float(low), float(chi2.ppf(1 - tail, 2 * events + 2) / 2)


def _print_failures(failed: list[Run]) -> None:
    print(f"\nRuns that failed: delay of the first alarm after the fault, in logged points (of {len(failed)} runs)")
    delays: dict[str, list[float]] = {name: [] for name in ("losscast", *RULES)}
    for run in failed:
        fault = fault_row(run)
        if fault is None:
            print(f"    {run.name}: no fault in the log")
            continue
        rows = np.searchsorted(run.steps, [event.raised_at for event in _told(run)]).tolist()
        name = run.name.split("/")[1][:70]
        delays["losscast"].append(_delay(rows, fault))
        print(f"    {name:70s} fault at step {run.steps[fault]:6d}, alarm {_delay(rows, fault):+.0f}")
        for rule_name, rule in RULES.items():
            delays[rule_name].append(_delay(np.flatnonzero(_rule_rows(run, rule)).tolist(), fault))
    print(f"{'rule':34s} {'caught':>8s} {'by 3 points':>12s} {'median':>7s} {'worst':>7s}")
    for name, found in delays.items():
        caught = [delay for delay in found if delay < math.inf]
        print(f"{name:34s} {f'{len(caught)}/{len(found)}':>8s} {f'{sum(d <= 3 for d in found)}/{len(found)}':>12s} "
              f"{_number(np.median(found)):>7s} {_number(max(found)):>7s}")  # fmt: skip


def fault_row(run: Run) -> int | None:
    """The first row at which something logged shows that the run fails."""
    steps = run.steps
    firsts: list[int] = []
    for metric in run.inputs.with_role("train_loss", "val_loss", "grad_norm"):
        own, values = run.logged[metric]
        bad = ~np.isfinite(values)
        if run.inputs.roles[metric] == "train_loss":
            above = bad | (values > 1.1 * values[0])
            runs = above[2:] & above[1:-1] & above[:-2]
            bad[:-2] |= runs if len(values) > 2 else False
        if bad.any():
            firsts.append(int(np.searchsorted(steps, own[int(np.argmax(bad))])))
    return min(firsts, default=None)


def _delay(rows: Iterable[int], fault: int) -> float:
    """Points from the fault to the first alarm that concerns it: up to 20 points before it an alarm foresaw it."""
    return min((row - fault for row in rows if row >= fault - 20), default=math.inf)


def _print_spikes(runs: list[Run]) -> None:
    print("\nSpikes: labelled where the loss first doubles over the median of the 100 points before, or by the recipe")
    print(f"{'run':28s} {'spikes':>7s} {'spike':>7s} {'benign':>7s} {'foreseen':>9s} {'lead p50':>9s} {'lead p10':>9s}"
          f" {'warnings':>9s} {'followed':>9s}")  # fmt: skip
    for run in runs:
        name = Path(run.name).name
        if not name.startswith(("adamspike", "lm_badbatch")):
            continue
        starts = [400, 700, 1000] if name.startswith("lm_badbatch") else doublings(*run.logged["train_loss"])
        events = _events(run)
        spikes = [e for e in events if e.kind in ("spike", "divergence")]
        risks = [e for e in events if e.kind == "divergence_risk"]
        caught = [next((e for e in spikes if start - 5 <= e.raised_at <= start + 20), None) for start in starts]
        benign = sum(e is not None and e.outcome == "benign" for e in caught)
        leads = [max((s - e.raised_at for e in risks if s - 100 <= e.raised_at < s), default=0) for s in starts]
        seen = [lead for lead in leads if lead > 0]
        followed = sum(any(0 < s - e.raised_at <= 100 for s in starts) for e in risks)
        print(f"{name[:28]:28s} {len(starts):7d} {sum(e is not None for e in caught):7d} {benign:7d} {len(seen):9d} "
              f"{_quantile(seen, 0.5):>9s} {_quantile(seen, 0.1):>9s} {len(risks):9d} {followed:9d}")  # fmt: skip


def doublings(steps: npt.NDArray[np.int64], values: Floats) -> list[int]:
    """Steps at which a value first is twice the median of the hundred before; within thirty points they are one."""
    found, newest = [], -(10**9)
    for i in range(100, len(values)):
        if values[i] > 2 * np.median(values[i - 100 : i]):
            if i - newest > 30:
                found.append(int(steps[i]))
            newest = i
    return found


def _print_outcomes(healthy: list[Run]) -> None:
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
            spikes = [e for e in _events(changed) if e.kind == "spike" and abs(e.step - step) <= 5 * _spacing(run)]
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


def _spacing(run: Run) -> float:
    return float(np.median(np.diff(run.logged[run.inputs.metric("loss") or ""][0])))


def _print_trends(runs: list[Run]) -> None:
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
            start = max((c for c in _regimes(run)), default=0)
            events = [e for e in _events(run)
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


def _regimes(run: Run) -> list[int]:
    steps, rates = run.logged.get("lr", (np.empty(0, np.int64), np.empty(0)))
    jumps = np.flatnonzero(rates[1:] > 1.2 * rates[:-1]) + 1
    return [int(steps[i]) for i in jumps if i > 50]


def _print_warnings(runs: list[Run]) -> None:
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


def _print_rms_ratios(runs: list[Run]) -> None:
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
        faults = [event.step for event in _events(run) if event.kind in ("spike", "divergence", "nonfinite")]
        followed = sum(any(0 < fault - step <= 100 for fault in faults) for step in events)
        name = run.name.split("/")[1]
        is_healthy = not name.startswith(NOT_HEALTHY)
        print(f"    {name[:40]:40s} {'healthy' if is_healthy else '':8s}{(steps > 100).sum():6d} points, "
              f"{len(events)} events, {followed} followed")  # fmt: skip


def _print_speed() -> None:
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


def _alarms(run: Run) -> list[Event]:
    """What a person would be told of; of events within `MERGED` points the first."""
    told = _told(run)
    rows = np.searchsorted(run.steps, [event.raised_at for event in told])
    kept, newest = [], -(10**9)
    for row, event in zip(rows.tolist(), told, strict=True):
        if row - newest > MERGED:
            kept.append(event)
        newest = row
    return kept


def _told(run: Run) -> list[Event]:
    return [event for event in _events(run) if event.kind in ALARMS and event.severity is not Severity.INFO]


def _events(run: Run) -> list[Event]:
    found = Engine(run.inputs).observe(run.logged)
    newest = {event.id: event for event in found.events}
    return sorted(newest.values(), key=lambda event: event.raised_at)


def _merged(rows: npt.NDArray[np.bool_]) -> list[int]:
    hits = np.flatnonzero(rows)
    return [int(hit) for i, hit in enumerate(hits) if i == 0 or hit - hits[i - 1] > MERGED]


def _rule_rows(run: Run, rule: Rule) -> npt.NDArray[np.bool_]:
    steps = run.steps
    return rule(*(run.aligned(signal, steps) for signal in ("loss", "grad_norm", "val_loss")))


def windowed(values: Floats, *, window: int, deviations: float, fewest: int) -> npt.NDArray[np.bool_]:
    """Above the mean of the last `window` values by so many standard deviations."""
    own = np.flatnonzero(np.isfinite(values))
    x = values[own]
    total, squares = np.concatenate([[0], np.cumsum(x)]), np.concatenate([[0], np.cumsum(x**2)])
    end = np.arange(len(x))
    begin = np.maximum(0, end - window)
    n = np.maximum(1, end - begin)
    mean = (total[end] - total[begin]) / n
    deviation = np.sqrt(np.maximum(0, (squares[end] - squares[begin]) / n - mean**2))
    hits = np.zeros(len(values), np.bool_)
    hits[own] = (end >= fewest) & (x > mean + deviations * deviation)
    return hits


def olmo2(loss: Floats, norm: Floats, val: Floats) -> npt.NDArray[np.bool_]:
    """OLMo 2's spike score: seven standard deviations from the mean of the last thousand, either series."""
    return windowed(loss, window=1000, deviations=7, fewest=1000) | windowed(
        norm, window=1000, deviations=7, fewest=1000
    )


def olmo_core(loss: Floats, norm: Floats, val: Floats) -> npt.NDArray[np.bool_]:
    """OLMo-core's StabilityMonitor: six standard deviations above the mean of the last 128, either series."""
    return windowed(loss, window=128, deviations=6, fewest=128) | windowed(norm, window=128, deviations=6, fewest=128)


def zclip(loss: Floats, norm: Floats, val: Floats) -> npt.NDArray[np.bool_]:
    """ZClip's z above 2.5 over an average of the clipped gradient norm, 25 points to warm up, factor 0.97."""
    hits = np.zeros(len(norm), np.bool_)
    warm: list[float] = []
    mean = variance = 0.0
    for i in np.flatnonzero(np.isfinite(norm)).tolist():
        value = float(norm[i])
        if len(warm) < 25:
            warm.append(value)
            mean, variance = float(np.mean(warm)), float(np.var(warm))
            continue
        deviation = math.sqrt(variance)
        z = (value - mean) / (deviation + 1e-6)
        if z > 2.5:
            hits[i] = True
            value = mean + 2.5 * deviation / (z / 2.5)
        mean = 0.97 * mean + 0.03 * value
        variance = 0.97 * variance + 0.03 * (value - mean) ** 2
    return hits


def kill_loss_spike(loss: Floats, norm: Floats, val: Floats) -> npt.NDArray[np.bool_]:
    """llm-foundry's KillLossSpike: five losses running at twice the window's mean, or half a window above the cap."""
    own = np.flatnonzero(np.isfinite(loss))
    hits = np.zeros(len(loss), np.bool_)
    window = max(100, len(own) // 20)
    high = 0
    for j in range(window, len(own)):
        past = loss[own[j - window : j]]
        high = high + 1 if loss[own[j]] >= 2 * past.mean() else 0
        cap = min(10.0, float(loss[own[:window]].max()))
        hits[own[j]] = high >= 5 or (j >= 2 * window and bool(np.mean(past > cap) >= 0.5))
    return hits


def megatron(loss: Floats, norm: Floats, val: Floats) -> npt.NDArray[np.bool_]:
    """Megatron's rerun machine: ten times the largest of the first hundred, or not finite."""
    hits = np.isinf(loss) | np.isinf(norm)
    for values in (loss, norm):
        own = np.flatnonzero(np.isfinite(values))
        if len(own) > 100:
            hits[own[100:]] |= values[own[100:]] >= 10 * values[own[:100]].max()
    return hits


def not_finite(loss: Floats, norm: Floats, val: Floats) -> npt.NDArray[np.bool_]:
    """Lightning's check_finite on the monitored loss."""
    return np.isinf(loss)


def patience(loss: Floats, norm: Floats, val: Floats, *, checks: int) -> npt.NDArray[np.bool_]:
    """Early stopping: so many evaluations without a new best; it begins anew after it has spoken."""
    hits = np.zeros(len(val), np.bool_)
    best, waited = math.inf, 0
    for i in np.flatnonzero(np.isfinite(val)).tolist():
        waited = 0 if val[i] < best else waited + 1
        best = min(best, float(val[i]))
        if waited == checks:
            hits[i], waited = True, 0
    return hits


RULES: dict[str, Rule] = {
    "OLMo 2, 7 sd of 1000": olmo2,
    "OLMo-core, 6 sd of 128": olmo_core,
    "ZClip, z > 2.5": zclip,
    "KillLossSpike": kill_loss_spike,
    "Megatron, 10 x of first 100": megatron,
    "Lightning, check_finite": not_finite,
    "patience 3": partial(patience, checks=3),
    "patience 10": partial(patience, checks=10),
}


def _read(path: Path, data: Path) -> Run:
    logged = {m: (p.steps, p.values) for m, p in points_by_metric(list(read_file(path).batches)).items()}
    return Run(str(path.relative_to(data)), logged, choose_inputs({m: len(s) for m, (s, _) in logged.items()}))


def _quantile(values: list[int], level: float) -> str:
    return f"{np.quantile(values, level):.0f}" if values else "-"


def _number(value: float) -> str:
    return f"{value:+.0f}" if math.isfinite(value) else "never"


def _data_folder() -> Path | None:
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LOSSCAST_DATA", "../shared/data")
    folder = Path(given)
    return folder if folder.is_dir() else None


if __name__ == "__main__":
    main()

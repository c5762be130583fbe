"""What came of a comparison, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.pfn_against_mcmc.sides import Comparison

Array = npt.NDArray[np.float64]


def table(name: str, found: dict[int, list[Comparison]]) -> str:
    """One network against the sampler, in Markdown."""
    lines = [
        "| seen | curves (dropped) | network - MCMC, expected | median | by the answers that came | network better "
        "| log score, network | MCMC | error, network | MCMC | in the 90 % band, network | MCMC "
        "| half a chain - the other, expected | ms, network | s, MCMC | times faster |",
        "|" + "---|" * 16,
    ]
    rows = [(f"{cutoff} %", each) for cutoff, each in found.items()]
    return "\n".join(lines + [_row(label, name, each) for label, each in _with_all(rows)])


def parts(names: list[str], found: dict[int, list[Comparison]], *, by: str) -> str:
    """Differences of each network from the next, and of the last from the sampler, by one of two scores of a `Side`."""
    columns = [*zip(names, [*names[1:], "MCMC"], strict=True), (names[0], "MCMC")]
    lines = [
        "| seen | curves | " + " | ".join(f"{one} - {other}" for one, other in columns) + " |",
        "|" + "---|" * (2 + len(columns)),
    ]
    rows = [(f"{cutoff} %", each) for cutoff, each in found.items()]
    for label, each in _with_all(rows):
        kept = [one for one in each if one.sampled.converged]
        scores = {"MCMC": np.array([getattr(one.sampled.side, by) for one in kept])}
        scores |= {name: np.array([getattr(one.networks[name], by) for one in kept]) for name in names}
        cells = [_difference(scores[one] - scores[other]) for one, other in columns]
        lines.append(f"| {label} | {len(kept)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shapes(names: Sequence[str], found: dict[int, list[Comparison]]) -> str:
    """Where each network's distributions are not the sampler's, in Markdown."""
    lines = ["| seen | network | kept for what MCMC rules out | times as wide as MCMC |", "|" + "---|" * 4]
    for label, each in _with_all([(f"{cutoff} %", each) for cutoff, each in found.items()]):
        for name in names:
            sides = [one.networks[name] for one in each if one.sampled.converged]
            wide = np.exp(np.mean([np.log(side.width) for side in sides]))
            lines.append(f"| {label} | {name} | {np.mean([side.ruled_out for side in sides]):.3f} | {wide:.2f} |")
    return "\n".join(lines)


def _with_all(rows: list[tuple[str, list[Comparison]]]) -> list[tuple[str, list[Comparison]]]:
    rows = [*rows, ("all", [one for _, each in rows for one in each])]
    return [(label, each) for label, each in rows if any(one.sampled.converged for one in each)]


def _row(label: str, name: str, each: Sequence[Comparison]) -> str:
    kept = [one for one in each if one.sampled.converged]
    network, mcmc = [one.networks[name] for one in kept], [one.sampled.side for one in kept]
    expected, came = (
        np.array([getattr(ours, by) - getattr(theirs, by) for ours, theirs in zip(network, mcmc, strict=True)])
        for by in ("expected", "log_score")
    )
    ours, theirs = (float(np.median([one.seconds for one in side])) for side in (network, mcmc))
    scores, errors, covered = (
        [float(np.mean([getattr(one, what) for one in side])) for side in (network, mcmc)]
        for what in ("log_score", "error", "covered")
    )
    cells = [
        label,
        f"{len(kept)} ({len(each) - len(kept)})",
        _difference(expected),
        f"{np.median(expected):+.3f}",
        _difference(came),
        f"{(came > 0).mean():.0%}",
        *(f"{score:+.3f}" for score in scores),
        *(f"{error:.3f}" for error in errors),
        *(f"{share:.1%}" for share in covered),
        f"{-np.mean([one.sampled.halves for one in kept]):+.3f}",
        f"{1e3 * ours:.1f}",
        f"{theirs:.1f}",
        f"{theirs / ours:,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _difference(each: Array) -> str:
    if len(each) == 1:
        return f"{each[0]:+.3f}"  # one run tells no error
    return f"{each.mean():+.3f} ± {each.std(ddof=1) / np.sqrt(len(each)):.3f}"


def line_of(cutoff: int, one: Comparison) -> str:
    said, networks = one.sampled, one.networks.items()
    scores = " ".join(
        f"{name} {side.log_score:+.3f} expected {side.expected - said.side.expected:+.3f} ({1e3 * side.seconds:.1f} ms)"
        for name, side in networks
    )
    return (
        f"{cutoff:3} % {scores} MCMC {said.side.log_score:+.3f} ({said.side.seconds:.1f} s) halves {-said.halves:+.3f} "
        f"length {said.length:.0f} in {said.steps} steps, widened {said.widened:.0%}"
    )

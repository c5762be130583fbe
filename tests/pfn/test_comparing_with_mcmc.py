"""The comparison of networks with a sampler: what it keeps, how it counts, and that its chains go where they should."""

import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from app.pfn.bars import Bars, Knots
from app.pfn.prior import PRIOR_VERSION, Prior
from app.pfn.prior.tractable.posterior import Posterior
from app.pfn.prior.tractable.problems import Problem, sample_problems
from app.pfn.runtime import Predictor
from app.pfn.training.examples import validation_examples
from app.pfn.training.score import scores_of
from app.pfn.weights import PARAMETERS, read_network
from benchmarks.pfn_against_mcmc import chain
from benchmarks.pfn_against_mcmc.__main__ import TRACTABLE
from benchmarks.pfn_against_mcmc.chain import Chain
from benchmarks.pfn_against_mcmc.comparing import compare
from benchmarks.pfn_against_mcmc.kept import Kept
from benchmarks.pfn_against_mcmc.mixture import Mixture
from benchmarks.pfn_against_mcmc.sides import Comparison, Sampled, Side, ruled_out, width
from benchmarks.pfn_against_mcmc.tables import parts, shapes, table


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return list(islice(sample_problems(np.random.default_rng(1), least_seen=0.7, most_seen=0.9), 2))


@pytest.fixture
def _short_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, steps in (("BURN_IN", 150), ("STEPS", 150), ("MOST_STEPS", 150)):
        monkeypatch.setattr(chain, name, steps)


@pytest.mark.usefixtures("_short_chains")
def test_what_the_sampler_said_is_not_asked_again(problems: list[Problem], tmp_path: Path) -> None:
    path, key = tmp_path / "kept.jsonl", (0, 80, 0)
    first = compare(problems[0], {}, Kept(path), key=key)
    again = compare(problems[0], {}, Kept(path), key=key)
    assert again.sampled.side.seconds == first.sampled.side.seconds > 0
    assert again.sampled.side.log_score == first.sampled.side.log_score
    assert np.array_equal(again.sampled.likely, first.sampled.likely)
    assert len(path.read_text().splitlines()) == 1
    with pytest.raises(SystemExit, match="other runs"):
        compare(problems[1], {}, Kept(path), key=key)


def test_a_file_of_another_format_is_refused_before_a_run_is_sampled(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    path.write_text('{"key": [0, 10, 0], "halves": 0.1, "answers": 3.0}\n')
    with pytest.raises(SystemExit, match="Name another file"):
        Kept(path)


@pytest.mark.usefixtures("_short_chains")
def test_no_network_does_better_than_the_sampler_by_what_the_sampler_deems_likely(problems: list[Problem]) -> None:
    predictor = Predictor(*read_network(TRACTABLE))
    for problem in problems:
        one = compare(problem, {"tractable": predictor}, Kept(None), key=(0, 80, 0))
        gap = one.networks["tractable"].expected - one.sampled.side.expected
        # Below zero by Gibbs' inequality; a nat would be a distribution several times too wide, or beside it.
        assert -1.0 < gap < 0.0
        assert one.sampled.halves > 0.0


def test_a_divergence_of_normals_is_the_closed_form() -> None:
    """Of N(0, 1) from N(1, 2), and the other way round; the first of two questions is answered alike."""
    one, other = (
        Mixture(np.full((4000, 2), [5.0, mean]), np.full((4000, 2), [3.0, deviation]), np.zeros(2, dtype=np.bool_))
        for mean, deviation in ((0.0, 1.0), (1.0, 2.0))
    )
    # A mean over two questions. The draws of a mixture are off by some 2 % of its deviation, their far tails lost.
    assert one.divergence(other, 0) == pytest.approx((np.log(2.0) + 2 / 8 - 1 / 2) / 2, abs=0.01)
    assert other.divergence(one, 0) == pytest.approx((-np.log(2.0) + 5 / 2 - 1 / 2) / 2, abs=0.06)
    assert one.divergence(one, 0) == 0.0


@pytest.mark.usefixtures("_short_chains")
def test_chains_are_where_the_run_truly_is(problems: list[Problem]) -> None:
    for problem in problems:
        chain = Chain.sampled(Posterior(problem), 0)
        levels = chain.levels.reshape(-1, len(problem.queries))
        # Five deviations: the posterior is not normal, and chains this short are not its whole.
        off = (levels.mean(axis=0) - problem.true_levels) / levels.std(axis=0)
        assert np.abs(off).max() < 5
        assert np.median(chain.deviations) == pytest.approx(problem.true_deviation, rel=0.5)


def test_what_is_kept_for_answers_ruled_out_is_counted_and_so_is_a_band_too_wide() -> None:
    """Even from 0 to 1, where the likely ones are even from 3/8 to 5/8."""
    knots = Knots(np.linspace(0.0, 1.0, 101), 1e-9, 1e-9)
    logits = np.log(knots.areas)[None, None, :].astype(np.float32)
    bars = Bars.of_logits(knots, logits, np.zeros((1, 1)), np.ones((1, 1)))
    likely = np.linspace(0.375, 0.625, 101)[:, None]
    # From a quarter to three quarters is not ruled out.
    assert ruled_out(bars, likely) == pytest.approx(np.log(2.0), abs=1e-3)
    assert width(bars, likely) == pytest.approx(4.0, rel=1e-3)
    assert ruled_out(bars, np.linspace(0.0, 1.0, 101)[:, None]) == pytest.approx(0.0, abs=1e-3)


def comparison(network: float, other: float, sampler: float, *, length: float = 60.0) -> Comparison:
    """Expected scores fall short of each other by half of what those of the answers that came do."""
    sides = (
        Side(score, score / 2, 0.2, 0.9, seconds)
        for score, seconds in ((network, 0.004), (other, 0.004), (sampler, 4.0))
    )
    one, two, three = sides
    return Comparison({"shipped": one, "tractable": two}, Sampled(three, 0.01, np.zeros((1, 1)), 0.1, length, 600, 0.0))


def test_differences_add_up_and_chains_that_are_too_short_are_counted_but_not_used() -> None:
    found = {20: [comparison(-0.5, -0.25, 0.0), comparison(-0.3, -0.15, 0.0), comparison(9.0, 9.0, 0.0, length=40.0)]}
    row = table("shipped", found).splitlines()[2]
    assert "| 20 % | 2 (1) | -0.200 ± 0.050 | -0.200 | -0.400 ± 0.100 | 0% | -0.400 | +0.000 |" in row
    assert row.endswith("| -0.010 | 4.0 | 4.0 | 1,000 |")
    came, expected = (parts(["shipped", "tractable"], found, by=by).splitlines()[2] for by in ("log_score", "expected"))
    assert came == "| 20 % | 2 | -0.200 ± 0.050 | -0.200 ± 0.050 | -0.400 ± 0.100 |"
    assert expected == "| 20 % | 2 | -0.100 ± 0.025 | -0.100 ± 0.025 | -0.200 ± 0.050 |"


def test_a_single_run_is_told_without_an_error() -> None:
    found = {20: [comparison(-0.5, -0.25, 0.0)], 40: [comparison(9.0, 9.0, 0.0, length=40.0)]}
    assert [row.split(" | ")[:3] for row in table("shipped", found).splitlines()[2:]] == [
        ["| 20 %", "1 (0)", "-0.250"],
        ["| all", "1 (1)", "-0.250"],
    ]
    assert parts(["shipped", "tractable"], found, by="log_score").splitlines()[2] == (
        "| 20 % | 1 | -0.250 | -0.250 | -0.500 |"
    )
    assert len(shapes(["shipped", "tractable"], found).splitlines()) == 6


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("pfn_against_mcmc", "--curves", "0"), "Nothing to tell"), (("pfn_cost", "{empty}"), "No run in")],
)
def test_a_command_that_has_nothing_to_tell_says_so(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    name, *others = (word.format(empty=tmp_path) for word in arguments)
    asked = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *others], capture_output=True, text=True, timeout=120, check=False
    )
    assert asked.returncode == 1
    assert says in asked.stderr
    assert "Traceback" not in asked.stderr


def test_widths_are_told_of_each_network() -> None:
    found = {20: [comparison(-0.5, -0.25, 0.0)] * 2}
    for one in found[20]:
        one.networks["shipped"] = replace(one.networks["shipped"], ruled_out=0.04, width=1.5)
    rows = shapes(["shipped", "tractable"], found).splitlines()[2:4]
    assert rows == ["| 20 % | shipped | 0.040 | 1.50 |", "| 20 % | tractable | 0.000 | 1.00 |"]


def test_the_network_that_it_comes_with_is_what_its_card_says() -> None:
    predictor = Predictor(*read_network(TRACTABLE))
    card = predictor.card
    assert Prior(card["trained"]["prior"]).judged is Prior.TRACTABLE
    assert card["trained"]["prior_version"] == PRIOR_VERSION
    assert (TRACTABLE / PARAMETERS).stat().st_size < 500_000
    examples = validation_examples(card["check"]["n_curves"], Prior.TRACTABLE)
    found, said = scores_of(predictor.judge(examples.inputs), examples)["all"], card["check"]["scores"]["all"]
    # Other builds of numpy round otherwise, and may draw a task or two anew.
    assert found.log_score == pytest.approx(said["log_score"], abs=0.02)

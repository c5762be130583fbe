"""`losscast backtest --verdicts`, run as people run it, on real runs."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
SIBLINGS = sorted(DATA.glob("multipowerlaw_25M_*.csv"))
SAVED = {"saved", "saved_steps", "saved_pooled"}
LOST = {"regret_mean", "regret_p95", "wrong_stops", "costly_stops"}
FIELDS = SAVED | LOST | {"undecided", "brier", "n"}


def losscast(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", "backtest", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=ROOT,
    )


@pytest.fixture(scope="module")
def plot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plots") / "verdicts.html"


@pytest.fixture(scope="module")
def record(plot: Path) -> dict[str, Any]:
    answer = losscast(*SIBLINGS, "--verdicts", "--policy", "predictive", "patience3", "asha", "--json", "--plot", plot)
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert isinstance(found, dict)
    return found


def test_every_policy_that_was_named_is_scored_beside_the_oracle(record: dict[str, Any]) -> None:
    assert list(record["policies"]) == ["predictive", "patience3", "asha", "oracle"]
    for scores in record["policies"].values():
        assert set(scores) == FIELDS
        assert scores["n"] == 1
        assert 0 <= scores["saved"] <= 0.95
        assert scores["regret_mean"] >= 0
    assert record["policies"]["predictive"]["brier"] is not None
    assert record["policies"]["asha"]["brier"] is None


def test_nobody_saves_more_than_the_oracle_at_no_regret(record: dict[str, Any]) -> None:
    oracle = record["policies"]["oracle"]
    n = len(SIBLINGS)
    assert oracle["saved"] == pytest.approx((n - 1) / n * 0.95)
    assert (oracle["regret_mean"], oracle["wrong_stops"]) == (0.0, 0.0)


def test_the_forecast_knows_of_the_decay_that_is_still_to_come(record: dict[str, Any]) -> None:
    """The two runs that end best are those whose rate falls last: behind until then, and not stopped."""
    ours = record["groups"]["data"]["policies"]["predictive"]
    assert not ours["stopped_best"]
    assert ours["regret"] == 0.0
    assert ours["saved"] > record["policies"]["patience3"]["saved"]


def test_the_chart_holds_a_line_for_each_policy_and_needs_no_network(record: dict[str, Any], plot: Path) -> None:
    assert len(record["curves"]) >= 3 * 3
    page = plot.read_text(encoding="utf-8")
    assert "asha reduction=4" in page
    assert "<script src=" not in page


def test_stated_probabilities_are_held_to_what_came_true(record: dict[str, Any]) -> None:
    bins = record["reliability"]["predictive"]
    assert sum(one["n"] for one in bins) > 20
    assert all(0 <= one["stated"] <= 1 and 0 <= one["came_true"] <= 1 for one in bins)
    brier = record["policies"]["predictive"]["brier"]
    assert math.isfinite(brier)
    assert brier < 0.25


def test_runs_in_sequence_are_judged_by_somebody_who_learned_from_those_that_ended() -> None:
    answer = losscast(*SIBLINGS, "--verdicts", "--policy", "predictive", "median", "--in-sequence", "1", "--json")
    assert answer.returncode == 0, answer.stderr
    record = json.loads(answer.stdout)
    assert list(record["policies"]) == ["predictive", "median", "oracle"]
    assert 0 < record["policies"]["predictive"]["saved"] < record["policies"]["oracle"]["saved"]
    stops = record["groups"]["data"]["policies"]["predictive"]["stops"]
    assert len(stops) < len(SIBLINGS)  # the first to begin has nobody to be held to


def test_siblings_are_those_whose_names_agree() -> None:
    answer = losscast(
        DATA / "small_runs",
        "--verdicts",
        "--group-by",
        "^(lrsens_qkFalse)_",
        "--policy",
        "median",
        "--metric",
        "train_loss",
    )
    assert answer.returncode == 0, answer.stderr
    assert "small_runs lrsens_qkFalse" in answer.stdout
    assert "Policies, 1 group\n" in answer.stdout
    assert "oracle" in answer.stdout
    assert "small_runs lm" not in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--policy", "luck"), "No policy named 'luck'"),
        (("--policy", "asha1"), "reduction lies between"),
        (("--policy", "oracle"), "scored beside whatever is named"),
        (("--group-by", "no such name"), "could be replayed. Siblings are files of one folder"),
        ((DATA / "nowhere",), "nowhere: no such file or folder"),
        (("--group-by", "("), "is no regular expression"),
        (("--fractions", "0.5"), "are for forecasts"),
        (("--in-sequence", "0"), "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_replayed_is_said_in_words(arguments: tuple[str | Path, ...], words: str) -> None:
    answer = losscast(DATA / "multipowerlaw_25M_cosine_24000.csv", "--verdicts", *arguments)
    assert answer.returncode != 0
    assert words in answer.stderr.replace("\n", " ").replace("│", "").replace("  ", " ")


def test_options_of_verdicts_are_not_passed_over_without_it() -> None:
    answer = losscast(DATA / "multipowerlaw_25M_cosine_24000.csv", "--policy", "asha")
    assert answer.returncode != 0
    assert "Add --verdicts" in answer.stderr


def test_runs_of_a_few_points_are_no_siblings(tmp_path: Path) -> None:
    for name, value in (("short", "1.0"), ("broken", "nan")):
        rows = "".join(f"{step},{value}\n" for step in range(3 if name == "short" else 50))
        (tmp_path / f"{name}.csv").write_text(f"step,loss\n{rows}")
    answer = losscast(tmp_path, "--verdicts", "--json")
    assert answer.returncode != 0

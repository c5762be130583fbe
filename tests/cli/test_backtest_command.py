"""`losscast backtest`, run as people run it, on real runs."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.cli.backtest import Job, score_file

ROOT = Path(__file__).parents[2]
DEMO_DATA = ROOT / "app" / "demo" / "data"
WSD = DEMO_DATA / "lm_wsd.csv"
DECAYING = ROOT / "tests" / "data" / "multipowerlaw_25M_wsdld.csv"
SCORES = {
    "n", "median_ape", "mean_ape", "bias", "cover50", "cover80", "cover90", "crps_rel", "log_score", "ms"
}  # fmt: skip


def losscast(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=cwd or ROOT,
    )


def backtested(*arguments: str | Path) -> dict[str, Any]:
    answer = losscast("backtest", *arguments, "--json")
    assert answer.returncode == 0, answer.stderr
    said: dict[str, Any] = json.loads(answer.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return said


def test_every_forecaster_is_scored_at_every_fraction_on_real_runs() -> None:
    found = backtested(WSD, DECAYING)
    assert found["runs"] == 2
    assert found["skipped"] == []
    assert {"ensemble", "law", "power", "last", "exponential", "annealing", "multi_power"} <= set(found["forecasters"])
    for by_fraction in found["forecasters"].values():
        assert list(by_fraction) == ["0.2", "0.4", "0.6", "0.8"]
        for scores in by_fraction.values():
            assert set(scores) >= SCORES
            assert scores["n"] == 2
            assert all(value is None or math.isfinite(value) for value in scores.values())
            assert 0 <= scores["cover50"] <= scores["cover80"] <= scores["cover90"] <= 1
    # Before the decay, whoever knows of it is nearer to its end than who does not.
    errors = {name: by_fraction["0.6"]["median_ape"] for name, by_fraction in found["forecasters"].items()}
    assert errors["ensemble"] < 0.02 < errors["last"]


def test_the_flags_take_several_values_and_what_follows_is_a_path() -> None:
    found = backtested("--forecaster", "law", "last", "--fractions", "0.3", "0.5", DECAYING)
    assert list(found["forecasters"]) == ["law", "last"]
    assert list(found["forecasters"]["law"]) == ["0.3", "0.5"]
    again = backtested(
        "--forecaster", "law", "--forecaster", "last", "--fractions", "0.3", "--fractions", "0.5", DECAYING
    )
    for name, by_fraction in found["forecasters"].items():
        for fraction, scores in by_fraction.items():
            theirs = again["forecasters"][name][fraction]
            assert {key: theirs[key] for key in SCORES - {"ms"}} == {key: scores[key] for key in SCORES - {"ms"}}


def test_folders_are_searched_and_what_cannot_be_scored_is_named_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "odd").mkdir()
    shutil.copy(WSD, tmp_path / "good" / "wsd.csv")
    shutil.copy(DEMO_DATA / "deepspeech_diverges.csv", tmp_path / "odd" / "diverges.csv")
    rows = {
        "short": [f"{step},{3 - step / 10}" for step in range(1, 6)],
        "zero": [f"{step},{max(0, 50 - step)}" for step in range(1, 100)],
        "speed": ["1,2"],
    }
    for name, lines in rows.items():
        head = "step,speed" if name == "speed" else "step,loss"
        (tmp_path / "odd" / f"{name}.csv").write_text("\n".join([head, *lines]))
    (tmp_path / "odd" / "broken.jsonl").write_text("{")
    (tmp_path / "odd" / "unfinished.csv").write_text(
        "\n".join(["step,loss,lr"] + [f"{step},{2 + 1 / step if step < 60 else ''},{1e-3}" for step in range(1, 100)])
    )
    (tmp_path / "odd" / "partly_rated.csv").write_text(
        "\n".join(["step,loss,lr"] + [f"{step},{2 + 1 / step},{1e-3 if step < 60 else ''}" for step in range(1, 100)])
    )
    (tmp_path / "odd" / "notes.md").write_text("no run")
    found = backtested(tmp_path, "--by-folder", "--forecaster", "last", "law", "--fractions", "0.5")
    assert found["runs"] == 1
    assert list(found["folders"]) == ["good"]
    assert found["folders"]["good"]["forecasters"] == found["forecasters"]
    why = {Path(each["file"]).stem: each["why"] for each in found["skipped"]}
    assert set(why) == {"diverges", "short", "zero", "speed", "broken", "unfinished", "partly_rated"}
    for name, says in {
        "diverges": "diverged",
        "short": "5 finite points",
        "zero": "ends at zero",
        "speed": "looks like a loss",
        "unfinished": "not ended",
        "partly_rated": "up to step 59",
    }.items():
        assert says in why[name], name


def test_a_run_without_a_finite_point_for_long_is_scored_beside_the_others(tmp_path: Path) -> None:
    shutil.copy(WSD, tmp_path / "wsd.csv")
    steps = range(10, 5001, 10)
    losses = ["nan" if 910 <= step <= 2100 else 2 + step**-0.5 for step in steps]
    rows = [f"{step},{loss},{1e-3}" for step, loss in zip(steps, losses, strict=True)]
    (tmp_path / "gap.csv").write_text("\n".join(["step,loss,lr", *rows]))
    found = backtested(tmp_path, "--forecaster", "ensemble", "--fractions", "0.4")
    assert (found["runs"], found["skipped"]) == (2, [])


def test_a_fault_of_ours_in_one_run_is_a_result_of_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise IndexError("index 0 is out of bounds")

    monkeypatch.setattr("app.forecasting.backtest.backtest_run", broken)
    result = score_file(Job(WSD, "here", None, ("last",), (0.5,), None))
    assert result.scores == ()
    assert result.why_skipped == "a forecaster failed: IndexError('index 0 is out of bounds')"


def test_people_get_a_table_and_a_page_that_needs_no_network(tmp_path: Path) -> None:
    chart = tmp_path / "chart.html"
    answer = losscast("backtest", DECAYING, "--forecaster", "ensemble", "power", "--fractions", "0.6", "--plot", chart)
    assert answer.returncode == 0, answer.stderr
    assert "60 % seen" in answer.stdout
    assert "power" in answer.stdout
    page = chart.read_text()
    assert "<script src=" not in page
    assert '"legendgroup":"ensemble"' in page.replace(" ", "")


def test_a_prior_learned_elsewhere_takes_the_shipped_ones_place(tmp_path: Path) -> None:
    shipped = json.loads((ROOT / "app" / "laws" / "population.json").read_text())
    copy, other, broken = (tmp_path / name for name in ("copy.json", "other.json", "broken.json"))
    copy.write_text(json.dumps(shipped))
    shipped["prior"]["reducible"] = {"mean": 0.9, "deviation": 0.01}
    other.write_text(json.dumps(shipped))
    broken.write_text("{}")
    flags = ("--forecaster", "ensemble", "--fractions", "0.4")
    ours, same, changed = (
        backtested(DECAYING, *flags, *prior)["forecasters"]["ensemble"]["0.4"]["median_ape"]
        for prior in ((), ("--prior", copy), ("--prior", other))
    )
    assert ours == same
    assert changed > 2 * ours
    answer = losscast("backtest", DECAYING, "--prior", broken)
    assert answer.returncode == 2
    assert "learn_prior" in answer.stderr


def test_tables_can_be_had_in_markdown() -> None:
    answer = losscast("backtest", DECAYING, "--forecaster", "last", "--fractions", "0.4", "0.8", "--markdown")
    assert answer.returncode == 0, answer.stderr
    title, _, head, rule, row = answer.stdout.splitlines()[:5]
    assert title == "**All: 1 run**"
    assert head == "| forecaster | 40 % seen | 80 % seen | path | ms |"
    assert rule.count("---") == 5
    assert row.startswith("| last | ")


def test_the_scores_of_whole_distributions_stand_below_each_table() -> None:
    arguments = ("--forecaster", "law", "last", "--fractions", "0.4", "0.8", DECAYING)
    lines = losscast("backtest", *arguments, "--markdown").stdout.splitlines()
    at = lines.index("| CRPS (log score) | 40 % seen | 80 % seen |")
    told = {
        row.split(" | ")[0].removeprefix("| "): row.removesuffix(" |").split(" | ")[1:] for row in lines[at + 2 :][:2]
    }
    for name, by_fraction in backtested(*arguments)["forecasters"].items():
        for cell, scores in zip(told[name], by_fraction.values(), strict=True):
            crps, log_score = cell.removesuffix(")").split(" (")
            assert float(crps) == pytest.approx(100 * scores["crps_rel"], rel=0.06)  # two digits, or three
            assert float(log_score) == pytest.approx(scores["log_score"], abs=0.006)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--fractions", "1.5"), "between 0 and 1"),
        (("--fractions", "half"), "--fractions"),
        (("--forecaster", "oracle"), "There are: ensemble"),
        (("--plot", "chart.svg"), ".html"),
        (("--metric", "accuracy"), "Known: "),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: tuple[str, ...], says: str) -> None:
    answer = losscast("backtest", DECAYING, *arguments)
    assert answer.returncode == 2
    assert says in " ".join((answer.stderr + answer.stdout).split())
    assert "Traceback" not in answer.stderr


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    answer = losscast("backtest", tmp_path)
    assert answer.returncode == 2
    assert "in this folder" in answer.stderr


def test_an_accuracy_is_scored_as_what_rises() -> None:
    found = backtested(
        ROOT / "tests" / "data" / "accuracies" / "text_wsd.csv",
        *("--metric", "val_acc", "--forecaster", "ensemble", "pfn", "last", "--fractions", "0.5"),
    )
    product, network, last = (found["forecasters"][name]["0.5"] for name in ("ensemble", "pfn", "last"))
    assert product["median_ape"] == network["median_ape"] < last["median_ape"]
    assert last["bias"] < 0  # the last level of what rises is too low
    assert (found["of"], found["notes"]) == ("accuracy", [])


def test_a_perplexity_that_is_named_is_scored_and_told_what_it_is(tmp_path: Path) -> None:
    rows = [f"{step},{1e-3 * (1 - step / 4010):.6g},{20 + 400 / (step + 40):.4f}" for step in range(10, 4000, 10)]
    (tmp_path / "run.csv").write_text("\n".join(["step,lr,val_ppl", *rows]))
    flags = (tmp_path / "run.csv", "--forecaster", "last", "--fractions", "0.5")
    refused = losscast("backtest", *flags, "--json")
    assert "val_ppl looks like a perplexity: " in refused.stdout + refused.stderr
    found = backtested(*flags, "--metric", "val_ppl")
    assert found["of"] == "value"
    assert len(found["notes"]) == 1
    assert "Log its logarithm" in found["notes"][0]
    words = " ".join(losscast("backtest", *flags, "--metric", "val_ppl").stdout.split())
    assert "of the final value [%]" in words
    assert "val_ppl looks like a perplexity: " in words

"""What is not forecast, and what is said of it."""

from __future__ import annotations

import pytest

from app.curves.roles import assign_roles
from app.curves.unforecast import asked_all_the_same, kind_of, said_to_be_forecast, why_none_of_these, why_unforecast


@pytest.mark.parametrize(
    ("metric", "kind", "instead"),
    [
        ("val_ppl", "a perplexity", "logarithm"),
        ("eval/perplexity", "a perplexity", "val_loss"),
        ("eval_wer", "an error rate of words or characters", "val_loss"),
        ("CER", "an error rate of words or characters", "val_loss"),
        ("train/reward", "a reward", "val_accuracy"),
        ("critic/score/mean", "a reward", "val_accuracy"),
        ("eval_score", "a score", "val_accuracy"),
    ],
)
def test_what_is_not_forecast_says_what_it_is_and_what_to_log_instead(metric: str, kind: str, instead: str) -> None:
    found = kind_of(metric)
    assert found is not None
    assert found.kind == kind
    said = why_unforecast(metric)
    assert said is not None
    assert said.startswith(f"{metric} looks like {kind}: ")
    assert instead in said


@pytest.mark.parametrize(
    "metric", ["loss", "val_loss", "f1_score", "rewards/accuracies", "val_acc", "lr", "tokens", "reward_std"]
)
def test_a_loss_an_accuracy_and_what_nobody_forecasts_are_left_alone(metric: str) -> None:
    assert kind_of(metric) is None
    assert why_none_of_these([metric]) == []


def test_a_kind_is_told_once_however_many_metrics_are_of_it() -> None:
    told = why_none_of_these(["eval/wikitext/ppl", "val_ppl", "reward", "lr"])
    assert [each.split()[0] for each in told] == ["reward", "val_ppl"]


def test_a_metric_named_to_a_command_is_forecast_with_a_word_of_warning() -> None:
    for metric, role, says in (("val_ppl", "val_metric", "logarithm"), ("momentum", "other", "more or less of it")):
        caveat = asked_all_the_same(metric, role)
        assert caveat is not None
        assert says in caveat
        assert "never measured" in caveat
    assert asked_all_the_same("val_loss", "val_loss") is None


def test_a_role_set_by_hand_goes_with_a_warning_where_the_name_objects() -> None:
    roles = assign_roles(["val_ppl", "mine", "f1_score"], {"val_ppl": "val_loss", "mine": "val_loss"})
    caveat = said_to_be_forecast("val_ppl", roles)
    assert caveat is not None
    assert "logarithm" in caveat
    assert said_to_be_forecast("mine", roles) is None
    assert said_to_be_forecast("f1_score", roles) is None

"""Roles are read off names as frameworks log them; sources in the table of app/curves/roles.py."""

from __future__ import annotations

import pytest

from app.curves.roles import KNOWN_NAMES, ROLES, assign_roles, best_metric, forecastable, primary_loss, spelling
from app.errors import BadInput


def role_of(metric: str) -> str:
    return assign_roles([metric])[metric].role


@pytest.mark.parametrize(
    "metric",
    """loss train_loss train/loss Train_Loss train.loss lm-loss loss_metrics/global_avg_loss reduced_train_loss
    train/CrossEntropyLoss train/cross_entropy_loss learning/loss learning/lm_loss loss/train/total
    Train/Samples/train_loss train_loss_step train/box_loss training/mse_loss total_loss train_eval_loss batch_loss
    mlm_loss""".split(),
)
def test_training_losses_are_known(metric: str) -> None:
    assert role_of(metric) == "train_loss"


@pytest.mark.parametrize(
    "metric",
    [
        *"val_loss eval_loss eval/loss val/loss val/bpb test_loss validation_metrics/loss eval/avg_loss".split(),
        *"eval_g0_loss eval/c4/CrossEntropyLoss eval/paloma/c4/macro_loss metrics/eval/LanguageCrossEntropy".split(),
        *"val/box_loss dev_loss eval_squad_loss validation/epoch_loss loss/val valid_loss".split(),
        "lm loss validation",
    ],
)
def test_validation_losses_are_known(metric: str) -> None:
    assert role_of(metric) == "val_loss"


@pytest.mark.parametrize(
    "metric",
    """lr learning_rate learning-rate train/learning_rate lr-AdamW lr-AdamW/pg1 lr/AdamW/0 lr/pg0 train/lrm
    optim/learning_rate_group0 learning/current_learning_rate Train/Samples/lr actor/lr""".split(),
)
def test_learning_rates_are_known(metric: str) -> None:
    assert role_of(metric) == "lr"


@pytest.mark.parametrize(
    "metric",
    """grad_norm grad-norm train/grad_norm gradient_norm grad_2.0_norm_total optim/total_grad_norm grad/norm/total
    learning/raw_grad_norm l2_norm/grad/global actor/grad_norm""".split(),
)
def test_gradient_norms_are_known(metric: str) -> None:
    assert role_of(metric) == "grad_norm"


@pytest.mark.parametrize(
    "metric",
    [
        *"loss_scale loss-scale Train/Samples/loss_scale train_runtime eval_runtime train_loss_epoch".split(),
        *"loss_metrics/global_max_loss lr-AdamW-momentum params-norm max_attn_logit wall_clock".split(),
        *["lm loss vs samples", "lm loss validation vs samples", "learning-rate vs samples", "grad-norm vs samples"],
    ],
)
def test_auxiliary_metrics_are_not_taken_for_what_they_look_like(metric: str) -> None:
    assert role_of(metric) == "other"


@pytest.mark.parametrize(
    ("metric", "role"),
    [
        ("train_samples_per_second", "throughput"),
        ("eval_steps_per_second", "throughput"),
        ("throughput(tps)", "throughput"),
        ("mfu(%)", "throughput"),
        ("throughput/total_tokens", "tokens"),
        ("num_input_tokens_seen", "tokens"),
        ("consumed_samples", "samples"),
        ("samples vs steps", "samples"),
        ("lm loss", "train_loss"),
        ("train/epoch", "epoch"),
        ("epoch", "epoch"),
        ("run_progress", "progress"),
        ("percentage", "percent_done"),
        ("total_steps", "total_steps"),
        ("train/max_steps", "total_steps"),
        ("num_train_epochs", "total_epochs"),
        ("train_acc", "train_accuracy"),
        ("val_acc", "val_accuracy"),
        ("eval_accuracy", "val_accuracy"),
        ("test/top_5", "val_accuracy"),
        ("accuracy/val", "val_accuracy"),
        ("val_sparse_categorical_accuracy", "val_accuracy"),
        ("metrics/mAP50-95(B)", "val_accuracy"),
        ("eval/f1_score", "val_accuracy"),
        ("eval_sacrebleu", "val_accuracy"),
        ("mean_token_accuracy", "train_accuracy"),
        ("rewards/accuracies", "train_accuracy"),
        ("train_acc_epoch", "train_accuracy"),
        ("attention_map", "other"),
        ("precision", "other"),
        ("val/reward", "val_metric"),
        ("eval_wer", "val_metric"),
        ("train/perplexity", "train_metric"),
        ("val/ppl", "val_metric"),
        ("lm loss validation ppl", "val_metric"),
        ("d_loss", "train_metric"),
        ("actor/pg_loss", "train_metric"),
        ("moe/aux_loss", "train_metric"),
        ("nonsense", "other"),
    ],
)
def test_other_roles(metric: str, role: str) -> None:
    assert role_of(metric) == role


def test_every_role_in_the_table_exists_and_every_name_is_spelled_as_compared() -> None:
    names = [name for _, _, some in KNOWN_NAMES for name in some]
    assert len(names) == len(set(names))
    assert all(spelling(name) == name for name in names)
    assert {role for role, _, _ in KNOWN_NAMES} <= set(ROLES)


def test_a_persons_word_beats_the_table_and_is_given_as_the_rule() -> None:
    roles = assign_roles(["loss", "my_thing"], {"my_thing": "train_loss", "loss": "other"})
    assert (roles["my_thing"].role, roles["my_thing"].rule) == ("train_loss", "You said so.")
    assert roles["loss"].role == "other"
    assert primary_loss(roles, {"loss": 10, "my_thing": 10}) == "my_thing"


def test_an_override_to_no_role_names_the_roles() -> None:
    with pytest.raises(BadInput, match="train_loss, val_loss"):
        assign_roles(["x"], {"x": "training"})


def test_the_mean_that_hugging_face_logs_at_the_end_is_not_the_training_loss() -> None:
    roles = assign_roles(["loss", "eval_loss", "train_loss", "train_runtime"])
    assert roles["train_loss"].role == "other"
    assert primary_loss(roles, {"loss": 500, "eval_loss": 10, "train_loss": 1}) == "loss"
    assert assign_roles(["train_loss"])["train_loss"].role == "train_loss"


@pytest.mark.parametrize(
    "metric",
    [
        "layer/0/grad_norm",
        "grad_norm/layers.3.mlp.weight",
        "grad_2.0_norm/layers.0.weight",
        "model.embed_tokens/grad_norm",
    ],
)
def test_the_gradient_norm_of_one_layer_is_not_that_of_the_model(metric: str) -> None:
    assert role_of(metric) == "other"


def test_the_loss_of_a_policy_gradient_is_no_training_loss() -> None:
    assert assign_roles(["loss", "reward", "kl"])["loss"].role == "train_metric"
    # DPO logs rewards of its own, but its loss is a loss.
    assert assign_roles(["loss", "rewards/chosen", "rewards/margins"])["loss"].role == "train_loss"


def test_the_primary_loss_is_the_best_ranked_training_loss() -> None:
    roles = assign_roles(["val_loss", "train_eval_loss", "train_loss"])
    assert primary_loss(roles, {"val_loss": 100, "train_eval_loss": 100, "train_loss": 100}) == "train_loss"
    assert primary_loss(roles, {"val_loss": 100}) == "val_loss"
    assert primary_loss(roles, {}) is None
    assert primary_loss({}, {}) is None


def test_a_summary_logged_once_does_not_hide_the_curve() -> None:
    roles = assign_roles(["train_loss", "loss"])
    assert primary_loss(roles, {"train_loss": 1, "loss": 5_000}) == "loss"


def test_of_several_gradient_norms_the_total_stands_for_all() -> None:
    names = ["grad_2.0_norm/layers.0.weight", "grad_2.0_norm_total", "grad_norm"]
    counts = dict.fromkeys(names, 9)
    assert best_metric(assign_roles(names), "grad_norm", counts) == "grad_norm"
    assert best_metric(assign_roles(names[:2]), "grad_norm", counts) == "grad_2.0_norm_total"


def test_both_kinds_of_losses_are_forecast_even_with_many_of_one() -> None:
    names = [f"train/{part}_loss" for part in "abcdefgh"] + ["val_loss", "lr"]
    found = forecastable(assign_roles(names))
    assert len(found) == 6
    assert found[0] == "train/a_loss"
    assert "val_loss" in found
    assert forecastable(assign_roles(["lr"])) == []


def test_accuracies_are_forecast_after_the_primary_loss_and_leave_room_for_losses() -> None:
    names = ["val_acc", "train_acc", *(f"eval/{task}/acc" for task in "abcdef"), "val_loss", "train_loss", "val_ppl"]
    found = forecastable(assign_roles(names))
    assert found[0] == "train_loss"
    assert {"val_loss", "val_acc", "train_acc"} < set(found)
    assert "val_ppl" not in found
    assert len(found) == 6

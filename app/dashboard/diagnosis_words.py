"""Diagnoses, events and alerts in the words of a reader, each with what it means. docs/diagnostics.md has the rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """What a kind is called on the pages, and what that means."""

    text: str
    meaning: str


# By the kinds of events and of alerts; those that are not here say it all by their name.
KINDS: Mapping[str, Word] = {
    "nonfinite": Word("not finite", "A loss or a gradient norm is NaN or infinite."),
    "nonfinite_loss": Word("loss not finite", "The loss is NaN or infinite."),
    "nonfinite_grad_norm": Word("gradient norm not finite", "The gradient norm is NaN or infinite."),
    "cold_start": Word(
        "cold start", "The loss rose above its first value at once: the learning rate is most likely too high."
    ),
    "spike": Word("spike", "The loss jumped far above its level, further than its noise explains."),
    "divergence": Word("divergence", "The loss has lost half of all progress and does not come back."),
    "divergence_risk": Word("divergence risk", "Signs of a divergence that has not come yet."),
    "dead": Word("not learning", "The loss has never moved away from its first value."),
    "plateau": Word("plateau", "The loss has almost stopped falling, at a low and steady learning rate."),
    "overfit": Word("overfit", "The validation loss rises while the training loss goes on falling."),
    "memorised": Word("learned by heart", "The training data are solved, the validation data are not."),
    "grokking": Word("grokking", "Long after the training data were learned by heart, validation improves too."),
    "ungrokking": Word("un-grokking", "What was learned beyond the training data is being lost again."),
    "stability_gap": Word("stability gap", "The loss jumped where the rate, the data or the batch size changed."),
    "dimensional_collapse": Word("dimensional collapse", "The features use few of their directions, or one."),
    "rank_loss": Word("rank loss", "The features use ever fewer of their directions."),
    "neural_collapse": Word("neural collapse", "The features of each class have moved onto one point."),
    "mode_collapse": Word("mode collapse", "The samples are all of a few kinds."),
    "stop_advised": Word("stop advised", "The verdict on this run is to stop it."),
}

# By the names of diagnoses: what was looked for, and the states of it that need other words than their own.
LOOKED_FOR: Mapping[str, Word] = {
    "nonfinite": Word("NaN and infinities", KINDS["nonfinite"].meaning),
    "cold_start": Word("Cold start", KINDS["cold_start"].meaning),
    "spike": Word("Spikes and divergence", "Jumps of the loss that pass, and those that do not."),
    "divergence_risk": Word("Divergence ahead", KINDS["divergence_risk"].meaning),
    "plateau": Word("Plateau", KINDS["plateau"].meaning),
    "grokking": Word("Grokking", "Training data learned by heart first, what they have in common long after."),
    "overfit": Word("Overfitting", KINDS["overfit"].meaning),
    "stability_gap": Word("Stability gap", KINDS["stability_gap"].meaning),
    "collapse": Word("Collapse", "Features, classes or samples that become alike."),
}

STATES: Mapping[tuple[str, str], str] = {
    ("nonfinite", "finite"): "none now",
    ("nonfinite", "not finite"): "yes",
    ("plateau", "dead"): "the loss has never fallen",
    ("cold_start", "warm"): "none: it began well",
    ("cold_start", "cold"): "none so far, watching its first points",
    ("cold_start", "above its first value"): "yes, above its first value",
    ("spike", "calm"): "none now",
    ("divergence_risk", "a fault is here: risk of another"): "a fault is here already",
    ("grokking", "fitting"): "no sign of it",
    ("grokking", "memorised"): "learned by heart, validation does not follow yet",
    ("grokking", "turning"): "validation begins to follow",
    ("grokking", "generalising"): "validation follows",
    ("grokking", "grokked"): "yes, validation has followed",
    ("overfit", "no sign"): "none now",
    ("overfit", "overfitting"): "yes",
    ("stability_gap", "no change"): "none: nothing was changed",
    ("collapse", "no probe"): "not watched: it needs what a probe logs",
    ("collapse", "calm"): "none now",
}

# How events went on.
OUTCOMES: Mapping[str, str] = {
    "benign": "over, without harm",
    "memorised": "learned by heart instead",
    "turning": "validation has turned",
    "passed": "passed, nothing came",
}


def kind_word(kind: str) -> Word:
    return KINDS.get(kind, Word(kind.replace("_", " "), ""))


def looked_for(diagnosis: str) -> Word:
    return LOOKED_FOR.get(diagnosis, Word(diagnosis.replace("_", " "), ""))


def state_words(diagnosis: str, state: str) -> str:
    return "too early to tell" if state == "too early" else STATES.get((diagnosis, state), state)


def outcome_words(outcome: str) -> str:
    return OUTCOMES.get(outcome, outcome)

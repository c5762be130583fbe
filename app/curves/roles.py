"""What a metric means, concluded from its name.

Names are compared in one spelling: lower case, with `-`, `_`, `.` and blanks read as `/`, so `Train_Loss`, `train/loss`
and `train.loss` are one name. In order: what a person said, names that can only be read beside others, what is known
not to be what it looks like (`NOT_WHAT_IT_LOOKS_LIKE`), the exact names that frameworks log (`KNOWN_NAMES`), then
patterns (`PATTERNS`). The rule that matched is kept in words and shown beside the metric, so that a wrong guess can be
seen and corrected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from app.errors import BadInput

ROLES = (
    "train_loss",  # falls as training succeeds; forecast
    "val_loss",  # the same on data not trained on; forecast
    "lr",  # learning rate, or a multiplier of it
    "grad_norm",  # norm of the gradient of all parameters
    "epoch",  # passes over the data so far, may be a fraction
    "tokens",  # tokens trained on so far
    "samples",  # samples trained on so far
    "progress",  # share of the run that is done: a fraction
    "percent_done",  # the same as a percentage
    "total_steps",  # how many steps the run will have
    "total_epochs",  # how many epochs the run will have
    "train_accuracy",  # rises from 0 towards 1 or 100 as training succeeds: accuracy, F1, AUC, BLEU, ...; forecast
    "val_accuracy",  # the same on data not trained on; forecast
    "train_metric",  # another measure on the training data, e.g. reward or perplexity; not forecast
    "val_metric",  # another measure on held-out data; not forecast
    "throughput",  # speed and time
    "probe",  # what `losscast.probe` measured inside the network
    "other",
)

LOSS_ROLES = frozenset({"train_loss", "val_loss"})
ACCURACY_ROLES = frozenset({"train_accuracy", "val_accuracy"})

FORECAST_ROLES = ("train_loss", "val_loss", "val_accuracy", "train_accuracy")
"""In the order of what people look at: of an accuracy, the one on held-out data."""

SAID = "You said so."
NO_RULE = "No rule knows this name."

_NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RoleMatch:
    """A metric's role and the rule, in words, that gave it.

    `rank` orders metrics of one role: the smaller, the surer that it is the one to show first.
    """

    role: str
    rule: str
    rank: int = 0


# (role, who logs it, names in the order of preference). To teach a new name, add it here.
KNOWN_NAMES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("train_loss", "Hugging Face, Lightning, nanoGPT, nanochat, Levanter and many others", ("train/loss", "loss")),
    ("train_loss", "Lightning, within an epoch", ("train/loss/step",)),
    ("train_loss", "Megatron-LM", ("lm/loss",)),
    ("train_loss", "torchtitan", ("loss/metrics/global/avg/loss",)),
    ("train_loss", "NeMo", ("reduced/train/loss",)),
    ("train_loss", "OLMo, Levanter", ("train/crossentropyloss", "train/cross/entropy/loss")),
    ("train_loss", "MaxText", ("learning/loss", "learning/lm/loss")),
    ("train_loss", "Composer", ("loss/train/total",)),
    ("train_loss", "DeepSpeed", ("train/samples/train/loss",)),
    ("train_loss", "Keras", ("batch/loss", "train/epoch/loss", "epoch/loss")),
    ("train_loss", "many", ("training/loss", "total/loss", "loss/total", "loss/train", "train/bpb")),
    ("val_loss", "Hugging Face, Lightning, nanoGPT, Levanter and many others", ("val/loss", "eval/loss")),
    ("val_loss", "nanochat", ("val/bpb",)),
    ("val_loss", "Megatron-LM", ("lm/loss/validation",)),
    ("val_loss", "torchtitan", ("validation/metrics/loss",)),
    ("val_loss", "MaxText", ("eval/avg/loss",)),
    ("val_loss", "Composer", ("metrics/eval/languagecrossentropy", "metrics/eval/crossentropy", "loss/eval/total")),
    ("val_loss", "Keras", ("validation/epoch/loss",)),
    ("val_loss", "many", ("valid/loss", "validation/loss", "dev/loss", "loss/val", "loss/eval", "loss/validation")),
    ("val_loss", "many", ("test/loss",)),
    ("lr", "Hugging Face, nanoGPT and many others", ("learning/rate", "train/learning/rate", "lr", "train/lr")),
    ("lr", "nanochat, as a multiplier of each group's peak", ("train/lrm",)),
    ("lr", "OLMo, Levanter", ("optim/learning/rate", "optim/learning/rate/group0")),
    ("lr", "MaxText", ("learning/current/learning/rate",)),
    ("lr", "DeepSpeed", ("train/samples/lr",)),
    ("lr", "verl", ("actor/lr",)),
    ("grad_norm", "Hugging Face, torchtitan and many others", ("grad/norm", "train/grad/norm", "gradient/norm")),
    ("grad_norm", "OLMo, Levanter", ("optim/total/grad/norm", "grad/norm/total")),
    ("grad_norm", "MaxText", ("learning/raw/grad/norm", "learning/grad/norm")),
    ("grad_norm", "Composer", ("l2/norm/grad/global",)),
    ("grad_norm", "verl", ("actor/grad/norm",)),
    ("epoch", "many", ("epoch", "train/epoch", "trainer/epoch", "time/epoch")),
    ("tokens", "Hugging Face", ("num/input/tokens/seen", "train/num/input/tokens/seen", "num/tokens")),
    ("tokens", "torchtitan, OLMo, Levanter, Composer", ("n/tokens/seen", "throughput/total/tokens", "time/token")),
    ("tokens", "many", ("tokens", "total/tokens", "tokens/seen", "train/tokens", "consumed/tokens")),
    ("samples", "Megatron-LM, NeMo", ("consumed/samples", "consumed/train/samples", "samples/vs/steps")),
    ("samples", "many", ("samples", "global/samples", "time/sample", "samples/seen", "total/samples")),
    ("progress", "Levanter and many others", ("run/progress", "progress", "train/progress", "training/progress")),
    ("percent_done", "LLaMA-Factory", ("percentage",)),
    ("percent_done", "many", ("percent/done", "percent/complete", "progress/percent", "train/percentage")),
    ("total_steps", "many", ("total/steps", "max/steps", "num/training/steps", "train/total/steps", "train/max/steps")),
    ("total_steps", "many, by another word", ("total/iterations", "max/iters", "max/iterations", "train/iters")),
    ("total_epochs", "many", ("num/epochs", "total/epochs", "max/epochs", "num/train/epochs", "train/num/epochs")),
    ("train_accuracy", "TRL's DPO trainer", ("rewards/accuracies", "train/rewards/accuracies")),
    ("val_accuracy", "TRL's DPO trainer", ("eval/rewards/accuracies",)),
    (
        "val_accuracy",
        "Ultralytics",
        ("metrics/map50/95(b)", "metrics/map50(b)", "metrics/precision(b)", "metrics/recall(b)"),
    ),
    ("train_metric", "RL trainers", ("reward", "train/reward", "critic/score/mean", "kl", "objective/kl", "entropy")),
    ("throughput", "many", ("wall/s", "step/avg", "step/time", "iteration/time", "perf/step/time/seconds", "tps")),
)

_PART = (
    r"(layers?|blocks?|stages?|experts?|heads?|embed\w*|wte|wpe|attn|attention|mlp|ffn|lora\w*|weights?|bias(es)?"
    r"|encoder|decoder|backbone|h)"
)

# (what it is not, in words, pattern, role instead). Searched before everything but a person's word.
NOT_WHAT_IT_LOOKS_LIKE: tuple[tuple[str, str, str], ...] = (
    ("the same curve against another axis", r"/vs/(samples|tokens)$", "other"),
    ("a mean over an epoch of what is also logged by step", r"loss/epoch$", "other"),
    ("the scale of mixed precision, not a loss", r"(^|/)loss/scale(/|$)", "other"),
    ("a maximum over devices", r"(^|/)global/max/loss$", "other"),
    ("a count or a time, not a loss", r"runtime$|(^|/)model/preparation/time$", "other"),
    (
        "a speed",
        r"per/sec(ond)?s?(/|$)|/s/it$|it/s$|throughput(?!/total/tokens)|(^|/)mfu|tflops|flops/per",
        "throughput",
    ),
    ("momentum or weight decay of a learning-rate monitor", r"^lr/.*/(momentum|weight/decay)$", "other"),
    (
        "a policy-gradient loss, which does not measure progress",
        r"(^|/)(pg|policy|actor|critic|vf|value)/loss",
        "train_metric",
    ),
    ("one side of an adversarial game, which need not fall", r"(^|/)(d|g|disc\w*|gen\w*|adv\w*)/loss$", "train_metric"),
    (
        "an auxiliary term of the loss",
        r"(^|/)(aux\w*|z|balanc\w*|router|commit\w*|load/balancing)/loss$",
        "train_metric",
    ),
    # A frozen layer has none, and nothing is wrong with the run.
    (
        "the gradient norm of one part of the model",
        rf"(^|/){_PART}\d*(/.*)?grad.*norm|grad.*norm(/.*)?/{_PART}\d*(/|$)",
        "other",
    ),
)

_HELD_OUT = r"(val|valid|validation|eval|evaluation|dev|test|heldout)"
_TRAINING = r"(train|training)"
# Bounded, and better when higher. Some words mean something else where nothing says what data they were measured on.
_ACCURACY = (
    r"((acc|accuracy)[/@]?[15]?|(acc|accuracy)/(norm|top[/@]?[15])|top[/@]?[15](/(acc|accuracy))?|f1(/score)?|auc|auroc"
    r"|ssim|bleu|sacrebleu|exact/match|pass@\d+)"
)
_ACCURACY_ON_DATA = rf"({_ACCURACY}|map(/?\d+)*|mean/average/precision|precision|recall|m?iou|dice)"
_OTHER_SCORE = r"(ppl|perplexity|wer|cer|reward\w*|score|bpb)"

_PROBES = (
    r"rankme(/covariance)?|(effective|stable)/rank|participation/ratio|spectral/entropy|top/share|unit/spread"
    r"|features/alpha(/r2)?|nc1(/cdnv)?|nc2/equi(norm/(means|w)|angle)|nc3|nc4|gnc2/(norm|uniformity)/\w+"
    r"|unc3/(mean|spread)|tokens/classes|(dead|dormant)/share|massive/ratio|units/(largest|rms)"
    r"|weights/(norm|(relative/)?distance|cosine/to/start|effective/rate)|gradient/(noise(/scale)?|signal|snr)"
)

# (role, what the name does, pattern).
PATTERNS: tuple[tuple[str, str, str], ...] = (
    ("probe", "is one that losscast.probe gives", rf"(^|/)({_PROBES})$"),
    ("val_metric", "speaks of held-out data and a perplexity", rf"({_HELD_OUT}/(.*/)?(ppl|perplexity))$"),
    ("train_loss", "has “train” followed by “loss”", rf"(^|/){_TRAINING}/.*loss$|^loss/{_TRAINING}(/|$)"),
    ("val_loss", "has “val”, “eval” or the like and “loss”", rf"(^|/){_HELD_OUT}/.*(loss|bpb|crossentropy|nll)$"),
    ("val_loss", "has “loss” followed by “val”, “eval” or the like", rf"loss/(.*/)?{_HELD_OUT}$"),
    ("lr", "has “lr” or “learning rate” in it", r"(^|/)lr(/|$)|learning/rate"),
    ("grad_norm", "has “grad” followed by “norm”", r"grad\w*(/.*)?/?norm"),
    (
        "val_accuracy",
        "has “val”, “eval” or the like and an accuracy",
        rf"(^|/){_HELD_OUT}/(.*/)?{_ACCURACY_ON_DATA}(/step|/epoch)?$",
    ),
    (
        "val_accuracy",
        "has an accuracy followed by “val”, “eval” or the like",
        rf"(^|/){_ACCURACY_ON_DATA}/{_HELD_OUT}$",
    ),
    ("train_accuracy", "has “train” and an accuracy", rf"(^|/){_TRAINING}/(.*/)?{_ACCURACY_ON_DATA}(/step|/epoch)?$"),
    ("train_accuracy", "ends in an accuracy", rf"(^|/){_ACCURACY}(/{_TRAINING}|/step|/epoch)?$"),
    ("val_metric", "has “val”, “eval” or the like and a score", rf"(^|/){_HELD_OUT}/(.*/)?{_OTHER_SCORE}(/|$)"),
    ("train_metric", "has a score in it", rf"(^|/){_OTHER_SCORE}(/|$)"),
    ("val_metric", "begins with “val”, “eval” or the like", rf"^(metrics/)?{_HELD_OUT}/"),
    ("train_loss", "ends in “loss”", r"loss$"),
)

_KNOWN: dict[str, RoleMatch] = {
    name: RoleMatch(role, f"A name that is logged by {source}.", rank)
    for rank, (role, source, name) in enumerate(
        (role, source, name) for role, source, names in KNOWN_NAMES for name in names
    )
}
_AFTER_KNOWN = len(_KNOWN)


def assign_roles(metrics: Iterable[str], overrides: Mapping[str, str] = _NO_OVERRIDES) -> dict[str, RoleMatch]:
    """The role of every metric, in the order given.

    Parameters
    ----------
    metrics : iterable of str
        All names of a run: some can only be read beside others.
    overrides : mapping
        Metric name, as logged, to role. `BadInput` for a role that does not exist.
    """
    for metric, role in overrides.items():
        if role not in ROLES:
            raise BadInput(f"{role!r}, given for {metric!r}, is no role. Roles: {', '.join(ROLES)}.")
    names = list(dict.fromkeys(metrics))
    spelled = {spelling(name) for name in names}
    return {name: _match(name, names, spelled, overrides) for name in names}


def primary_loss(roles: Mapping[str, RoleMatch], points: Mapping[str, int]) -> str | None:
    """The loss to forecast first: a training loss, else a validation loss; None without either."""
    for role in ("train_loss", "val_loss"):
        best = best_metric(roles, role, points)
        if best is not None:
            return best
    return None


def best_metric(roles: Mapping[str, RoleMatch], role: str, points: Mapping[str, int]) -> str | None:
    """The metric that stands for `role`: the best-ranked of those with enough points; None without one.

    Parameters
    ----------
    points : mapping
        How many points each metric has; one that is missing has none.
    """
    logged = [name for name in _ranked(roles, role) if points.get(name, 0) > 0]
    # A summary that is logged once or twice must not hide the curve that is logged throughout.
    enough = max((points[name] for name in logged), default=0) / 50
    return next((name for name in logged if points[name] >= enough), None)


def forecastable(
    roles: Mapping[str, RoleMatch], points: Mapping[str, int] | None = None, *, limit: int = 6
) -> list[str]:
    """Every metric worth a forecast, at most `limit`: the primary loss first, then losses and accuracies in turn."""
    counts = dict.fromkeys(roles, 1) if points is None else points
    queues = [[n for n in _ranked(roles, role) if counts.get(n, 0) > 0] for role in FORECAST_ROLES]
    primary = primary_loss(roles, counts)
    longest = max(map(len, queues))
    in_turn = [queue[i] for i in range(longest) for queue in queues if i < len(queue)]
    return sorted(in_turn, key=lambda name: name != primary)[:limit]


def spelling(metric: str) -> str:
    """The one spelling in which names are compared."""
    return re.sub(r"[-_. /]+", "/", metric.strip().lower()).strip("/")


def _ranked(roles: Mapping[str, RoleMatch], role: str) -> list[str]:
    named = [name for name, match in roles.items() if match.role == role]
    return sorted(named, key=lambda name: (roles[name].rank, len(name), name))


def _match(name: str, names: Collection[str], spelled: Collection[str], overrides: Mapping[str, str]) -> RoleMatch:
    if name in overrides:
        return RoleMatch(overrides[name], SAID, rank=-1)
    key = spelling(name)
    for rule in _IN_COMPANY:
        match = rule(name, names, spelled)
        if match is not None:
            return match
    for text, pattern, role in NOT_WHAT_IT_LOOKS_LIKE:
        if re.search(pattern, key):
            return RoleMatch(role, f"The name says {text}.", rank=2 * _AFTER_KNOWN)
    if key in _KNOWN:
        return _KNOWN[key]
    for rank, (role, text, pattern) in enumerate(PATTERNS, start=_AFTER_KNOWN):
        if re.search(pattern, key):
            return RoleMatch(role, f"The name {text}.", rank)
    return RoleMatch("other", NO_RULE, rank=2 * _AFTER_KNOWN)


def _mean_of_a_finished_hf_run(name: str, names: Collection[str], spelled: Collection[str]) -> RoleMatch | None:
    """The Hugging Face Trainer ends by logging `train_loss`, one number: the mean over the whole run."""
    if name in ("train_loss", "train/train_loss") and {"train_runtime", "train/train_runtime"} & set(names):
        return RoleMatch("other", "The Hugging Face Trainer's mean over the whole run, logged once at its end.")
    return None


def _loss_of_a_policy_gradient(name: str, names: Collection[str], spelled: Collection[str]) -> RoleMatch | None:
    """GRPO and PPO log a `loss` near zero that says nothing about progress; their reward does."""
    is_policy_gradient = bool({"reward", "train/reward"} & set(spelled))
    if spelling(name) in ("loss", "train/loss") and is_policy_gradient:
        return RoleMatch("train_metric", "A policy-gradient loss (a reward is logged too) does not measure progress.")
    return None


_IN_COMPANY: tuple[Callable[[str, Collection[str], Collection[str]], RoleMatch | None], ...] = (
    _mean_of_a_finished_hf_run,
    _loss_of_a_policy_gradient,
)

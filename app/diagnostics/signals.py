"""Which metric stands for what a diagnosis wants to read.

Roles (`app.curves.roles`) know losses, rates and norms; a signal is finer: "max_attn_logit" is a signal, its role is
"other". One metric stands for each signal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from app.curves.roles import RoleMatch, assign_roles, best_metric, primary_loss, spelling

BY_ROLE = ("train_loss", "val_loss", "lr", "grad_norm", "epoch", "tokens")
"""Signals that are roles: the best-ranked metric of the role stands for them."""

# Signal -> what it is, and the pattern of its names, spelled as in app.curves.roles. The first that fits wins; of
# several metrics that fit, the shortest name. To teach a new signal, add a row.
SIGNALS: tuple[tuple[str, str, str], ...] = (
    ("update_norm", "norm of the optimizer's step", r"(^|/)(update/norm|norm/update|step/norm)"),
    ("param_norm", "norm of all parameters", r"(^|/)(param\w*|weights?)/norm"),
    (
        "max_attn_logit",
        "largest attention logit, q·k/√d, over heads and layers",
        r"(attn|attention|qk)/(max/)?logit|max/(attn|attention|qk)/?logit|max/qk|qk/max",
    ),
    ("log_z", "mean log of the output's normaliser", r"(^|/)log/?z(/mean)?$|logsumexp|(^|/)mean/log/?z"),
    ("max_logit", "largest output logit", r"max/(output/)?logit|logit/max"),
    ("act_rms", "root mean square of the residual stream", r"(act\w*|resid\w*|hidden)/rms|rms/(act|resid|hidden)"),
    (
        "rms_ratio",
        "root mean square of gradient over Adam's own estimate of it, largest layer",
        r"rms/ratio(/max)?|(^|/)rms/t$",
    ),
    ("loss_scale", "scale of mixed precision", r"(^|/)(loss/scale|grad/scale|scaler/scale)"),
    ("dead_fraction", "share of units that are never active", r"dead/(frac\w*|share|units?|neurons?|relu)"),
    ("sharpness", "largest eigenvalue of the (preconditioned) Hessian", r"sharpness|lambda/max|hessian/(top|max)"),
    ("batch_size", "samples or tokens a step", r"(^|/)(global/|train/)?batch/size$"),
    (
        "data_phase",
        "number of the data mixture, stage or task",
        r"(^|/)(data|curriculum|train|mix\w*)/(phase|stage|mix)",
    ),
    ("sequence_length", "tokens a sequence", r"(^|/)(seq|sequence|context)/len(gth)?$"),
    ("train_accuracy", "accuracy on the training data", r"(^|/)train\w*/(.*/)?acc(uracy)?$"),
    ("val_accuracy", "accuracy on held-out data", r"(^|/)(val|valid|validation|eval|test|dev)/(.*/)?acc(uracy)?$"),
    (
        "weight_distance",
        "way of the weights from their start",
        r"relative/distance$|dist(ance)?/(from/|to/)?(the/)?(init|start)$",
    ),
    ("alignment", "alignment of the kernel or the features with the target", r"(^|/)(kernel/|feature/)?align(ment)?$"),
    (
        "feature_rank",
        "directions that the features make use of",
        r"(^|/)rankme$|(^|/)(feat\w*|emb\w*|repr\w*|hidden|cov)/(eff(ective)?/)?e?rank$",
    ),
    ("spectral_entropy", "entropy of the features' spectrum, between 0 and 1", r"(^|/)spectral/entropy$"),
    (
        "pathway_similarity",
        "how alike the experts are that samples pass through, in a mixture of experts",
        r"(^|/)path(way)?s?/(similarity|consistency|distance|edit/distance)$",
    ),
    (
        "complexity",
        "how complicated the learned function is, by any measure",
        r"(^|/)complexity$",
    ),
    ("top_share", "share of the features' variance along one direction", r"(^|/)top/share$|^top1$"),
    ("feature_spread", "spread of the features over the sphere", r"(^|/)unit/spread$|std/l2norm"),
    ("nc1", "variability within classes over that between them", r"(^|/)nc1$"),
    ("nc2", "distance of the class means from a simplex", r"(^|/)nc2/equiangle$"),
    ("nc3", "distance of the last layer from the class means", r"(^|/)nc3$"),
    (
        "modes",
        "how many modes the samples cover, or their perplexity",
        r"(^|/)modes?/(perplexity|count|covered)$|^modes$",
    ),
    ("relative_modes", "the samples' modes beside the real ones', by perplexity", r"(^|/)relative/modes$"),
    ("sample_spread", "spread of generated samples", r"(^|/)samples?/(std|spread|diversity)$"),
    ("task", "number of the task, or how long it took", r"(^|/)task(/id|/number)?$|steps/to/threshold$"),
    ("chance_loss", "loss of a guess that knows nothing", r"(^|/)chance/loss$"),
)

LOSS_ROLES = frozenset({"train_loss", "val_loss"})


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run's metrics are, as it was decided when its engine was started.

    roles : metric -> role
    metrics : signal -> the metric that stands for it
    n_classes : number of classes or tokens that a guess chooses among, where the config says so
    """

    roles: dict[str, str]
    metrics: dict[str, str]

    def metric(self, signal: str) -> str | None:
        """The metric of a signal. "loss" is the training loss, else the validation loss."""
        if signal == "loss":
            return self.metrics.get("train_loss", self.metrics.get("val_loss"))
        return self.metrics.get(signal)

    def with_role(self, *roles: str) -> list[str]:
        return [metric for metric, role in self.roles.items() if role in roles]

    def is_compatible_with(self, earlier: Inputs) -> bool:
        """Whether what an engine has read under `earlier` stays right: metrics came, none changed its meaning."""
        same_roles = all(self.roles.get(metric) == role for metric, role in earlier.roles.items())
        # A loss that was the validation loss's place-holder may not change hands; everything else may only be added.
        same_metrics = all(self.metrics.get(signal) == metric for signal, metric in earlier.metrics.items())
        loss_then = earlier.metric("loss")
        return same_roles and same_metrics and loss_then in (None, self.metric("loss"))


def choose_inputs(points: Mapping[str, int], overrides: Mapping[str, str] | None = None) -> Inputs:
    """Say which metric stands for which signal.

    Parameters
    ----------
    points : mapping
        Every metric of the run and how many points it has.
    overrides : mapping, optional
        Roles set by a person.
    """
    roles = assign_roles(points, overrides or {})
    chosen = {signal: best_metric(roles, signal, points) for signal in BY_ROLE}
    chosen |= {signal: _named(pattern, roles, points) for signal, _, pattern in SIGNALS}
    primary = primary_loss(roles, points)
    if primary is not None:
        chosen[roles[primary].role] = primary
    return Inputs(
        roles={metric: match.role for metric, match in sorted(roles.items())},
        metrics={signal: metric for signal, metric in chosen.items() if metric is not None},
    )


def _named(pattern: str, roles: Mapping[str, RoleMatch], points: Mapping[str, int]) -> str | None:
    fitting = (name for name in roles if points[name] > 0 and re.search(pattern, spelling(name)))
    return min(fitting, key=lambda name: (len(name), name), default=None)

"""What a run's config says about its length and its schedule, in the keys that frameworks use.

Configs arrive nested or with dotted keys, and their values as numbers or as text ("64", "-1", "None"). A key is looked
up as written, then as the last part of a longer one (`trainer.max_steps` answers for `max_steps`), unless several such
keys disagree.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.curves.families import REACTIVE, family_name

TOTAL_KEYS = (
    "max_steps",
    "total_steps",
    "num_training_steps",
    "train_iters",
    "max_iters",
    "num_iterations",
    "training.steps",
    "max_train_steps",
    "num_train_steps",
    "train_steps",
    "total_iterations",
    "max_iterations",
)
EPOCH_KEYS = ("num_train_epochs", "max_epochs", "num_epochs", "epochs")
_TOP_LEVEL_TOTAL_KEYS = ("steps", "n_steps", "iterations")  # too common as the last part of something else


@dataclass(frozen=True, slots=True)
class ConfiguredSchedule:
    """A schedule family that the config names. `parameters` may lack `peak`."""

    family: str
    parameters: dict[str, Any]
    keys: str  # which keys said so, for the user


class Config:
    """A config, flattened: dotted lower-case keys to values."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._values = dict(_flattened(raw))

    def value(self, *names: str) -> Any:
        """The first of `names` that has a value; None if none has."""
        for name in names:
            found = self._lookup(name)
            if found is not None:
                return found
        return None

    def number(self, *names: str) -> float | None:
        """The first of `names` that holds a finite number, as such or as text."""
        return next((n for n in (as_number(self._lookup(name)) for name in names) if n is not None), None)

    def count(self, *names: str) -> int | None:
        """The first of `names` that holds a number above zero, rounded to a whole one."""
        for name in names:
            number = as_number(self._lookup(name))
            if number is not None and number > 0 and number >= 1:
                return round(number)
        return None

    def has_at_top(self, name: str) -> bool:
        """Whether `name` is a key as it stands, not only the last part of one."""
        return name in self._values

    def text(self, *names: str) -> str | None:
        found = self.value(*names)
        return found if isinstance(found, str) else None

    def _lookup(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        endings = [value for key, value in self._values.items() if key.endswith("." + name)]
        distinct = {repr(value) for value in endings}
        return endings[0] if len(distinct) == 1 else None


def as_number(value: Any) -> float | None:
    """A finite number, or None. Text counts if it reads as one; true and false do not."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value.replace("_", "") if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def configured_total(config: Config) -> tuple[int, str] | None:
    """The total steps that the config states, and the keys that do."""
    for key in TOTAL_KEYS:
        total = config.count(key)
        if total is not None:
            return total, key
    for key in _TOP_LEVEL_TOTAL_KEYS:
        total = config.count(key) if config.has_at_top(key) else None
        if total is not None:
            return total, key
    in_batches = re.fullmatch(r"\s*(\d+)\s*ba\s*", str(config.value("max_duration")))
    if in_batches:
        return int(in_batches[1]), "max_duration"
    samples, batch = config.count("train_samples"), config.count("global_batch_size")
    if samples and batch:
        return math.ceil(samples / batch), "train_samples / global_batch_size"
    return None


def configured_schedule(config: Config, total_steps: int) -> ConfiguredSchedule | None:
    """The schedule that the config states; None if no framework that is known here would read one from it."""
    return next((found for read in _READERS if (found := read(config, total_steps)) is not None), None)


def _hugging_face(config: Config, total_steps: int) -> ConfiguredSchedule | None:
    said = config.text("lr_scheduler_type")
    family = family_name(said) if said else None
    if said is None or family is None:
        return None
    if family == REACTIVE:
        return ConfiguredSchedule(REACTIVE, {}, f"lr_scheduler_type={said}")
    extras = _keyword_arguments(config)
    peak = config.number("learning_rate")
    parameters: dict[str, Any] = _known(peak=peak, warmup_steps=_warmup_steps(config, total_steps))
    if said == "constant":
        parameters.pop("warmup_steps", None)  # only constant_with_warmup warms up
    if family in ("cosine", "polynomial", "linear") or family.startswith("wsd"):
        parameters |= _floor(extras, peak)
    if family.startswith("wsd"):
        decay_type = str(extras.get("decay_type", "cosine")).replace("1-sqrt", "sqrt")
        family = f"wsd_{decay_type}" if decay_type in ("linear", "cosine", "sqrt") else family
        parameters |= _known(decay_steps=_whole(extras.get("num_decay_steps")))
    if family == "cosine_restarts":
        parameters |= _known(cycles=_whole(extras.get("num_cycles")))
    if family == "polynomial":
        parameters |= _known(power=as_number(extras.get("power")), final_rate=as_number(extras.get("lr_end", 1e-7)))
    if family == "inverse_sqrt":
        parameters |= _known(timescale=_whole(extras.get("timescale")))
    return ConfiguredSchedule(family, parameters, f"lr_scheduler_type={said}")


def _nanogpt(config: Config, total_steps: int) -> ConfiguredSchedule | None:
    decay_end = config.count("lr_decay_iters")
    if decay_end is None or config.number("warmup_iters") is None:
        return None
    peak = config.number("learning_rate")
    if str(config.value("decay_lr")).lower() == "false":
        return ConfiguredSchedule("constant", _known(peak=peak), "decay_lr=False")
    parameters = _known(
        peak=peak, warmup_steps=config.count("warmup_iters"), final_rate=config.number("min_lr"), decay_end=decay_end
    )
    return ConfiguredSchedule("cosine", parameters, "lr_decay_iters, warmup_iters and min_lr")


def _nanochat(config: Config, total_steps: int) -> ConfiguredSchedule | None:
    decay_ratio = config.number("warmdown_ratio")
    if decay_ratio is None:
        return None
    floor = config.number("final_lr_frac") or 0.0
    parameters = _known(
        warmup_steps=_warmup_steps(config, total_steps),
        decay_steps=round(decay_ratio * total_steps),
        final_fraction=floor,
    )
    return ConfiguredSchedule("wsd_linear", parameters, "warmdown_ratio and final_lr_frac")


def _megatron(config: Config, total_steps: int) -> ConfiguredSchedule | None:
    style = config.text("lr_decay_style")
    if style is None:
        return None
    style = style.lower()
    decay_end = config.count("lr_decay_iters") or total_steps
    fraction = config.number("lr_warmup_fraction")
    warmup = round(fraction * decay_end) if fraction else config.count("lr_warmup_iters")
    parameters = _known(peak=config.number("lr"), warmup_steps=warmup)
    if style in ("cosine", "linear", "wsd"):
        parameters |= _known(final_rate=config.number("min_lr"), decay_end=decay_end)
    family = family_name(style)
    if style == "wsd":
        shape = (config.text("lr_wsd_decay_style") or "exponential").lower().replace("minus_sqrt", "sqrt")
        family = f"wsd_{shape}"
        parameters |= _known(decay_steps=config.count("lr_wsd_decay_iters"))
    return None if family is None else ConfiguredSchedule(family, parameters, f"lr_decay_style={style}")


def _torchtitan(config: Config, total_steps: int) -> ConfiguredSchedule | None:
    if config.number("lr_scheduler.warmup_steps") is None:
        return None
    shape = str(config.value("lr_scheduler.decay_type") or "linear").lower()
    peak = config.number("optimizer.lr")
    parameters = _known(
        peak=peak,
        warmup_steps=config.count("lr_scheduler.warmup_steps"),
        final_fraction=config.number("lr_scheduler.min_lr_factor", "lr_scheduler.lr_min"),
        decay_end=config.count("lr_scheduler.total_steps"),
    )
    ratio = config.number("lr_scheduler.decay_ratio")
    if ratio is None and shape in ("linear", "cosine"):
        return ConfiguredSchedule(shape, parameters, "lr_scheduler.decay_type")
    if shape not in ("linear", "cosine", "sqrt"):
        return None
    end = config.count("lr_scheduler.total_steps") or total_steps
    warmup = config.count("lr_scheduler.warmup_steps") or 0
    parameters["decay_steps"] = end - warmup if ratio is None else round(ratio * end)
    return ConfiguredSchedule(f"wsd_{shape}", parameters, "lr_scheduler.decay_ratio and decay_type")


def _by_common_names(config: Config, total_steps: int) -> ConfiguredSchedule | None:
    names = ("lr_scheduler", "lr_schedule", "scheduler", "schedule", "sched", "lr_scheduler_name", "scheduler_type")
    said = config.text(*names)
    family = family_name(said) if said else None
    if said is None or family is None or family == "explicit":
        return None
    if family == REACTIVE:
        return ConfiguredSchedule(REACTIVE, {}, said)
    peak = config.number("learning_rate", "max_lr", "peak_lr", "lr")
    parameters = _known(peak=peak, warmup_steps=_warmup_steps(config, total_steps))
    if family in ("cosine", "linear", "polynomial", "rex", "exponential") or family.startswith("wsd"):
        parameters |= _known(final_rate=config.number("min_lr", "final_lr", "lr_min", "eta_min"))
    if family.startswith("wsd"):
        parameters |= _known(
            decay_steps=config.count("decay_steps", "cooldown_steps", "warmdown_steps", "cooldown_iters")
        )
    if family in ("step", "cyclic", "infinite"):
        return None  # their milestones and cycles have no common names
    return ConfiguredSchedule(family, parameters, f"the schedule named {said!r}")


_READERS: tuple[Callable[[Config, int], ConfiguredSchedule | None], ...] = (
    _hugging_face,
    _megatron,
    _torchtitan,
    _nanochat,
    _nanogpt,
    _by_common_names,
)


def _warmup_steps(config: Config, total_steps: int) -> int | None:
    """Warm-up in steps; below 1 it is a fraction of the run (Transformers 5, or any `warmup_ratio`)."""
    steps = config.number("warmup_steps", "num_warmup_steps", "warmup_iters", "lr_warmup_iters")
    if steps is not None and steps >= 1:
        return round(steps)
    ratio = steps or config.number("warmup_ratio", "warmup_fraction")
    return math.ceil(ratio * total_steps) if ratio and 0 < ratio < 1 else None


def _keyword_arguments(config: Config) -> dict[str, Any]:
    """Hugging Face's `lr_scheduler_kwargs`: nested, or as the text that MLflow makes of it."""
    names = ("min_lr", "min_lr_rate", "min_lr_ratio", "num_cycles", "power", "lr_end", "timescale", "num_decay_steps")
    nested = {name: config.value(f"lr_scheduler_kwargs.{name}") for name in (*names, "decay_type")}
    found = {name: value for name, value in nested.items() if value is not None}
    written = config.text("lr_scheduler_kwargs")
    if written:
        try:
            read = ast.literal_eval(written)
        except (ValueError, SyntaxError):
            return found
        return found | read if isinstance(read, dict) else found
    return found


def _floor(extras: Mapping[str, Any], peak: float | None) -> dict[str, Any]:
    fraction = as_number(extras.get("min_lr_rate", extras.get("min_lr_ratio")))
    return _known(final_rate=as_number(extras.get("min_lr")), final_fraction=fraction)


def _whole(value: Any) -> int | None:
    number = as_number(value)
    return round(number) if number is not None and number >= 1 else None


def _known(**parameters: Any) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def _flattened(raw: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in raw.items():
        name = f"{prefix}{key}".strip().lower().replace("/", ".")
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{name}.")
        elif value is not None and not (isinstance(value, str) and value.strip().lower() in ("", "none", "null")):
            yield name, value

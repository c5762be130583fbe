"""Lightning: reports what modules log, and stops the trainer when the run's project wants that.

::

    from losscast.integrations.lightning import LosscastCallback

    trainer = Trainer(..., callbacks=[LosscastCallback(project="gpt")])
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Mapping
from typing import Any

import losscast
from losscast.run import Run

ASK_STEPS = 10


def _lightning() -> str:
    """The package that the job uses: it goes by two names, whose classes are not the same."""
    if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
        return "pytorch_lightning"
    return "lightning.pytorch"


_package = _lightning()
Callback: Any = importlib.import_module(f"{_package}.callbacks").Callback
Logger: Any = importlib.import_module(f"{_package}.loggers").Logger


class _RunLogger(Logger):
    """What modules log, on its way to a run."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    @property
    def name(self) -> str:
        return self._run.project

    @property
    def version(self) -> str:
        return self._run.id

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self._run.log(metrics, step=step)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """They are the run's config, which is said when it is made."""


class LosscastCallback(Callback):
    """Reports a training and asks whether it is to stop.

    Parameters
    ----------
    run : Run, optional
        One that was made before and is finished by somebody else; without it, one is made when training begins, with
        the module's hyperparameters as its config.
    ask_steps : int
        After so many steps it is asked whether to stop, at the same step in all processes.
    **said
        For :func:`losscast.init`: `project`, `name`, `id`, `schedule`, ...
    """

    def __init__(self, run: Run | None = None, *, ask_steps: int = ASK_STEPS, **said: Any) -> None:
        super().__init__()
        self.run = run
        self._said = said
        self._is_ours = run is None
        self._ask_steps = max(1, ask_steps)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self._is_ours and trainer.is_global_zero:
            total = trainer.estimated_stepping_batches
            said = {"config": dict(pl_module.hparams), **self._said}
            if math.isfinite(total):
                said.setdefault("total_steps", int(total))
            if trainer.global_step:
                said.setdefault("resume_step", trainer.global_step)
            self.run = losscast.init(**said)
        if self.run is not None:
            trainer.loggers = [*trainer.loggers, _RunLogger(self.run)]

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        if trainer.global_step % self._ask_steps:
            return
        told = self.run is not None and self.run.should_stop()
        # One process that left the loop alone would leave the others waiting for it for ever.
        if trainer.strategy.reduce_boolean_decision(told, all=False):
            trainer.should_stop = True

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if self._is_ours and self.run is not None:
            status = "stopped" if isinstance(exception, KeyboardInterrupt) else "failed"
            self.run.finish(status, f"{type(exception).__name__}: {exception}")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self._is_ours and self.run is not None:
            self.run.finish()

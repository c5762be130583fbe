"""Hugging Face's Trainer, and what is built on it: reports what it logs, and stops it when its project wants that.

::

    from losscast.integrations.hugging_face import LosscastCallback

    trainer = Trainer(..., callbacks=[LosscastCallback(project="gpt")])
"""

from __future__ import annotations

from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

import losscast
from losscast.run import Run

ASK_STEPS = 10


class LosscastCallback(TrainerCallback):
    """Reports a training and asks whether it is to stop.

    Parameters
    ----------
    run : Run, optional
        One that was made before and is finished by somebody else; without it, one is made when training begins, with
        the trainer's arguments as its config.
    ask_steps : int
        After so many steps it is asked whether to stop, at the same step in all processes.
    **said
        For :func:`losscast.init`: `project`, `name`, `id`, `schedule`, ...
    """

    def __init__(self, run: Run | None = None, *, ask_steps: int = ASK_STEPS, **said: Any) -> None:
        self.run = run
        self._said = said
        self._is_ours = run is None
        self._ask_steps = max(1, ask_steps)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not self._is_ours or not state.is_world_process_zero:
            return
        said = {"config": args.to_dict(), "total_steps": state.max_steps, **self._said}
        if state.global_step:
            said.setdefault("resume_step", state.global_step)
        self.run = losscast.init(**said)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Any = None,
        **_: Any,
    ) -> None:
        # The last words are means over the whole training, under names that look like a step's.
        if self.run is not None and logs and "train_runtime" not in logs:
            self.run.log(logs, step=state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step % self._ask_steps:
            return
        # One process that left the loop alone would leave the others waiting for it for ever.
        (told,) = broadcast_object_list([self.run is not None and self.run.should_stop()], from_process=0)
        if told:
            control.should_training_stop = True

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._is_ours and self.run is not None:
            self.run.finish()

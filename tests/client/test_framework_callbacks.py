"""Hugging Face's Trainer and Lightning, as they are, told to stop by a server. Skipped where they are not installed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from losscast.run import Run
from tests.client.local_server import LocalServer

STEPS = 400
TOLD = {"should_stop": True, "sentence": "97 % sure that this ends above run-12."}


def tell(server: LocalServer, run: Run) -> None:
    """From now on the run is to stop; returns once it has heard."""
    assert run.flush(20)
    server.runs[run.id].verdict = TOLD
    server.wait_until(run.should_stop)


class TestHuggingFace:
    @pytest.fixture
    def trainer(self, server: LocalServer, tmp_path: Path) -> Any:
        transformers = pytest.importorskip("transformers")
        torch = importlib.import_module("torch")
        hugging_face = importlib.import_module("losscast.integrations.hugging_face")

        class Line(torch.nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.layer = torch.nn.Linear(1, 1)

            def forward(self, x: Any, labels: Any) -> dict[str, Any]:
                return {"loss": ((self.layer(x) - labels) ** 2).mean()}

        args = transformers.TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=STEPS,
            logging_steps=5,
            per_device_train_batch_size=2,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
        )
        data = [{"x": torch.tensor([float(i % 7)]), "labels": torch.tensor([float(i % 7)])} for i in range(64)]
        callback = hugging_face.LosscastCallback(ask_steps=1, url=server.url, project="hf")
        return transformers.Trainer(model=Line(), args=args, train_dataset=data, callbacks=[callback])

    def callback(self, trainer: Any) -> Any:
        (found,) = [one for one in trainer.callback_handler.callbacks if type(one).__name__ == "LosscastCallback"]
        return found

    def test_a_training_is_reported_whole(self, trainer: Any, server: LocalServer) -> None:
        trainer.train()
        run = self.callback(trainer).run
        stored = server.runs[run.id]
        assert sorted(stored.points("loss")) == list(range(5, STEPS + 1, 5))
        assert set(stored.points("learning_rate")) == set(stored.points("loss"))
        assert (stored.points("train_runtime"), stored.points("train_loss")) == ({}, {})
        assert stored.end == {"status": "finished"}
        said = stored.descriptions[0]
        assert (said["project"], said["plan"], said["config"]["max_steps"]) == ("hf", {"total_steps": STEPS}, STEPS)

    def test_a_training_that_is_told_to_stop_stops(self, trainer: Any, server: LocalServer) -> None:
        transformers = importlib.import_module("transformers")

        class AtStepFifty(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
            def on_step_begin(inner, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == 50:
                    tell(server, self.callback(trainer).run)

        trainer.add_callback(AtStepFifty())
        trainer.train()
        assert trainer.state.global_step == 51
        stored = server.runs[self.callback(trainer).run.id]
        assert stored.end == {"status": "stopped", "message": TOLD["sentence"]}
        assert len(stored.told) == 1


class TestLightning:
    def train(self, server: LocalServer, tmp_path: Path, *, told_at: int | None = None, fails_at: int = -1) -> Any:
        lightning = pytest.importorskip("lightning.pytorch")
        torch = importlib.import_module("torch")
        module = importlib.import_module("losscast.integrations.lightning")
        callback = module.LosscastCallback(ask_steps=1, url=server.url, project="pl")

        class Line(lightning.LightningModule):  # type: ignore[misc, name-defined]
            def __init__(self, rate: float) -> None:
                super().__init__()
                self.save_hyperparameters()
                self.layer = torch.nn.Linear(1, 1)

            def training_step(self, batch: Any, at: int) -> Any:
                if self.trainer.global_step == told_at:
                    tell(server, callback.run)
                if self.trainer.global_step == fails_at:
                    raise RuntimeError("out of luck")
                loss = ((self.layer(batch) - batch) ** 2).mean()
                self.log("train_loss", loss)
                return loss

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), lr=self.hparams["rate"])

        data = torch.utils.data.DataLoader(torch.arange(64.0).reshape(-1, 1) % 7, batch_size=2)
        trainer = lightning.Trainer(
            max_steps=STEPS,
            log_every_n_steps=5,
            logger=False,
            accelerator="cpu",
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            callbacks=[callback],
        )
        if fails_at >= 0:
            with pytest.raises(RuntimeError, match="out of luck"):
                trainer.fit(Line(rate=0.01), data)
        else:
            trainer.fit(Line(rate=0.01), data)
        return trainer, callback.run

    def test_a_training_is_reported_whole(self, server: LocalServer, tmp_path: Path) -> None:
        _, run = self.train(server, tmp_path)
        stored = server.runs[run.id]
        assert len(stored.points("train_loss")) == STEPS / 5
        assert stored.end == {"status": "finished"}
        said = stored.descriptions[0]
        assert (said["project"], said["plan"], said["config"]) == ("pl", {"total_steps": STEPS}, {"rate": 0.01})

    def test_a_training_that_is_told_to_stop_stops(self, server: LocalServer, tmp_path: Path) -> None:
        trainer, run = self.train(server, tmp_path, told_at=50)
        assert trainer.global_step == 51
        assert server.runs[run.id].end == {"status": "stopped", "message": TOLD["sentence"]}

    def test_a_training_that_fails_says_so(self, server: LocalServer, tmp_path: Path) -> None:
        _, run = self.train(server, tmp_path, fails_at=20)
        assert server.runs[run.id].end == {"status": "failed", "message": "RuntimeError: out of luck"}

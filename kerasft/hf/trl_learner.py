"""The engine `trl`: TRL's SFTTrainer as people use it, on kerasft's windows."""

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from kerasft.console import Reporter
from kerasft.data.batching import WindowSource
from kerasft.engine.hooks import Hooks
from kerasft.engine.prefetch import Prefetch
from kerasft.engine.progress import Progress
from kerasft.engine.rates import rate_at
from kerasft.hf import adapter
from kerasft.hf.batches import supervised
from kerasft.hf.learner import HfLearner, HfTuner, ReadWindow, each
from kerasft.hf.models import placeholder_tokenizer
from kerasft.hf.step import set_step
from kerasft.recipe import TrainSettings


class TrlLearner(HfLearner):
    """See `kerasft.engine.learner.Learner`.

    Loop, optimizer, loss and logging are TRL's. Ours are the windows and their order, the
    starting A and B, and what each step's rate and epsilon are. In bfloat16 TRL trains under
    autocast, so A and B are multiplied in bfloat16 there, and in float32 by the engine `hf`.
    Dropout draws from torch's generator as it stands.

    Attributes:
        trainer: TRL's.
    """

    engine = "trl"
    resumable = False
    packages = ("trl", "accelerate", "datasets")

    def made_tuner(self, reporter: Reporter) -> HfTuner:
        self._folder = tempfile.TemporaryDirectory(prefix="kerasft-trl-")
        settings, steps = self.recipe.train, self.prepared.total_steps
        places = steps * settings.gradient_accumulation * settings.batch_size
        self.trainer = _Trainer(
            model=self.model,
            args=_arguments(settings, self.dtype, steps, self.remat, self._folder.name),
            # Which row a place holds is known to the windows, which the collator reads.
            train_dataset=Dataset.from_dict({"place": range(places)}),
            data_collator=lambda features: self._batches.batch(features[0]["place"]),
            processing_class=placeholder_tokenizer(),
        )
        self.trainer.remove_callback(PrinterCallback)  # it prints to where --json does
        return TrlTuner(
            self.model,
            adapter.variables(self.model, self.base.family, self.base.config),
            self.trainer,
        )

    def feed(self, windows: WindowSource, last_step: int) -> None:
        """Let TRL's loader give the micro-batches of these windows, in order."""
        self._batches = _Batches(
            lambda step: self.read(windows.window(*divmod(step, windows.steps_per_epoch))),
            last_step,
            self.recipe.train.gradient_accumulation,
            self.recipe.train.batch_size,
            self.tuner,
        )

    def train(
        self,
        windows: WindowSource,
        progress: Progress,
        last_step: int,
        hooks: Sequence[Hooks | Any],
        stop_asked: Callable[[], bool],
    ) -> None:
        if stop_asked():
            return
        tuner, settings = self.tuner, self.recipe.train
        self.feed(windows, last_step)
        self.trainer.add_callback(_steps(tuner, windows, progress, last_step, hooks, settings))
        try:
            self.trainer.train()
        finally:
            self._batches.close()
            self._folder.cleanup()
        if progress.window:
            each(hooks, "on_epoch_end", progress.epoch)


class TrlTuner(HfTuner):
    """The model in training by TRL; it validates by TRL's loss, which forms no logits.

    Args:
        model, names: as for `HfTuner`.
        trainer: of the model.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        names: Mapping[str, torch.nn.Parameter],
        trainer: "_Trainer",
    ) -> None:
        super().__init__(model, names)
        self._trainer = trainer

    def begin(self) -> None:
        """Before a step."""
        self._trainer.begin()

    def end(self, rate: float, supervised_tokens: int) -> None:
        """After a step: keep its metrics."""
        found = self._trainer
        self.record(
            {
                "loss": found.loss,
                "accuracy": found.correct / max(supervised_tokens, 1),
                "gradient_norm": found.norm,
                "learning_rate": rate,
            }
        )

    def validate(self, windows: Iterable[ReadWindow]) -> dict[str, float]:
        loss = correct = torch.zeros(())
        tokens = 0
        self.model.eval()
        try:
            with torch.no_grad(), self._trainer.accelerator.autocast():
                for batch in (batch for window in windows for batch in window.batches):
                    part, right = self._trainer.sums(batch)
                    loss, correct = loss + part, correct + right
                    tokens += supervised(batch)
        finally:
            self.model.train()
        return {
            "loss": float(loss) / max(tokens, 1),
            "accuracy": float(correct) / max(tokens, 1),
            "supervised_tokens": tokens,
        }


class _Trainer(SFTTrainer):
    """Keeps the loss and the gradient's norm of a step on the device, and what TRL counts right.

    Attributes:
        loss: sum over the micro-batches since `begin`, which is the window's token mean.
        correct: right tokens since then, from TRL's own accuracy of each micro-batch.
        norm: of the last gradient, before clipping.
    """

    loss: Any = 0.0
    correct: float = 0.0
    norm: Any = 0.0

    def begin(self) -> None:
        self.loss, self.correct = 0.0, 0.0

    def training_step(self, model: Any, inputs: Any, *others: Any, **named: Any) -> torch.Tensor:
        count = inputs["labels"].ne(-100).sum()
        loss = super().training_step(model, inputs, *others, **named)
        self.loss = self.loss + loss
        self.correct = self.correct + self._metrics["train"]["mean_token_accuracy"][-1] * count
        return loss

    def sums(self, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, float]:
        """Token losses and right tokens of a micro-batch, in `eval` mode."""
        one = torch.ones((), device=self.args.device)
        loss = self.compute_loss(
            self.model, self._prepare_inputs(dict(batch)), num_items_in_batch=one
        )
        share = self._metrics["eval"]["mean_token_accuracy"][-1]
        self._metrics["eval"].clear()
        return loss.cpu(), share * supervised(dict(batch))

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        self.norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        return self.norm


class _Batches:
    """Micro-batches in the order of the windows, made ahead of the loop.

    Args:
        read: the window of a step.
        steps: how many there are.
        accumulation, rows: micro-batches a window, rows a micro-batch.
        tuner: whose `input_seconds` grow by what the loop waits here.
    """

    def __init__(
        self,
        read: Callable[[int], ReadWindow],
        steps: int,
        accumulation: int,
        rows: int,
        tuner: HfTuner,
    ) -> None:
        self._windows = Prefetch(read, steps)
        self._accumulation, self._rows = accumulation, rows
        self._tuner = tuner
        self._at, self._window = -1, None

    def batch(self, place: int) -> dict[str, torch.Tensor]:
        """The micro-batch that begins with a row, counted over the whole run."""
        step, micro = divmod(place // self._rows, self._accumulation)
        if step != self._at:
            began = time.monotonic()
            self._at, self._window = step, self._windows[step]
            self._tuner.input_seconds += time.monotonic() - began
        return dict(self._window.batches[micro])

    def close(self) -> None:
        """Make no more."""
        self._windows.close()


def _arguments(
    settings: TrainSettings, dtype: str, steps: int, remat: bool, folder: str
) -> SFTConfig:
    """What a user of TRL would write for the recipe."""
    on_gpu = torch.cuda.is_available()
    return SFTConfig(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        train_sampling_strategy="sequential",
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant",  # the rate of each step is set before it
        weight_decay=settings.weight_decay,
        adam_beta1=settings.beta_1,
        adam_beta2=settings.beta_2,
        adam_epsilon=settings.epsilon,
        max_grad_norm=settings.clip_norm,
        optim="adamw_torch_fused" if on_gpu else "adamw_torch",
        bf16=dtype == "bfloat16",
        fp16=dtype == "float16",
        use_cpu=not on_gpu,
        gradient_checkpointing=remat,
        torch_compile=settings.compile == "on",
        max_length=None,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=10,  # TRL's own number: losses are read back this often
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed,
    )


def _steps(
    tuner: TrlTuner,
    windows: WindowSource,
    progress: Progress,
    last_step: int,
    hooks: Sequence[Any],
    settings: TrainSettings,
) -> TrainerCallback:
    """What TRL calls between steps, passed on to the run's hooks."""

    class Steps(TrainerCallback):
        rate = 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **other: Any) -> None:
            tuner.stop_training = False
            each(hooks, "on_train_begin")
            each(hooks, "on_epoch_begin", progress.epoch)

        def on_step_begin(self, args: Any, state: Any, control: Any, **other: Any) -> None:
            tuner.begin()

        def on_pre_optimizer_step(
            self, args: Any, state: Any, control: Any, optimizer: Any = None, **other: Any
        ) -> None:
            self.rate = float(rate_at(np.float32(progress.step), settings, last_step))
            set_step(optimizer, self.rate, settings, progress.step + 1)

        def on_step_end(self, args: Any, state: Any, control: Any, **other: Any) -> None:
            counts = windows.counts(progress.epoch, progress.window)
            tuner.end(self.rate, counts.supervised_tokens)
            each(hooks, "on_train_batch_end", progress.window)
            if progress.window >= windows.steps_per_epoch:
                each(hooks, "on_epoch_end", progress.epoch)
                if progress.step < last_step and not tuner.stop_training:
                    each(hooks, "on_epoch_begin", progress.epoch)
            control.should_training_stop |= tuner.stop_training

    return Steps()

"""One optimizer step on torch.

Where there is a compiler, each kind of block and the loss of a chunk are compiled once;
on an NVIDIA GPU the forward and backward pass of a micro-batch is then recorded as a CUDA
graph, and a step is a few copies, one launch a micro-batch and the update. Nothing waits
for the device but the metrics, which are read back every half second.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from keras.src.backend.torch.core import get_device

from kerasft.engine import compiler
from kerasft.engine.compiler import Compilations
from kerasft.engine.torch_adamw import FlatAdamW, FlatVariables
from kerasft.engine.torch_decoder import TorchDecoder
from kerasft.engine.torch_loss import chunk_sums, fused_linear_cross_entropy

POSITIONS_STEP = 4
"""On a CPU, where shapes may vary, gathered positions are cut to a multiple of this."""

WARM_UP = 2
"""Times that a shape runs before it is recorded: the compiler and the libraries set up
what they need in the first ones."""


@dataclass(frozen=True)
class _Recorded:
    """A micro-batch's work as a CUDA graph, and the inputs that it reads."""

    graph: torch.cuda.CUDAGraph
    inputs: Mapping[str, torch.Tensor]


class TorchStep:
    """The step of `FineTuner` on torch."""

    def set_up(self, remat: bool, compiled: bool, quantization: str) -> None:
        """Build the decoder, and compile where that is asked for and can be had."""
        self._device = torch.device(get_device())
        obstacle = compiler.obstacle() if compiled else "compilation was not asked for"
        compiled = obstacle is None
        self.notes: list[str] = [
            "the step is compiled" if compiled else f"the step runs eagerly: {obstacle}"
        ]
        self._watch = Compilations()
        self._decoder = TorchDecoder(
            self.backbone,
            self.family,
            self.lora,
            remat=remat,
            compile_blocks=compiled,
            quantization=quantization,
        )
        # On a CPU the chunks are cut to the positions in use, so their rows vary.
        rows = (0, 2, 3) if self._device.type == "cpu" else ()
        chunk = partial(chunk_sums, product=self._decoder.multiplier.product)
        self._chunk = compiler.compiled(chunk, rows) if compiled else chunk
        self._records = compiled and self._device.type == "cuda"
        self._runs: dict[tuple, int] = {}
        self._recorded: dict[tuple, _Recorded] = {}
        self._sums = torch.zeros(2, device=self._device)
        self._supervised = torch.ones((), device=self._device)
        self._flat = FlatVariables(self.lora.variables)
        self._adamw: FlatAdamW | None = None

    @property
    def compilations(self) -> list[tuple[str, float]]:
        """(what, seconds) of each call that compiled something."""
        return self._watch.found

    def make_train_function(self, force: bool = False) -> None:
        """What `fit` calls first; the optimizer may have been restored since the last time."""
        if self._adamw is None:
            self._adamw = FlatAdamW(self.optimizer, self.lora.variables, self._flat)
        self._adamw.restart()
        super().make_train_function(force)

    def feed(self, window: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Take the window of the next step; what is left for `fit` to pass on.

        Keras would move every array to the GPU by a copy that waits for the GPU.
        """
        self._fed = window
        return {}

    def train_step(self, data: Mapping[str, Any]) -> dict[str, float]:
        """Gradients of the window that was fed, clipped and applied."""
        self._accumulate(self._fed)
        loss, correct = self._sums / self._supervised
        norm, rate = self._adamw.update(self.clip_norm, loss if self.skips else None)
        return self.record(
            {"loss": loss, "accuracy": correct, "gradient_norm": norm, "learning_rate": rate}
        )

    def sync(self) -> None:
        """Variables hold the newest state already."""

    @property
    def rounded(self) -> bool:
        """Whether the base's matrices are rounded now."""
        return self._decoder.rounded

    def restore_base(self) -> None:
        """Put the base back as it was loaded; the next step rounds it again if it has to."""
        if self.rounded:
            # They read the rounded matrices where these lie.
            self._recorded.clear()
            self._runs.clear()
            self._decoder.restore()

    def step_state(self) -> dict[str, np.ndarray]:
        """How a step is computed depends on nothing that came before it."""
        return {}

    def restore_step_state(self, tensors: Mapping[str, np.ndarray]) -> None:
        """There is none."""

    def gradients(self, window: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Gradients of a window's token-mean loss, by the names of `Lora.tensors`."""
        self._accumulate(window)
        names = list(self.lora.tensors())
        parts = [part.cpu().numpy().copy() for part in self._flat.gradients]
        return dict(zip(names, parts, strict=True))

    def hidden_states(self, window: Mapping[str, np.ndarray]) -> np.ndarray:
        """Float32 (A, B, L, width) after the final norm, without dropout."""
        found = []
        with torch.no_grad():
            for micro in self._micro_batches(window, training=False):
                micro = self._on_device(micro)
                states = self._decoder.final_norm(self._decoder.hidden(micro, False))
                states = states.view(*micro["token_ids"].shape, -1)
                found.append(states.float().cpu().numpy())
        return np.stack(found)

    def validation_sums(self, window: Mapping[str, np.ndarray]) -> tuple[Any, Any, Any]:
        """Sums over a window: token losses, right tokens, supervised tokens."""
        sums = torch.zeros(2, device=self._device)
        with torch.no_grad():
            for micro in self._micro_batches(window, training=False):
                micro = self._on_device(micro)
                what = f"validation {_said(micro)}"
                sums += torch.stack(
                    self._watch.watch(what, lambda micro=micro: self._micro_sums(micro, False))
                )
        return sums[0], sums[1], float(np.asarray(window["weights"]).sum())

    def _accumulate(self, window: Mapping[str, Any]) -> None:
        """Sum a window's losses and the gradients of their token mean."""
        supervised = float(np.asarray(window["weights"]).sum())
        self._supervised.fill_(max(supervised, 1.0))
        self._sums.zero_()
        self._flat.gradient.zero_()
        for micro in self._micro_batches(window, training=True):
            self._run(micro)

    def _run(self, micro: Mapping[str, torch.Tensor]) -> None:
        """One micro-batch: recorded where it can be and was run often enough."""
        shape = tuple(tuple(value.shape) for value in micro.values())
        recorded = self._recorded.get(shape)
        if recorded is not None:
            for name, value in micro.items():
                recorded.inputs[name].copy_(value, non_blocking=True)
            recorded.graph.replay()
            return
        self._runs[shape] = self._runs.get(shape, 0) + 1
        micro = self._on_device(micro)
        if self._records and self._runs[shape] > WARM_UP:
            self._recorded[shape] = self._record(micro)
            self._recorded[shape].graph.replay()
            return
        self._watch.watch(f"step {_said(micro)}", lambda: self._forward_backward(micro))

    def _record(self, micro: Mapping[str, torch.Tensor]) -> _Recorded:
        # Blocks of the warm-up are given back: the graph has memory of its own.
        torch.cuda.empty_cache()
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self._recorded.values())).graph.pool() if self._recorded else None
        with torch.cuda.graph(graph, pool=pool):
            self._forward_backward(micro)
        return _Recorded(graph, micro)

    def _forward_backward(self, micro: Mapping[str, torch.Tensor]) -> None:
        """Add a micro-batch's sums and gradients to the window's."""
        with torch.enable_grad():
            loss, correct = self._micro_sums(micro, True)
            parts = torch.autograd.grad(loss / self._supervised, self._flat.tensors)
        self._flat.add_gradients(parts)
        self._sums.add_(torch.stack((loss.detach(), correct)))

    def _micro_sums(
        self, micro: Mapping[str, torch.Tensor], training: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self._decoder.hidden(micro, training)
        supervised = self._decoder.final_norm(hidden.index_select(0, micro["gather_indices"]))
        return fused_linear_cross_entropy(
            supervised,
            self.head.matrix(self.head.variable.value),
            micro["targets"],
            micro["weights"],
            soft_cap=self.head.soft_cap,
            largest_chunk=self.chunk,
            chunk=self._chunk,
        )

    def _micro_batches(
        self, window: Mapping[str, Any], training: bool
    ) -> list[dict[str, torch.Tensor]]:
        """The micro-batches of a window on the host; pinned where a GPU reads them."""
        micros = []
        for index in range(len(window["weights"])):
            micro = {name: torch.as_tensor(np.asarray(window[name][index])) for name in _READ}
            for name in ("gather_indices", "targets"):
                micro[name] = micro[name].long()
            if self._device.type == "cpu":
                used = int(torch.count_nonzero(micro["weights"]))
                used = max(1, -(-used // POSITIONS_STEP)) * POSITIONS_STEP
                micro |= {name: micro[name][:used] for name in _GATHERED}
            keys = self._decoder.keys(int(window["dropout_seeds"][index])) if training else []
            if keys:
                micro["dropout_keys"] = torch.tensor(keys, dtype=torch.int64)
            if self._device.type == "cuda":
                micro = {name: value.pin_memory() for name, value in micro.items()}
            micros.append(micro)
        return micros

    def _on_device(self, micro: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value.to(self._device, non_blocking=True) for name, value in micro.items()}


_GATHERED = ("gather_indices", "targets", "weights")
_READ = ("token_ids", "segment_ids", "position_ids", "sequence_starts", *_GATHERED)


def _said(micro: Mapping[str, torch.Tensor]) -> str:
    """The shape of a micro-batch in words."""
    rows, length = micro["token_ids"].shape
    return f"{rows} × {length} tokens, {len(micro['weights'])} positions"

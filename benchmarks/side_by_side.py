"""Several small networks that learn side by side on one device, in one process.

A step of a small network on a GPU is some hundred kernels of a few microseconds each, and takes as
long as Python needs to start them. So the whole step of all arms of a seed is captured as one CUDA
graph, and replayed: one call starts it all. Each seed has a stream of its own, so that the device
works on several seeds at once where one does not fill it. What was weighed against it:

- `torch.func.stack_module_state` and `vmap`: batch norm's statistics can be stacked (tried on a CPU
  with torch 2.15: the same to the last digit), but AT's gradient is an `autograd.Function` that
  refuses to run in it, convolutions become grouped ones, features that taps keep live only within
  it, and Python still starts every kernel. What is captured here is the ordinary step: the same
  `Objective`, `TrainStep`, optimizer and curve that `smskd.distill` runs.
- a process a run: the processes of a GPU take turns on it, unless its owner starts a service.
- `torch.compile`: it would join kernels too, but each stage of each run is compiled first, and
  there are fifteen minutes. It was not tried.

The arms of a seed see the same images in the same order, so their teacher is asked once for all.

All that a step depends on is a function of (seed, number of the step), and it is told on the host:
the images' numbers and draws and the learning rate are written to where the graph reads them. So
work can be left after any step, and taken up again. On a CPU every step is taken plainly.
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from device_images import DeviceImages

from foundation.errors import RunMismatchError, TrainingError
from foundation.files import write_json
from foundation.records import read_record
from smskd import Batch, Progress, Stage
from smskd.checkpoints.files import load_model, save_model
from smskd.curve import curves_of
from smskd.earlier import earlier_methods, held_specs, needs_taps
from smskd.features.signals import Signals
from smskd.features.taps import TappedModel
from smskd.objective import Objective
from smskd.pair import Pair
from smskd.teaching.teachers import (
    AskTeacher,
    Autocast,
    ask_live,
    live_reference,
    needs_embedding,
    needs_features,
)
from smskd.training.resuming import ResumeState, load_resume, save_resume
from smskd.training.schedule import make_optimizer, set_rate
from smskd.training.train_step import TrainStep

_PLAIN_STEPS = 3  # libraries choose their kernels in them, and memory is laid out
_STATE = "state.json"


@dataclass(frozen=True)
class LaneState:
    """Where a lane was left.

    Attributes:
        steps: that were taken.
        stages: the place of each run's stage, by the run's name.
    """

    steps: int
    stages: dict[str, int]


def autocast_for(device: torch.device, precision: str) -> Autocast:
    """What puts passes into a precision: "bf16" or "fp32"."""
    return partial(torch.autocast, device.type, torch.bfloat16, enabled=precision == "bf16")


class Run:
    """A network on its way through the stages of one arm.

    Attributes:
        student: the network that learns, with its taps.
        total_loss: the sum of the losses since it was last set to nought, a scalar on the device.

    Args:
        stages: of the arm: with SGD, and methods that learn nothing themselves.
        student: with its first weights, on the device; changed in place.
        pair: student and teacher; None to train on the labels alone.
        autocast: puts passes into the precision that was asked for.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        student: TappedModel,
        pair: Pair | None,
        autocast: Autocast,
    ) -> None:
        self.stages, self.student, self.pair = stages, student, pair
        self.curves, self.autocast = curves_of(stages), autocast
        self.place = -1
        self.reference: TappedModel | None = None
        device = next(student.model.parameters()).device
        self.total_loss = torch.zeros((), device=device)

    @property
    def epochs(self) -> int:
        """Of all stages."""
        return sum(stage.epochs for stage in self.stages)

    def stage_at(self, epoch: int) -> int:
        """The place of the stage that an epoch of the whole belongs to."""
        ends = [sum(stage.epochs for stage in self.stages[:n]) for n in range(1, len(self.stages))]
        return sum(end <= epoch for end in ends)

    def begin_stage(self, place: int) -> None:
        """Go on to a stage: its losses, its reference and its optimizer."""
        self.place, stage = place, self.stages[place]
        self.reference = None
        if place > 0 and stage.anchored:
            holding = needs_taps(held_specs(self.stages, place))
            with_taps = stage.reference_feature_weight > 0 or holding
            self.reference = self.student.frozen_copy(with_taps=with_taps)
        earlier = earlier_methods(self.stages, place, lambda _: {})
        objective = Objective(stage, self.pair, earlier.carried, earlier.held)
        self._ask_reference = self._live_reference(objective)
        self.step = TrainStep(self.student, objective, stage.ema_decay).train()
        if not stage.shares_schedule:
            self.optimizer = make_optimizer(stage, self.step.parameters(), self.curves[place].lr)
            for group in self.optimizer.param_groups:
                # One kernel for all weights, which reads the rate where `set_rate` writes it.
                group.update(fused=True, lr=self.total_loss.new_tensor(group["lr"]))

    def _live_reference(self, objective: Objective) -> AskTeacher | None:
        if self.reference is None:
            return None
        features = objective.stage.reference_feature_weight > 0
        return live_reference(
            self.reference,
            lambda network: network,
            self.autocast,
            features=features or needs_features(objective.holding),
            embedding=needs_embedding(objective.holding),
        )

    def set_rate(self, position: float) -> None:
        """Tell the optimizer its learning rate.

        Args:
            position: epochs of the whole that are finished, with the fraction of the running one.
        """
        begin = sum(stage.epochs for stage in self.stages[: self.place])
        set_rate(self.optimizer, self.curves[self.place].rate(position - begin))

    def learn(self, batch: Batch, teacher: Signals | None) -> None:
        """One step; nothing in it waits for the device, but for the first one of a stage."""
        self.optimizer.zero_grad()
        reference = self._ask_reference(batch) if self._ask_reference else None
        # A replayed step cannot know how far its stage is: a loss that asks is not a number.
        progress = Progress(math.nan, self.stages[self.place].epochs)
        with self.autocast():
            losses = self.step(batch, teacher, reference, progress)
        losses["loss"].backward()
        self.optimizer.step()
        self.total_loss += losses["loss"].detach()

    def save(self, path: Path, fingerprint: str) -> None:
        """Write all that its next step depends on."""
        save_resume(path, self.step, self.optimizer, ResumeState(0, []), fingerprint=fingerprint)
        if self.reference is not None:
            save_model(_of_reference(path), self.reference.model)

    def restore(self, path: Path, place: int, fingerprint: str) -> None:
        """Put it back to where it was saved.

        Args:
            path: the file.
            place: of the stage that it was in.
            fingerprint: as it was saved with.

        Raises:
            RunMismatchError: when it was begun with other settings.
        """
        for earlier in range(place + 1):
            self.begin_stage(earlier)
        if self.reference is not None:
            load_model(_of_reference(path), self.reference.model)
        if load_resume(path, self.step, self.optimizer, fingerprint) is None:
            raise RunMismatchError(
                f"{path}: was begun with other data, another teacher or other settings; "
                "choose another --out, or delete this one"
            )


class Lane:
    """The runs of one seed: they see the same views in the same order, and one teacher.

    Attributes:
        seed: decides order and views.
        runs: by name.
        done: steps that were taken.

    Args:
        images: what is learned from.
        teacher: with its taps, at rest and on the device; None where nobody teaches.
        batch_size: images a step; those of an epoch's order that are left over wait for the next.
        autocast: puts the teacher's passes into the precision that was asked for.
        folder: where it is kept while it is under way.
        fingerprint: what the result depends on.
        graphs: whether a GPU's steps are captured; a CPU's never are.

    Raises:
        TrainingError: when there are fewer images than a batch takes.
    """

    def __init__(
        self,
        seed: int,
        images: DeviceImages,
        teacher: TappedModel | None,
        runs: dict[str, Run],
        *,
        batch_size: int,
        autocast: Autocast,
        folder: Path,
        fingerprint: str,
        graphs: bool = True,
    ) -> None:
        self.seed, self.images, self.teacher, self.runs = seed, images, teacher, runs
        self.folder, self.fingerprint = folder, fingerprint
        self.steps_per_epoch = len(images) // batch_size
        if self.steps_per_epoch == 0:
            raise TrainingError(f"{len(images)} images make no batch of {batch_size}")
        self.done = self._counted = 0
        device = images.labels.device
        self._autocast = autocast
        self._stream = torch.cuda.Stream() if device.type == "cuda" else None
        self._captures = graphs and self._stream is not None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._plain_steps = 0
        self._epoch: int | None = None
        self._order = torch.zeros(self.steps_per_epoch, batch_size, dtype=torch.int64).to(device)
        # What a step reads; a captured one always reads from here.
        self._ids = torch.zeros(batch_size, dtype=torch.int64, device=device)
        self._draws = torch.zeros(len(images), 3, dtype=torch.int64, device=device)
        self._restore()
        # What was laid out here is read on the lane's own stream.
        self.wait()

    @property
    def batch_size(self) -> int:
        """Images a step."""
        return len(self._ids)

    @property
    def steps(self) -> int:
        """Of the whole."""
        (epochs,) = {run.epochs for run in self.runs.values()}
        return self.steps_per_epoch * epochs

    def images_left(self, done: int) -> int:
        """How many images its runs together still learn from, after so many steps."""
        return (self.steps - done) * self.batch_size * len(self.runs)

    @property
    def finished(self) -> bool:
        """Whether all steps were taken."""
        return self.done >= self.steps

    def advance(self) -> None:
        """Take the next step of all runs; on a GPU it is only begun."""
        epoch, place = divmod(self.done, self.steps_per_epoch)
        with self._on_stream():
            if epoch != self._epoch:
                self._begin_epoch(epoch)
            self._ids.copy_(self._order[place])
            for run in self.runs.values():
                run.set_rate(self.done / self.steps_per_epoch)
            self._take_step()
        self.done += 1

    def _begin_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        order = self.images.order(self.seed, epoch)[: self._order.numel()]
        self._order.copy_(torch.from_numpy(order).view_as(self._order))
        self._draws.copy_(self.images.draws(self.seed, epoch))
        for run in self.runs.values():
            stage = run.stage_at(epoch)
            if stage != run.place:
                self.wait()  # what a graph reads must last until it has run
                run.begin_stage(stage)
                self._graph, self._plain_steps = None, 0

    def _take_step(self) -> None:
        if self._captures and self._graph is None and self._plain_steps == _PLAIN_STEPS:
            self._capture()
        if self._graph is None:
            self._step()
            self._plain_steps += 1
        else:
            self._graph.replay()

    def _capture(self) -> None:
        """Capture a step, which does not take it; where that fails, all steps are plain ones."""
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._stream):
                self._step()
        except RuntimeError as error:
            self._captures = False
            reason = str(error).partition("\n")[0]
            print(f"seed {self.seed}: plain steps, for capturing failed: {reason}", file=sys.stderr)
        else:
            self._graph = graph

    def _step(self) -> None:
        images = self.images.views(self._ids, self._draws[self._ids])
        batch = Batch(images, self.images.labels[self._ids], self._ids)
        teacher = ask_live(self.teacher, images, self._autocast) if self.teacher else None
        for run in self.runs.values():
            run.learn(batch, teacher)

    def mean_losses(self) -> dict[str, float]:
        """Each run's loss, meaned over the steps since this was last asked; waits for the device.

        Raises:
            TrainingError: when one is not a number any more.
        """
        means = {}
        with self._on_stream():
            for name, run in self.runs.items():
                means[name] = run.total_loss.item() / max(self.done - self._counted, 1)
                run.total_loss.zero_()
        self._counted = self.done
        for name, mean in means.items():
            if not math.isfinite(mean):
                raise TrainingError(
                    f"seed {self.seed}, arm {name}: the loss is not a number any more at step "
                    f"{self.done}; lower the learning rate"
                )
        return means

    def _on_stream(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._stream) if self._stream else nullcontext()

    def wait(self) -> None:
        """Wait until the device has done all that was begun."""
        if self._stream:
            torch.cuda.synchronize()

    def save(self) -> None:
        """Write where it stands; what lay there stays until the new is whole."""
        if self.done == 0:
            return
        self.wait()
        folder = self.folder / f"step-{self.done}"
        for name, run in self.runs.items():
            run.save(folder / f"{name}.safetensors", self.fingerprint)
        stages = {name: run.place for name, run in self.runs.items()}
        write_json(self.folder / _STATE, asdict(LaneState(self.done, stages)))
        for other in self.folder.glob("step-*"):
            if other != folder:
                shutil.rmtree(other)

    def _restore(self) -> None:
        path = self.folder / _STATE
        if not path.exists():
            return
        state = read_record(path, LaneState, "where a lane was left", "delete it to begin anew")
        if state.stages.keys() != self.runs.keys():
            raise RunMismatchError(
                f"{path}: was begun with the arms {', '.join(state.stages)}; ask for the same, "
                "or choose another --out"
            )
        for name, run in self.runs.items():
            weights = self.folder / f"step-{state.steps}" / f"{name}.safetensors"
            run.restore(weights, state.stages[name], self.fingerprint)
        self.done = self._counted = state.steps


def _of_reference(path: Path) -> Path:
    return path.with_stem(f"{path.stem}-reference")

"""The training loop of one stage."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from foundation.errors import TrainingError
from foundation.files import check_sha256, read_json, sha256_of, write_json
from smskd.batch import Batch, Batches, as_batch
from smskd.checkpoint import load_model, load_tensors, save_model, save_tensors
from smskd.compiling import reading
from smskd.engine import derive_seed
from smskd.evaluation import evaluate
from smskd.job import Job, fingerprint
from smskd.methods import Progress
from smskd.objective import Objective
from smskd.parallel import rank, wait_for_all, world_size
from smskd.resuming import ResumeState, load_resume, save_resume
from smskd.schedule import learning_rate, make_optimizer
from smskd.signals import Signals
from smskd.taps import TappedModel, evaluating, keeping_modes
from smskd.teachers import AskTeacher, ask_live, make_teacher, needs_features

WEIGHTS, METHOD, METRICS = "weights.safetensors", "method.safetensors", "metrics.json"
_RESUME, _BEST = "resume.safetensors", "best.safetensors"


class TrainStep(nn.Module):
    """Student and objective as one module, so that an engine wraps all that learns at once.

    Attributes:
        read: runs the student: the tapped student itself, or for a while a compiled form of it.

    Args:
        tapped: the student.
        objective: the stage's losses.
        ema_decay: share that a running mean of the student keeps at each step; None keeps none.
    """

    def __init__(self, tapped: TappedModel, objective: Objective, ema_decay: float | None) -> None:
        super().__init__()
        self.student = tapped.model
        self.objective = objective
        self.mean: AveragedModel | None = None
        if ema_decay is not None:
            mean_of = get_ema_multi_avg_fn(ema_decay)  # type: ignore[no-untyped-call]
            self.mean = AveragedModel(self.student, multi_avg_fn=mean_of)
            self.mean.requires_grad_(False)
        self.read: Callable[[Tensor], Signals] = tapped

    @property
    def handed_on(self) -> nn.Module:
        """The network that the stage hands on: the student, or its running mean."""
        return self.student if self.mean is None else self.mean.module

    def forward(
        self, batch: Batch, teacher: Signals | None, reference: Signals | None, progress: Progress
    ) -> dict[str, Tensor]:
        said = self.read(batch.images)
        return cast(dict[str, Tensor], self.objective(said, batch, teacher, reference, progress))


def train_stage(job: Job) -> dict[str, Any]:
    """Train one stage, or go on with it, or find it done; the student ends as the stage leaves it.

    Returns:
        The stage's metrics, as they lie in its folder.

    Raises:
        TrainingError: when the loss is not a number any more.
        NoSpaceError: when the disk is full; what was saved stays.
    """
    asked = fingerprint(job)
    metrics = finished_metrics(job.folder, asked)
    if metrics is not None:
        load_model(job.folder / WEIGHTS, job.student.model)
        job.listener.stage_done(job.stage.name, metrics["seconds"])
        return metrics
    # The caller's own random numbers are none of our business.
    with torch.random.fork_rng(), keeping_modes(job.student.model):
        return _StageRun(job, asked).run()


def finished_metrics(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The metrics of a finished stage, or None when that very stage is not finished.

    Raises:
        CorruptFileError: when the student is not the one that the metrics speak of.
    """
    if not (folder / METRICS).exists() or not (folder / WEIGHTS).exists():
        return None
    metrics = read_json(folder / METRICS)
    if not isinstance(metrics, dict) or metrics.get("fingerprint") != fingerprint:
        return None
    check_sha256(folder / WEIGHTS, metrics["weights_sha256"])
    return metrics


class _StageRun:
    """One stage under way."""

    def __init__(self, job: Job, fingerprint: str) -> None:
        self.job, self.stage, self.fingerprint = job, job.stage, fingerprint
        torch.manual_seed(derive_seed(job.seed, job.index, "build"))
        self.fabric = job.engine.fabric()
        self.device = self.fabric.device
        for tapped in (job.student, job.reference, job.pair.teacher if job.pair else None):
            if tapped is not None:
                job.engine.place(tapped.model, self.device)
        self.step = TrainStep(job.student, Objective(job.stage, job.pair), job.stage.ema_decay)
        self.ask_teacher: AskTeacher | None = None
        optimizer = make_optimizer(job.stage, self._learning())
        self.wrapped, self.optimizer = self.fabric.setup(self.step, optimizer)
        self.history: list[dict[str, Any]] = []
        self.pending = 0  # batches whose gradients wait for the next optimizer step

    def _learning(self) -> list[nn.Parameter]:
        return [one for one in self.step.parameters() if one.requires_grad]

    def run(self) -> dict[str, Any]:
        done = self._resume()
        self.job.listener.stage_started(self.stage.name, self.stage.epochs, done)
        with ExitStack() as running:
            self._start_networks(running)
            for epoch in range(done, self.stage.epochs):
                self._epoch(epoch)
                self._save(epoch + 1)
        return self._finish()

    def _start_networks(self, running: ExitStack) -> None:
        job, compiled = self.job, self.job.engine.compile
        self.step.read = running.enter_context(reading(job.student, compiled))
        if job.pair is None:
            return
        running.enter_context(evaluating(job.pair.teacher.model))
        self.ask_teacher = make_teacher(
            running.enter_context(reading(job.pair.teacher, compiled)),
            job.views,
            needs_features(self.step.objective.methods),
            self.fabric.autocast,
        )

    def _resume(self) -> int:
        path = self.job.folder / _RESUME
        state = load_resume(path, self.step, self.optimizer, self.fingerprint, self._scaler())
        if state is None:
            return 0
        self.history = state.history
        return state.epoch

    def _epoch(self, epoch: int) -> None:
        started = time.perf_counter()
        torch.manual_seed(derive_seed(self.job.seed, self.job.index, epoch))
        if hasattr(self.job.train, "set_epoch"):
            self.job.train.set_epoch(self.job.first_epoch + epoch)
        batches = _count(self.job.train)
        sums: dict[str, Tensor] = {}
        images_seen = 0
        self.wrapped.train()
        for number, given in enumerate(self.job.train):
            batch = as_batch(given)
            # An epoch of unknown length is taken as a whole, at its middle.
            position = epoch + (number / batches if batches else 0.5)
            losses = self._train_on(batch, position, number, batches)
            for name, loss in losses.items():
                sums[name] = loss.detach() * len(batch.labels) + sums.get(name, 0)
            images_seen += len(batch.labels)
            self.job.listener.batch_done(number + 1, batches)
        if images_seen == 0:
            raise TrainingError(f"stage {self.stage.name}: the training data gave no batch")
        if self.pending:
            self._last_step_of_an_uncounted_epoch()
        self.step.objective.after_epoch()
        record = {
            "epoch": epoch + 1,
            "lr": learning_rate(self.stage, epoch),
            "losses": self._means(sums, images_seen),
            **self._validate(),
            "seconds": time.perf_counter() - started,
        }
        self._check_finite(record)
        self.history.append(record)
        self.job.listener.epoch_done(record)

    def _train_on(
        self, batch: Batch, position: float, number: int, batches: int | None
    ) -> dict[str, Tensor]:
        batch = self._placed(batch)
        if self.pending == 0:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.stage, position)
            self.optimizer.zero_grad()
        teacher = self.ask_teacher(batch) if self.ask_teacher else None
        reference = self.job.reference
        kept = ask_live(reference, batch.images, self.fabric.autocast) if reference else None
        progress = Progress(position, self.stage.epochs)
        share, last = self._share(number, batches)
        # Where nobody knows the last batch, each may be it.
        synced = last or batches is None
        with nullcontext() if synced else self.fabric.no_backward_sync(self.wrapped):
            losses: dict[str, Tensor] = self.wrapped(batch, teacher, kept, progress)
            self.fabric.backward(losses["loss"] / share)
        self.pending += 1
        if last:
            self._optimizer_step()
        return losses

    def _share(self, number: int, batches: int | None) -> tuple[int, bool]:
        """How many batches make the running optimizer step, and whether this is the last."""
        size = self.stage.accumulate
        if batches is not None:
            first = number - self.pending
            # Some loaders give more batches than they say.
            size = min(size, max(batches - first, 1))
        return size, self.pending + 1 == size

    def _last_step_of_an_uncounted_epoch(self) -> None:
        """Fewer batches than were expected: theirs is the mean, too."""
        for parameter in self._learning():
            if parameter.grad is not None:
                parameter.grad.mul_(self.stage.accumulate / self.pending)
        self._optimizer_step()

    def _optimizer_step(self) -> None:
        if self.stage.max_grad_norm is not None:
            # What is not finite is met at the epoch's end, with a word on where and what to do.
            self.fabric.clip_gradients(
                self.wrapped,
                self.optimizer,
                max_norm=self.stage.max_grad_norm,
                error_if_nonfinite=False,
            )
        self.optimizer.step()
        if self.step.mean is not None:
            self.step.mean.update_parameters(self.step.student)
        self.pending = 0

    def _placed(self, batch: Batch) -> Batch:
        theirs = batch.teacher_images
        return batch._replace(
            images=self.job.engine.place_images(batch.images, self.device),
            labels=batch.labels.to(self.device),
            ids=None if batch.ids is None else batch.ids.to(self.device),
            teacher_images=None
            if theirs is None
            else self.job.engine.place_images(theirs, self.device),
        )

    def _means(self, sums: dict[str, Tensor], images: int) -> dict[str, float]:
        """Mean losses over the images of all processes."""
        if world_size() > 1:
            counted = self.fabric.all_reduce({**sums, "": torch.tensor(float(images))}, None, "sum")
            images = counted.pop("").item()
            sums = counted
        return {name: (total / images).item() for name, total in sums.items()}

    def _validate(self) -> dict[str, Any]:
        if self.job.validation is None:
            return {"val_top1": None, "val_loss": None}
        found = evaluate(self.step.handed_on, self.job.validation, self.device)
        return {"val_top1": found["top1"], "val_loss": found["loss"]}

    def _check_finite(self, record: dict[str, Any]) -> None:
        """Keep an epoch from being saved that cannot be gone on from."""
        figures = [*record["losses"].values(), record["val_loss"] or 0.0]
        weights = self.step.parameters()
        if all(map(math.isfinite, figures)) and all(w.isfinite().all() for w in weights):
            return
        raise TrainingError(
            f"stage {self.stage.name}, epoch {record['epoch']}: a loss or a weight is not a number "
            f"any more ({record['losses']}, validation {record['val_loss']}); lower `lr` or the "
            "method's weight and run again"
        )

    def _scaler(self) -> Any:
        """The gradient scaler of fp16, which has a state of its own; else None."""
        return getattr(self.fabric.strategy.precision, "scaler", None)

    def _save(self, epoch: int) -> None:
        if rank() > 0:
            return
        if self.stage.keep == "best" and best_epoch(self.history)["epoch"] == epoch:
            # Before the resume state: if we die in between, the epoch is repeated and this file
            # written again with the same content.
            save_model(self.job.folder / _BEST, self.step.handed_on)
        save_resume(
            self.job.folder / _RESUME,
            self.step,
            self.optimizer,
            ResumeState(epoch, self.history),
            fingerprint=self.fingerprint,
            scaler=self._scaler(),
        )

    def _finish(self) -> dict[str, Any]:
        folder = self.job.folder
        if rank() == 0:
            self._write_result(folder)
        wait_for_all()
        metrics: dict[str, Any] = read_json(folder / METRICS)
        # From the file: so every process goes on with the same student, batch-norm included.
        load_model(folder / WEIGHTS, self.step.student)
        self.job.listener.stage_done(self.stage.name, metrics["seconds"])
        return metrics

    def _write_result(self, folder: Path) -> None:
        if self.stage.keep == "best":
            self.step.handed_on.load_state_dict(load_tensors(folder / _BEST)[0])
        save_model(folder / WEIGHTS, self.step.handed_on)
        learned = self.step.objective.state_dict()
        if learned:
            save_tensors(folder / METHOD, learned)
        metrics = {
            "name": self.stage.name,
            "index": self.job.index,
            "fingerprint": self.fingerprint,
            "stage": self.stage.as_dict(),
            "history": self.history,
            "last": _point(self.history[-1]),
            "best": _point(best_epoch(self.history)),
            "seconds": sum(record["seconds"] for record in self.history),
            "weights_sha256": sha256_of(folder / WEIGHTS),
        }
        write_json(folder / METRICS, metrics)
        for leftover in (_RESUME, _BEST):
            (folder / leftover).unlink(missing_ok=True)


def best_epoch(history: list[dict[str, Any]]) -> dict[str, Any]:
    """The record with the highest validation accuracy, the earliest of equals; else the last."""
    if any(record["val_top1"] is None for record in history):
        return history[-1]
    return max(history, key=lambda record: record["val_top1"])


def _count(batches: Batches) -> int | None:
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:  # a loader of a stream has __len__ and no length
        return None


def _point(record: dict[str, Any]) -> dict[str, Any]:
    return {"epoch": record["epoch"], "val_top1": record["val_top1"]}

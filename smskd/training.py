"""The training loop of one stage."""

from __future__ import annotations

import math
import time
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from foundation.errors import TrainingError
from foundation.files import check_sha256, read_json, sha256_of, write_json
from smskd.checkpoint import (
    ResumeState,
    load_model,
    load_resume,
    load_tensors,
    save_model,
    save_resume,
    save_tensors,
)
from smskd.engine import derive_seed
from smskd.evaluation import evaluate
from smskd.job import Batches, Job, fingerprint
from smskd.methods import Progress
from smskd.objective import Objective
from smskd.schedule import learning_rate, make_optimizer
from smskd.signals import Signals
from smskd.taps import TappedModel, evaluating, keeping_modes

WEIGHTS, METHOD, METRICS = "weights.safetensors", "method.safetensors", "metrics.json"
_RESUME, _BEST = "resume.safetensors", "best.safetensors"


class TrainStep(nn.Module):
    """Student and objective as one module, so that an engine wraps all that learns at once."""

    def __init__(self, tapped: TappedModel, objective: Objective) -> None:
        super().__init__()
        self.student = tapped.model
        self.objective = objective
        self._tapped = tapped

    def forward(
        self,
        images: Tensor,
        labels: Tensor,
        teacher: Signals | None,
        reference_logits: Tensor | None,
        progress: Progress,
    ) -> dict[str, Tensor]:
        said = self._tapped(images)
        return cast(
            dict[str, Tensor], self.objective(said, labels, teacher, reference_logits, progress)
        )


def freeze(student: nn.Module) -> nn.Module:
    """A copy of the student that does not learn any more: the reference of the next stage."""
    return deepcopy(student).eval().requires_grad_(False)


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
        job.engine.place(job.student.model, self.device)
        if job.teacher is not None:
            job.engine.place(job.teacher.model, self.device)
        if job.reference is not None:
            job.engine.place(job.reference, self.device)
        self.step = TrainStep(job.student, Objective(job.stage, job.shapes))
        optimizer = make_optimizer(job.stage, self.step.parameters())
        self.wrapped, self.optimizer = self.fabric.setup(self.step, optimizer)
        self.history: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any]:
        done = self._resume()
        self.job.listener.stage_started(self.stage.name, self.stage.epochs, done)
        for epoch in range(done, self.stage.epochs):
            self._epoch(epoch)
            self._save(epoch + 1)
        return self._finish()

    def _resume(self) -> int:
        path = self.job.folder / _RESUME
        state = load_resume(path, self.step, self.optimizer, self.fingerprint)
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
        with evaluating(self.job.teacher.model if self.job.teacher else nn.Identity()):
            for number, batch in enumerate(self.job.train, start=1):
                images, labels = batch[:2]
                # An epoch of unknown length is taken as a whole, at its middle.
                position = epoch + ((number - 1) / batches if batches else 0.5)
                losses = self._train_on(images, labels, position)
                for name, loss in losses.items():
                    sums[name] = loss.detach() * len(labels) + sums.get(name, 0)
                images_seen += len(labels)
                self.job.listener.batch_done(number, batches)
        if images_seen == 0:
            raise TrainingError(f"stage {self.stage.name}: the training data gave no batch")
        record = {
            "epoch": epoch + 1,
            "lr": learning_rate(self.stage, epoch),
            "losses": {name: (total / images_seen).item() for name, total in sums.items()},
            **self._validate(),
            "seconds": time.perf_counter() - started,
        }
        self._check_finite(record)
        self.history.append(record)
        self.job.listener.epoch_done(record)

    def _train_on(self, images: Tensor, labels: Tensor, position: float) -> dict[str, Tensor]:
        images = self.job.engine.place_images(images, self.device)
        labels = labels.to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.stage, position)
        # no_grad and not inference_mode: losses keep teacher tensors for their backward pass.
        with torch.no_grad(), self.fabric.autocast():
            teacher = self.job.teacher(images) if self.job.teacher else None
            reference = self.job.reference(images) if self.job.reference else None
        progress = Progress(position, self.stage.epochs)
        losses: dict[str, Tensor] = self.wrapped(images, labels, teacher, reference, progress)
        self.optimizer.zero_grad()
        self.fabric.backward(losses["loss"])
        if self.stage.max_grad_norm is not None:
            # What is not finite is met at the epoch's end, with a word on where and what to do.
            self.fabric.clip_gradients(
                self.wrapped,
                self.optimizer,
                max_norm=self.stage.max_grad_norm,
                error_if_nonfinite=False,
            )
        self.optimizer.step()
        return losses

    def _validate(self) -> dict[str, Any]:
        if self.job.validation is None:
            return {"val_top1": None, "val_loss": None}
        found = evaluate(self.step.student, self.job.validation, self.device)
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

    def _save(self, epoch: int) -> None:
        if self.stage.keep == "best" and best_epoch(self.history)["epoch"] == epoch:
            # Before the resume state: if we die in between, the epoch is repeated and this file
            # written again with the same content.
            save_model(self.job.folder / _BEST, self.step.student)
        save_resume(
            self.job.folder / _RESUME,
            self.step,
            self.optimizer,
            ResumeState(epoch, self.history),
            self.fingerprint,
        )

    def _finish(self) -> dict[str, Any]:
        folder = self.job.folder
        if self.stage.keep == "best":
            self.step.student.load_state_dict(load_tensors(folder / _BEST)[0])
        save_model(folder / WEIGHTS, self.step.student)
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
        self.job.listener.stage_done(self.stage.name, metrics["seconds"])
        return metrics


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

"""The training loop of one stage."""

from __future__ import annotations

import logging
import math
import time
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from foundation.errors import TrainingError
from foundation.files import read_json
from foundation.memory import keep_freed_memory
from smskd.batch import Batch, Batches, as_batch, first_batch
from smskd.blame import blamed
from smskd.checkpoints.files import load_model, load_tensors, save_model
from smskd.engine import derive_seed
from smskd.evaluation import AnswerLog, evaluate, recalls_of
from smskd.features.taps import TappedModel, evaluating, keeping_modes
from smskd.fine_tuning.phase import TuningPhase, only_learning
from smskd.job import StageJob, fingerprint
from smskd.methods import Progress
from smskd.objective import Objective
from smskd.parallel import rank, wait_for_all, world_size
from smskd.quantization.quantizing import fake_quantized, put_back, ranges_in
from smskd.rare_classes import class_shares
from smskd.teaching.reference_views import ReferenceViews
from smskd.teaching.teachers import (
    AskTeacher,
    live_reference,
    make_teacher,
    needs_embedding,
    needs_features,
)
from smskd.training.compiling import runnable
from smskd.training.continuing import load_continuation, save_continuation
from smskd.training.descent import Descent
from smskd.training.results import AGREEMENT, best_epoch, finished_metrics, write_result
from smskd.training.resuming import ResumeState, load_resume, save_resume
from smskd.training.stage_files import CONTINUATION, METRICS, WEIGHTS
from smskd.training.statistics import estimate_statistics
from smskd.training.train_step import TrainStep

logger = logging.getLogger(__name__)

_RESUME, _BEST, _REFERENCE = "resume.safetensors", "best.safetensors", "reference"


def train_stage(job: StageJob) -> dict[str, Any]:
    """Train one stage, or go on with it, or find it done; the student ends as the stage leaves it.

    Returns:
        The stage's metrics, as they lie in its folder.

    Raises:
        TrainingError: when the loss is not a number any more.
        NoSpaceError: when the disk is full; what was saved stays.
    """
    inputs_digest = fingerprint(job)
    metrics = finished_metrics(job.folder, inputs_digest)
    if metrics is not None:
        logger.info("%s: stage %s was done before", job.folder, job.name)
        load_model(job.folder / WEIGHTS, job.student.model)
        job.listener.stage_done(job.name, metrics["seconds"])
        return metrics
    # The caller's own random numbers are none of our business.
    phase, model = job.phase or TuningPhase(), job.student.model
    with torch.random.fork_rng(), keeping_modes(model), only_learning(model, phase.learns):
        return _StageRun(job, inputs_digest).run()


class _StageRun:
    """One stage under way."""

    def __init__(self, job: StageJob, fingerprint: str) -> None:
        self.job, self.stage, self.fingerprint = job, job.stage, fingerprint
        self.phase = job.phase or TuningPhase()
        torch.manual_seed(derive_seed(job.seed, job.index, "build"))
        self.fabric = job.engine.fabric()
        self.device = self.fabric.device
        if self.device.type == "cpu":
            keep_freed_memory()
        for tapped in (job.student, job.reference, job.pair.teacher if job.pair else None):
            if tapped is not None:
                job.engine.place(tapped.model, self.device)
        self.student = self._quantized() if job.stage.quantized else job.student
        shares = class_shares(job.train) if job.stage.knows_shares else None
        earlier = job.earlier
        objective = Objective(job.stage, job.pair, earlier.carried, earlier.held, shares)
        self.step = TrainStep(self.student, objective, job.stage.ema_decay)
        self.descent = Descent(
            self.fabric, self.step, job.stage, job.rates, shares=self.phase.rates
        )
        self.ask_teacher: AskTeacher | None = None
        self.ask_reference: AskTeacher | None = None
        self.kept_reference: ReferenceViews | None = None
        self.history: list[dict[str, Any]] = []

    def _quantized(self) -> TappedModel:
        student = self.job.student.model
        example = self.job.engine.place_images(first_batch(self.job.train).images, self.device)
        return TappedModel(fake_quantized(student, example).to(self.device))

    def run(self) -> dict[str, Any]:
        finished_epochs = self._resume()
        if finished_epochs == 0 and self.job.continues is not None:
            load_continuation(self.job.continues, self.step, self.descent.optimizer, self._scaler())
        logger.info(
            "stage %s: %d epochs, %d of them done before, on %s, methods %s, in %s",
            self.job.name, self.stage.epochs, finished_epochs, self.device,
            [spec.name for spec in self.stage.method_specs], self.job.folder,
        )  # fmt: skip
        self.job.listener.stage_started(self.job.name, self.stage.epochs, finished_epochs)
        with ExitStack() as running:
            self._start_networks(running)
            self._start_reference(running, finished_epochs)
            for epoch in range(finished_epochs, self.stage.epochs):
                if self._is_over():
                    break
                self._epoch(epoch)
                if self.kept_reference:
                    self.kept_reference.after_epoch()
                self._save(epoch + 1)
        return self._finish()

    def _start_networks(self, running: ExitStack) -> None:
        job, compiled = self.job, self.job.engine.compile
        self.step.run_student = running.enter_context(runnable(self.student, compiled))
        if job.pair is None:
            return
        running.enter_context(evaluating(job.pair.teacher.model))
        self.ask_teacher = make_teacher(
            running.enter_context(runnable(job.pair.teacher, compiled)),
            job.views,
            needs_features(self.step.objective.methods),
            self.fabric.autocast,
        )

    def _start_reference(self, running: ExitStack, finished_epochs: int) -> None:
        job, objective = self.job, self.step.objective
        if job.reference is None:
            return
        self.ask_reference = live_reference(
            job.reference,
            lambda tapped: running.enter_context(runnable(tapped, job.engine.compile)),
            self.fabric.autocast,
            features=self.stage.reference_feature_weight > 0 or needs_features(objective.holding),
            embedding=needs_embedding(objective.holding),
        )
        # Of several processes each is shown other samples of a view whenever it comes back.
        if job.views is not None and world_size() == 1:
            self.ask_reference = self.kept_reference = ReferenceViews(
                job.folder / _REFERENCE,
                self.ask_reference,
                samples=job.views.samples,
                views=job.views.views,
                epochs=self.stage.epochs,
                done=finished_epochs,
                limit=job.views.reference_limit,
                fingerprint=self.fingerprint,
            )

    def _epoch(self, epoch: int) -> None:
        started = time.perf_counter()
        torch.manual_seed(derive_seed(self.job.seed, self.job.index, epoch))
        if hasattr(self.job.train, "set_epoch"):
            self.job.train.set_epoch(self.job.first_epoch + epoch)
        batches = _count(self.job.train)
        sums: dict[str, Tensor] = {}
        images_seen = 0
        self.descent.wrapped.train()
        self.phase.rest(self.step.student)
        for number, item in enumerate(self.job.train):
            batch = as_batch(item)
            # An epoch of unknown length is taken as a whole, at its middle.
            position = epoch + (number / batches if batches else 0.5)
            losses = self._train_on(batch, position, number, batches)
            for name, loss in losses.items():
                sums[name] = loss.detach() * len(batch.labels) + sums.get(name, 0)
            images_seen += len(batch.labels)
            self.job.listener.batch_done(number + 1, batches)
        if images_seen == 0:
            raise TrainingError(f"stage {self.stage.name}: the training data gave no batch")
        self.descent.after_epoch()
        self.step.after_epoch()
        if self.stage.ema_batch_norm == "anew":
            estimate_statistics(self.step.handed_on, self.job.train, self._images_of)
        record = {
            "epoch": epoch + 1,
            "lr": self.job.rates.rate(epoch),
            "losses": self._means(sums, images_seen),
            **self._validate(epoch + 1),
            "seconds": time.perf_counter() - started,
        }
        self._check_finite(record)
        self.history.append(record)
        logger.info(
            "stage %s: epoch %d of %d in %.1f s: lr %.4g, losses %s, validation top-1 %s, "
            "agreement with the teacher %s",
            self.stage.name, record["epoch"], self.stage.epochs, record["seconds"], record["lr"],
            {name: round(loss, 5) for name, loss in record["losses"].items()}, record["val_top1"],
            record.get(AGREEMENT),
        )  # fmt: skip
        self.job.listener.epoch_done(record)

    def _is_over(self) -> bool:
        """Whether the training is to end before its last epoch."""
        if not self.history or not self.phase.patience:
            return False
        over = self.phase.is_over(self.history, best_epoch(self.history)["epoch"])
        # Of several processes each has batch-norm statistics, and so figures, of its own.
        return bool(self.fabric.broadcast(over))

    def _images_of(self, batch: Batch) -> Tensor:
        return self.job.engine.place_images(batch.images, self.device)

    def _train_on(
        self, batch: Batch, position: float, number: int, batches: int | None
    ) -> dict[str, Tensor]:
        batch = self.job.engine.place_batch(batch, self.device)
        return self.descent.after_batch(
            lambda: self._losses(batch, position), position, number, batches
        )

    def _losses(self, batch: Batch, position: float) -> dict[str, Tensor]:
        teacher = None
        if self.ask_teacher and self.job.pair:
            with blamed(self.job.pair.teacher.model, f"teaching {self._pass_described(batch)}"):
                teacher = self.ask_teacher(batch)
        reference = self.ask_reference(batch) if self.ask_reference else None
        progress = Progress(position, self.stage.epochs)
        losses: dict[str, Tensor] = self.descent.wrapped(batch, teacher, reference, progress)
        return losses

    def _pass_described(self, batch: Batch) -> str:
        """What was asked of a network, for messages."""
        return f"in stage {self.stage.name}, on images of shape {tuple(batch.images.shape)}"

    def _means(self, sums: dict[str, Tensor], images: int) -> dict[str, float]:
        """Mean losses over the images of all processes."""
        if world_size() > 1:
            counted = self.fabric.all_reduce({**sums, "": torch.tensor(float(images))}, None, "sum")
            images = counted.pop("").item()
            sums = counted
        return {name: (total / images).item() for name, total in sums.items()}

    def _validate(self, done: int) -> dict[str, Any]:
        """Accuracy and loss after so many epochs, and agreement with the teacher where there are
        images for it; None where it is not their turn."""
        turn = done % self.job.validate_every == 0 or done == self.stage.epochs
        due = turn or self.stage.keep == "best"
        figures: dict[str, Any] = {"val_top1": None, "val_loss": None}
        if self.job.validation is not None and due:
            figures = self._judged(self.job.validation)
        if self.job.agreement is not None:
            same = evaluate(self.step.handed_on, self.job.agreement, self.device) if due else {}
            figures[AGREEMENT] = same.get("top1")
        return figures

    def _judged(self, validation: Batches) -> dict[str, Any]:
        """What the labels of the validation images say."""
        metric = self.job.metric
        log = AnswerLog(keeps_logits=metric is not None)
        scores = evaluate(self.step.handed_on, validation, self.device, log)
        record = {"val_top1": scores["top1"], "val_loss": scores["loss"], **recalls_of(log)}
        if metric is not None and len(log.labels):
            figures = metric(log.logits, log.labels)
            record |= {"val_metric": next(iter(figures.values())), "val_metrics": figures}
        return record

    def _check_finite(self, record: dict[str, Any]) -> None:
        """Keep an epoch from being saved that cannot be gone on from."""
        figures = [*record["losses"].values(), record["val_loss"] or 0.0]
        weights = self.step.parameters()
        if all(map(math.isfinite, figures)) and all(w.isfinite().all() for w in weights):
            return
        raise TrainingError(
            f"stage {self.stage.name}, epoch {record['epoch']}: a loss or a weight is not a number "
            f"any more ({record['losses']}, validation {record['val_loss']}); lower `lr` or the "
            "method's weight, or clip gradients (`max_grad_norm = 10`: where features are taught, "
            "a network without norms wants that), and run again"
        )

    def _resume(self) -> int:
        state = load_resume(
            self.job.folder / _RESUME,
            self.step,
            self.descent.optimizer,
            self.fingerprint,
            self._scaler(),
        )
        if state is None:
            return 0
        self.history = state.history
        return state.epoch

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
            self.descent.optimizer,
            ResumeState(epoch, self.history),
            fingerprint=self.fingerprint,
            scaler=self._scaler(),
        )

    def _scaler(self) -> Any:
        """The gradient scaler of fp16, which has a state of its own; else None."""
        return getattr(self.fabric.strategy.precision, "scaler", None)

    def _finish(self) -> dict[str, Any]:
        folder = self.job.folder
        if rank() == 0:
            self._leave_result()
        wait_for_all()
        metrics: dict[str, Any] = read_json(folder / METRICS)
        # From the file: so every process goes on with the same student, batch-norm included.
        load_model(folder / WEIGHTS, self.job.student.model)
        self.job.listener.stage_done(self.job.name, metrics["seconds"])
        return metrics

    def _leave_result(self) -> None:
        folder, network = self.job.folder, self.step.handed_on
        if self.kept_reference:  # before the result: nobody looks at a finished stage again
            self.kept_reference.clear()
        if self.stage.keep == "best":
            network.load_state_dict(load_tensors(folder / _BEST)[0])
        learned = self.step.objective.learned()
        if self.job.continued:
            save_continuation(
                folder / CONTINUATION, self.step, self.descent.optimizer, self._scaler()
            )
        ranges = None
        if self.stage.quantized:
            ranges = ranges_in(network)
            network = put_back(network, self.job.student.model)
        write_result(self.job, self.fingerprint, network, learned, self.history, ranges=ranges)
        for leftover in (_RESUME, _BEST):
            (folder / leftover).unlink(missing_ok=True)


def _count(batches: Batches) -> int | None:
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:  # a loader of a stream has __len__ and no length
        return None

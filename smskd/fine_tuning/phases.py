"""The two phases of a fine-tuning: the new head by itself, then all of the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from foundation.files import check_inside
from smskd.batch import Batches, first_batch
from smskd.checkpoints.files import content_sha256
from smskd.engine import Engine
from smskd.evaluation import JudgingMetric
from smskd.features.taps import TappedModel
from smskd.fine_tuning.depth import layer_rates
from smskd.fine_tuning.phase import ALL, HEAD, TuningPhase
from smskd.job import StageJob
from smskd.listening import Listener
from smskd.stage import Stage, check_sequence
from smskd.training.loop import train_stage

_HEAD_RATE = 10.0


@dataclass(frozen=True)
class FineTuning:
    """How a network with trained weights is trained further.

    Attributes:
        head: names of the submodules that make the logits, and are new.
        head_epochs: epochs in which they alone learn, before all does, so that what a head drawn at
            random says does not undo the features (Kumar et al., "Fine-Tuning can Distort
            Pretrained Features and Underperform Out-of-Distribution", ICLR 2022).
        head_lr: peak of their learning rate in these; None is ten times the stage's, for they begin
            with nothing.
        layer_decay: learning rate of a group of layers against the group above it; see `depth`.
        patience: epochs without a better one after which the second phase ends; 0 never ends it.

    Raises:
        ValueError: when a value is impossible.
    """

    head: tuple[str, ...] = ()
    head_epochs: int = 0
    head_lr: float | None = None
    layer_decay: float = 1.0
    patience: int = 0

    def __post_init__(self) -> None:
        if self.head_epochs < 0:
            raise ValueError(f"head_epochs counts from 0, but got {self.head_epochs=}")
        if self.head_epochs and not self.head:
            raise ValueError(f"no head is named to learn alone, but got {self.head_epochs=}")
        if self.head_lr is not None and not self.head_lr > 0:
            raise ValueError(f"head_lr must be positive, but got {self.head_lr=}")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay must lie above 0, to 1, but got {self.layer_decay=}")


def fine_tune(
    model: nn.Module,
    train: Batches,
    stage: Stage,
    tuning: FineTuning,
    folder: Path | str,
    *,
    validation: Batches | None = None,
    seed: int = 0,
    engine: Engine | None = None,
    listener: Listener | None = None,
    metric: JudgingMetric | None = None,
    notes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train a network on the labels, its head first. Called again on the same folder, it goes on.

    Args:
        model: with the weights that it begins with; in place.
        train, validation, seed, engine, listener, metric: as of `smskd.train_alone`.
        stage: how it is trained; its epochs are those of the second phase.
        tuning: what is done otherwise.
        folder: takes the weights and metrics of the second phase; those of the first lie in head/.
        notes: JSON-able facts that the weights' file carries.

    Returns:
        The metrics of the second phase.

    Raises:
        ValueError: when the stage has methods, or there is nothing to end it early by.
    """
    if stage.methods:
        raise ValueError(f"without a teacher there are no methods, but got {stage.methods=}")
    if tuning.patience and (validation is None or stage.keep != "best"):
        raise ValueError(
            "patience waits for a better epoch on the validation images, and keeps the best: give "
            f'validation and keep = "best", but got {tuning.patience=}, {stage.keep=}'
        )
    check_sequence([stage])
    check_inside(Path(folder))
    job = StageJob(
        stage=stage,
        index=1,
        student=TappedModel(model),
        train=train,
        validation=validation,
        first_epoch=tuning.head_epochs,
        folder=Path(folder),
        seed=seed,
        engine=engine or Engine(),
        listener=listener or Listener(),
        beginning=content_sha256(model.state_dict()),
        phase=TuningPhase(ALL, rates=_rates(model, train, tuning), patience=tuning.patience),
        metric=metric,
        notes=notes or {},
    )
    if tuning.head_epochs:
        metrics = train_stage(_head_first(job, tuning))
        job = replace(job, beginning=metrics["weights_sha256"])
    return train_stage(job)


def _rates(model: nn.Module, train: Batches, tuning: FineTuning) -> Mapping[str, float]:
    if tuning.layer_decay == 1:
        return {}
    example = first_batch(train).images[:2]
    return layer_rates(model.to(example.device), example, tuning.head, tuning.layer_decay)


def _head_first(job: StageJob, tuning: FineTuning) -> StageJob:
    lr = tuning.head_lr if tuning.head_lr is not None else _HEAD_RATE * job.rates.lr
    plain: dict[str, Any] = {"ema_decay": None, "ema_batch_norm": "student", "keep": "last"}
    stage = replace(job.stage, epochs=tuning.head_epochs, lr=lr, **plain)
    return replace(
        job,
        stage=replace(stage, warmup_epochs=0.0, hold_epochs=0.0),
        index=0,
        first_epoch=0,
        folder=job.folder / HEAD,
        phase=TuningPhase(HEAD, learns=tuning.head),
    )

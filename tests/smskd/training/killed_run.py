"""Distils on the CPU in processes that are killed on the way; a program, run by test_resuming.

It reads orders, one a line, and answers each with a line:

    ["FOLDER", "sgd", "adamw", "lamb" or "views", "last" or "best", "STAGE.EPOCH.BATCH", ...]

For each place named, a process of its own takes up the work and kills itself there with SIGKILL;
a last one ends it. Each is a fork of this process, which itself never trains: what it imports,
which takes seconds, is there for all of them.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning_fabric  # noqa: F401 - before the first fork
import torch
from torch import Tensor, nn

from smskd import (
    Batch,
    Engine,
    Listener,
    MethodSpec,
    Stage,
    TeacherViews,
    distill,
    keep_teacher_views,
)
from smskd.checkpoints.files import save_model
from smskd.distillation import pair_on
from smskd.teaching.teachers import live_teacher

EPOCHS, CLASSES = 3, 3


class Network(nn.Sequential):
    """Batch-norm and dropout: statistics and random numbers that have to be taken up again."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout2d(0.2),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(2 * width, CLASSES),
        )


class Killer(Listener):
    """Kills the process after a batch of an epoch of a stage, all counted from 1."""

    def __init__(self, place: tuple[int, int, int] | None, stages: list[Stage]) -> None:
        self.place, self.stages = place, [stage.name for stage in stages]
        self.stage = self.epoch = 0

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        self.stage = self.stages.index(name) + 1
        self.epoch = done + 1

    def epoch_done(self, record: dict[str, Any]) -> None:
        self.epoch = record["epoch"] + 1

    def batch_done(self, batch: int, batches: int | None) -> None:
        if (self.stage, self.epoch, batch) == self.place:
            os.kill(os.getpid(), signal.SIGKILL)


def stages_of(optimizer: str, keep: str) -> list[Stage]:
    """Running means, steps of two batches, and methods that draw, route and remember.

    With adamw a last stage trains with 8-bit numbers, whose ranges follow the batches; with lamb
    all are on one schedule. With views, which take turns, teacher and reference are asked once for
    each.
    """
    if optimizer == "views":
        own_terms = {"reference_methods": "previous", "lr": 0.02}
        return [Stage("at", EPOCHS, lr=0.02), Stage("kd", 2 * EPOCHS, **own_terms)]
    crd = MethodSpec("crd", settings={"negatives": 8})
    settings = {"optimizer": optimizer, "keep": keep, "lr": 0.02, "max_grad_norm": 5.0}
    stages = [
        Stage("kd", EPOCHS, accumulate=2, ema_decay=0.8, **settings),
        Stage(tuple(map(MethodSpec, ("fitnet", "mgd", "sakd"))), EPOCHS, **settings),
        Stage((MethodSpec("rkd"), crd), EPOCHS, reference_feature_weight=0.1, **settings),
    ]
    if optimizer == "lamb":
        shared = dict.fromkeys(("lr", "warmup_epochs", "hold_epochs", "step_epochs"))
        shared["schedule"] = "shared"
        return [stages[0], *(replace(stage, **shared) for stage in stages[1:])]
    last = Stage("kd", EPOCHS, ema_decay=0.8, quantize="int8", **settings)
    return [*stages, last] if optimizer == "adamw" else stages


def batches() -> torch.utils.data.DataLoader[tuple[Tensor, ...]]:
    """A loader that shuffles by torch's own random numbers."""
    numbers = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (40,), generator=numbers)
    images = torch.randn((40, 1, 8, 8), generator=numbers) + labels.view(-1, 1, 1, 1)
    dataset = torch.utils.data.TensorDataset(images, labels, torch.arange(40))
    return torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True)


class Viewed:
    """Images in two views that take turns, in another order each epoch."""

    samples, fingerprint = 40, "two views"

    def __init__(self) -> None:
        self.images, self.labels, _ = batches().dataset.tensors  # type: ignore[attr-defined]
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Iterator[Batch]:
        order = torch.Generator().manual_seed(self.epoch)
        return self.of(self.epoch % 2, torch.randperm(self.samples, generator=order))

    def of(self, view: int, order: Tensor | None = None) -> Iterator[Batch]:
        seen = self.images.flip(3) if view else self.images
        for ids in (torch.arange(self.samples) if order is None else order).split(8):
            yield Batch(seen[ids], self.labels[ids], ids, view)


def kept_views(folder: Path, teacher: nn.Module, student: nn.Module, data: Viewed) -> TeacherViews:
    pair = pair_on(teacher, student, data)
    return keep_teacher_views(
        folder / "views",
        live_teacher(pair.teacher, Engine(accelerator="cpu")),
        data.of,
        samples=data.samples,
        views=2,
        shapes=pair.teacher_shapes,
        made_from={},
        feature_limit=10**9,
    )


def run(folder: Path, optimizer: str, keep: str, killed_at: tuple[int, int, int] | None) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    teacher, student = Network(6), Network(4)
    stages = stages_of(optimizer, keep)
    data = Viewed() if optimizer == "views" else batches()
    views = kept_views(folder, teacher, student, data) if isinstance(data, Viewed) else None
    distill(
        teacher,
        student,
        data,
        stages,
        folder,
        validation=data,
        engine=Engine(accelerator="cpu"),
        listener=Killer(killed_at, stages),
        views=views,
    )
    save_model(folder / "student.safetensors", student)


def carry_out(folder: str, optimizer: str, keep: str, *places: str) -> None:
    for place in (*places, None):
        killed_at = tuple(map(int, place.split("."))) if place else None
        child = os.fork()
        if child == 0:
            run(Path(folder), optimizer, keep, killed_at)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)
        expected = signal.SIGKILL if place else 0
        assert ended == expected, f"{place}: ended with {ended}"


if __name__ == "__main__":
    for line in sys.stdin:
        carry_out(*json.loads(line))
        print("done", flush=True)

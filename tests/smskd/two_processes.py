"""Distils in one process, or in several that torchrun started; a program, run by test_parallel.

    python two_processes.py FOLDER

For each case a subfolder takes what `distill` leaves, and "ends" what each process ends with.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smskd import Batch, Engine, Listener, MethodSpec, Stage, distill
from smskd.checkpoints.files import save_model, save_tensors
from smskd.objective import feature_reference_loss

CLASSES, SAMPLES, JOINT = 3, 32, 8
RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
CRD = MethodSpec("crd", settings={"negatives": 6, "dims": 8})


def stages(*methods: str | MethodSpec, **settings: Any) -> list[Stage]:
    """Two stages of the same methods: the second holds on to the first."""
    specs = tuple(MethodSpec(one) if isinstance(one, str) else one for one in methods)
    return [Stage(specs, **{"epochs": 1, "lr": 0.02, "max_grad_norm": 2.0, **settings})] * 2


CASES = {
    **{name: stages(name) for name in ("kd", "at", "rkd", "sp", "pkt", "cc", "dist", "mse", "nst")},
    "crd": stages(CRD),
    "several": stages("kd", "rkd", CRD),
    "anchored features": stages("kd", reference_feature_weight=2.0, reference_weight=0.5),
    "held": [
        *stages("at", "rkd", "kd")[:1],
        *stages("kd", reference_methods="previous", normalise_weighting=True)[:1],
    ],
    "one schedule": [
        *stages("sp", ema_decay=0.8)[:1],
        *stages("kd", lr=None, schedule="shared", carry=0.2, ema_decay=0.8)[:1],
    ],
    "accumulated": stages("kd", "rkd", accumulate=2, ema_decay=0.8),
    "uncounted": stages("kd", accumulate=3),
    "8-bit": [*stages("kd")[:1], *stages("kd", quantize="int8")[:1]],
    "whole": stages("kd", CRD, epochs=3, keep="best", optimizer="adamw", lr=0.01),
    "stopped": stages("kd", CRD, epochs=3, keep="best", optimizer="adamw", lr=0.01),
}


class Net(nn.Sequential):
    """Without batch-norm, whose statistics are of one process's part."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * width, CLASSES),
        )


class Batches:
    """Joint batches, of which each process sees its contiguous part."""

    samples = SAMPLES

    def __init__(self, rank: int = RANK, world: int = WORLD) -> None:
        self.rank, self.world, self.epoch = rank, world, 0
        numbers = torch.Generator().manual_seed(0)
        self.labels = torch.randint(CLASSES, (SAMPLES,), generator=numbers)
        self.images = torch.randn(SAMPLES, 1, 8, 8, generator=numbers)
        self.images += self.labels.view(-1, 1, 1, 1)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return SAMPLES // JOINT

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(self.epoch))
        for joint in order.split(JOINT):
            ids = joint.chunk(self.world)[self.rank]
            yield Batch(self.images[ids], self.labels[ids], ids)


class Uncounted(Batches):
    __len__ = None  # type: ignore[assignment]


class StoppedError(Exception):
    """The work is stopped from outside."""


class Stop(Listener):
    """Stops in the second stage's second epoch."""

    def __init__(self) -> None:
        self.stages = self.epochs = 0

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        self.stages, self.epochs = self.stages + 1, done

    def epoch_done(self, record: dict[str, Any]) -> None:
        self.epochs = record["epoch"]

    def batch_done(self, batch: int, batches: int | None) -> None:
        if (self.stages, self.epochs, batch) == (2, 1, 2):
            raise StoppedError


def run(folder: Path, name: str, listener: Listener) -> None:
    torch.manual_seed(1)
    teacher, student = Net(6), Net(4)
    data = (Uncounted if name == "uncounted" else Batches)()
    distill(
        teacher, student, data, CASES[name], folder / name, validation=Batches(0, 1),
        engine=Engine(accelerator="cpu"), listener=listener,
    )  # fmt: skip
    save_model(folder / "ends" / f"{name}-{RANK}.safetensors", student)


def feature_losses(folder: Path) -> None:
    """Of samples whose reference is the larger the later they come: parts are far from alike."""
    numbers = torch.Generator().manual_seed(0)
    ours, kept = torch.randn(2, 8, 3, 4, 4, generator=numbers)
    kept = kept * torch.arange(1, 9).view(8, 1, 1, 1)
    weights = torch.rand(8, generator=numbers)
    ours, kept, weights = (one.chunk(WORLD)[RANK] for one in (ours, kept, weights))
    ours = ours.clone().requires_grad_()
    loss = feature_reference_loss((ours, 2 * ours), (kept, kept + 1), weights)
    loss.backward()
    found = {"loss": loss.detach(), "gradient": ours.grad}
    save_tensors(folder / "ends" / f"feature loss-{RANK}.safetensors", found)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    for name in CASES:
        if name == "stopped":
            with contextlib.suppress(StoppedError):
                run(folder, name, Stop())
            assert list((folder / name).glob("2-*/resume.safetensors")), "it did not stop there"
        run(folder, name, Listener())
    feature_losses(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
